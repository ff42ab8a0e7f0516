"""The page on a fit: its numbers, its safety, and how it looks in a real browser."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg, effect_size
from metareg_sm.__main__ import main
from metareg_sm.exceptions import FileError, MissingFileError, OptionError
from metareg_sm.report.call import call_of
from metareg_sm.report.content import gather
from metareg_sm.report.figures import drawings, svg_of
from metareg_sm.report.html import MOST_ROWS, page
from metareg_sm.report.markup import table

pytestmark = pytest.mark.plumbing

HOSTILE = '</td><script>document.title="hacked"</script><img src=x onerror="alert(1)">&amp;'
#: in mm; a browser may round a width to a whole one
PIXEL = 25.4 / 96
# elements that have no end
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """What is on a page: elements, text, and tables with the values of their numbers."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.open = [], [], [], []
        self.text, self.tables, self.sections = "", {}, []
        self.value, self.row = None, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs.items()]
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div" and "scroll" in (attrs.get("class") or "").split():
            self.rows = self.tables.setdefault(attrs["class"].split()[1], [])
        if tag == "tr":
            self.row = []
            self.rows.append(self.row)
        if tag in ("td", "th"):
            self.row.append([])
        if tag == "data":
            self.value = float(attrs["value"])

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "elements are nested"
        if tag == "tr":
            self.row = None

    def handle_data(self, data):
        if not {"style", "script", "title"} & set(self.open):
            self.text += data
        if self.open[-1:] == ["h2"]:
            self.sections.append(data)
        if self.row:
            self.row[-1].append((data, self.value))
            self.value = None


