"""Robust covariances against statsmodels and against dense formulas."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.linalg import block_diag
from scipy.stats import chi2, f, t

from metareg_sm import MetaReg

CORRECTIONS = ("CR0", "CR1", "CR1S", "CR2", "CR3")


def fit(frame, **kwds):
    return MetaReg.from_formula("y ~ x + z", frame, vi="v").fit(**kwds)


def cluster(frame, correction, groups="g", **kwds):
    kwds["cov_kwds"] = {"groups": groups, "correction": correction}
    return fit(frame, cov_type="cluster", **kwds)


def symmetric_power(S, power):
    values, vectors = np.linalg.eigh(S)
    keep = values > 1e-10 * values.max()
    return (vectors[:, keep] * values[keep] ** power) @ vectors[:, keep].T


class Dense:
    """Cluster-robust covariance and its moments, with k x k matrices and a loop over clusters."""

    def __init__(self, res, groups, correction):
        X, v, y = res.model.exog, res.model.vi, res.model.endog
        k, p = X.shape
        self.theta = v + res.tau2
        W = np.diag(1.0 / self.theta)
        M = np.linalg.inv(X.T @ W @ X)
        H = X @ M @ X.T @ W
        resid = y - H @ y
        labels = np.unique(groups)
        J = len(labels)
        factor = {"CR1": J / (J - p), "CR1S": J * (k - 1) / ((J - 1) * (k - p))}
        self.cov = np.zeros((p, p))
        # one matrix a cluster: the estimate's part of that cluster as a function of y
        self.parts = []
        for label in labels:
            g = groups == label
            Phi, Xg, Wg = np.diag(self.theta[g]), X[g], W[np.ix_(g, g)]
            A = np.eye(g.sum())
            if correction == "CR2":
                D = np.sqrt(Phi)
                A = D @ symmetric_power(D @ (Phi - Xg @ M @ Xg.T) @ D, -0.5) @ D
            elif correction == "CR3":
                A = np.linalg.inv(np.eye(g.sum()) - Xg @ M @ Xg.T @ Wg)
            A = A * np.sqrt(factor.get(correction, 1.0))
            score = M @ Xg.T @ Wg @ A
            self.cov += score @ np.outer(resid[g], resid[g]) @ score.T
            self.parts.append(score @ (np.eye(k) - H)[g])

    def satterthwaite(self, c):
        Phi = np.diag(self.theta)
        vectors = [c @ part for part in self.parts]
        gram = np.array([[a @ Phi @ b for b in vectors] for a in vectors])
        return np.trace(gram) ** 2 / (gram**2).sum()

    def eta(self, C):
        """Degrees of freedom of the approximate Hotelling test, Pustejovsky & Tipton (2018)."""
        q = len(C)
        Phi = np.diag(self.theta)
        parts = [C @ part for part in self.parts]
        root = symmetric_power(sum(G @ Phi @ G.T for G in parts), -0.5)
        parts = [root @ G for G in parts]
        total = 0.0
        for G in parts:
            for K in parts:
                cross = G @ Phi @ K.T
                for s in range(q):
                    for u in range(q):
                        total += cross[s, s] * cross[u, u] + cross[s, u] * cross[u, s]
        return q * (q + 1) / total


@pytest.mark.parametrize("tau2", ["reml", 0.0, 0.3])
@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
def test_hc_is_statsmodels(clustered, kind, tau2):
    res = fit(clustered, cov_type=kind, tau2=tau2)
    w = 1.0 / (clustered["v"] + res.tau2)
    known = sm.WLS(clustered["y"], res.model.exog, weights=w).fit(cov_type=kind)
    assert_allclose(res.params, known.params, rtol=1e-10)
    assert_allclose(res.cov_params(), known.cov_params(), rtol=1e-10)
    # statsmodels' robust covariances refer to the normal; ours to t
    assert res.use_t
    assert_allclose(res.pvalues, 2.0 * t.sf(abs(res.tvalues), res.df_resid), rtol=1e-10)
    normal = fit(clustered, cov_type=kind, tau2=tau2, use_t=False)
    assert_allclose(normal.pvalues, known.pvalues, rtol=1e-8)
    assert_allclose(normal.conf_int(), known.conf_int(), rtol=1e-9)


@pytest.mark.parametrize("tau2", ["reml", 0.0])
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_cluster_covariance(clustered, correction, tau2):
    res = cluster(clustered, correction, tau2=tau2)
    dense = Dense(res, clustered["g"].to_numpy(), correction)
    assert_allclose(res.cov_params(), dense.cov, rtol=1e-9)
    assert res.cov_kwds["correction"] == correction


@pytest.mark.parametrize("correction", ["CR0", "CR1S"])
def test_cluster_covariance_is_statsmodels(clustered, correction):
    res = cluster(clustered, correction)
    w = 1.0 / (clustered["v"] + res.tau2)
    known = sm.WLS(clustered["y"], res.model.exog, weights=w).fit(
        cov_type="cluster",
        cov_kwds={"groups": clustered["g"], "use_correction": correction == "CR1S"},
    )
    assert_allclose(res.cov_params(), known.cov_params(), rtol=1e-10)


@pytest.mark.parametrize("correction", ["CR2", "CR3"])
def test_satterthwaite(clustered, correction):
    res = cluster(clustered, correction)
    dense = Dense(res, clustered["g"].to_numpy(), correction)
    df = np.array([dense.satterthwaite(c) for c in np.eye(3)])
    assert ((df > 1.0) & (df < 10.0)).all()
    stat = np.asarray(res.tvalues)
    assert_allclose(res.pvalues, 2.0 * t.sf(abs(stat), df), rtol=1e-8)
    half = t.ppf(0.95, df) * res.bse
    assert_allclose(res.conf_int(0.1)[1] - res.params, half, rtol=1e-8)
    rng = np.random.default_rng(1)
    C = rng.normal(size=(4, 3))
    test = res.t_test(C)
    known = np.array([dense.satterthwaite(c) for c in C])
    assert_allclose(np.ravel(test.df_denom), known, rtol=1e-8)
    value = C @ res.params / np.sqrt(np.einsum("qa,ab,qb->q", C, dense.cov, C))
    assert_allclose(np.ravel(test.tvalue), value, rtol=1e-8)
    assert_allclose(np.ravel(test.pvalue), 2.0 * t.sf(abs(value), known), rtol=1e-8)
    assert_allclose(test.conf_int()[:, 1] - C @ res.params, t.ppf(0.975, known) * test.sd.ravel())


@pytest.mark.parametrize("correction", ["CR0", "CR1", "CR1S"])
def test_uncorrected_clusters_have_j_minus_p_degrees_of_freedom(clustered, correction):
    res = cluster(clustered, correction)
    assert_allclose(res.pvalues, 2.0 * t.sf(abs(res.tvalues), 10 - 3), rtol=1e-10)
    assert_allclose(res.t_test("x = 0").pvalue, res.pvalues["x"], rtol=1e-10)
    test = res.wald_test("x = z = 0", scalar=True)
    assert (test.df_num, test.df_denom) == (2, 7)


@pytest.mark.parametrize("correction", ["CR2", "CR3"])
@pytest.mark.parametrize("constraint", ["x = 0", "x = 0, z = 0", "Intercept = x, z = 0.2"])
def test_approximate_hotelling(clustered, correction, constraint):
    res = cluster(clustered, correction)
    dense = Dense(res, clustered["g"].to_numpy(), correction)
    C, value = {
        "x = 0": ([[0, 1, 0]], [0]),
        "x = 0, z = 0": ([[0, 1, 0], [0, 0, 1]], [0, 0]),
        "Intercept = x, z = 0.2": ([[1, -1, 0], [0, 0, 1]], [0, 0.2]),
    }[constraint]
    C, q = np.array(C, dtype=float), len(C)
    eta = dense.eta(C)
    gap = C @ res.params - value
    statistic = gap @ np.linalg.solve(C @ dense.cov @ C.T, gap)
    F = (eta - q + 1) / (eta * q) * statistic
    test = res.wald_test(constraint, scalar=True)
    assert_allclose(test.statistic, F, rtol=1e-8)
    assert_allclose(test.pvalue, f.sf(F, q, eta - q + 1), rtol=1e-8)
    assert_allclose(test.df_denom, eta - q + 1, rtol=1e-8)
    if q == 1:
        assert_allclose(eta, dense.satterthwaite(C[0]), rtol=1e-10)
        assert_allclose(test.pvalue, res.pvalues["x"], rtol=1e-8)


def test_joint_test_does_not_depend_on_how_it_is_written(clustered):
    res = cluster(clustered, "CR2")
    known = res.wald_test([[0, 1, 0], [0, 0, 1]], scalar=True)
    for C in ([[0, 1, 1], [0, 1, -3]], [[0, 1, 0], [0, 0, 1], [0, 1, 1]]):
        test = res.wald_test(np.array(C, dtype=float), scalar=True)
        assert_allclose(test.statistic, known.statistic, rtol=1e-9)
        assert_allclose(test.df_denom, known.df_denom, rtol=1e-9)
        assert test.df_num == 2
    assert_allclose(res.fvalue, known.statistic, rtol=1e-9)
    assert_allclose(res.f_pvalue, known.pvalue, rtol=1e-9)


def test_chi_squared_where_asked(clustered):
    res = cluster(clustered, "CR2", use_t=False)
    test = res.wald_test("x = 0, z = 0", scalar=True)
    C = np.eye(3)[1:]
    b = C @ res.params
    known = b @ np.linalg.solve(C @ res.cov_params().to_numpy() @ C.T, b)
    assert_allclose(test.statistic, known, rtol=1e-10)
    assert_allclose(test.pvalue, chi2.sf(known, 2), rtol=1e-9)


@pytest.mark.parametrize(("hc", "cr"), [("HC0", "CR0"), ("HC2", "CR2"), ("HC3", "CR3")])
def test_single_studies_as_clusters(clustered, hc, cr):
    alone = cluster(clustered, cr, groups=np.arange(len(clustered)))
    assert_allclose(alone.cov_params(), fit(clustered, cov_type=hc).cov_params(), rtol=1e-9)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_labels_of_clusters_do_not_matter(clustered, correction):
    known = cluster(clustered, correction).cov_params()
    names = clustered["g"].map(lambda g: f"lab {(7 * g) % 10}")
    for groups in (names, names.to_numpy(), names.astype("category"), -1.5 * clustered["g"]):
        found = cluster(clustered, correction, groups=groups).cov_params()
        assert_allclose(found, known, rtol=1e-11)


def test_cr2_is_unbiased_under_the_working_model(clustered):
    # E cov = true covariance: put Phi for ee' in the sum of the parts
    res = cluster(clustered, "CR2", tau2=0.2)
    dense = Dense(res, clustered["g"].to_numpy(), "CR2")
    Phi = np.diag(dense.theta)
    expected = sum(part @ Phi @ part.T for part in dense.parts)
    assert_allclose(expected, res.normalized_cov_params, rtol=1e-9)


def test_cr2_where_the_design_fits_a_cluster_exactly(clustered):
    clustered["z"] = (clustered["g"] == 3).astype(float)
    res = cluster(clustered, "CR2")
    dense = Dense(res, clustered["g"].to_numpy(), "CR2")
    assert_allclose(res.cov_params(), dense.cov, rtol=1e-8, atol=1e-14)
    df = [dense.satterthwaite(c) for c in np.eye(3)]
    assert_allclose(res.pvalues, 2.0 * t.sf(abs(res.tvalues), df), rtol=1e-7)


def test_knapp_hartung_family(clustered):
    wald = fit(clustered, cov_type="nonrobust")
    kh = fit(clustered)
    r = clustered["y"] - wald.fittedvalues
    q = (r**2 / (clustered["v"] + wald.tau2)).sum() / (len(clustered) - 3)
    assert_allclose(kh.scale, q, rtol=1e-11)
    assert_allclose(kh.cov_params(), q * wald.cov_params(), rtol=1e-11)
    assert (kh.use_t, wald.use_t) == (True, False)
    assert wald.scale == 1.0
    adhoc = fit(clustered, cov_type="knapp-hartung-adhoc")
    assert_allclose(adhoc.cov_params(), max(q, 1.0) * wald.cov_params(), rtol=1e-11)


@pytest.mark.parametrize("level", [0.01, 3.0])
def test_ad_hoc_factor_is_never_below_1(clustered, level):
    X = np.column_stack([np.ones(len(clustered)), clustered["x"]])
    noise = np.where(np.arange(len(clustered)) % 2, 1.0, -1.0) * np.sqrt(clustered["v"])
    model = MetaReg(level * noise, X, vi=clustered["v"])
    kh = model.fit(tau2=0.0)
    adhoc = model.fit(tau2=0.0, cov_type="knapp-hartung-adhoc")
    assert (kh.scale < 1.0) == (level < 1.0)
    assert_allclose(adhoc.scale, max(kh.scale, 1.0), rtol=1e-12)


def test_names_in_any_case(clustered):
    assert fit(clustered, cov_type="Knapp-Hartung").cov_type == "knapp-hartung"
    assert fit(clustered, cov_type="hc3").cov_type == "HC3"
    known = cluster(clustered, "CR2").bse
    assert_allclose(cluster(clustered, "cr2").bse, known, rtol=1e-14)


def test_dense_reference_is_block_diagonal_least_squares(clustered):
    # the reference itself: CR0 with every study its own cluster is White's formula
    res = fit(clustered)
    dense = Dense(res, np.arange(len(clustered)), "CR0")
    X, w = res.model.exog, 1.0 / dense.theta
    M = np.linalg.inv(X.T @ (X * w[:, None]))
    e2 = block_diag(*(np.asarray(res.resid) ** 2))
    meat = X.T @ np.diag(w) @ e2 @ np.diag(w) @ X
    assert_allclose(dense.cov, M @ meat @ M, rtol=1e-10)
