"""Tables as spreadsheet programs write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf._utils.columns import read_columns
from skinclf.errors import InvalidArgumentError

EXPECTED = {"image": ["A", "B"], "dx": ["nv", "mel"]}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "image,dx\nA,nv\nB,mel\n",
        "image;dx\r\nA;nv\r\nB;mel\r\n",
        "image\tdx\nA\tnv\nB\tmel\n",
        "image,dx,,\nA,nv,,\nB,mel,,\n",
        "image;dx;;\nA;nv;;\nB;mel\n",
        "image,dx\nA,nv,,\nB,mel,\n",
        "image,,dx\nA,,nv\nB,,mel\n",
        "image,dx\nA,nv\n,\n\nB,mel\n,\n,\n",
        ",\nimage,dx\nA,nv\nB,mel\n",
        "sep=;\nimage;dx\nA;nv\nB;mel\n",
        "sep=,\r\nimage,dx\r\nA,nv\r\nB,mel\r\n",
        'SEP=\t\n"image"\t"dx"\nA\tnv\nB\tmel\n',
        '"sep=|"\nimage|dx\nA|nv\nB|mel\n',
        '"image";"dx"\n"A";"nv"\n"B";"mel"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_forms_of_one_table(tmp_path: Path, text: str, encoding: str) -> None:
    assert read_columns(write(tmp_path / "t.csv", text, encoding)) == EXPECTED


def test_a_separator_inside_quotes_separates_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", '"image, name";dx\n"A,1";nv\n')
    assert read_columns(path) == {"image, name": ["A,1"], "dx": ["nv"]}


def test_the_rows_decide_between_two_separators(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "image;age, years\nA;41\nB;52\n")
    assert read_columns(path) == {"image": ["A", "B"], "age, years": ["41", "52"]}
    path = write(tmp_path / "t.csv", "image;a,b\nA;1,2\nB;3,4\n")
    with pytest.raises(InvalidArgumentError, match=r"comma and semicolon.*sep=;"):
        read_columns(path)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0,25", "1", "", "NA"], ["0.25", "1", "", "NA"]),
        (["1,5E-05", "-0,5", ",5"], ["1.5E-05", "-0.5", ".5"]),
        (["1,234", "5,678"], ["1.234", "5.678"]),
        (["0,5", "0.5"], ["0,5", "0.5"]),
        (["a,b", "0,5"], ["a,b", "0,5"]),
        (["1.234,5", "2"], ["1.234,5", "2"]),
    ],
)
def test_decimal_commas_between_semicolons(tmp_path: Path, cells: list[str], expected: list[str]) -> None:
    text = "image;p\n" + "".join(f"I;{cell}\n" for cell in cells)
    assert read_columns(write(tmp_path / "t.csv", text))["p"] == expected


def test_a_comma_that_may_separate_thousands_stays(tmp_path: Path) -> None:
    assert read_columns(write(tmp_path / "t.tsv", "n\tp\n1,234\t0,5\n"))["n"] == ["1,234"]
    assert read_columns(write(tmp_path / "t.tsv", "n\tp\n1,234\t0,5\n"))["p"] == ["0.5"]
    assert read_columns(write(tmp_path / "t.csv", 'n,p\n"1,234","0,5"\n')) == {"n": ["1,234"], "p": ["0.5"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        ("image,dx\nA,nävus\n".encode("cp1252"), "UTF-8 or UTF-16"),
        (b"image,dx\nA,nv\nB\n", "row 3 has 1 cells but the header 2"),
        (b"image;dx\nA;nv\n;\nB\n", "row 4 has 1 cells but the header 2"),
        (b"image,dx\nA,nv,mel\n", "row 2 has 3 cells but the header 2"),
        (b"image,dx,dx\nA,nv,mel\n", "'dx' occurs twice"),
        (b",,\n,,\n", "no rows"),
        (b"sep=;\n", "no rows"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=message):
        read_columns(path)


_CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\n", categories=["L", "N", "P", "Zs"])
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    blank=st.integers(0, 2),
    empty=st.integers(0, 2),
    state=st.booleans(),
)
def test_every_written_cell_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    separator: str,
    encoding: str,
    blank: int,
    empty: int,
    state: bool,
) -> None:
    """Whatever the cells hold: text cells come back, but for blanks around them."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    # The `#` keeps a cell from being a number, whose decimal comma would become a point.
    body = [[f"#{a}", f"#{b}"] for a, b in rows]
    writer.writerows([[*row, *[""] * empty] for row in [["image", "dx"], *body, *[["", ""]] * blank]])
    text = (f"sep={separator}\n" if state else "") + out.getvalue()
    path = write(tmp_path_factory.mktemp("t") / "t.csv", text, encoding)
    assert read_columns(path) == {
        "image": [a.strip() for a, _ in body],
        "dx": [b.strip() for _, b in body],
    }
