"""Teachers' expectations and pupils' IQ: 19 studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statsmodels.datasets import utils as du

if TYPE_CHECKING:
    import pandas as pd

__docformat__ = "restructuredtext"

COPYRIGHT = """The values are facts from the publications under SOURCE; no copyright is claimed."""
TITLE = __doc__
SOURCE = """
::

    Raudenbush, S. W., & Bryk, A. S. (1985). "Empirical Bayes meta-analysis." Journal of
        Educational Statistics, 10(2), 75-98. https://doi.org/10.3102/10769986010002075

    Raudenbush, S. W. (1984). "Magnitude of teacher expectancy effects on pupil IQ as a function
        of the credibility of expectancy induction: A synthesis of findings from 18
        experiments." Journal of Educational Psychology, 76(1), 85-97.
        https://doi.org/10.1037/0022-0663.76.1.85

The variables ``setting`` and ``tester`` come from the article of 1984.
"""

DESCRSHORT = """Effect of teachers' expectations on the IQ of their pupils."""

DESCRLONG = """Teachers were told that some of their pupils, in fact drawn at random, were
about to make unusual progress; at the end of the experiment the IQ of those pupils was compared
with that of their classmates. Teachers who already knew their pupils had little reason to
believe what they were told, so the number of weeks of earlier contact is the moderator of
interest. The original analysis takes all contact of three weeks or more as three weeks; with
that moderator no residual heterogeneity is left (tau2 is estimated as 0).

The outcome is the standardized mean difference in IQ; positive values mean that the pupils of
whom much was expected scored higher."""

NOTE = """::

    Number of observations: 19
    Number of variables: 10
    Variable name definitions:

        study   - number of the study, 1 to 19
        author  - authors of the report
        year    - year of publication
        weeks   - weeks teachers had known their pupils before expectations were raised
        setting - how IQ was tested: in a group ("group") or individually ("indiv")
        tester  - whether the tester knew ("aware") or did not know ("blind") who was expected
                  to do well
        n1i     - number of pupils of whom much was expected
        n2i     - number of control pupils
        yi      - standardized mean difference
        vi      - its sampling variance
"""

_ENDOG = "yi"
_EXOG = ["weeks", "setting", "tester", "year"]


def load() -> du.Dataset:
    """Load the teacher expectancy data and return a Dataset class instance.

    Returns
    -------
    Dataset
        A `Dataset` instance with ``data``, ``names``, ``endog``, ``exog``,
        ``endog_name`` and ``exog_name`` attributes.
    """
    return load_pandas()


def load_pandas() -> du.Dataset:
    """Load the teacher expectancy data and return a Dataset class instance.

    Returns
    -------
    Dataset
        A `Dataset` instance with ``data`` (a DataFrame with every column, the sampling variance
        ``vi`` included, read anew at each call), ``names``, ``endog``, ``exog``, ``endog_name``
        and ``exog_name`` attributes.
    """
    data = _get_data()
    return du.process_pandas(
        data,
        endog_idx=data.columns.get_loc(_ENDOG),
        exog_idx=[data.columns.get_loc(name) for name in _EXOG],
    )


def _get_data() -> pd.DataFrame:
    return du.load_csv(__file__, "raudenbush1985.csv")
