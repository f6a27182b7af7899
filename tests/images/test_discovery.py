"""Finding inputs: order, laziness, lists and odd names."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.images.discovery import Inputs, read_list, scan_directory


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_scan_takes_images_only_files_before_folders(tmp_path):
    make(
        tmp_path,
        "b10.jpg",
        "b2.JPG",
        "a/c.png",
        "notes.txt",
        ".hidden.jpg",
        ".git/x.jpg",
        "a/deep/d.tif",
        "z.webp",
    )
    found = [os.path.relpath(p, tmp_path) for p in scan_directory(tmp_path)]
    assert found == ["b2.JPG", "b10.jpg", "z.webp"]
    found = [Path(p).relative_to(tmp_path).as_posix() for p in scan_directory(tmp_path, recursive=True)]
    assert found == ["b2.JPG", "b10.jpg", "z.webp", "a/c.png", "a/deep/d.tif"]


def test_what_a_scan_leaves_out_is_said(tmp_path, caplog):
    make(tmp_path, "a.jpg", "b.AVIF", "labels.csv", "c.dcm", "d.dcm", "LICENSE", ".hidden", "deep/e.heic")
    assert list(scan_directory(tmp_path)) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.AVIF")]
    assert caplog.messages == [f"{tmp_path}: other files left out: 2 .dcm, 1 without an extension, 1 .csv."]
    caplog.clear()
    assert len(list(scan_directory(tmp_path, recursive=True))) == 2
    assert "1 .heic" in caplog.text
    caplog.clear()
    (tmp_path / "only").mkdir()
    make(tmp_path / "only", "a.jpg")
    assert list(scan_directory(tmp_path / "only"))
    assert not caplog.messages


def test_links_to_folders_are_not_followed(tmp_path):
    make(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(list(scan_directory(tmp_path, recursive=True))) == 1


def test_a_folder_that_cannot_be_listed(tmp_path):
    with pytest.raises(InvalidArgumentError, match="cannot be listed"):
        list(scan_directory(tmp_path / "none"))


def test_a_subfolder_that_vanishes_is_no_usage_error(tmp_path):
    make(tmp_path, "1.jpg", "sub/2.jpg")
    scan = scan_directory(tmp_path, recursive=True)
    next(scan)
    (tmp_path / "sub" / "2.jpg").unlink()
    (tmp_path / "sub").rmdir()
    with pytest.raises(SkinclfError, match="cannot be listed") as caught:
        next(scan)
    assert not isinstance(caught.value, InvalidArgumentError)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.jpg\nb c.jpg\r\n\n  \n d.jpg", ["a.jpg", "b c.jpg", " d.jpg"]),
        (b"\xef\xbb\xbfa.jpg\n", ["a.jpg"]),
        (b"a\nb.jpg\0c.jpg\r\0", ["a\nb.jpg", "c.jpg\r"]),
        ("Läsion-β.jpg\n".encode(), ["Läsion-β.jpg"]),
        (b"\xff.jpg\n", ["\udcff.jpg"]),
        (b"", []),
    ],
)
def test_lists(data, expected):
    assert list(read_list(io.BytesIO(data))) == expected


def test_lists_longer_than_a_block():
    names = [f"folder/{'x' * 50}-{i}.jpg" for i in range(5000)]
    assert list(read_list(io.BytesIO("\n".join(names).encode()))) == names


def test_inputs_keep_names_as_given(tmp_path, monkeypatch):
    make(tmp_path, "d/2.jpg", "d/10.jpg", "one.jpg")
    monkeypatch.chdir(tmp_path)
    found = Inputs(["./one.jpg", "d/", "missing.jpg"])
    assert list(found) == ["./one.jpg", "d/2.jpg", "d/10.jpg", "missing.jpg"]
    assert found.roots == ("d/",)
    assert found.count() == 4


def test_inputs_from_a_list_file(tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("a.jpg\nb.jpg\n")
    found = Inputs(listing=listing)
    assert list(found) == list(found) == ["a.jpg", "b.jpg"]
    assert found.count() == 2
    assert Inputs(listing=io.BytesIO(b"a.jpg")).count() is None


def test_check_finds_what_is_wrong_early(tmp_path):
    make(tmp_path, "sub/1.jpg", "readme.txt")
    with pytest.raises(InvalidArgumentError, match="`recursive`"):
        Inputs([tmp_path]).check()
    Inputs([tmp_path], recursive=True).check()
    Inputs(["missing.jpg"]).check()  # becomes a row
    with pytest.raises(InvalidArgumentError, match="Nothing to predict"):
        Inputs().check()
    with pytest.raises(InvalidArgumentError, match="no such list"):
        Inputs(listing=tmp_path / "none.txt").check()


def test_inputs_are_found_lazily(tmp_path):
    make(tmp_path, "1.jpg", "sub/2.jpg")
    scan = scan_directory(tmp_path, recursive=True)
    assert next(scan).endswith("1.jpg")
    make(tmp_path, "sub/3.jpg")
    assert [Path(p).name for p in scan] == ["2.jpg", "3.jpg"]
