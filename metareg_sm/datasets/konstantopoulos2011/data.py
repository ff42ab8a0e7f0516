"""Modified school calendars and achievement: 56 schools in 11 districts."""

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

    Konstantopoulos, S. (2011). "Fixed effects and variance components estimation in three-level
        meta-analysis." Research Synthesis Methods, 2(1), 61-76.
        https://doi.org/10.1002/jrsm.35

The studies were collected by

::

    Cooper, H., Valentine, J. C., Charlton, K., & Melson, A. (2003). "The effects of modified
        school calendars on student achievement and on school and community attitudes." Review
        of Educational Research, 73(1), 1-52. https://doi.org/10.3102/00346543073001001
"""

DESCRSHORT = """Achievement under a modified calendar; schools nested in districts."""

DESCRLONG = """Each study compares pupils whose school spreads several short breaks over the
year with pupils whose school keeps one long summer break. Several schools belong to one
district and resemble each other, so the data have three levels (sampling error, schools,
districts) and are the usual example of nested random effects and of cluster-robust covariance.

The outcome is the standardized mean difference in achievement; positive values favour the
modified calendar."""

NOTE = """::

    Number of observations: 56
    Number of variables: 6
    Variable name definitions:

        district - identifier of the school district (11 districts)
        school   - number of the school within its district
        study    - number of the study, 1 to 56; one study for each school
        year     - year of the study
        yi       - standardized mean difference
        vi       - its sampling variance
"""

_ENDOG = "yi"
_EXOG = ["year"]


def load() -> du.Dataset:
    """Load the school calendar data and return a Dataset class instance.

    Returns
    -------
    Dataset
        A `Dataset` instance with ``data``, ``names``, ``endog``, ``exog``,
        ``endog_name`` and ``exog_name`` attributes.
    """
    return load_pandas()


def load_pandas() -> du.Dataset:
    """Load the school calendar data and return a Dataset class instance.

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
    return du.load_csv(__file__, "konstantopoulos2011.csv")
