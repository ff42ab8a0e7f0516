"""The profile likelihood and weighted regressions in 50-digit arithmetic."""

import mpmath as mp

DIGITS = 50


def matrix(a):
    return mp.matrix([[mp.mpf(float(x)) for x in row] for row in a])


def projection(weights, X):
    """P_a for weights a, with (X'AX)^-1."""
    A, X = mp.diag(weights), matrix(X)
    AX = A * X
    inverse = mp.inverse(X.T * AX)
    return A - AX * inverse * AX.T, inverse


def likelihood(y, v, X, tau2, reml):
    """Everything that an evaluator gives, and the regression itself."""
    with mp.workdps(DIGITS):
        k, p = X.shape
        w = [1 / (mp.mpf(float(x)) + mp.mpf(float(tau2))) for x in v]
        P, inverse = projection(w, X)
        y = matrix([[x] for x in y])
        Py = P * y
        PPy = P * Py
        M = P if reml else mp.diag(w)
        rss = (y.T * Py)[0]
        total, n = rss - sum(map(mp.log, w)), k
        if reml:
            X_ = matrix(X)
            total += -mp.log(mp.det(inverse)) - mp.log(mp.det(X_.T * X_))
            n -= p
        return {
            "ypp": (Py.T * Py)[0],
            "yppp": (Py.T * PPy)[0],
            "trace": sum(M[i, i] for i in range(k)),
            "trace2": sum(x * x for x in M),
            "rss": rss,
            "loglike": -(n * mp.log(2 * mp.pi) + total) / 2,
            "params": list(inverse * matrix(X).T * mp.diag(w) * y),
            "bse": [mp.sqrt(inverse[i, i]) for i in range(p)],
        }


def error(found, exact):
    """Relative error, or absolute where the value is below 1e-300."""
    with mp.workdps(DIGITS):
        return float(abs(mp.mpf(float(found)) - exact) / max(abs(exact), mp.mpf("1e-300")))
