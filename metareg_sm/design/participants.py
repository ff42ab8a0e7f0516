"""Moderators that are averages over participants, and how little the averages vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.design.values import numeric
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import finite_number, suggestion


@dataclass(frozen=True, slots=True, eq=False)
class Participants:
    """Moderators that are averages over the participants of a study.

    Attributes
    ----------
    names : tuple of str
        The moderators.
    between_sd : tuple of float
        Standard deviation of each across the rows of the model, in its own units.
    within_sd : tuple of float or None
        Standard deviation among participants of a study, where the user told it.
    rows : str
        What the rows are: "studies", or "effects" where a study may have several.
    """

    names: tuple[str, ...]
    between_sd: tuple[float, ...]
    within_sd: tuple[float | None, ...]
    rows: str = "studies"


def participants(
    names: str | Sequence[str] | None,
    sd: Any,
    frame: pd.DataFrame,
    used: Sequence[str],
    rows: str = "studies",
) -> Participants | None:
    """Read the keywords `participant_level` and `participant_sd`.

    Parameters
    ----------
    names : str or list of str or None
        Moderators that are averages over participants; None if there are none.
    sd : number, str, mapping or None
        Standard deviation among participants: a number or a column of them for one moderator, or
        a mapping from moderators to such.
    frame : DataFrame
        The studies in the model.
    used : sequence of str
        Moderators that the model has.
    rows : str
        What the rows of the frame are.

    Returns
    -------
    Participants or None

    Raises
    ------
    OptionError, DesignError
        If a name is no moderator of the model, or a standard deviation is impossible.
    """
    if names is None:
        if sd is not None:
            raise OptionError("participant_sd goes with participant_level=, which is not given.")
        return None
    listed = (names,) if isinstance(names, str) else tuple(names)
    if not listed:
        return None
    for name in listed:
        if name not in used:
            raise OptionError(
                f"participant_level names {name!r}, which is no moderator of the model."
                f"{suggestion(name, used)} The moderators are {', '.join(map(repr, used))}."
            )
    if sd is not None and not isinstance(sd, Mapping):
        if len(listed) > 1:
            raise OptionError(
                "participant_sd must map each moderator of participant_level to its standard "
                f"deviation, such as {{{listed[0]!r}: 10}}; got {sd!r}."
            )
        sd = {listed[0]: sd}
    sds = dict(sd or {})
    for name in sds:
        if name not in listed:
            raise OptionError(
                f"participant_sd has {name!r}, which participant_level does not name."
                f"{suggestion(name, listed)}"
            )
    between = tuple(
        float(np.std(numeric(frame[name], name, frame.index), ddof=1)) if len(frame) > 1 else 0.0
        for name in listed
    )
    return Participants(
        listed, between, tuple(_typical(name, sds.get(name), frame) for name in listed), rows
    )


def _typical(name: str, sd: Any, frame: pd.DataFrame) -> float | None:
    """One standard deviation for all studies: the root of the mean variance."""
    if sd is None:
        return None
    argument = f"participant_sd[{name!r}]"
    if isinstance(sd, Real):
        return finite_number(sd, argument, least=0.0, above=True)
    if isinstance(sd, str):
        if sd not in frame.columns:
            columns = [str(c) for c in frame.columns]
            raise OptionError(
                f"{argument}={sd!r} is no column of the data.{suggestion(sd, columns)}"
            )
        sd = frame[sd]
    values = numeric(sd, argument)
    if (values < 0.0).any() or np.isinf(values).any():
        raise DesignError(f"{argument} must be finite and not negative.")
    if np.isnan(values).all():
        raise DesignError(f"{argument} is missing in every study.")
    return float(np.sqrt(np.nanmean(values**2)))


def participant_notes(found: Participants | None) -> list[str]:
    """What a reader must know of averages over participants, a sentence or two each."""
    if found is None:
        return []
    one = len(found.names) == 1
    listed = ", ".join(found.names[:-1]) + (" and " if not one else "") + found.names[-1]
    notes = [
        f"{listed} {'is an average' if one else 'are averages'} over the participants of a study: "
        f"{'its slope tells' if one else 'their slopes tell'} studies apart and need not hold for "
        "participants (ecological bias)."
    ]
    told = [
        f"the averages of {name} vary with a standard deviation of {between:.3g} across "
        f"{found.rows}, participants with one of {within:.3g} within studies"
        for name, between, within in zip(
            found.names, found.between_sd, found.within_sd, strict=True
        )
        if within is not None
    ]
    if told:
        text = "; ".join(told) + "."
        notes.append(text[0].upper() + text[1:])
    return notes
