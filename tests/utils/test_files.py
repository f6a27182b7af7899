"""Files are written whole or not at all, and an error names the path."""

from __future__ import annotations

import errno
import hashlib
import shutil

import pytest

from skinclf._utils.files import (
    copy_file,
    hash_file,
    replace_file,
    sha256_file,
    write_bytes,
    write_text,
    writing,
)
from skinclf.errors import OutputError


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    write_bytes(path, b"new")
    replace_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match=r"a\.txt: cannot be written: No space left on device\."):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_copied_whole_into_a_new_folder(tmp_path, monkeypatch):
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"content")
    assert copy_file(source, target) == target
    assert target.read_bytes() == b"content"

    def torn(_: object, to: object) -> None:
        write_bytes(to, b"cont")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", torn)
    with pytest.raises(OSError, match="No space"):
        copy_file(source, target.with_name("c"))
    assert [p.name for p in target.parent.iterdir()] == ["b"]


def test_errors_of_the_operating_system_name_the_path(tmp_path):
    with (
        pytest.raises(OutputError, match=r"^place: cannot be written: Is a directory\.$"),
        writing("place"),
    ):
        raise OSError(errno.EISDIR, "Is a directory")
    with pytest.raises(OutputError, match=r"^as it was$"), writing("place"):
        raise OutputError("as it was")
    with pytest.raises(ValueError, match="not a file"), writing("place"):
        raise ValueError("not a file")


def test_hashes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    git = hashlib.sha1(b"blob 7\0content").hexdigest()
    assert sha256_file(path) == sha256
    assert hash_file(path) == hash_file(path, sha256) == hash_file(path, git) == (sha256, True)
    assert hash_file(path, git[::-1]) == (sha256, False)
