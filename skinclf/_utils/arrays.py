"""Array types by dtype, shared by every room; shapes stand in the docstrings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.intp]
Float32: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]
#: Counts of each row in each bootstrap replicate, shape (B, N), or weights of rows, shape (N,).
RowWeights: TypeAlias = npt.NDArray[Any]
