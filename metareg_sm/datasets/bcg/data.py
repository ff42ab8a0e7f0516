"""BCG vaccine against tuberculosis: 13 trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statsmodels.datasets import utils as du

if TYPE_CHECKING:
    import pandas as pd

__docformat__ = "restructuredtext"

COPYRIGHT = """The values are facts from the publications under SOURCE; no copyright is claimed."""
TITLE = __doc__
SOURCE = """
The counts of the 13 trials were collected by

::

    Colditz, G. A., Brewer, T. F., Berkey, C. S., Wilson, M. E., Burdick, E., Fineberg, H. V., &
        Mosteller, F. (1994). "Efficacy of BCG vaccine in the prevention of tuberculosis:
        Meta-analysis of the published literature." Journal of the American Medical
        Association, 271(9), 698-702. https://doi.org/10.1001/jama.1994.03510330076038

and analysed with latitude as a moderator by

::

    Berkey, C. S., Hoaglin, D. C., Mosteller, F., & Colditz, G. A. (1995). "A random-effects
        regression model for meta-analysis." Statistics in Medicine, 14(4), 395-411.
        https://doi.org/10.1002/sim.4780140406
"""

DESCRSHORT = """Protection by the BCG vaccine, with latitude, year and allocation."""

DESCRLONG = """In 13 trials people who were given the BCG vaccine and people who were not were
followed up for tuberculosis. The trials disagree far more than chance allows: some found strong
protection and some none. Trials far from the equator found the most, which has made absolute
latitude the classic moderator of a meta-regression. Latitude and year are strongly correlated
here, because later trials were run closer to the equator, so their separate coefficients are
uncertain.

The outcome is the log risk ratio of tuberculosis, vaccinated over control; negative values mean
that the vaccine protects."""

NOTE = """::

    Number of observations: 13
    Number of variables: 11
    Variable name definitions:

        trial  - number of the trial, 1 to 13
        author - authors of the report
        year   - year of publication
        tpos   - vaccinated people who had tuberculosis
        tneg   - vaccinated people who did not
        cpos   - controls who had tuberculosis
        cneg   - controls who did not
        ablat  - distance of the trial's site from the equator, in degrees of latitude
        alloc  - how people were allocated to vaccine or control:
                 random, alternate or systematic
        yi     - log risk ratio, log((tpos/(tpos+tneg)) / (cpos/(cpos+cneg)))
        vi     - its sampling variance, 1/tpos - 1/(tpos+tneg) + 1/cpos - 1/(cpos+cneg)

    yi and vi are computed from the counts.
"""

_ENDOG = "yi"
_EXOG = ["ablat", "year", "alloc"]


def load() -> du.Dataset:
    """Load the BCG vaccine data and return a Dataset class instance.

    Returns
    -------
    Dataset
        A `Dataset` instance with ``data``, ``names``, ``endog``, ``exog``,
        ``endog_name`` and ``exog_name`` attributes.
    """
    return load_pandas()


def load_pandas() -> du.Dataset:
    """Load the BCG vaccine data and return a Dataset class instance.

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
    return du.load_csv(__file__, "bcg.csv")
