"""Where the measures come from, in full: what `Measure.source` names in short."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_HANDBOOK = (
    "In H. Cooper, L. V. Hedges, & J. C. Valentine (Eds.), The handbook of research synthesis and "
    "meta-analysis (2nd ed., pp. {pages}). Russell Sage Foundation."
)

#: Full citations by authors and year, as `Measure.source` has them.
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "Aloe & Becker (2012)": "Aloe, A. M., & Becker, B. J. (2012). An effect size for "
        "regression predictors in meta-analysis. Journal of Educational and Behavioral "
        "Statistics, 37(2), 278-297.",
        "Aloe & Thompson (2013)": "Aloe, A. M., & Thompson, C. G. (2013). The synthesis of partial "
        "effect sizes. Journal of the Society for Social Work and Research, 4(4), 390-405.",
        "Bagos & Nikolopoulos (2009)": "Bagos, P. G., & Nikolopoulos, G. K. (2009). Mixed-effects "
        "Poisson regression models for meta-analysis of follow-up studies with constant or varying "
        "durations. The International Journal of Biostatistics, 5(1), 21.",
        "Becker (1988)": "Becker, B. J. (1988). Synthesizing standardized mean-change measures. "
        "British Journal of Mathematical and Statistical Psychology, 41(2), 257-278.",
        "Becker & Balagtas (1993)": "Becker, M. P., & Balagtas, C. C. (1993). Marginal modeling of "
        "binary cross-over data. Biometrics, 49(4), 997-1009.",
        "Bonett (2002)": "Bonett, D. G. (2002). Sample size requirements for testing and "
        "estimating coefficient alpha. Journal of Educational and Behavioral Statistics, 27(4), "
        "335-340.",
        "Bonett (2008)": "Bonett, D. G. (2008). Confidence intervals for standardized linear "
        "contrasts of means. Psychological Methods, 13(2), 99-109.",
        "Bonett (2009)": "Bonett, D. G. (2009). Meta-analytic interval estimation for standardized "
        "and unstandardized mean differences. Psychological Methods, 14(3), 225-238.",
        "Bonett (2010)": "Bonett, D. G. (2010). Varying coefficient meta-analytic methods for "
        "alpha reliability. Psychological Methods, 15(4), 368-385.",
        "Borenstein (2009)": "Borenstein, M. (2009). Effect sizes for continuous data. "
        + _HANDBOOK.format(pages="221-235"),
        "Chinn (2000)": "Chinn, S. (2000). A simple method for converting an odds ratio to effect "
        "size for use in meta-analysis. Statistics in Medicine, 19(22), 3127-3131.",
        "Cox & Snell (1989)": "Cox, D. R., & Snell, E. J. (1989). Analysis of binary data (2nd "
        "ed.). Chapman & Hall.",
        "Curtin et al. (2002)": "Curtin, F., Elbourne, D., & Altman, D. G. (2002). Meta-analysis "
        "combining parallel and cross-over clinical trials. II: Binary outcomes. Statistics in "
        "Medicine, 21(15), 2145-2159.",
        "Fisher (1921)": 'Fisher, R. A. (1921). On the "probable error" of a coefficient of '
        "correlation deduced from a small sample. Metron, 1, 1-32.",
        "Fleiss & Berlin (2009)": "Fleiss, J. L., & Berlin, J. A. (2009). Effect sizes for "
        "dichotomous data. " + _HANDBOOK.format(pages="237-253"),
        "Freeman & Tukey (1950)": "Freeman, M. F., & Tukey, J. W. (1950). Transformations related "
        "to the angular and the square root. The Annals of Mathematical Statistics, 21(4), "
        "607-611.",
        "Gibbons et al. (1993)": "Gibbons, R. D., Hedeker, D. R., & Davis, J. M. (1993). "
        "Estimation of effect size from a series of experiments involving paired comparisons. "
        "Journal of Educational Statistics, 18(3), 271-279.",
        "Hakstian & Whalen (1976)": "Hakstian, A. R., & Whalen, T. E. (1976). A k-sample "
        "significance test for independent alpha coefficients. Psychometrika, 41(2), 219-231.",
        "Hasselblad & Hedges (1995)": "Hasselblad, V., & Hedges, L. V. (1995). Meta-analysis of "
        "screening and diagnostic tests. Psychological Bulletin, 117(1), 167-178.",
        "Hedges (1981)": "Hedges, L. V. (1981). Distribution theory for Glass's estimator of "
        "effect size and related estimators. Journal of Educational Statistics, 6(2), 107-128.",
        "Hedges (1982)": "Hedges, L. V. (1982). Estimation of effect size from a series of "
        "independent experiments. Psychological Bulletin, 92(2), 490-499.",
        "Hedges (1983)": "Hedges, L. V. (1983). A random effects model for effect sizes. "
        "Psychological Bulletin, 93(2), 388-395.",
        "Hedges (1989)": "Hedges, L. V. (1989). An unbiased correction for sampling error in "
        "validity generalization studies. Journal of Applied Psychology, 74(3), 469-477.",
        "Hedges et al. (1999)": "Hedges, L. V., Gurevitch, J., & Curtis, P. S. (1999). The "
        "meta-analysis of response ratios in experimental ecology. Ecology, 80(4), 1150-1156.",
        "Jacobs & Viechtbauer (2017)": "Jacobs, P., & Viechtbauer, W. (2017). Estimation of the "
        "biserial correlation and its sampling variance for use in meta-analysis. Research "
        "Synthesis Methods, 8(2), 161-180.",
        "Kirk (1973)": "Kirk, D. B. (1973). On the numerical approximation of the bivariate normal "
        "(tetrachoric) correlation coefficient. Psychometrika, 38(2), 259-268.",
        "Lajeunesse (2011)": "Lajeunesse, M. J. (2011). On the meta-analysis of response ratios "
        "for studies with correlated and multi-group designs. Ecology, 92(11), 2049-2055.",
        "May & Johnson (1997)": "May, W. L., & Johnson, W. D. (1997). Confidence intervals for "
        "differences in correlated binary proportions. Statistics in Medicine, 16(18), 2127-2136.",
        "Miller (1978)": "Miller, J. J. (1978). The inverse of the Freeman-Tukey double arcsine "
        "transformation. The American Statistician, 32(4), 138.",
        "Morris (2000)": "Morris, S. B. (2000). Distribution of the standardized mean change "
        "effect size for meta-analysis on repeated measures. British Journal of Mathematical and "
        "Statistical Psychology, 53(1), 17-29.",
        "Nakagawa et al. (2015)": "Nakagawa, S., Poulin, R., Mengersen, K., Reinhold, K., "
        "Engqvist, L., Lagisz, M., & Senior, A. M. (2015). Meta-analysis of variation: Ecological "
        "and evolutionary applications and beyond. Methods in Ecology and Evolution, 6(2), "
        "143-152.",
        "Olkin & Pratt (1958)": "Olkin, I., & Pratt, J. W. (1958). Unbiased estimation of certain "
        "correlation coefficients. The Annals of Mathematical Statistics, 29(1), 201-211.",
        "Pearson (1900)": "Pearson, K. (1900). Mathematical contributions to the theory of "
        "evolution. VII. On the correlation of characters not quantitatively measurable. "
        "Philosophical Transactions of the Royal Society of London, Series A, 195, 1-47.",
        "Raudenbush & Bryk (1987)": "Raudenbush, S. W., & Bryk, A. S. (1987). Examining correlates "
        "of diversity. Journal of Educational Statistics, 12(3), 241-269.",
        "Rothman et al. (2008)": "Rothman, K. J., Greenland, S., & Lash, T. L. (2008). Modern "
        "epidemiology (3rd ed.). Lippincott Williams & Wilkins.",
        "Rücker et al. (2009)": "Rücker, G., Schwarzer, G., Carpenter, J., & Olkin, I. (2009). Why "
        "add anything to nothing? The arcsine difference as a measure of treatment effect in "
        "meta-analysis with zero cells. Statistics in Medicine, 28(5), 721-738.",
        "Soper (1914)": "Soper, H. E. (1914). On the probable error of the bi-serial expression "
        "for the correlation coefficient. Biometrika, 10(2-3), 384-390.",
        "Sánchez-Meca et al. (2003)": "Sánchez-Meca, J., Marín-Martínez, F., & Chacón-Moscoso, S. "
        "(2003). Effect-size indices for dichotomized outcomes in meta-analysis. Psychological "
        "Methods, 8(4), 448-467.",
        "Tate (1954)": "Tate, R. F. (1954). Correlation between a discrete and a continuous "
        "variable: Point-biserial correlation. The Annals of Mathematical Statistics, 25(3), "
        "603-607.",
        "Woolf (1955)": "Woolf, B. (1955). On estimating the relation between blood group and "
        "disease. Annals of Human Genetics, 19(4), 251-253.",
        "Yule (1912)": "Yule, G. U. (1912). On the methods of measuring association between two "
        "attributes. Journal of the Royal Statistical Society, 75(6), 579-652.",
        "Yusuf et al. (1985)": "Yusuf, S., Peto, R., Lewis, J., Collins, R., & Sleight, P. (1985). "
        "Beta blockade during and after myocardial infarction: An overview of the randomized "
        "trials. Progress in Cardiovascular Diseases, 27(5), 335-371.",
        "Ziegler et al. (2011)": "Ziegler, A., Van Steen, K., & Wellek, S. (2011). Investigating "
        "Hardy-Weinberg equilibrium in case-control or cohort studies or meta-analysis. Breast "
        "Cancer Research and Treatment, 128(1), 197-201.",
        "Zou (2007)": "Zou, G. Y. (2007). One relative risk versus two odds ratios: Implications "
        "for meta-analyses involving paired and unpaired binary data. Clinical Trials, 4(1), "
        "25-31.",
    }
)


def citations(source: str) -> tuple[str, ...]:
    """Full citations of what a measure's `source` names.

    Parameters
    ----------
    source : str
        "Authors (year, year); Authors (year)".

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> [text[:24] for text in citations("Hedges (1981, 1982)")]
    ['Hedges, L. V. (1981). Di', 'Hedges, L. V. (1982). Es']
    """
    found = []
    for part in source.split("; "):
        authors, _, years = part.rstrip(")").partition(" (")
        found += [SOURCES[f"{authors} ({year})"] for year in years.split(", ")]
    return tuple(found)
