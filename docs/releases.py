"""The site holds a folder for each release; this writes the page that leads to them.

$ python docs/releases.py --version         # the folder of this release
$ python docs/releases.py build/site        # index.html beside the folders, which opens the newest
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from skinclf import __version__

_RELEASE = re.compile(r"\d+(\.\d+)*\w*")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url={newest}/index.html">
<title>skinclf: documentation by release</title>
</head>
<body>
<h1>skinclf: documentation by release</h1>
<ul>
{links}</ul>
</body>
</html>
"""


def releases(site: Path) -> list[str]:
    """Names of the folders of releases, the newest first."""
    found = [p.name for p in site.iterdir() if _RELEASE.fullmatch(p.name) and (p / "index.html").is_file()]
    # A release comes after its own pre-releases.
    return sorted(
        found, key=lambda n: ([int(x) for x in re.findall(r"\d+", n)][:3], n.replace(".", "").isdigit(), n)
    )[::-1]


def write_index(site: Path) -> Path:
    """Write `index.html`, which lists the releases and opens the newest.

    Raises:
        SystemExit: The folder holds no release.
    """
    found = releases(site)
    if not found:
        raise SystemExit(f"{site}: no folder of a release with an index.html.")
    links = "".join(f'<li><a href="{name}/index.html">{name}</a></li>\n' for name in found)
    page = site / "index.html"
    page.write_text(_PAGE.format(newest=found[0], links=links), encoding="utf-8")
    return page


def main() -> None:
    """Print the name of this release's folder, or write the index of a site."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site", nargs="?", type=Path, help="folder of the site")
    parser.add_argument("--version", action="store_true", help="print the folder of this release")
    given = parser.parse_args()
    answer = __version__ if given.version or given.site is None else write_index(given.site)
    sys.stdout.write(f"{answer}\n")


if __name__ == "__main__":
    main()
