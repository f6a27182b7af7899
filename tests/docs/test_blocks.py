"""Every block of code in README and docs runs from top to bottom as a reader would type it, or says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import their_files
from support.command_lines import command_lines, parse
from support.doc_blocks import Block, Reader, blocks, matches

from skinclf.labels import HAM10000

ROOT = Path(__file__).parents[2]
#: Pages whose own tests follow them: tests/serve/test_serve_docs.py.
OWN_TESTS = {"serve.md"}
PAGES = [
    ROOT / "README.md",
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not {"reference", "project", "_build"} & set(path.relative_to(ROOT / "docs").parts)
        and path.name not in OWN_TESTS
    ),
]
FOUND = {
    path.relative_to(ROOT).as_posix(): blocks(path.read_text(encoding="utf-8"), path.name) for path in PAGES
}
#: Pages that make their own images.
FROM_NOTHING = {"README.md", "docs/tutorial/index.md"}
#: Pages with something to run.
RUN = [name for name, found in FOUND.items() if any(not block.reason for block in found)]


#: What a page needs beside the base.
NEEDS = {
    "docs/training.md": ("yaml", "cv2"),
    "docs/weights.md": ("onnx", "onnxruntime"),
    "docs/dicom.md": ("pydicom", "highdicom"),
}


#: Pages that show no counts and take long: with these many images only.
FEWER = {"docs/explain.md": 10}


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the tutorial's first Python block makes: images in `imgs/`, what they show in `labels.csv`."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Reader(folder).follow(next(b for b in FOUND["docs/tutorial/index.md"] if b.language == "python"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_a_page_runs_from_top_to_bottom(
    name: str, tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in NEEDS.get(name, ("yaml",) if name.startswith("docs/coming-from/") else ()):
        pytest.importorskip(module, reason=f"{name} needs an extra")
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    if name.startswith("docs/coming-from/"):
        prepare(folder)
    elif name not in FROM_NOTHING:
        (folder / "imgs").mkdir()
        for n in range(FEWER.get(name, 28)):
            (folder / "imgs" / f"lesion-{n}.jpg").symlink_to(tutorial / "imgs" / f"lesion-{n}.jpg")
        shutil.copy(tutorial / "labels.csv", folder)
    their_files.write(Path(name).stem, folder)
    reader = Reader(folder)
    for block in FOUND[name]:
        if not block.reason:
            reader.follow(block)


def prepare(folder: Path) -> None:
    """What those find who come from another system: the example images, and what they show."""
    (folder / "imgs").symlink_to(ROOT / "examples" / "images")
    rows = [f"synthetic-{n + 1:02d},L{n // 2},{HAM10000.codes[n // 2 % 7]}" for n in range(12)]
    (folder / "labels.csv").write_text("\n".join(["image,lesion_id,dx", *rows]) + "\n")


def test_what_is_not_run_has_a_reason_of_its_kind() -> None:
    kinds = ("network", "train", "GPU", "install", "own ", "machine", "hour", "server", "weights")
    for found in FOUND.values():
        for block in found:
            assert not block.reason or any(kind in block.reason for kind in kinds), (block.page, block.line)


def test_enough_is_run() -> None:
    assert {"README.md", "docs/tutorial/index.md"} <= set(RUN)
    assert sum(not block.reason for found in FOUND.values() for block in found) >= 20


@pytest.mark.parametrize("name", FOUND)
def test_every_command_parses(name: str) -> None:
    for line in command_lines((ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")):
        if not {"--help", "--version", "-h"} & set(line.split()):
            parse(line)


# --- the reader itself ------------------------------------------------------------------------


PAGE = """
```console
$ echo one   # a comment
one
$ printf 'a\\nb\\nc\\n'
a
...
```

<!-- norun: needs the network -->
```console
$ false
```

<!-- exit: 3 -->
```console
$ exit 3
```

```python
n = 4
print(n)
```

```text
4
```
"""


def test_blocks_are_read() -> None:
    first, second, third, fourth = blocks(PAGE, "page.md")
    assert [c for c, _ in first.commands] == ["echo one   # a comment", "printf 'a\\nb\\nc\\n'"]
    assert (first.line, second.reason, third.code, fourth.output) == (2, "needs the network", 3, "4\n")
    assert all(
        b.reason == "no time" for b in blocks("<!-- norun page: no time -->\n```python\npass\n```\n", "x")
    )


def test_a_reader_follows_a_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for block in blocks(PAGE, "page.md"):
        if not block.reason:
            reader.follow(block)
    assert reader.names["n"] == 4


@pytest.mark.parametrize(
    ("language", "body", "output"),
    [
        ("console", "$ echo one\ntwo\n", None),
        ("console", "$ false\n", None),
        ("console", "$ skinclf no-such-command\n", None),
        ("console", "$ skinclf models list\nNo such model.\n", None),
        ("python", "print(1)\n", "2"),
    ],
)
def test_what_is_not_so_is_found(tmp_path: Path, language: str, body: str, output: str | None) -> None:
    with pytest.raises(AssertionError):
        Reader(tmp_path).follow(Block("page.md", 1, language, body, output))


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a...c", "abc", True),
        ("a...c", "a\nc", False),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nc", "a\nb", False),
        ("...", "", True),
        ("1.5", "1x5", False),
    ],
)
def test_ellipses(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
