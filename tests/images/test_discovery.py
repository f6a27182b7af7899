"""Finding inputs: order, laziness, lists and odd names."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.images.discovery import Inputs, scan_directory
from skinclf.images.formats import HEIF_ADVICE


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


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("skinclf.images.formats.has_heif", lambda: False)


@pytest.mark.usefixtures("without_heif")
def test_what_a_scan_leaves_out_is_said(tmp_path, caplog):
    make(tmp_path, "a.jpg", "b.AVIF", "labels.csv", "c.pdf", "d.pdf", "LICENSE", ".hidden", "deep/e.heic")
    assert list(scan_directory(tmp_path)) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.AVIF")]
    assert caplog.messages == [
        f"{tmp_path}: other files left out: 2 .pdf, 1 without an extension, 1 .csv.",
        f"{tmp_path}: 1 image in 1 subfolder is left out; `recursive` includes subfolders.",
    ]
    caplog.clear()
    assert len(list(scan_directory(tmp_path, recursive=True))) == 2
    assert caplog.messages == [
        f"{tmp_path}: other files left out: 2 .pdf, 1 without an extension, 1 .csv, 1 .heic.",
        f"{tmp_path}: 1 of them is HEIC, the format of iPhone photographs: {HEIF_ADVICE}.",
    ]
    caplog.clear()
    (tmp_path / "only").mkdir()
    make(tmp_path / "only", "a.jpg")
    assert list(scan_directory(tmp_path / "only"))
    assert not caplog.messages


def test_links_to_folders_are_not_followed(tmp_path):
    make(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(list(scan_directory(tmp_path, recursive=True))) == 1


def test_images_in_subfolders_are_counted_once_with_all_that_is_below(tmp_path, caplog):
    make(tmp_path, "1.jpg", "a/2.jpg", "a/deep/3.png", "b/4.JFIF", "notes/text.txt", ".git/5.jpg", "a/.6.jpg")
    (tmp_path / "empty").mkdir()
    assert len(list(scan_directory(tmp_path))) == 1
    assert caplog.messages == [
        f"{tmp_path}: 3 images in 2 subfolders are left out; `recursive` includes subfolders."
    ]
    caplog.clear()
    assert len(list(scan_directory(tmp_path, recursive=True))) == 4
    assert caplog.messages == [f"{tmp_path}: other files left out: 1 .txt."]


@pytest.mark.parametrize("recursive", [False, True])
def test_images_in_linked_folders_are_counted(recursive, tmp_path, caplog):
    make(tmp_path, "elsewhere/1.jpg", "elsewhere/deep/2.jpg", "top/3.jpg")
    (tmp_path / "top" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "top")
    found = list(scan_directory(tmp_path / "top", recursive=recursive))
    assert found == [str(tmp_path / "top" / "3.jpg")]
    advice = "links to folders are not followed: name those folders themselves"
    assert caplog.messages == [f"{tmp_path / 'top'}: 2 images in 1 linked folder are left out; {advice}."]


def test_links_into_the_scanned_tree_hide_no_image(tmp_path, caplog):
    make(tmp_path, "1.jpg", "a/2.jpg")
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "a")
    assert len(list(scan_directory(tmp_path, recursive=True))) == 2
    assert not caplog.messages
    assert len(list(scan_directory(tmp_path))) == 1
    assert caplog.messages == [
        f"{tmp_path}: 1 image in 1 subfolder is left out; `recursive` includes subfolders."
    ]


def test_counting_ends_in_a_huge_tree(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("skinclf.images.left_out._MOST_ENTRIES", 3)
    make(tmp_path, "1.jpg", *(f"a/{i}.jpg" for i in range(9)))
    assert len(list(scan_directory(tmp_path))) == 1
    assert "more than 3 images in 1 subfolder are left out" in caplog.text


ENDINGS = [
    "jpg",
    "jpeg",
    "jpe",
    "jif",
    "jfif",
    "pjpeg",
    "mpo",
    "png",
    "apng",
    "bmp",
    "dib",
    "tif",
    "tiff",
    "webp",
    "gif",
    "jp2",
    "j2k",
    "jpx",
    "j2c",
    "avif",
    "ppm",
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_usual_ending_is_taken(ending, tmp_path, caplog):
    make(tmp_path, f"a.{ending}", f"b.{ending.upper()}")
    assert len(list(scan_directory(tmp_path))) == 2
    assert not caplog.messages


@pytest.mark.usefixtures("without_heif")
def test_a_folder_of_heic_alone_says_what_to_do(tmp_path):
    make(tmp_path, "a.heic", "b.HEIF")
    with pytest.raises(InvalidArgumentError, match=r"2 HEIC files: install the extra `heif`"):
        Inputs([tmp_path]).check()


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
