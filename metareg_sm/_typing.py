"""Types that every layer shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Codes = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Seed = int | np.random.Generator | None
