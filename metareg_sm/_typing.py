"""Types that every layer shares, and the words that options take."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Codes = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Seed = int | np.random.Generator | None

Missing = Literal["none", "drop", "raise"]
Tau2Interval = Literal["q-profile", "profile-likelihood", "wald"]
PermutationScheme = Literal["rows", "residuals"]
BootstrapScheme = Literal["parametric", "studies"]
BootstrapInterval = Literal["percentile", "bca"]
Side = Literal["above", "below"]
EggerModel = Literal["mixed", "multiplicative"]
