"""Lists of paths in every encoding that systems write."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf.images.path_list import read_list


class Slow(io.BytesIO):
    """A stream that gives one byte at a time."""

    def read1(self, size: int = -1, /) -> bytes:
        return super().read(1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.jpg\nb c.jpg\r\n\n  \n d.jpg", ["a.jpg", "b c.jpg", " d.jpg"]),
        (b"\xef\xbb\xbfa.jpg\n", ["a.jpg"]),
        (b"a\nb.jpg\0c.jpg\r\0", ["a\nb.jpg", "c.jpg\r"]),
        ("Läsion-β.jpg\n".encode(), ["Läsion-β.jpg"]),
        (b"\xff.jpg\n", ["\udcff.jpg"]),
        (b"", []),
        (b'"C:\\a b.jpg"\r\n"b.jpg"\n', ["C:\\a b.jpg", "b.jpg"]),
        (b'a"b".jpg\n""\n"a" and "b"\n"a.jpg\n', ['a"b".jpg', '""', '"a" and "b"', '"a.jpg']),
        (b'"a.jpg"\0', ['"a.jpg"']),
    ],
)
def test_lists(data, expected):
    assert list(read_list(io.BytesIO(data))) == expected


def test_lists_longer_than_a_block():
    names = [f"folder/{'x' * 50}-{i}.jpg" for i in range(5000)]
    assert list(read_list(io.BytesIO("\n".join(names).encode()))) == names


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("stream", [io.BytesIO, Slow])
def test_a_byte_order_mark_decides(encoding, stream):
    text = "\ufeffC:\\imgs\\a.jpg\r\nLäsion-β.jpg\r\n\r\n皮膚.png\r\n"
    assert list(read_list(stream(text.encode(encoding)))) == ["C:\\imgs\\a.jpg", "Läsion-β.jpg", "皮膚.png"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a.jpg", "a.jpg\nb.jpg\n", "Lä/1.png\r\n"])
def test_utf_16_without_a_mark(encoding, text):
    assert list(read_list(io.BytesIO(text.encode(encoding)))) == text.split()


def test_names_of_one_letter_separated_by_nul_are_no_utf_16():
    assert list(read_list(io.BytesIO(b"a\0b\0c\0"))) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "data", [b"\xff\xfea\0.", b"\xff\xfe\0\xd8a\0", b"\xfe\xff\0a\xd8", b"\xff\xfe\0\0a"]
)
def test_damaged_text_is_refused(data):
    with pytest.raises(InvalidArgumentError, match=r"The list begins as UTF-(16|32)-.E and is damaged"):
        list(read_list(io.BytesIO(data)))


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1)))
def test_every_encoding_gives_the_same_names(names):
    text = "\ufeff" + "\n".join(names)
    lists = [list(read_list(io.BytesIO(text.encode(e)))) for e in ("utf-8", "utf-16-le", "utf-32-be")]
    assert lists[0] == lists[1] == lists[2] == [n for n in names if n.encode().strip()]


def test_a_pointer_in_place_of_a_list_is_named():
    with pytest.raises(InvalidArgumentError, match="Git LFS pointer"):
        list(read_list(io.BytesIO(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")))
