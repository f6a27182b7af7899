"""`GateMode`, and the columns that the gate adds to a table; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

#: What becomes of what the gate says: nothing, columns, or columns and no probability for unfit images.
GateMode: TypeAlias = Literal["off", "mark", "refuse"]

#: Columns of the gate: name to type.
GATE_COLUMNS: Mapping[str, type] = MappingProxyType({"gate": str, "gate_reasons": str, "p_familiar": float})
