"""Array types by dtype, shared by every room; shapes stand in the docstrings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.intp]
Float32: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]
#: How often each row counts in each replicate, shape (B, N), or how much each row counts, shape (N,).
RowWeights: TypeAlias = npt.NDArray[Any]