def fit(data, formula="yi ~ ablat + year", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def cells(row):
    """The texts of a row."""
    return ["".join(text for text, _ in cell) for cell in row]


def values(row):
    """The numbers of a row, each shown as it is."""
    found = []
    for cell in row:
        for text, value in cell:
            if value is None:
                continue
            if not re.match(r"[<>]", text):
                # to the digits that are printed
                assert float(text) == pytest.approx(value, rel=6e-4, abs=6e-3), text
            found.append(value)
    return found


def test_tables_have_the_numbers_of_the_results(bcg):
    res = fit(bcg)
    found = Page(res.to_html()).tables
    rows = {cells(row)[0]: values(row) for row in found["coefficients"][1:]}
    assert rows.keys() == {"Intercept", "ablat", "year"}
    ends = res.conf_int()
    for name, numbers in rows.items():
        expected = [
            res.params[name],
            *ends.loc[name],
            res.pvalues[name],
            res.tvalues[name],
            res.bse[name],
        ]
        np.testing.assert_allclose(numbers, expected, rtol=1e-12)
    rows = {cells(row)[0]: values(row) for row in found["heterogeneity"]}
    h = res.heterogeneity
    expected = {
        "τ2": res.tau2,
        "τ2: standard error": res.tau2_se,
        "τ": res.tau,
        "Q(10), weights 1/v": h.q,
        "Q: p": h.q_pvalue,
        "I2 from τ2, %": 100 * h.i2,
        "I2 from Q, %": 100 * h.i2_q,
        "H2": h.h2,
        "τ2 without moderators": h.tau2_null,
        "R2, %": 100 * h.r2,
        "All moderators: F(2, 10)": res.fvalue,
        "All moderators: p": res.f_pvalue,
        "Log-likelihood": res.llf,
        "Parameters": 4,
    }
    assert rows.keys() == expected.keys()
    for name, value in expected.items():
        assert rows[name] == [pytest.approx(value, rel=1e-12)]
    [row] = found["predictions"][1:]
    place = {"ablat": values(row)[:1], "year": values(row)[1:2]}
    frame = res.get_prediction(place).summary_frame().drop(columns="mean_se")
    np.testing.assert_allclose(values(row)[2:], frame.iloc[0], rtol=1e-12)


def test_data_are_on_the_page(bcg):
    res = fit(bcg)
    head, *rows = Page(res.to_html()).tables["data"]
    assert cells(head) == ["", *bcg.columns, "weight, %"]
    assert [cells(row)[2] for row in rows] == bcg["author"].tolist()
    shown = np.array([values(row) for row in rows])
    np.testing.assert_allclose(shown[:, 0], bcg["yi"], rtol=1e-12)
    np.testing.assert_allclose(shown[:, -1], 100 * res.weights / res.weights.sum(), rtol=1e-12)
    assert [cells(row)[3] for row in rows] == bcg["year"].astype(str).tolist()


def test_page_has_the_report(bcg):
    res = fit(bcg)
    found = Page(res.to_html(adjust="holm"))
    words = " ".join(found.text.split()).replace("τ2", "τ²").replace("I2", "I²").replace("R2", "R²")
    for paragraph in res.report(adjust="holm").split("\n\n"):
        assert paragraph in words
    for reference in res.report().references:
        assert reference.citation in words
    assert res.report(adjust="holm").bibtex in found.text


def test_page_loads_and_runs_nothing(bcg):
    res = fit(bcg, "yi ~ ablat + C(alloc)")
    text = res.to_html()
    found = Page(text)
    assert found.open == []
    assert not {"script", "iframe", "object", "embed", "img", "base", "form"} & set(found.tags)
    assert "http:" not in text
    assert "https:" not in text
    for tag, name, value in found.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#") or (tag, value) == ("link", "data:,")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert len(found.ids) == len(set(found.ids))


def hostile(bcg):
    frame = bcg.rename(columns={"author": HOSTILE, "ablat": "a<b>&c"})
    frame["alloc"] = frame["alloc"].replace({"random": HOSTILE, "alternate": "<i>x"})
    frame.index = [f"{HOSTILE}{i}" for i in range(len(frame))]
    return frame


def test_texts_of_the_data_are_escaped(bcg):
    frame = hostile(bcg)
    text = fit(frame, "yi ~ Q('a<b>&c') + C(alloc)").to_html(title=HOSTILE, call=HOSTILE)
    found = Page(text)
    assert not {"script", "img", "b"} & set(found.tags)
    assert not [a for a in found.attributes if a[1].startswith("on")]
    assert HOSTILE in found.text
    head, *rows = found.tables["data"]
    assert HOSTILE in cells(head)
    assert "a<b>&c" in cells(head)
    assert [cells(row)[0] for row in rows] == list(frame.index)
    assert any(HOSTILE in cells(row)[0] for row in found.tables["coefficients"])


def test_pooled_effect_and_ratios(bcg):
    trials = effect_size("RR", bcg, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    res = fit(trials, "yi ~ 1")
    found = Page(res.to_html())
    assert "Pooled risk ratio" in found.text
    [row] = found.tables["predictions"][1:]
    one = res.get_prediction(np.ones((1, 1)), transform=False).summary_frame()
    np.testing.assert_allclose(values(row), np.exp(one.drop(columns="mean_se").iloc[0]), rtol=1e-12)
    [row] = found.tables["coefficients"][1:]
    assert values(row)[0] == pytest.approx(np.exp(res.params.iloc[0]), rel=1e-12)


def test_arrays(bcg):
    X = np.column_stack([np.ones(13), bcg["ablat"]])
    found = Page(MetaReg(bcg["yi"].to_numpy(), X, vi=bcg["vi"].to_numpy()).fit().to_html())
    head, *rows = found.tables["data"]
    assert cells(head) == ["", "y", "vi", "x1", "weight, %"]
    assert [values(row)[0] for row in rows] == bcg["yi"].tolist()


def test_undefined_statistics_say_why(bcg):
    bcg.loc[0, "vi"] = 0.0
    found = Page(fit(bcg, "yi ~ ablat").to_html())
    assert "Q, I2 and H2 are undefined" in found.text
    assert not re.search(r"\b(nan|inf)\b", found.text)


def test_many_rows_are_cut_and_said_so():
    rng = np.random.default_rng(4)
    n = MOST_ROWS + 7
    frame = pd.DataFrame({"yi": rng.normal(size=n), "vi": 0.1, "x": rng.normal(size=n)})
    frame.loc[0, "x"] = np.nan
    found = Page(fit(frame, "yi ~ x").to_html())
    assert len(found.tables["data"]) == MOST_ROWS + 1
    assert f"The first {MOST_ROWS} of {n - 1} rows." in found.text
    assert "1 row with missing values not shown." in found.text


def test_cells():
    frame = pd.DataFrame({"x": [1.5, np.nan], "d": pd.to_datetime(["2020-01-02", None])})
    text = table(
        ["", "x", "d"], [(i, *row) for i, row in enumerate(frame.to_numpy().tolist())], "k"
    )
    rows = Page(text).tables["k"]
    assert cells(rows[2]) == ["1", "", ""]
    assert values(rows[1]) == [1.5]


# --- the call -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwds",
    [
        {},
        {"tau2": "dl", "cov_type": "nonrobust"},
        {"tau2": 0.25, "cov_type": "HC3"},
        {"use_t": False},
    ],
)
@pytest.mark.parametrize("column", ["vi", "sei"])
def test_call_makes_the_fit_again(bcg, kwds, column):
    data = bcg.assign(sei=np.sqrt(bcg["vi"]))
    if column == "sei":
        del data["vi"]
    res = MetaReg.from_formula("yi ~ ablat", data, **{column: column}).fit(**kwds)
    text = call_of(res._results)
    assert f"{column}='{column}'" in text
    again = eval(text, {"MetaReg": MetaReg, "data": data})
    np.testing.assert_allclose(again.params, res.params, rtol=1e-12)
    np.testing.assert_allclose(again.bse, res.bse, rtol=1e-12)
    np.testing.assert_allclose(again.pvalues, res.pvalues, rtol=1e-12)
    assert text in Page(res.to_html()).text


def test_call_tells_the_random_part(bcg):
    res = fit(bcg, "yi ~ ablat", tau2="ml", cov_type="nonrobust")._results

    def call(**attributes):
        term = [SimpleNamespace(label=x, is_intercept=x[0] == "1") for x in attributes.pop("terms")]
        model = SimpleNamespace(random_terms=term, **attributes)
        parts = SimpleNamespace(model=model, terms=res.terms, table=res.table, use_t=False)
        parts.components, parts.cov_type = res.components, res.cov_type
        return call_of(parts)

    text = call(terms=["1 | district", "1 | district/school"])
    assert text == (
        "SimpleNamespace.from_formula('yi ~ ablat', data, vi='vi', "
        "random='1 | district/school').fit(reml=False, cov_type='nonrobust')"
    )
    crossed = call(terms=["1 | article", "0 + outcome | trial"], structure="cs", V=[1])
    assert "data, V=V, random=['1 | article', '0 + outcome | trial'], structure='cs')" in crossed
    assert "vi='vi', scale_formula='~ x')" in call(terms=[], scale_formula="~ x")


def test_call_names_clusters(bcg):
    kwds = {"groups": bcg["trial"].to_numpy(), "correction": "CR2"}
    res = fit(bcg, cov_type="cluster", cov_kwds=kwds)
    assert "cov_kwds={'groups': groups, 'correction': 'CR2'}" in call_of(res._results)


# --- files --------------------------------------------------------------------------------------


def test_written_file(bcg_res, tmp_path):
    path = tmp_path / "out.html"
    assert bcg_res.to_html(path) is None
    assert path.read_text(encoding="utf-8") == bcg_res.to_html()
    with pytest.raises(MissingFileError, match="does not exist"):
        bcg_res.to_html(tmp_path / "nowhere" / "out.html")
    with pytest.raises(FileError, match="cannot be written"):
        bcg_res.to_html(tmp_path)
    with pytest.raises(OptionError, match="path must name a file"):
        bcg_res.to_html(7)


def test_command_line(bcg, tmp_path, capsys):
    data, out = tmp_path / "trials.csv", tmp_path / "out.html"
    bcg.to_csv(data, index=False)
    argv = [str(data), "yi ~ ablat", "--vi", "vi", "--tau2", "dl", "--report", str(out)]
    assert main(argv) == 0
    assert "Meta-Regression Results" in capsys.readouterr().out
    found = Page(out.read_text(encoding="utf-8"))
    res = fit(bcg, "yi ~ ablat", tau2="dl")
    row = next(r for r in found.tables["coefficients"] if cells(r)[0] == "ablat")
    assert values(row)[0] == pytest.approx(res.params["ablat"], rel=1e-9)
    assert "python -m metareg_sm" in found.text
    assert "'yi ~ ablat' --vi vi --tau2 dl --report" in found.text
    assert main([*argv, "--exp"]) == 0
    row = next(
        r for r in Page(out.read_text(encoding="utf-8")).tables["coefficients"]
        if cells(r)[0] == "ablat"
    )  # fmt: skip
    assert values(row)[0] == pytest.approx(np.exp(res.params["ablat"]), rel=1e-9)
    with pytest.raises(SystemExit):
        main([*argv[:-1], str(tmp_path / "nowhere" / "out.html")])
    assert "does not exist" in capsys.readouterr().err


# --- figures ------------------------------------------------------------------------------------


class Drawn:
    """A fit with figures of its own, whatever those of the package look like."""

    def __init__(self, fit, funnel=None):
        self._fit, self.asked, self.funnel = fit, [], funnel

    def __getattr__(self, name):
        return getattr(self._fit, name)

    def _plot(self, *asked, **kwds):
        from matplotlib import pyplot as plt

        self.asked.append((*asked, kwds["transform"], kwds["alpha"], kwds["width"]))
        inches = {"column": 89.0, "page": 183.0}[kwds["width"]] / 25.4
        figure, ax = plt.subplots(figsize=(inches, 2.0))
        ax.plot([0, 1], [0, 1], label=HOSTILE)
        ax.set_title(HOSTILE.replace("$", ""))
        return figure

    def plot_forest(self, **kwds):
        return self._plot("forest", **kwds)

    def plot_bubble(self, x, **kwds):
        return self._plot("bubble", x, **kwds)

    def plot_funnel(self, **kwds):
        if self.funnel == kwds["width"]:
            return self._plot("funnel", **kwds)
        raise OptionError("no room for <this>")


def drawn_page(res, funnel=None, **kwds):
    defaults = {"alpha": 0.05, "exponentiate": None, "at": None, "influence": False}
    defaults |= {"permutation": None, "adjust": None, "rng": None}
    content = gather(res._results, **(defaults | kwds))
    fit = Drawn(res._results, funnel)
    return dataclasses.replace(content, fit=fit), fit


def test_figures_are_drawn_for_both_widths(bcg):
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    content, drawn = drawn_page(fit(bcg, "yi ~ ablat + C(alloc)"), alpha=0.1, exponentiate=True)
    text = page(content)
    assert plt.get_fignums() == before, "figures are closed"
    assert drawn.asked == [
        (*what, "exp", 0.1, width)
        for what in (("forest",), ("bubble", "ablat"))
        for width in ("column", "page")
    ]
    found = Page(text)
    assert found.tags.count("svg") == 4
    assert len(found.ids) == len(set(found.ids))
    assert "Funnel plot: not drawn. no room for <this>" in found.text
    assert not {"script", "img", "metadata"} & set(found.tags)
    assert "http:" not in text
    assert not re.search(r"<!--|hacked", text.split("Figures</h2>")[1].split("</section>")[0])
    targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {a or b for a, b in targets} <= set(found.ids)


def test_figure_that_fits_into_a_page_alone(bcg):
    content, _ = drawn_page(fit(bcg, "yi ~ ablat"), funnel="page")
    found = Page(page(content))
    assert "not drawn" not in found.text
    assert found.tags.count("svg") == 5
    kinds = [v for tag, name, v in found.attributes if (tag, name) == ("div", "class")]
    assert kinds.count("only") == 1
    assert kinds.count("wide") == kinds.count("narrow") == 2


def test_no_forest_of_very_many_studies():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"yi": rng.normal(size=300), "vi": 0.1, "x": rng.normal(size=300)})
    content, _ = drawn_page(fit(frame, "yi ~ x"))
    assert [d.caption for d in drawings(content)] == ["Effects by x", "Funnel plot"]


