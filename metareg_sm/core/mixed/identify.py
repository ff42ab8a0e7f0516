"""Parameters about which the data say nothing, whatever the outcomes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.likelihood import MixedLikelihood

_FLAT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Flat:
    """Parameters along which the likelihood is flat.

    Attributes
    ----------
    terms : tuple of int
        Terms concerned, in their order.
    names : tuple of str
        Names of the parameters concerned, as in `Components`; one for each of `terms`.
    """

    terms: tuple[int, ...]
    names: tuple[str, ...]


def flat_directions(problem: MixedLikelihood, reml: bool) -> list[Flat]:
    """Directions in which the information is 0 at a point inside the parameter space.

    One effect per group with a variance of groups and of effects, two terms with the same groups,
    a term whose groups the design tells apart (REML), a correlation of levels that no group has
    both of.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    list of Flat
        Empty where every parameter is identified.
    """
    inside, size = inner_point(problem), problem.typical
    names: list[tuple[int, str]] = []
    stacks, most = [], []
    for i, (term, at) in enumerate(zip(problem.terms, problem.slices, strict=True)):
        found = term.structure.reported(inside[at])
        names += [(i, name) for name in found.names]
        stacks.append(found.directions)
        # what a direction could at most tell: the number of groups in which it shows
        most += [np.abs(D).max() * term.n_groups**0.5 / size for D in found.directions]
    evaluation = problem.evaluate(inside)
    if evaluation is None:
        return []
    information = evaluation.information(stacks, reml)
    matrix = information.average if information.expected is None else information.expected
    scaled = matrix / np.outer(most, most)
    return _null_space(scaled, names)


def inner_point(problem: MixedLikelihood) -> Array:
    """Working parameters (m,) away from every end, at which nothing is flat by chance."""
    # unequal on purpose: no symmetry shall hide a direction
    most = max(term.q for term in problem.terms)
    sizes: Array = problem.typical * (1.0 + 0.1 * np.arange(most, dtype=float))
    return np.concatenate([t.structure.start(sizes[: t.q], 0.3) for t in problem.terms])


def _null_space(scaled: Array, names: list[tuple[int, str]]) -> list[Flat]:
    """Parameters of each null vector; vectors that share parameters are told as one."""
    diagonal = np.sqrt(np.maximum(np.diagonal(scaled), 0.0))
    dead = diagonal < np.sqrt(_FLAT)
    found = [Flat((names[j][0],), (names[j][1],)) for j in np.flatnonzero(dead)]
    alive = np.flatnonzero(~dead)
    if len(alive) > 1:
        d = diagonal[alive]
        values, vectors = np.linalg.eigh(scaled[np.ix_(alive, alive)] / np.outer(d, d))
        null = vectors[:, values < _FLAT]
        if null.shape[1]:
            projector = null @ null.T
            left = set(np.flatnonzero(np.diagonal(projector) > 1e-6).tolist())
            while left:
                group = {left.pop()}
                linked = {j for j in left if any(abs(projector[i, j]) > 1e-6 for i in group)}
                while linked:
                    group |= linked
                    left -= linked
                    linked = {j for j in left if any(abs(projector[i, j]) > 1e-6 for i in group)}
                members = [names[alive[j]] for j in sorted(group)]
                found.append(Flat(tuple(t for t, _ in members), tuple(n for _, n in members)))
    return found
