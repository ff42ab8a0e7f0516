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

    def evaluate(self, G: Sequence[Array]) -> NestedEvaluation | None:
        """Factor at variances given as 1 x 1 matrices, in the order of the terms."""
        t = [float(G[i][0, 0]) for i in self.chain]
        S, means = self.S, self.means
        sizes = [len(labels) for labels in self.labels]
        ends = np.cumsum(sizes)
        rows = np.empty((len(means), ends[-1] + self.static.shape[1]))
        logdet = self.logdet
        precisions, omegas, shares = [], [], []
        for level, variance in enumerate(t):
            growth = 1.0 + variance * S
            logdet += float(np.log(growth).sum())
            omega = S / growth
            precisions.append(S)
            omegas.append(omega)
            root = np.sqrt(omega)
            part = rows[:, ends[level] - sizes[level] : ends[level]]
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
        rows[:, ends[-1] :] = self.static
        fit = least_squares(rows)
        if fit is None:
            return None
        return NestedEvaluation(self, t, logdet, fit, precisions, omegas, shares)


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
    shares : list of ndarray, (n,)
        omega over its sum by parent; none for the outermost level.
    """

    problem: Nested
    t: list[float]
    logdet: float
    fit: LeastSquares
    precisions: list[Array]
    omegas: list[Array]
    shares: list[Array]

    @cached_property
    def rests(self) -> list[tuple[Codes, Array]]:
        """Nodes that outweigh their siblings, and the sum of omega over the siblings."""
        found = []
        for level, siblings in enumerate(self.problem.levels):
            heavy = siblings.heavy(self.shares[level])
            upper = self.precisions[level + 1]
            found.append((heavy, siblings.others(self.omegas[level], upper, heavy)))
        return found

    @cached_property
    def scores(self) -> list[Array]:
        """Z'W of the columns Q and residuals, (p+1, n): Z'PX of a basis and Z'Py."""
        columns = self.fit.columns
        ends = np.cumsum([len(omega) for omega in self.omegas])
        scores: list[Array] = [columns] * len(self.t)
        for level in range(len(self.t) - 1, -1, -1):
            omega = self.omegas[level]
            own = np.sqrt(omega) * columns[:, ends[level] - len(omega) : ends[level]]
            if level < len(self.t) - 1:
                siblings = self.problem.levels[level]
                heavy = self.rests[level][0]
                if heavy.size:
                    # contributions of the nodes of a parent sum to 0
                    own[:, heavy] = 0.0
                    own[:, heavy] = -siblings.sums(own)[:, siblings.parent[heavy]]
                own += self.shares[level] * siblings.spread(scores[level + 1])
            scores[level] = own
        return scores

    @cached_property
    def diagonals(self) -> list[Array]:
        """Diagonal of Z'WZ, (n,)."""
        found = list(self.omegas)
        for level in range(len(self.t) - 2, -1, -1):
            siblings, share = self.problem.levels[level], self.shares[level]
            found[level] = share * self.rests[level][1] + share**2 * siblings.spread(
                found[level + 1]
            )
        return found

    def slopes(self, reml: bool) -> list[Array]:
        """Derivative of the log-likelihood by the variance of each term, (1, 1)."""
        p = len(self.fit.Q)
        M: list[Array] = [np.zeros((1, 1))] * len(self.t)
        for i, s, q in zip(self.problem.chain, self.scores, self.diagonals, strict=True):
            value = s[p] @ s[p] - q.sum()
            if reml:
                value += np.vdot(s[:p], s[:p])
            M[i] = np.array([[0.5 * value]])
        return M

    def information(self, stacks: Sequence[Array], reml: bool) -> Information:
        """Average and expected information."""
        level_of = {term: level for level, term in enumerate(self.problem.chain)}
        at = [level_of[i] for i, stack in enumerate(stacks) for _ in stack]
        weight = np.concatenate([stack[:, 0, 0] for stack in stacks])
        scale = 0.5 * np.outer(weight, weight)
        average, second = self._quadratic
        expected = self._traces
        if reml:
            expected = expected + second
        pick = np.ix_(at, at)
        return Information(scale * average[pick], scale * expected[pick])

    @cached_property
    def _quadratic(self) -> tuple[Array, Array]:
        """Products y'P S_i P S_j P y, and what REML adds to tr(W S_i W S_j), for any two levels."""
        p, depth = len(self.fit.Q), len(self.t)
        ends = np.cumsum([len(omega) for omega in self.omegas])
        F = self.scores[0][None, :, :][:0]
        products, cross = np.zeros((depth, depth)), np.zeros((depth, depth))
        FQ = np.zeros((depth, p))
        for level in range(depth):
            F = np.concatenate([F, self.scores[level][None]])
            omega = self.omegas[level]
            root = np.sqrt(omega)
            if level < depth - 1:
                siblings = self.problem.levels[level]
                mean = siblings.sums(self.shares[level] * F)
                rows = root * (F - siblings.spread(mean))
                F = mean
            else:
                rows = root * F
            n = level + 1
            Q = self.fit.Q[:, ends[level] - len(omega) : ends[level]]
            e = rows[:, p]
            products[:n, :n] += e @ e.T
            FQ[:n] += e @ Q.T
            X = rows[:, :p].reshape(n, -1)
            cross[:n, :n] += X @ X.T
        H = np.array([(s[:p] @ s[:p].T).ravel() for s in self.scores])
        return products - FQ @ FQ.T, H @ H.T - 2.0 * cross

    @cached_property
    def _traces(self) -> Array:
        """tr(W S_i W S_j) for any two levels.

        For levels i <= j it is sum_ab rho_b K_ab^2 with K = Z'WZ of level j and rho the squared
        shares of the nodes of level i, summed by node of level j. K of a level is that of the next
        one times shares, plus diag(omega) - omega omega'/S among the nodes of a parent.
        """
        depth = len(self.t)
        pairs: list[tuple[int, int]] = []
        total = np.zeros((depth, depth))
        rho = np.zeros((0, 0))
        a = b = np.zeros((0, 0))
        for level in range(depth):
            omega = self.omegas[level]
            ones = np.ones((1, len(omega)))
            rho = np.concatenate([rho, ones]) if level else ones
            a = np.concatenate([a, np.ones_like(rho)]) if level else ones
            b = np.concatenate([b, rho]) if level else rho
            pairs += [(i, level) for i in range(level + 1)]
            if level == depth - 1:
                values = (a * b) @ omega**2
            else:
                siblings, share = self.problem.levels[level], self.shares[level]
                heavy, rest = self.rests[level]
                own = share * rest
                squares = b * (share * omega)
                among = siblings.others(squares, siblings.sums(squares), heavy)
                values = (a * b) @ own**2 + np.einsum("in,in->i", a * (share * omega), among)
                # twice the products with K of the next level
                g, h = a * share, b * share
                upper = siblings.spread(self.diagonals[level + 1])
                weighted = siblings.others(h * omega, siblings.sums(h * omega), heavy)
                values += 2.0 * np.einsum("in,in->i", g * (share * upper), h * rest - weighted)
                squared = share**2
                rho = siblings.sums(rho * squared)
                a, b = siblings.sums(a * squared), siblings.sums(b * squared)
            for (i, j), value in zip(pairs, values, strict=True):
                total[i, j] += value
                total[j, i] = total[i, j]
        return total

    def blocks(self) -> list[Array]:
        """Diagonals of Z'WZ in the order of the terms and of their groups, (groups, 1, 1)."""
        return [q[:, None, None] for q in self._by_term(self.diagonals)]

    def effects(self) -> list[Effects]:
        """Predicted effects and their variances, in the order of the terms and of their groups."""
        p, depth = len(self.fit.Q), len(self.t)
        u: list[Array] = []
        remaining: list[Array] = []
        gap: Array = np.zeros(0)
        for level in range(depth - 1, -1, -1):
            S, t, s = self.precisions[level], self.t[level], self.scores[level]
            left = 1.0 / (1.0 + t * S)
            below = t * S * self.omegas[level]
            if level < depth - 1:
                parent = self.problem.levels[level].parent
                lower = self.shares[level] ** 2 * gap[parent]
                left = left + t * lower
                below = below + lower
            gap = below  # S - diag(Z'WZ), a sum of positive terms
            u.insert(0, t * s[p])
            remaining.insert(0, t * (left + t * np.einsum("pn,pn->n", s[:p], s[:p])))
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
