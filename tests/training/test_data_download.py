"""Downloading from a real server on this machine that cuts, lies and moves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError, OutputError, SkinclfError
from skinclf_training.data.sources import catalogue as sources
from skinclf_training.data.sources.catalogue import DATASETS, DataSet, RemoteFile, Source
from skinclf_training.data.sources.download import download, label_tables
from skinclf_training.data.sources.unpack import unpack


@dataclass
class Server:
    """Files by path, and how the server misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes of a body, one entry per request
    statuses: list[int] = field(default_factory=list)
    etags: bool = True
    log: list[tuple[str, str, str]] = field(default_factory=list)  # path, Range, Authorization
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.log.append((self.path, asked, self.headers.get("Authorization", "")))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            start = 0
            if asked and state.etags and self.headers.get("If-Range") == tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if state.etags:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            body = body[start:]
            if state.cut_after:
                self.wfile.write(body[: state.cut_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    httpd.server_close()


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def isic(server: Server) -> Server:
    """The files of the 2019 challenge, in small."""
    pixels = bytes(range(256)) * 2000
    server.files = {
        "/ISIC_2019_Training_GroundTruth.csv": b"image,MEL,NV\na,1,0\nb,0,1\n",
        "/ISIC_2019_Training_Metadata.csv": b"image,lesion_id\na,L1\nb,L2\n",
        "/ISIC_2019_Training_Input.zip": archive(
            {
                "ISIC_2019_Training_Input/a.jpg": pixels,
                "ISIC_2019_Training_Input/b.jpg": b"x",
                "__MACOSX/a.jpg": b"junk",
            }
        ),
    }
    return server


def fetch(server: Server, folder: Path, **options: object) -> dict[str, object]:
    return download("isic2019", folder, mirrors=[server.url], pause=0.01, attempts=3, **options)  # type: ignore[arg-type]


def test_files_are_fetched_unpacked_and_recorded(isic: Server, tmp_path: Path) -> None:
    record = fetch(isic, tmp_path)
    assert record == json.loads((tmp_path / "SOURCE.json").read_text())
    assert record["complete"] is True
    assert "BY-NC 4.0" in str(record["licence"])
    assert any("BCN20000" in c for c in record["citations"])  # type: ignore[attr-defined]
    assert (tmp_path / "ISIC_2019_Training_Input" / "b.jpg").read_bytes() == b"x"
    assert not (tmp_path / "__MACOSX").exists()
    entry = record["files"]["ISIC_2019_Training_Input.zip"]  # type: ignore[index]
    body = isic.files["/ISIC_2019_Training_Input.zip"]
    assert entry["sha256"] == hashlib.sha256(body).hexdigest()
    assert (entry["bytes"], entry["unpacked"], entry["checked_against"]) == (len(body), 2, None)
    assert [p.name for p in label_tables(record, tmp_path)] == [
        "ISIC_2019_Training_GroundTruth.csv",
        "ISIC_2019_Training_Metadata.csv",
    ]
    # Again: nothing is fetched, everything is compared with the first time.
    isic.log.clear()
    again = fetch(isic, tmp_path)
    assert isic.log == []
    assert again["files"]["ISIC_2019_Training_Input.zip"]["checked_against"] == "first download"  # type: ignore[index]


def test_a_cut_connection_goes_on_where_it_stopped(isic: Server, tmp_path: Path) -> None:
    isic.files = dict(reversed(isic.files.items()))
    isic.cut_after = [10_000_000, 10_000_000, 100_000, 70_000]
    seen: list[tuple[str, int, int | None]] = []
    fetch(isic, tmp_path, progress=lambda *x: seen.append(x))
    asked = [span for path, span, _ in isic.log if path.endswith("Input.zip")]
    assert asked == ["", f"bytes={1 << 16}-", f"bytes={2 << 16}-"]
    total = len(isic.files["/ISIC_2019_Training_Input.zip"])
    assert seen[-1] == ("ISIC_2019_Training_Input.zip", total, total)
    assert not list(tmp_path.glob("*.part*"))


def test_a_later_run_goes_on_and_notices_a_changed_file(isic: Server, tmp_path: Path) -> None:
    isic.cut_after = [10_000_000, 10_000_000, 100_000, 0, 0, 0]
    with pytest.raises(SkinclfError, match=r"Input.zip cannot be fetched .*cut"):
        fetch(isic, tmp_path)
    part = tmp_path / "ISIC_2019_Training_Input.zip.part"
    assert part.stat().st_size == 1 << 16
    isic.log.clear()
    isic.files["/ISIC_2019_Training_Input.zip"] = archive({"ISIC_2019_Training_Input/a.jpg": b"new" * 50_000})
    fetch(isic, tmp_path)
    assert [span for _, span, _ in isic.log] == [f"bytes={1 << 16}-"]  # asked for the rest, took the whole
    assert (tmp_path / "ISIC_2019_Training_Input" / "a.jpg").read_bytes() == b"new" * 50_000


def test_without_a_version_mark_it_begins_anew(isic: Server, tmp_path: Path) -> None:
    isic.etags, isic.cut_after = False, [10_000_000, 10_000_000, 100_000]
    fetch(isic, tmp_path)
    assert all(span == "" for _, span, _ in isic.log)


def test_an_overloaded_server_is_asked_again(isic: Server, tmp_path: Path) -> None:
    isic.statuses = [503, 429]
    assert fetch(isic, tmp_path)["complete"] is True


def test_a_wrong_checksum_moves_on_to_the_next_mirror(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = b"image_id,dx,lesion_id\na,nv,1\n"
    file = RemoteFile(name="labels.csv", checksum=f"md5:{hashlib.md5(good).hexdigest()}")
    source = Source(
        bases=(f"{server.url}/bad", f"{server.url}/gone", f"{server.url}/good"),
        files=(file,),
        labels=("*.csv",),
    )
    dataset = DataSet(
        title="t", page="p", licence="l", citations=(), taxonomy="ham10000", sources={"here": source}
    )
    monkeypatch.setitem(sources.DATASETS, "toy", dataset)  # type: ignore[arg-type]
    server.files = {"/bad/labels.csv": b"tampered", "/good/labels.csv": good}
    record = download("toy", tmp_path, pause=0)
    assert record["files"]["labels.csv"]["url"] == f"{server.url}/good/labels.csv"
    assert record["files"]["labels.csv"]["checked_against"] == "publisher"
    assert (tmp_path / "labels.csv").read_bytes() == good
    server.files.pop("/good/labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"damaged on disk")
    with pytest.raises(SkinclfError, match=r"expected checksum md5.*answered 404.*answered 404"):
        download("toy", tmp_path, pause=0)


def test_a_file_that_changed_after_the_first_download_is_refused(isic: Server, tmp_path: Path) -> None:
    fetch(isic, tmp_path)
    (tmp_path / "ISIC_2019_Training_Metadata.csv").unlink()
    isic.files["/ISIC_2019_Training_Metadata.csv"] = b"image,lesion_id\na,other\n"
    with pytest.raises(SkinclfError, match=r"Metadata.csv cannot be fetched .*expected checksum sha256"):
        fetch(isic, tmp_path)


def test_the_next_source_is_tried(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RemoteFile(name="a.csv")
    dataset = DataSet(
        title="t",
        page="p",
        licence="l",
        citations=(),
        taxonomy="ham10000",
        sources={
            "first": Source(bases=(f"{server.url}/x",), files=(file,), labels=("a.csv",)),
            "token": Source(bases=(f"{server.url}/y",), files=(file,), labels=("a.csv",), token=True),
            "second": Source(bases=(f"{server.url}/z",), files=(file,), labels=("a.csv",)),
        },
    )
    monkeypatch.setitem(sources.DATASETS, "toy", dataset)  # type: ignore[arg-type]
    server.files = {"/z/a.csv": b"1"}
    assert download("toy", tmp_path, pause=0)["source"] == "second"
    assert all(not path.startswith("/y") for path, _, _ in server.log)


def test_offline_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        SkinclfError, match=r"no connection; is this machine offline\?.*By hand: https://challenge"
    ):
        download("isic2019", tmp_path, mirrors=["http://127.0.0.1:9"], pause=0, attempts=1)


def test_a_full_disk_is_one_sentence(isic: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"GB are still to come and 0.0 GB free. Make room"):
        fetch(isic, tmp_path)


def test_archives_can_be_removed(isic: Server, tmp_path: Path) -> None:
    fetch(isic, tmp_path, keep_archives=False)
    assert not (tmp_path / "ISIC_2019_Training_Input.zip").exists()
    isic.log.clear()
    again = fetch(isic, tmp_path, keep_archives=False)
    assert isic.log == []
    assert again["files"]["ISIC_2019_Training_Input.zip"]["unpacked"] == 2  # type: ignore[index]


# --- Kaggle -----------------------------------------------------------------------------------


def test_kaggle_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    with pytest.raises(InvalidArgumentError, match=r"Kaggle wants a token.*kaggle\.json"):
        download("ham10000", tmp_path, source="kaggle")
    with pytest.raises(InvalidArgumentError, match="expected one of dataverse, isic, kaggle"):
        download("ham10000", tmp_path, source="nowhere")
    with pytest.raises(InvalidArgumentError, match="expected one of ham10000, isic2019"):
        download("imagenet", tmp_path)


def test_kaggle_takes_what_is_wanted_of_its_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "secret"}')
    body = archive(
        {
            "HAM10000_images_part_1/a.jpg": b"1",
            "ham10000_images_part_1/a.jpg": b"1",
            "HAM10000_metadata.csv": b"x",
        }
    )
    server.files = {"/kmader/skin-cancer-mnist-ham10000": body}
    out = tmp_path / "out"
    record = download("ham10000", out, source="kaggle", mirrors=[server.url], pause=0)
    assert server.log[0][2] == "Basic " + base64.b64encode(b"me:secret").decode()
    assert "secret" not in (out / "SOURCE.json").read_text()
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.jpg")) == [
        "HAM10000_images_part_1/a.jpg"
    ]
    assert label_tables(record, out) == [out / "HAM10000_metadata.csv"]
    monkeypatch.setenv("KAGGLE_API_TOKEN", "new")
    server.statuses = [401]
    with pytest.raises(SkinclfError, match="answered 401, is the Kaggle token valid"):
        download("ham10000", tmp_path / "again", source="kaggle", mirrors=[server.url], pause=0)
    assert server.log[-1][2] == "Bearer new"


# --- archives ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "/evil.jpg", "a/../../evil.jpg", "C:/evil.jpg", "a\\..\\evil.jpg"]
)
def test_members_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "x.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("good.jpg", b"1")
        content.writestr(name, b"2")
    with pytest.raises(InvalidArgumentError, match="would land outside"):
        unpack(path, tmp_path / "in")
    assert [p.name for p in tmp_path.rglob("*.jpg")] == []


def test_links_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as content:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        content.writestr(info, "/etc/passwd")
    with pytest.raises(InvalidArgumentError, match="would land outside"):
        unpack(path, tmp_path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(InvalidArgumentError, match="damaged"):
        unpack(path, tmp_path)
    path.write_bytes(archive({"a.jpg": b"1234567890" * 100}).replace(b"1234567890", b"1234567891", 1))
    with pytest.raises(InvalidArgumentError, match=r"damaged.*Bad CRC"):
        unpack(path, tmp_path)
    assert not list(tmp_path.rglob("*.jpg"))
    path.write_bytes(archive({"a.jpg": b"1"}))
    with pytest.raises(InvalidArgumentError, match="holds none of b"):
        unpack(path, tmp_path, members=["b*"])


def test_unpacking_again_touches_only_what_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(archive({"a.jpg": b"11", "b.jpg": b"22"}))
    assert unpack(path, tmp_path) == 2
    kept, cut = tmp_path / "x" / "a.jpg", tmp_path / "x" / "b.jpg"
    before = kept.stat().st_mtime_ns
    cut.write_bytes(b"2")
    assert unpack(path, tmp_path) == 2
    assert (kept.stat().st_mtime_ns, cut.read_bytes()) == (before, b"22")


def test_the_catalogue_names_a_licence_and_plain_files() -> None:
    for dataset in DATASETS.values():
        assert dataset.licence.startswith("CC ")
        assert dataset.citations
        for source in dataset.sources.values():
            assert all(base.startswith("https://") for base in source.bases)
            assert all("/" not in file.name for file in source.files)
