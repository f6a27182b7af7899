"""Rewrite docs/reference and the blocks of README.md, after a command, column, word, figure or name has changed.

The measured tables of README and docs are rewritten too, after a benchmark has written `docs/measured/NAME.json` or a
card has changed.

python docs/generate.py            writes the pages
python docs/generate.py --check    names the pages that are not of now, and fails
"""

from __future__ import annotations

import sys
from pathlib import Path

from generator import api, commands, gate, measured, readme, schemas, tables

REFERENCE = Path(__file__).resolve().parent / "reference"
MARK = "<!-- made by docs/generate.py -->\n"
#: Written by hand but for its blocks.
README = "../../README.md"


def pages() -> dict[str, str]:
    """Every generated page, by its name under docs/reference."""
    made = {
        **commands.pages(),
        **tables.pages(),
        **api.pages(),
        **schemas.pages(),
        **gate.pages(),
        **readme.pages(),
    }
    return {
        n: f"{text.rstrip()}\n\n{MARK}" if n.endswith(".md") and n != README else text
        for n, text in made.items()
    }


def stale(folder: Path = REFERENCE) -> list[str]:
    """Pages that are missing, differ, or are left over."""
    made = pages()
    left = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.md")
        if path.read_text(encoding="utf-8").endswith(MARK)
    ]
    return sorted(
        {name for name in left if name not in made}
        | {
            name
            for name, text in made.items()
            if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
        }
    )


def write(folder: Path = REFERENCE) -> None:
    """Write what differs, and remove what is left over."""
    made = pages()
    for name in stale(folder):
        path = folder / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[name], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        old = [*stale(), *measured.stale()]
        sys.exit(f"Not of now: {', '.join(old)}. Run: python docs/generate.py" if old else 0)
    write()
    measured.write()
