"""Nested random intercepts over a diagonal V, in time linear in the effects at any depth.

With the variances t_1, t_2, ... of nested levels, inner ones first, the data below a node are one
mean with precision S. Adding the variance of the node gives omega = S / (1 + t S); the nodes of a
parent then have a weighted mean with precision S_parent = sum(omega). So a pass upwards whitens the
data (rows sqrt(omega) (mean - mean of the parent)) and gives the determinant, and a pass downwards
gives Z'Py and Z'PZ of each level. Differences that would lose digits where one node of a parent
outweighs the others are formed from sums over those others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.gram import squared_length
from metareg_sm.core.mixed.profile import (
    Effects,
    Information,
    LeastSquares,
    least_squares,
    triangle,
)
from metareg_sm.core.mixed.siblings import Siblings


@dataclass(frozen=True, eq=False)
class Nested:
    """One data set with nested random intercepts.

    Attributes
    ----------
    chain : tuple of int
        Positions of the terms, inner ones first.
    order : ndarray of int, (k,)
        Rows such that the groups of every level stand together.
    variance : ndarray, (k,)
        Sampling variances in that order.
    data : Siblings
        Rows as nodes of the innermost groups.
    levels : tuple of Siblings
        Groups as nodes of the groups of the next level; none for the outermost.
    labels : tuple of ndarray of int
        Code of each node of each level in its term.
    S, means : ndarray, (n,) and (p+1, n)
        Precisions and means of the innermost groups.
    static : ndarray, (p+1, p+1) or (p+1, 0)
        Whitened rows within the innermost groups, as a triangle with the same products.
    logdet : float
        Sum of log v.
    """

    chain: tuple[int, ...]
    order: Codes
    variance: Array
    data: Siblings
    levels: tuple[Siblings, ...]
    labels: tuple[Codes, ...]
    S: Array
    means: Array
    static: Array
    logdet: float

    @classmethod
    def build(
        cls, columns: Array, variance: Array, partitions: Sequence[Codes], chain: Sequence[int]
    ) -> Nested:
        """Sort the data and sum up what does not depend on the variances of the levels.

        Parameters
        ----------
        columns : ndarray, (p+1, k)
            Design and outcomes.
        variance : ndarray, (k,)
            Sampling variances.
        partitions : sequence of ndarray of int, (k,)
            Groups of each term.
        chain : sequence of int
            Terms, inner ones first; the groups of each lie in those of the next.
        """
        inner = [partitions[i] for i in chain]
        order = np.lexsort(inner)
        sortd = [codes[order] for codes in inner]
        first = [np.concatenate([[True], codes[1:] != codes[:-1]]) for codes in sortd]
        nodes = [np.cumsum(f) - 1 for f in first]
        starts = [np.flatnonzero(f) for f in first]
        data = Siblings(nodes[0], starts[0])
        levels = []
        for lower, upper in zip(range(len(chain) - 1), range(1, len(chain)), strict=True):
            parent = nodes[upper][starts[lower]]
            levels.append(
                Siblings(
                    parent, np.flatnonzero(np.concatenate([[True], parent[1:] != parent[:-1]]))
                )
            )
        labels = tuple(codes[s] for codes, s in zip(sortd, starts, strict=True))
        v = variance[order]
        D = columns[:, order]
        if len(starts[0]) == len(order):
            S, means, static = 1.0 / v, D, D[:, :0]
        else:
            w = 1.0 / v
            S = data.sums(w)
            share = w / data.spread(S)
            means = data.sums(share * D)
            means = means + data.sums(share * (D - data.spread(means)))
            static = triangle(np.sqrt(w) * (D - data.spread(means)))
        return cls(
            tuple(chain),
            order,
            v,
            data,
            tuple(levels),
            labels,
            S,
            np.ascontiguousarray(means),
            np.ascontiguousarray(static),
            float(np.log(v).sum()),
        )

    @cached_property
    def parts(self) -> tuple[slice, ...]:
        """Where the whitened rows of each level stand."""
        ends = np.cumsum([len(labels) for labels in self.labels]).tolist()
        return tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    def evaluate(self, G: Sequence[Array]) -> NestedEvaluation | None:
        """Factor at variances given as 1 x 1 matrices, in the order of the terms."""
        t = [float(G[i][0, 0]) for i in self.chain]
        S, means, parts = self.S, self.means, self.parts
        rows = np.empty((len(means), parts[-1].stop + self.static.shape[1]))
        logdet = self.logdet
        precisions, omegas, roots, shares = [], [], [], []
        for level, variance in enumerate(t):
            growth = 1.0 + variance * S
            logdet += float(np.log(growth).sum())
            omega = S / growth
            root, part = np.sqrt(omega), rows[:, parts[level]]
            precisions.append(S)
            omegas.append(omega)
            roots.append(root)
            if level == len(t) - 1:
                np.multiply(root, means, out=part)
                break
            siblings = self.levels[level]
            S = siblings.sums(omega)
            share = omega / siblings.spread(S)
            shares.append(share)
            upper = siblings.sums(share * means)
            np.multiply(root, means - siblings.spread(upper), out=part)
            means = upper
        rows[:, parts[-1].stop :] = self.static
        fit = least_squares(rows)
        if fit is None:
            return None
        return NestedEvaluation(self, t, logdet, fit, precisions, omegas, roots, shares)


@dataclass(frozen=True, eq=False)
class NestedEvaluation:
    """Nested random intercepts at given variances; lists run over levels, inner ones first.

    Attributes
    ----------
    problem : Nested
        The data.
    t : list of float
        Variances.
    logdet : float
        log |Sigma|.
    fit : LeastSquares
        Least squares of the whitened rows.
    precisions, omegas : list of ndarray, (n,)
        Precision of the mean below a node without and with the variance of the node.
    roots : list of ndarray, (n,)
        Square roots of omega.
    shares : list of ndarray, (n,)
        omega over its sum by parent; none for the outermost level.
    """

    problem: Nested
    t: list[float]
    logdet: float
    fit: LeastSquares
    precisions: list[Array]
    omegas: list[Array]
    roots: list[Array]
    shares: list[Array]

    @cached_property
    def heavy(self) -> list[Codes]:
        """Nodes of each level that outweigh their siblings."""
        pairs = zip(self.problem.levels, self.shares, strict=True)
        return [siblings.heavy(share) for siblings, share in pairs]

    @cached_property
    def squares(self) -> list[Array]:
        """Squared shares, (n,)."""
        return [share * share for share in self.shares]

    @cached_property
    def scores(self) -> list[Array]:
        """Z'W of the columns Q and residuals, (p+1, n): Z'PX of a basis and Z'Py."""
        columns, parts = self.fit.columns, self.problem.parts
        scores: list[Array] = [columns] * len(self.t)
        scores[-1] = self.roots[-1] * columns[:, parts[-1]]
        for level in range(len(self.t) - 2, -1, -1):
            own = self.roots[level] * columns[:, parts[level]]
            siblings, heavy = self.problem.levels[level], self.heavy[level]
            if heavy.size:
                # contributions of the nodes of a parent sum to 0
                own[:, heavy] = 0.0
                own[:, heavy] = -siblings.sums(own)[:, siblings.parent[heavy]]
            own += self.shares[level] * siblings.spread(scores[level + 1])
            scores[level] = own
        return scores

    @cached_property
    def above(self) -> list[Array]:
        """Precision of the parent of each node less the diagonal of Z'WZ there, (n,).

        A sum of positive terms: t S omega of each level, with squared shares below.
        """
        found: list[Array] = [np.zeros(0)] * len(self.shares)
        for level in range(len(self.shares), 0, -1):
            gap = self.t[level] * self.precisions[level] * self.omegas[level]
            if level < len(self.shares):
                gap += self.squares[level] * found[level]
            found[level - 1] = self.problem.levels[level - 1].spread(gap)
        return found

    @cached_property
    def diagonals(self) -> list[Array]:
        """Diagonal of Z'WZ, (n,)."""
        found = list(self.omegas)
        for level in range(len(self.shares) - 1, -1, -1):
            omega, squared = self.omegas[level], self.squares[level]
            found[level] = omega - squared * self.above[level]
            siblings, heavy = self.problem.levels[level], self.heavy[level]
            if heavy.size:
                rest = siblings.others(omega, self.precisions[level + 1], heavy)[heavy]
                upper = found[level + 1][siblings.parent[heavy]]
                found[level][heavy] = self.shares[level][heavy] * rest + squared[heavy] * upper
            if siblings.alone.size:
                found[level][siblings.alone] = found[level + 1][siblings.parents_of_one]
        return found

    def slopes(self, reml: bool) -> list[Array]:
        """Derivative of the log-likelihood by the variance of each term, (1, 1)."""
        M: list[Array] = [np.zeros((1, 1))] * len(self.t)
        for i, s, q in zip(self.problem.chain, self.scores, self.diagonals, strict=True):
            squares = squared_length(s if reml else s[-1])
            M[i] = np.array([[0.5 * (squares - float(q.sum()))]])
        return M

    def information(self, stacks: Sequence[Array], reml: bool) -> Information:
        """Average and expected information."""
        level_of = {term: level for level, term in enumerate(self.problem.chain)}
        at = [level_of[i] for i, stack in enumerate(stacks) for _ in stack]
        weight = np.concatenate([stack[:, 0, 0] for stack in stacks])
        scale = 0.5 * weight[:, None] * weight
        average, second = self._quadratic
        expected = self._traces
        if reml:
            expected = expected + second
        return Information(
            scale * average.take(at, 0).take(at, 1), scale * expected.take(at, 0).take(at, 1)
        )

    @cached_property
    def _quadratic(self) -> tuple[Array, Array]:
        """Products y'P S_i P S_j P y, and what REML adds to tr(W S_i W S_j), for any two levels."""
        parts, p, depth = self.problem.parts, len(self.fit.Q), len(self.t)
        whitened = np.zeros((depth, p + 1, parts[-1].stop))
        F = self.scores[0][None]
        for level in range(depth):
            if level:
                F = np.concatenate([F, self.scores[level][None]])
            if level < depth - 1:
                siblings = self.problem.levels[level]
                mean = siblings.sums(self.shares[level] * F)
                F = F - siblings.spread(mean)
            np.multiply(self.roots[level], F, out=whitened[: level + 1, :, parts[level]])
            if level < depth - 1:
                F = mean
        rows = whitened.reshape(depth * (p + 1), -1)
        gram = (rows @ rows.T).reshape(depth, p + 1, depth, p + 1)
        inside = whitened[:, p] @ self.fit.Q[:, : parts[-1].stop].T
        H = np.array([s[:p] @ s[:p].T for s in self.scores]).reshape(depth, -1)
        cross = np.einsum("iaja->ij", gram[:, :p, :, :p])
        return gram[:, p, :, p] - inside @ inside.T, H @ H.T - 2.0 * cross

    @cached_property
    def _traces(self) -> Array:
        """tr(W S_i W S_j) for any two levels.

        For levels i <= j it is sum_ab rho_a K_ab^2 over nodes of level j, with K = Z'WZ and rho the
        sums, by node of level j, of the squared shares of the nodes of level i. Nodes a and b have
        K_ab = -s_a s_b gap where they have one parent, with the gap of the parent and the shares s,
        and s_a s_b times that of their parents where not.
        """
        depth = len(self.t)
        total = np.zeros((depth, depth))
        rho = np.ones((1, len(self.omegas[0])))
        for level in range(depth):
            own = np.einsum("in,n,n->i", rho, self.diagonals[level], self.diagonals[level])
            total[level, : level + 1] += own
            total[:level, level] += own[:level]
            if level < depth - 1:
                siblings = self.problem.levels[level]
                squared = rho * self.squares[level]
                sums = siblings.sums(squared)
                others = siblings.others(squared, sums, self.heavy[level])
                above = self.above[level]
                among = np.einsum("in,n,jn->ij", squared, above * above, others)
                total[: level + 1, : level + 1] += among
                rho = np.concatenate([sums, np.ones((1, sums.shape[-1]))])
        return total

    def blocks(self) -> list[Array]:
        """Diagonals of Z'WZ in the order of the terms and of their groups, (groups, 1, 1)."""
        return [q[:, None, None] for q in self._by_term(self.diagonals)]

    def effects(self) -> list[Effects]:
        """Predicted effects and their variances, in the order of the terms and of their groups."""
        p, depth = len(self.fit.Q), len(self.t)
        u: list[Array] = []
        remaining: list[Array] = []
        for level, (S, t, s) in enumerate(zip(self.precisions, self.t, self.scores, strict=True)):
            left = 1.0 / (1.0 + t * S)
            if level < depth - 1:
                left = left + t * self.squares[level] * self.above[level]
            u.append(t * s[p])
            remaining.append(t * (left + t * np.einsum("pn,pn->n", s[:p], s[:p])))
        pairs = zip(self._by_term(u), self._by_term(remaining), strict=True)
        return [Effects(x[:, None], c[:, None, None]) for x, c in pairs]

    def _by_term(self, values: list[Array]) -> list[Array]:
        found: list[Array] = [np.zeros(0)] * len(values)
        for term, labels, x in zip(self.problem.chain, self.problem.labels, values, strict=True):
            found[term] = np.empty_like(x)
            found[term][labels] = x
        return found

    def whiten(self, columns: Array) -> Array:
        """Columns (c, k) times a square root of Sigma^-1."""
        problem = self.problem
        b = 1.0 / np.sqrt(problem.variance)
        x = columns[:, problem.order] * b
        node = problem.data.parent
        starts = problem.data.starts
        for level, t in enumerate(self.t):
            S = self.precisions[level]
            mean = np.add.reduceat(b * x, starts, axis=1) / S
            root = np.sqrt(1.0 + t * S)
            x -= b * (mean * (1.0 - 1.0 / root))[:, node]
            b = b / root[node]
            if level < len(self.t) - 1:
                siblings = problem.levels[level]
                node, starts = siblings.parent[node], starts[siblings.starts]
        out = np.empty_like(x)
        out[:, problem.order] = x
        return out

    def solve(self, columns: Array) -> Array:
        """Columns (c, k) times Sigma^-1."""
        problem = self.problem
        w = 1.0 / problem.variance
        x = columns[:, problem.order]
        share = w / problem.data.spread(self.precisions[0])
        mean = problem.data.sums(share * x)
        own = [w * (x - problem.data.spread(mean))]
        for level, siblings in enumerate(problem.levels):
            upper = siblings.sums(self.shares[level] * mean)
            own.append(self.omegas[level] * (mean - siblings.spread(upper)))
            mean = upper
        s = self.omegas[-1] * mean
        for level in range(len(problem.levels) - 1, -1, -1):
            s = own[level + 1] + self.shares[level] * problem.levels[level].spread(s)
        s = own[0] + share * problem.data.spread(s)
        out = np.empty_like(s)
        out[:, problem.order] = s
        return out
