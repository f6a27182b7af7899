"""The disclaimer that every output and page carries."""

from __future__ import annotations

NOTICE = "For research and education; not a medical device and never a diagnosis."
