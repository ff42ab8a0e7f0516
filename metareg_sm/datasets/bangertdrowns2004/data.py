"""Writing-to-learn and academic achievement: 48 studies."""

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

    Bangert-Drowns, R. L., Hurley, M. M., & Wilkinson, B. (2004). "The effects of school-based
        writing-to-learn interventions on academic achievement: A meta-analysis." Review of
        Educational Research, 74(1), 29-58. https://doi.org/10.3102/00346543074001029
"""

DESCRSHORT = """Effect of more writing in class on achievement; nine moderators."""

DESCRLONG = """Classes taught with extra writing assignments were compared with classes taught
as usual. The studies differ in the pupils' age, in the length of the treatment and in the kind
of writing, which gives a meta-regression with several moderators, most of them binary, some
with missing values.

The outcome is the standardized mean difference in achievement, corrected for small-sample bias;
positive values favour writing. Only the total sample size of a study was reported, so the
sampling variances assume two groups of equal size."""

NOTE = """::

    Number of observations: 48
    Number of variables: 16
    Variable name definitions:

        id       - number of the study, 1 to 48
        author   - authors of the report
        year     - year of publication
        grade    - kind of school: 1 elementary, 2 middle, 3 high school, 4 college
        length   - length of the treatment in weeks
        minutes  - minutes for each assignment
        wic      - 1 if pupils wrote in class, else 0
        feedback - 1 if pupils were given feedback on their writing, else 0
        info     - 1 if the writing had informational parts, else 0
        pers     - 1 if the writing had personal parts, else 0
        imag     - 1 if the writing had imaginative parts, else 0
        meta     - 1 if pupils were prompted to reflect on their own learning, else 0
        subject  - subject that was taught
        ni       - number of pupils
        yi       - standardized mean difference
        vi       - its sampling variance

    Values are missing (NaN) in length, minutes, wic, feedback, info, pers and meta.
"""

_ENDOG = "yi"
_EXOG = ["grade", "length", "minutes", "wic", "feedback", "info", "pers", "imag", "meta"]


def load() -> du.Dataset:
    """Load the writing-to-learn data and return a Dataset class instance.

    Returns
    -------
    Dataset
        A `Dataset` instance with ``data``, ``names``, ``endog``, ``exog``,
        ``endog_name`` and ``exog_name`` attributes.
    """
    return load_pandas()


def load_pandas() -> du.Dataset:
    """Load the writing-to-learn data and return a Dataset class instance.

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
    return du.load_csv(__file__, "bangertdrowns2004.csv")
