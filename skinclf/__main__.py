"""`python -m skinclf` is the command line."""

from __future__ import annotations

from skinclf_cli.main import main

if __name__ == "__main__":
    main()