def test_svg_is_the_same_each_time():
    from matplotlib.figure import Figure

    def svg():
        figure = Figure()
        figure.add_subplot().plot([0, 1])
        return svg_of(figure, "p")

    assert svg() == svg()
    assert svg().startswith("<svg ")
    assert 'id="p-' in svg()
    assert "figure_1" not in svg(), "nothing refers to it"


def test_matplotlib_waits_until_it_is_needed():
    code = (
        "import sys, metareg_sm.report.html; "
        "assert not {'matplotlib', 'metareg_sm.plots'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_page_without_matplotlib(bcg_res, monkeypatch):
    monkeypatch.setattr("metareg_sm.report.html.has_matplotlib", lambda: False)
    found = Page(bcg_res.to_html())
    assert "Figures need matplotlib, which is not installed." in found.text


# --- in a browser -------------------------------------------------------------------------------

_PROBE = """<script>
window.problems = [];
addEventListener("error", e => problems.push("error: " + e.message), true);
addEventListener("securitypolicyviolation", e => problems.push("loads: " + e.blockedURI));
addEventListener("load", () => {
  const root = document.documentElement;
  const beyond = [...document.querySelectorAll("body *")].filter(e => {
    const frame = e.closest(".scroll, .box");
    if (frame && frame !== e) return false;
    const box = e.getBoundingClientRect();
    return !e.closest("svg") && box.width > 0 && box.right > innerWidth + 0.5;
  }).map(e => e.tagName);
  const svgs = [...document.querySelectorAll("svg")].filter(e => e.getBoundingClientRect().width);
  parent.postMessage(JSON.stringify({inner: innerWidth, scroll: root.scrollWidth, beyond, problems,
    title: document.title, figures: svgs.map(e => e.getBoundingClientRect().width),
    size: getComputedStyle(document.querySelector("td")).fontSize}), "*");
});
</script>"""

# a window is at least 500 pixels wide, a frame may be as narrow as a phone
_FRAME = """<!DOCTYPE html><body style="margin: 0"><pre id="probe"></pre>
<script>addEventListener("message", e => document.getElementById("probe").textContent = e.data)
</script><iframe src="page.html" style="border: 0; width: {width}px; height: 900px"></iframe>"""


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium; `.ci/run` installs it, so that there the tests cannot be skipped."""
    asked = os.environ.get("METAREG_SM_BROWSER")
    found = asked or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no chromium; .ci/run installs it")
        pytest.skip("no chromium here")
    return found


def shown(browser, path):
    done = subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={path.parent / 'profile'}",
            "--window-size=1400,1000",
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.fixture
def awkward_page(bcg):
    """A page with hostile and very long texts, figures and many columns."""
    frame = hostile(bcg)
    frame["long"] = "unbroken" * 30
    frame["words"] = "a rather long remark on this study " * 4
    frame["a_moderator_with_a_name_that_is_longer_than_any_column_of_a_table"] = np.arange(13) % 3
    res = fit(
        frame,
        "yi ~ Q('a<b>&c') * year + C(alloc) + "
        "C(a_moderator_with_a_name_that_is_longer_than_any_column_of_a_table)",
    )
    content, _ = drawn_page(res, funnel="page")
    return res, page(content, call="python " + "x" * 300)


def probed(text, browser, folder, width):
    """What a page is like in a frame of a width: nothing leaves it, loads or fails."""
    assert "default-src 'none';" in text
    policy = "default-src 'none'; script-src 'unsafe-inline';"
    before, after = text.replace("default-src 'none';", policy, 1).split('<link rel="icon"', 1)
    (folder / "page.html").write_text(f'{before}{_PROBE}<link rel="icon"{after}', encoding="utf-8")
    outer = folder / "frame.html"
    outer.write_text(_FRAME.format(width=width), encoding="utf-8")
    dom, _ = shown(browser, outer)
    probe = json.loads(unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)[1]))
    assert probe["inner"] == width
    assert probe["scroll"] == width
    assert probe["beyond"] == []
    assert probe["problems"] == []
    assert "hacked" not in probe["title"]
    assert float(probe["size"].removesuffix("px")) >= 12
    return [w / 96 * 25.4 for w in probe["figures"]]


@pytest.mark.parametrize("width", [390, 1300])
def test_no_overflow_and_no_error(awkward_page, browser, tmp_path, width):
    _, text = awkward_page
    # of the two drawings of a figure the one that fits is shown, at its own size
    millimetres = 89 if width == 390 else 183
    *widths, alone = probed(text, browser, tmp_path, width)
    assert widths == [pytest.approx(millimetres, abs=PIXEL)] * 3
    assert alone == pytest.approx(183, abs=PIXEL), "it can be moved within its frame"


def long_table(n=200):
    """Effects of 50 laboratories, with names that are long and hostile."""
    rng = np.random.default_rng(4)
    lab = np.arange(n) % 50
    frame = pd.DataFrame({"x": rng.normal(size=n), "vi": rng.uniform(0.02, 0.3, n)})
    frame["laboratory"] = [f"{HOSTILE} of a far-off place with a long name, {i}" for i in lab]
    frame["remark"] = "unbroken" * 20
    effects = rng.normal(0.0, 0.4, 50)[lab] + rng.normal(0.0, np.sqrt(frame["vi"] + 0.02))
    return frame.assign(yi=0.3 + 0.2 * frame["x"] + effects)


@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("kind", ["clusters", "scale"])
def test_pages_of_200_effects_of_other_models(kind, browser, tmp_path, width):
    data = long_table()
    if kind == "clusters":
        model = MixedMetaReg.from_formula("yi ~ x", data, vi="vi", random="1 | laboratory")
    else:
        model = LocationScaleMetaReg.from_formula("yi ~ x", data, vi="vi", scale_formula="~ x")
    res = model.fit()
    text = res.to_html()
    millimetres = 89 if width == 390 else 183
    widths = probed(text, browser, tmp_path, width)
    assert widths == [pytest.approx(millimetres, abs=PIXEL)] * 3
    found = Page(text)
    assert HOSTILE in found.text
    assert "<script>document" not in text
    rows = found.tables["coefficients"][1:]
    np.testing.assert_allclose([values(r)[0] for r in rows], res.params, rtol=1e-12)
    assert "Effects200" in re.sub(r"\s", "", found.text)


def test_numbers_in_the_browser(awkward_page, browser, tmp_path):
    res, text = awkward_page
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    dom, log = shown(browser, path)
    assert "CONSOLE" not in log, "no message in the console"
    found = Page(dom[dom.index("<body>") : dom.index("</body>")])
    rows = found.tables["coefficients"][1:]
    np.testing.assert_allclose([values(r)[0] for r in rows], res.params, rtol=1e-12)
    np.testing.assert_allclose([values(r)[-1] for r in rows], res.bse, rtol=1e-12)
    np.testing.assert_allclose([values(r)[3] for r in rows], res.pvalues, rtol=1e-12)
    head = cells(found.tables["data"][0])
    assert HOSTILE in head
