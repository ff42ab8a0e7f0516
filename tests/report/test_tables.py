"""The printed tables: what they say, and when a note must and must not be there."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import ConvergenceWarning, RankDeficiencyWarning
from metareg_sm.report.notes import notes
from metareg_sm.report.numbers import describe


def fit(data, formula="yi ~ ablat + year", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def text_of(res, alpha=0.05, exponentiate=False):
    return " ".join(notes(res._results, alpha, exponentiate))


def flat(summary):
    return " ".join(str(summary).split())


def test_content(bcg_res):
    text = str(bcg_res.summary())
    for piece in (
        "Meta-Regression Results",
        "MetaReg",
        "REML",
        "Knapp-Hartung",
        "Log-Likelihood:",
        "AICc:",
        "BIC:",
        "Heterogeneity",
        "SE of tau2:",
        "Q_E (df=10):",
        "P>|t|",
        "[0.025",
        "0.975]",
        f"{bcg_res.tau2:#.5g}",
        f"{bcg_res.tau2_se:#.5g}",
        f"{bcg_res.heterogeneity.i2:.4f}",
        f"{bcg_res.heterogeneity.r2:.4f}",
        f"{bcg_res.heterogeneity.q:#.5g}",
        f"{bcg_res.llf:#.5g}",
        "F(2, 10):",
    ):
        assert piece in text, piece
    for name in ("Intercept", "ablat", "year"):
        assert any(line.startswith(name) for line in text.splitlines())
    assert all(len(line) <= 80 for line in text.splitlines())


def test_statistics_are_named_after_their_distribution(bcg):
    text = flat(fit(bcg, cov_type="nonrobust").summary())
    assert "P>|z|" in text
    assert "Wald chi2(2):" in text
    assert "Prob (chi2):" in text
    assert "F(" not in text
    text = flat(fit(bcg, cov_type="HC3").summary())
    assert "Covariance Type: HC3" in text
    kwds = {"cov_type": "cluster", "cov_kwds": {"groups": "trial", "correction": "CR2"}}
    text = flat(fit(bcg, **kwds).summary())
    assert "cluster (CR2)" in text
    assert "13 clusters, Satterthwaite degrees of freedom" in text


def test_without_moderators_there_is_no_omnibus_test(bcg):
    text = str(fit(bcg, "yi ~ 1").summary())
    assert "Prob (F-statistic)" not in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("tau2", "label"), [("dl", "DL"), ("pm", "PM"), (0.0, "common effect"), (0.2, "fixed tau2")]
)
def test_method(bcg, tau2, label):
    assert f"Method: {label}" in flat(fit(bcg, tau2=tau2).summary())


def test_names_and_title_may_be_given(bcg_res):
    for summary in (bcg_res.summary, bcg_res.summary2):
        text = str(summary(yname="log RR", xname=["a", "b", "c"], title="My title"))
        assert "My title" in text
        assert "log RR" in text
        assert any(line.split()[:1] == ["b"] for line in text.splitlines())
        assert not any(line.startswith("ablat") for line in text.splitlines())


def test_alpha(bcg_res):
    text = str(bcg_res.summary(alpha=0.1))
    assert "[0.05" in text
    low = bcg_res.conf_int(0.1).loc["ablat", 0]
    row = next(line for line in text.splitlines() if line.startswith("ablat"))
    # to the digits that are printed
    assert float(row.split()[5]) == pytest.approx(low, abs=6e-4)
    assert "tested at 0.1, the chance of at least one false positive is up to 0.19" in flat(text)


def test_exponentiate(bcg_res):
    text = str(bcg_res.summary(exponentiate=True))
    row = next(line for line in text.splitlines() if line.startswith("ablat"))
    # to the digits that are printed
    assert float(row.split()[1]) == pytest.approx(np.exp(bcg_res.params["ablat"]), abs=6e-5)
    assert "Coefficients are exponentiated" in flat(text)
    assert "exponentiated" not in flat(bcg_res.summary())
    assert "exponentiated" in flat(bcg_res.summary2(exponentiate=True))


def test_other_formats(bcg_res):
    html = bcg_res.summary()._repr_html_()
    assert html.count("<table") == 3
    assert "ablat" in html
    assert "tau2" in html
    assert "tabular" in bcg_res.summary().as_latex()
    assert "ablat" in bcg_res.summary().as_csv()
    assert "ablat" in bcg_res.summary2()._repr_html_()
    assert "tabular" in bcg_res.summary2().as_latex()


def test_summary2(bcg_res):
    text = flat(bcg_res.summary2())
    for piece in ("MetaReg", "REML", "tau2:", "Q_E (df=10):", "P>|t|", "ablat", "F(2, 10):"):
        assert piece in text
    for note in notes(bcg_res._results, 0.05, False):
        # long notes are wrapped
        assert " ".join(note.split()[:6]) in text


# --- notes -----------------------------------------------------------------------------------


def test_every_note_is_printed(bcg_res):
    text = flat(bcg_res.summary())
    for number, note in enumerate(notes(bcg_res._results, 0.05, False), start=1):
        assert f"[{number}] {note}" in text


def test_boundary(bcg):
    message = "tau2 is estimated as 0, on the boundary"
    assert message not in text_of(fit(bcg))
    small = bcg.assign(yi=0.05 * bcg["yi"])
    assert message in text_of(fit(small))
    # it is not estimated here
    assert message not in text_of(fit(small, tau2=0.0))


def test_knapp_hartung_factor(bcg):
    message = "The Knapp-Hartung factor is"
    small = bcg.assign(yi=0.05 * bcg["yi"])
    res = fit(small)
    assert res.scale < 1.0
    assert f"{message} {res.scale:.3g}, below 1" in text_of(res)
    assert message not in text_of(fit(small, cov_type="knapp-hartung-adhoc"))
    assert message not in text_of(fit(small, cov_type="nonrobust"))
    large = fit(bcg, tau2=0.0)
    assert large.scale > 1.0
    assert message not in text_of(large)


def test_few_studies(bcg):
    message = "fewer than 10 each"
    assert "13 studies for 2 moderators, fewer than 10 each" in text_of(fit(bcg))
    assert message not in text_of(fit(bcg, "yi ~ ablat"))
    assert message not in text_of(fit(bcg, "yi ~ 1"))
    assert "9 studies for 1 moderator, fewer" in text_of(fit(bcg[:9], "yi ~ ablat"))
    assert message not in text_of(fit(bcg[:10], "yi ~ ablat"))


def test_false_positives(bcg):
    message = "chance of at least one false positive"
    assert message not in text_of(fit(bcg, "yi ~ ablat"))
    res = fit(bcg, "yi ~ ablat + year + C(alloc)")
    assert f"With 3 moderators tested at 0.05, the {message}" in text_of(res)
    assert f"{1 - 0.95**3:.2f}" in text_of(res)


def test_ecological_bias(bcg):
    message = "Associations are between studies"
    assert message in text_of(fit(bcg, "yi ~ ablat"))
    assert message not in text_of(fit(bcg, "yi ~ 1"))


def test_convergence(bcg):
    message = "The optimizer did not converge"
    assert message not in text_of(fit(bcg))
    assert message not in text_of(fit(bcg, tau2="dl"))
    with pytest.warns(ConvergenceWarning):
        res = fit(bcg, method="nm", maxiter=0, start_params=0.9)
    assert message in text_of(res)


def test_redundant(bcg):
    message = "The moderators are redundant"
    assert message not in text_of(fit(bcg))
    with pytest.warns(RankDeficiencyWarning):
        res = fit(bcg.assign(twice=2 * bcg["ablat"]), "yi ~ ablat + twice")
    assert f"{message} (twice)" in text_of(res)


def test_dropped_rows(bcg):
    assert "dropped" not in text_of(fit(bcg))
    bcg.loc[3, "vi"] = np.nan
    assert "1 row with missing values dropped" in text_of(fit(bcg))
    bcg.loc[[4, 5], "year"] = np.nan
    assert "3 rows with missing values dropped" in text_of(fit(bcg))


# --- numbers for machines --------------------------------------------------------------------


def test_describe(bcg_res):
    numbers = json.loads(json.dumps(describe(bcg_res)))
    assert numbers["formula"] == "yi ~ ablat + year"
    assert numbers["estimator"] == "REML"
    assert numbers["nobs"] == 13
    assert_allclose(numbers["tau2"], bcg_res.tau2, rtol=1e-12)
    assert_allclose(numbers["coefficients"]["ablat"]["coef"], bcg_res.params["ablat"], rtol=1e-12)
    assert numbers["coefficients"]["year"]["pvalue"] == pytest.approx(bcg_res.pvalues["year"])
    assert_allclose(numbers["omnibus"]["statistic"], bcg_res.fvalue, rtol=1e-12)
    assert numbers["omnibus"]["df_denom"] == 10.0
    assert_allclose(numbers["heterogeneity"]["i2"], bcg_res.heterogeneity.i2, rtol=1e-12)


def test_describe_what_is_undefined(bcg):
    assert describe(fit(bcg, "yi ~ 1"))["omnibus"] is None
    assert describe(fit(bcg, cov_type="nonrobust"))["omnibus"]["df_denom"] is None
    bcg.loc[2, "vi"] = 0.0
    assert describe(fit(bcg))["heterogeneity"] is None
