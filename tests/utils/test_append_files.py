"""Append-only files: locked, taken back in part, readable at any moment."""

from __future__ import annotations

import io

import numpy as np
import pytest

from skinclf._utils.append_files import AppendFile, NpyFile
from skinclf.errors import OutputError


def test_two_runs_do_not_write_one_table(tmp_path):
    pytest.importorskip("fcntl")
    first = AppendFile(tmp_path / "o.csv")
    with pytest.raises(OutputError, match="another process"):
        AppendFile(tmp_path / "o.csv")
    first.close()
    AppendFile(tmp_path / "o.csv").close()


def test_an_error_in_the_middle_of_a_chunk_leaves_the_size_of_before(tmp_path):
    file = AppendFile(tmp_path / "o.csv")
    file.append(b"one\n")
    assert file.size == 4
    file.truncate(0)
    file.append(b"two\n")
    file.close()
    assert (tmp_path / "o.csv").read_bytes() == b"two\n"


def test_npy_files_are_readable_after_every_row(tmp_path):
    path = tmp_path / "v.npy"
    file = NpyFile(path)
    file.append([None, None])
    assert np.load(path).shape == (2, 0)
    file.append([None, np.arange(3, dtype=np.float32)])
    assert np.isnan(np.load(path)[:3]).all()
    file.append([np.full(3, i, np.float32) for i in range(100)])
    assert np.load(path).shape == (104, 3)
    file.close()
    again = NpyFile(path, rows=4)
    again.replace(0, np.ones(3, np.float32))
    again.close()
    assert np.load(path)[[0, 3]].tolist() == [[1, 1, 1], [0, 1, 2]]
    assert np.load(path).shape == (4, 3)


def test_a_file_of_rows_is_what_numpy_writes(tmp_path):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    file = NpyFile(tmp_path / "v.npy")
    file.append(list(rows))
    file.close()
    expected = io.BytesIO()
    np.save(expected, rows)
    assert (tmp_path / "v.npy").read_bytes() == expected.getvalue()


def test_a_file_is_replaced_and_appended_to(tmp_path):
    (tmp_path / "new").write_bytes(b"new\n")
    file = AppendFile(tmp_path / "o.csv")
    file.append(b"old\n")
    file.replace_by(tmp_path / "new")
    file.append(b"more\n")
    file.close()
    assert (tmp_path / "o.csv").read_bytes() == b"new\nmore\n"
    assert not (tmp_path / "new").exists()
