"""Files, JSON, text columns and other ground that no room owns; private."""
