"""What a report cites: references as they stand in the registries, in text and as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# a title may have full stops within; what it stood in has none, which tells where it ends
_JOURNAL = (
    r"(?P<journal>[^.?]+?), (?:(?P<volume>\d+)(?:\((?P<number>[\w-]+)\))?, )?(?P<pages>\d[\w-]*)"
)
_CHAPTER = (
    r"In (?P<editor>.+) \(Eds?\.\), (?P<booktitle>[^.?]+) "
    r"\((?:(?P<edition>\w+) ed\., )?pp\. (?P<chapter>[\d-]+)\)\. (?P<house>[^.?]+)"
)
_SHAPE = re.compile(
    r"(?P<authors>.+?) \((?P<year>\d{4})\)\. (?P<title>.+?)[.?] "
    rf"(?:{_JOURNAL}|{_CHAPTER}|(?P<publisher>[^.?]+))\."
)
_AUTHOR = re.compile(r"(?P<last>[^,]+), (?P<first>(?:[^\W\d_]\.[ -]?)+)(?:, |$)")
# fields of BibTeX by the groups of a citation's shape, where the names differ
_FIELDS = MappingProxyType({"chapter": "pages", "house": "publisher"})
_SPECIAL = re.compile(r"([&%$#_])")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference.

    Attributes
    ----------
    citation : str
        As a list of references prints it: authors, year, title, journal.
    authors : tuple of (str, str)
        Last and first names; an organisation has no first name.
    year, title : str
        When, and its title.
    fields : mapping
        What else BibTeX wants: journal, volume, number and pages, or the publisher, or the book
        that a chapter stands in.
    """

    citation: str
    authors: tuple[tuple[str, str], ...]
    year: str
    title: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, citation: str) -> Reference:
        """Read a citation of the form in which the registries have them.

        Parameters
        ----------
        citation : str
            "Last, F., & Last, F. (year). Title. Journal, volume(number), pages.", or in place of
            the journal a publisher, or "In F. Last (Ed.), Book (2nd ed., pp. pages). Publisher."

        Raises
        ------
        ValueError
            If it has another form.

        Examples
        --------
        >>> paper = Reference.of("Knapp, G., & Hartung, J. (2003). Title. Journal, 22(17), 26-27.")
        >>> paper.key, paper.cited, paper.fields["journal"]
        ('knapp2003', 'Knapp & Hartung, 2003', 'Journal')
        """
        found = _SHAPE.fullmatch(citation)
        if found is None:
            raise ValueError(f"This is no citation of the form that is expected: {citation!r}")
        text = found["authors"].replace(", & ", ", ")
        authors = tuple((m["last"].strip(), m["first"].strip()) for m in _AUTHOR.finditer(text))
        known = ("authors", "year", "title")
        fields = {
            _FIELDS.get(group, group): value
            for group, value in found.groupdict().items()
            if value and group not in known
        }
        if "editor" in fields:
            fields["editor"] = " and ".join(fields["editor"].replace(", & ", ", ").split(", "))
        return cls(
            citation,
            authors or ((found["authors"], ""),),
            found["year"],
            found["title"],
            fields,
        )

    @property
    def key(self) -> str:
        """Key in BibTeX: first author and year."""
        name = unicodedata.normalize("NFKD", self.authors[0][0]).encode("ascii", "ignore").decode()
        return re.sub(r"\W", "", name).lower() + self.year

    @property
    def cited(self) -> str:
        """Authors and year, as a text cites it."""
        last = [name for name, _ in self.authors]
        who = " & ".join(last) if len(last) <= 2 else f"{last[0]} et al."
        return f"{who}, {self.year}"

    @property
    def bibtex(self) -> str:
        """The entry in BibTeX."""
        names = [f"{last}, {first}" if first else f"{{{last}}}" for last, first in self.authors]
        fields = {"author": " and ".join(names), "title": f"{{{self.title}}}", **self.fields}
        fields["year"] = self.year
        if "pages" in fields:
            fields["pages"] = fields["pages"].replace("-", "--")
        kind = "article" if "journal" in fields else "book"
        if "booktitle" in fields:
            kind = "incollection"
        safe = {name: _SPECIAL.sub(r"\\\1", value) for name, value in fields.items()}
        lines = [f"  {name} = {{{value}}}," for name, value in safe.items()]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


def bibtex(references: Iterable[Reference]) -> str:
    """Entries in BibTeX, one for each reference, in the order of their keys."""
    entries = {reference.key: reference.bibtex for reference in references}
    return "\n\n".join(entries[key] for key in sorted(entries)) + "\n" if entries else ""


