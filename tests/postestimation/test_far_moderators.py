"""Moderators far from 0 in units of their spread: what a fit says of means keeps its digits."""

import warnings

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from statsmodels.tools.sm_exceptions import ValueWarning

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg
from metareg_sm.exceptions import RankDeficiencyWarning

EPS = float(np.finfo(float).eps)
K = 18
GROUPS = np.repeat(np.arange(6), 3)
CLUSTER = {"cov_type": "cluster", "cov_kwds": {"groups": GROUPS}}

# centre and spread of the moderator, and of its square where there is one
DESIGNS = {
    "centred": (0.0, 1.0, False),
    "years": (2000.0, 10.0, False),
    "years and their squares": (2000.0, 10.0, True),
    "far": (1e6, 1e-3, False),
    "one year": (2000.0, 1e-6, False),
    "other unit": (1e14, 1e5, False),
}


def studies(seed=1):
    rng = np.random.default_rng(seed)
    z, v = rng.normal(size=K), rng.uniform(0.05, 0.4, K)
    y = 0.3 * z + rng.normal(0.0, 0.5, 6)[GROUPS] + rng.normal(0.0, np.sqrt(v + 0.1))
    return y, v, z


def design(z, centre, spread, squared=False):
    x = centre + spread * z
    return np.column_stack([np.ones(K), x, x**2] if squared else [np.ones(K), x])


def fits(y, v, X, z):
    """One fit of each model and each kind of covariance."""
    with warnings.catch_warnings():
        # "one cluster alone" and the like have nothing to do with where the moderator lies
        warnings.simplefilter("ignore")
        return {
            "knapp-hartung": MetaReg(y, X, vi=v).fit(),
            "nonrobust": MetaReg(y, X, vi=v).fit(cov_type="nonrobust"),
            "HC1": MetaReg(y, X, vi=v).fit(cov_type="HC1"),
            "HC3": MetaReg(y, X, vi=v).fit(cov_type="HC3"),
            "CR2": MetaReg(y, X, vi=v).fit(**CLUSTER),
            "mixed": MixedMetaReg(y, X, vi=v, groups=GROUPS).fit(),
            "mixed, CR2": MixedMetaReg(y, X, vi=v, groups=GROUPS).fit(cov_type="cluster"),
            "scale": LocationScaleMetaReg(
                y, X, vi=v, scale_exog=np.column_stack([np.ones(K), z])
            ).fit(),
        }


def tolerance(X):
    """Of columns of unit length, the condition times what rounding leaves; at least 1e-9."""
    return 1e-9 + 30.0 * EPS * float(np.linalg.cond(X / np.linalg.norm(X, axis=0)))


def exact_se(X, V, rows):
    """Standard errors of means at rows (n, p) under a marginal covariance V, in 50 digits."""
    with mp.workdps(50):
        A = mp.matrix(X.tolist())
        C = (A.T * mp.matrix(V.tolist()) ** -1 * A) ** -1
        at = [mp.matrix([row]) for row in rows.tolist()]
        return np.array([float(mp.sqrt((r * C * r.T)[0])) for r in at])


@pytest.mark.parametrize("name", DESIGNS)
def test_standard_errors_of_means_in_50_digits(name):
    y, v, z = studies()
    X = design(z, *DESIGNS[name])
    found = fits(y, v, X, z)
    same = np.equal.outer(GROUPS, GROUPS)
    tau2 = float(found["mixed"].vcomp.iloc[0])
    marginal = {
        "knapp-hartung": np.diag(v + found["knapp-hartung"].tau2),
        "nonrobust": np.diag(v + found["nonrobust"].tau2),
        "mixed": np.diag(v) + tau2 * same,
        "scale": np.diag(v + np.asarray(found["scale"].tau2)),
    }
    # beyond the studies, too
    rows = np.vstack([X, design(3.0 * z, *DESIGNS[name])])
    for kind, V in marginal.items():
        res = found[kind]
        known = exact_se(X, V, rows) * np.sqrt(res.scale)
        rtol = tolerance(X)
        more = {"scale_exog": np.ones((2 * K, 2))} if kind == "scale" else {}
        assert_allclose(res.get_prediction(rows, **more).se_mean, known, rtol=rtol, err_msg=kind)
        assert_allclose(np.ravel(res.t_test(rows).sd), known, rtol=rtol, err_msg=kind)


@given(
    centre=st.floats(-1e6, 1e6),
    spread=st.sampled_from([1e-3, 1.0, 1e5]),
    seed=st.integers(0, 50),
)
@example(centre=1e6, spread=1e-3, seed=1)
@settings(max_examples=12, deadline=None)
def test_origin_and_unit_of_a_moderator_leave_means_alone(centre, spread, seed):
    y, v, z = studies(seed)
    X = design(z, centre, spread)
    # the moderator as it was rounded, so that both designs have the same columns
    plain = np.column_stack([np.ones(K), (X[:, 1] - centre) / spread])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found, known = fits(y, v, X, z), fits(y, v, plain, z)
        rtol = 100.0 * tolerance(X)
        for kind in found:
            a, b = found[kind], known[kind]
            frame, other = a.get_prediction().summary_frame(), b.get_prediction().summary_frame()
            assert_allclose(frame["mean_se"], other["mean_se"], rtol=rtol, err_msg=kind)
            assert_allclose(frame, other, rtol=rtol, atol=rtol, err_msg=kind)
            both = (a.wald_test(r, scalar=True) for r in (X[:2], plain[:2]))
            first, second = (test.statistic for test in both)
            assert_allclose(first, second, rtol=rtol, err_msg=kind)
            if hasattr(a, "random_effects") and not kind.startswith("mixed"):
                assert_allclose(
                    a.random_effects["theta_se"], b.random_effects["theta_se"], rtol=rtol
                )


@pytest.mark.parametrize("kind", ["mixed", "mixed, CR2"])
def test_influence_of_clusters_with_a_far_moderator(kind):
    y, v, z = studies()
    far = design(z, 1e4, 2.0**-3)
    plain = np.column_stack([np.ones(K), (far[:, 1] - 1e4) * 2.0**3])
    found, known = (
        fits(y, v, X, z)[kind].leave_one_cluster_out().cooks_distance for X in (far, plain)
    )
    assert_allclose(found, known, rtol=100.0 * tolerance(far))


def test_joint_test_of_a_singular_covariance_tells_its_rank():
    y, v, z = studies()
    X = design(z, 5.0, 1.0)
    with pytest.warns(RankDeficiencyWarning):
        res = MetaReg(y, np.column_stack([X, 2.0 * X[:, 1]]), vi=v).fit()
    with pytest.warns(ValueWarning, match="number of constraints is 3, but rank is 2"):
        found = res.wald_test(np.eye(3), scalar=True)
    known = MetaReg(y, X, vi=v).fit().wald_test(np.eye(2), scalar=True)
    assert found.df_num == 2
    assert_allclose(found.statistic, known.statistic, rtol=1e-9)
    assert_allclose(found.pvalue, known.pvalue, rtol=1e-9)
