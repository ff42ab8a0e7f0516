"""Fits of dependent effects against metafor, 50-digit arithmetic and published figures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ._cases import built, fitted, stored

METAFOR = stored("mixed")
EXACT = stored("mixed_mpmath")


def reported(case, fit):
    """Components in the order of the terms."""
    found = list(fit["sigma2"] or [])
    structures = [entry["structure"] for entry in case["terms"] if entry["levels"] is not None]
    for structure, names in zip(structures, (("tau2", "rho"), ("gamma2", "phi")), strict=False):
        # rma.mv says 0 for correlations that a structure does not have
        for name in names[:1] if structure in ("diag", "id") else names:
            found += fit[name]
    return np.array(found)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", METAFOR)
def test_metafor(name, method):
    expected = METAFOR[name]["fits"][method]
    found, solution = fitted(name, method)
    assert found.best.converged
    assert solution.loglike >= expected["llf"] - 1e-9
    assert_allclose(solution.loglike, expected["llf"], atol=1e-8)
    se = np.array(expected["se"])
    # nlminb ends where the likelihood is flat to 1e-10, and parameters at the root of that
    assert_allclose(solution.params / se, np.array(expected["beta"]) / se, atol=1e-5)
    assert_allclose(np.sqrt(np.diag(solution.cov_unscaled)), se, rtol=1e-5)
    components = solution.components()
    values = reported(METAFOR[name], expected)
    # nlminb stops where the likelihood is flat to 1e-10: the square root of that in parameters
    size = np.where(np.isfinite(components.standard_errors), components.standard_errors, 1.0)
    assert_allclose(components.values, values, rtol=1e-5, atol=1e-5 * float(size.min()))


@pytest.mark.parametrize("name", METAFOR)
def test_q_statistic(name):
    problem = built(name)[2]
    nothing = np.zeros(len(problem.kinds))
    assert_allclose(
        problem.evaluate(nothing).fit.rss, METAFOR[name]["fits"]["REML"]["QE"], rtol=1e-9
    )


@pytest.mark.parametrize("name", [n for n in METAFOR if "ranef" in METAFOR[n]["fits"]])
def test_predicted_effects(name):
    case = METAFOR[name]
    _, solution = fitted(name, "REML")
    tables = case["fits"]["ranef"].values()
    for entry, table, effects in zip(case["terms"], tables, solution.effects(), strict=True):
        code = {label: i for i, label in enumerate(sorted(set(entry["groups"])))}
        at = [code[label] for label in table["label"]]
        # they move with the variances, at which nlminb ends
        assert_allclose(effects.u[at, 0], table["u"], rtol=1e-5, atol=1e-6)
        assert_allclose(np.sqrt(effects.cov[at, 0, 0]), table["se"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", EXACT)
def test_fifty_digits(name, method):
    expected = EXACT[name][method]
    _, solution = fitted(name, method)
    assert_allclose(solution.loglike, expected["llf"], rtol=1e-12)
    assert_allclose(solution.params, expected["beta"], rtol=1e-9)
    assert_allclose(np.sqrt(np.diag(solution.cov_unscaled)), expected["se"], rtol=1e-9)
    components = solution.components()
    if components.names[0] == "variance":
        assert_allclose(components.values, expected["components"], rtol=1e-9)
        assert_allclose(components.standard_errors, expected["components_se"], rtol=1e-9)
    else:
        order = METAFOR[name]["terms"][0]["order"]
        G = solution.matrices[0]
        i, j = sorted(range(2), key=lambda level: order[level])
        assert_allclose([G[i, i], G[i, j], G[j, j]], expected["components"], rtol=1e-9)
        se = components.standard_errors
        assert_allclose(se[[i, j]], np.array(expected["components_se"])[[0, 2]], rtol=1e-9)


PUBLISHED = {
    ("konstantopoulos2011", "REML"): (
        [0.1847131637],
        [0.0845559187],
        [0.0650619, 0.0327365],
        -7.9587240,
    ),
    ("konstantopoulos2011_year", "REML"): (
        [0.0053118],
        [0.0094358],
        [0.0722656, 0.0326502],
        -7.2404668,
    ),
    ("berkey1998", "REML"): (
        [-0.3392152, 0.3534282],
        [0.0879052, 0.0588486],
        [0.0326513, 0.0117330, 0.6087990],
        3.6917677,
    ),
    ("berkey1998_year", "ML"): ([], [], [0.0250135, 0.0080405, 0.6586859], 6.0042963),
    ("bcg_arms", "ML"): (
        [-4.095975, -4.833744],
        [0.434698, 0.339617],
        [1.431371, 2.407333, 0.946691],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "method"), PUBLISHED)
def test_published(name, method):
    params, se, components, llf = PUBLISHED[name, method]
    _, solution = fitted(name, method)
    last = slice(-len(params), None) if params else slice(0, 0)
    assert_allclose(solution.params[last], params, atol=1e-6)
    assert_allclose(np.sqrt(np.diag(solution.cov_unscaled))[last], se, atol=1e-6)
    assert_allclose(np.sort(solution.components().values), np.sort(components), atol=1e-6)
    if llf is not None:
        assert_allclose(solution.loglike, llf, atol=1e-7)


def test_several_maxima_are_told():
    found, _ = fitted("fine1993_hcs", "REML")
    assert found.others
    assert all(other < found.best.point.value - 0.1 for other in found.others)
    assert np.isfinite(found.others).all()