KNAPP_HARTUNG = Reference.of(
    "Knapp, G., & Hartung, J. (2003). Improved tests for a random effects meta-regression with a "
    "single covariate. Statistics in Medicine, 22(17), 2693-2710."
)
COCHRAN = Reference.of(
    "Cochran, W. G. (1954). The combination of estimates from different experiments. Biometrics, "
    "10(1), 101-129."
)
I2 = Reference.of(
    "Higgins, J. P. T., & Thompson, S. G. (2002). Quantifying heterogeneity in a meta-analysis. "
    "Statistics in Medicine, 21(11), 1539-1558."
)
R2 = Reference.of(
    "López-López, J. A., Marín-Martínez, F., Sánchez-Meca, J., Van den Noortgate, W., & "
    "Viechtbauer, W. (2014). Estimation of the predictive power of the model in mixed-effects "
    "meta-regression: A simulation study. British Journal of Mathematical and Statistical "
    "Psychology, 67(1), 30-48."
)
Q_PROFILE = Reference.of(
    "Viechtbauer, W. (2007). Confidence intervals for the amount of heterogeneity in "
    "meta-analysis. Statistics in Medicine, 26(1), 37-52."
)
PREDICTION = Reference.of(
    "Higgins, J. P. T., Thompson, S. G., & Spiegelhalter, D. J. (2009). A re-evaluation of "
    "random-effects meta-analysis. Journal of the Royal Statistical Society: Series A, 172(1), "
    "137-159."
)
HOTELLING = Reference.of(
    "Tipton, E., & Pustejovsky, J. E. (2015). Small-sample adjustments for tests of moderators and "
    "model fit using robust variance estimation in meta-regression. Journal of Educational and "
    "Behavioral Statistics, 40(6), 604-634."
)
CLUSTERS = Reference.of(
    "Hedges, L. V., Tipton, E., & Johnson, M. C. (2010). Robust variance estimation in "
    "meta-regression with dependent effect size estimates. Research Synthesis Methods, 1(1), 39-65."
)
SMALL_SAMPLE_CLUSTERS = Reference.of(
    "Pustejovsky, J. E., & Tipton, E. (2018). Small-sample methods for cluster-robust variance "
    "estimation and hypothesis testing in fixed effects models. Journal of Business & Economic "
    "Statistics, 36(4), 672-683."
)
HETEROSCEDASTICITY = Reference.of(
    "Long, J. S., & Ervin, L. H. (2000). Using heteroscedasticity consistent standard errors in "
    "the linear regression model. The American Statistician, 54(3), 217-224."
)
INFLUENCE = Reference.of(
    "Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for "
    "meta-analysis. Research Synthesis Methods, 1(2), 112-125."
)
PERMUTATION = Reference.of(
    "Higgins, J. P. T., & Thompson, S. G. (2004). Controlling the risk of spurious findings from "
    "meta-regression. Statistics in Medicine, 23(11), 1663-1682."
)
FREEDMAN_LANE = Reference.of(
    "Freedman, D., & Lane, D. (1983). A nonstochastic interpretation of reported significance "
    "levels. Journal of Business & Economic Statistics, 1(4), 292-298."
)
MULTILEVEL = Reference.of(
    "Konstantopoulos, S. (2011). Fixed effects and variance components estimation in three-level "
    "meta-analysis. Research Synthesis Methods, 2(1), 61-76."
)
MULTIVARIATE = Reference.of(
    "van Houwelingen, H. C., Arends, L. R., & Stijnen, T. (2002). Advanced methods in "
    "meta-analysis: Multivariate approach and meta-regression. Statistics in Medicine, 21(4), "
    "589-624."
)
LOCATION_SCALE = Reference.of(
    "Viechtbauer, W., & López-López, J. A. (2022). Location-scale models for meta-analysis. "
    "Research Synthesis Methods, 13(6), 697-715."
)
STATSMODELS = Reference.of(
    "Seabold, S., & Perktold, J. (2010). Statsmodels: Econometric and statistical modeling with "
    "Python. Proceedings of the 9th Python in Science Conference, 92-96."
)

#: Where the covariance types come from, by their names in lower case.
COVARIANCES: Mapping[str, tuple[Reference, ...]] = MappingProxyType(
    {
        "knapp-hartung": (KNAPP_HARTUNG,),
        "knapp-hartung-adhoc": (KNAPP_HARTUNG,),
        "hc0": (HETEROSCEDASTICITY,),
        "hc1": (HETEROSCEDASTICITY,),
        "hc2": (HETEROSCEDASTICITY,),
        "hc3": (HETEROSCEDASTICITY,),
        "cluster": (CLUSTERS,),
    }
)
