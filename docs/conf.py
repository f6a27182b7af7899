"""The documentation site: `make docs` builds it; it works from disk, without network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT), str(ROOT / "cli"), str(ROOT / "training")]

from skinclf._version import __version__  # noqa: E402

project = "skinclf"
author = copyright = "The skinclf founders"  # noqa: A001 - Sphinx's name
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "generator"]
suppress_warnings = [
    "toc.empty_glob",  # a folder of pages that is not there yet
    "myst.xref_ambiguous",
]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
# Names in docstrings stand in single backticks.
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "count, index"}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
pygments_style = "friendly"
# `--option` in a sentence keeps its two hyphens.
smartquotes = False

html_theme = "pydata_sphinx_theme"
html_title = f"skinclf {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
# A page without neighbours has no list of them.
html_sidebars: dict[str, list[str]] = {"tutorial/index": []}
# Excerpts beside search results are fetched, which browsers refuse for pages opened from disk.
html_show_search_summary = False
html_theme_options: dict[str, Any] = {
    "github_url": "https://github.com/skinclf/skinclf",
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "announcement": "For research and education. Not a medical device, never a diagnosis.",
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}

#: Files of the repository that are pages of the site too: page to file.
PAGES = {
    "project/changelog": "CHANGELOG.md",
    "project/architecture": "ARCHITECTURE.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
    **{
        f"project/card-{path.parent.name}": path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "model_cards").glob("*/README.md"))
    },
}
#: Characters of a name that stays on one line.
_WHOLE = 20
_REPOSITORY = "https://github.com/skinclf/skinclf/blob/main/"
_LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def with_site_links(text: str, folder: Path, page: str) -> str:
    """A page whose links to files of the repository lead to their page, or to the repository."""

    def target(match: re.Match[str]) -> str:
        file = (folder / match["path"]).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):
            return match[0]
        name = file.relative_to(ROOT).as_posix()
        pages = {value: key for key, value in PAGES.items()}
        if name == "README.md":
            return f"](/index.md{match['anchor'] or ''})"
        if name in pages:
            return f"](/{pages[name]}.md{match['anchor'] or ''})"
        if file.is_relative_to(DOCS) and file.suffix in {".md", ".png", ".svg", ".json"}:
            return f"](/{file.relative_to(DOCS).as_posix()}{match['anchor'] or ''})"
        if file.suffix in {".png", ".svg"} and match.string[: match.start()].rpartition("[")[0].endswith("!"):
            return f"](/../{name})"
        return f"]({_REPOSITORY}{name})"

    del page
    return _LINK.sub(target, text)


def read_source(app: Any, page: str, source: list[str]) -> None:
    """Give a page of `PAGES` the text of its file, and every page links that work in the site."""
    folder = (DOCS / page).parent
    if page in PAGES:
        file = ROOT / PAGES[page]
        app.env.note_dependency(str(file))
        text, folder = file.read_text(encoding="utf-8"), file.parent
        # The front matter of a model card is for the Hub.
        source[0] = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    source[0] = with_site_links(source[0], folder, page)


def mark_long_names(app: Any, tree: nodes.document, page: str) -> None:
    """Names that may break within a cell get a class; shorter ones stay whole."""
    del app, page
    for name in tree.findall(nodes.literal):
        if max(map(len, name.astext().split()), default=0) > _WHOLE:
            name["classes"].append("long")


def write_index(app: Any, failed: Exception | None) -> None:
    """Write `llms.txt`: every page with its title, for programs that read."""
    if failed is None and app.builder.format == "html":
        lines = [f"- [{title.astext()}]({page}.html)" for page, title in sorted(app.env.titles.items())]
        text = "\n".join([f"# {project}", "", "> For research and education, never a diagnosis.", "", *lines])
        Path(app.outdir, "llms.txt").write_text(text + "\n", encoding="utf-8")


def setup(app: Any) -> None:
    """Connect the above; `mermaid` blocks are shown as text."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("build-finished", write_index)
    app.connect("source-read", read_source)
    app.connect("doctree-resolved", mark_long_names)
