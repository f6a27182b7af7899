"""Download of public data sets: resumable, checked, with licence and citation on record."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinclf._utils.environment import now
from skinclf._utils.files import sha256_file, writing
from skinclf._utils.json import read_json, write_json
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MissingExtraError, OutputError, SkinclfError
from skinclf_training.data.sources.catalogue import DataSet, RemoteFile, Source, find_dataset
from skinclf_training.data.sources.fetch import ResumingDownload
from skinclf_training.data.sources.unpack import unpack

log = logging.getLogger("skinclf")

RECORD = "SOURCE.json"
Progress = Callable[[str, int, "int | None"], None]


class _UnavailableError(SkinclfError):
    """A source does not deliver; another one may."""


def download(
    name: str,
    folder: Path,
    *,
    source: str | None = None,
    mirrors: Sequence[str] = (),
    keep_archives: bool = True,
    attempts: int = 5,
    pause: float = 2.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fetch and unpack a data set; a second call continues where the first stopped and checks existing files.

    Args:
        name: Name of the data set, `ham10000` or `isic2019`.
        folder: Folder for the files and `SOURCE.json`.
        source: Name of a source of the data set; None tries those without a token in turn.
        mirrors: Base URLs to use instead of the source's own, in turn; with the same files below them.
        keep_archives: Whether archives are kept after unpacking.
        attempts: Number of attempts in a row without a byte before the next mirror is asked.
        pause: Seconds between attempts, doubled each time.
        progress: Function that is called with file name, bytes so far and bytes in all (None: unknown).

    Returns:
        The record, as written to `SOURCE.json`.

    Raises:
        InvalidArgumentError: The name or source is unknown, the Kaggle token is missing, or an archive is damaged.
        SkinclfError: No source delivers the files, or their checksums differ.
        OutputError: The folder cannot be written or the disk is full.
        MissingExtraError: pooch is not installed.
    """
    dataset = find_dataset(name)
    choice = _choose(dataset, source, first_only=bool(mirrors))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    before = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    failures = []
    for chosen in choice:
        fetcher = _Fetcher(
            folder, dataset.sources[chosen], mirrors, before.get("files", {}), attempts, pause, progress
        )
        record: dict[str, Any] = {
            "schema": 1,
            "data_set": name.lower(),
            "title": dataset.title,
            "page": dataset.page,
            "licence": dataset.licence,
            "citations": list(dataset.citations),
            "source": chosen,
            "skinclf_version": __version__,
            "date": now(),
            "files": {},
        }
        try:
            for file in dataset.sources[chosen].files:
                record["files"][file.name] = fetcher.get(file)
                write_json(folder / RECORD, {**record, "complete": False})
        except _UnavailableError as error:
            failures.append(str(error))
            log.warning("%s", error)
            continue
        for file in dataset.sources[chosen].files:
            _open(folder, file, record["files"][file.name], keep=keep_archives)
            write_json(folder / RECORD, {**record, "complete": False})
        write_json(folder / RECORD, record := {**record, "complete": True})
        return record
    raise SkinclfError(
        " ".join(failures) + " Check the network and any proxy and download again: complete files are "
        f"kept. By hand: {dataset.page}, unpacked into {folder}."
    )


def label_tables(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """The tables of a downloaded data set that `prepare` reads, labels first."""
    patterns = find_dataset(str(record["data_set"])).sources[str(record["source"])].labels
    return [min(found) for pattern in patterns if (found := list(folder.rglob(pattern)))]


def _choose(dataset: DataSet, source: str | None, *, first_only: bool) -> list[str]:
    if source is None:
        free = [name for name, s in dataset.sources.items() if not s.token]
        return free[:1] if first_only else free
    if source not in dataset.sources:
        raise InvalidArgumentError(
            f"Unknown source {source!r}; expected one of {', '.join(dataset.sources)}."
        )
    return [source]


def _open(folder: Path, file: RemoteFile, entry: dict[str, Any], *, keep: bool) -> None:
    archive = folder / file.name
    if archive.suffix != ".zip" or not archive.is_file():
        return
    log.info("Unpacking %s", archive)
    entry["unpacked"] = unpack(archive, folder, members=file.members)
    if not keep:
        archive.unlink()


class _Fetcher:
    """Fetches the files of one source, asking its mirrors in turn."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        mirrors: Sequence[str],
        before: Mapping[str, Any],
        attempts: int,
        pause: float,
        progress: Progress | None,
    ) -> None:
        self._folder, self._bases = folder, tuple(mirrors) or source.bases
        self._headers = _kaggle_token() if source.token else {}
        self._before, self._attempts, self._pause, self._progress = before, attempts, pause, progress

    def get(self, file: RemoteFile) -> dict[str, Any]:
        """Fetch one file, or check the one that is there.

        Raises:
            _UnavailableError: No mirror delivers what it should.
        """
        old = self._before.get(file.name, {})
        path = self._folder / file.name
        if old.get("unpacked") and not path.exists():
            return dict(old)  # the archive was removed after unpacking
        # What the publisher states, else what came first; either way a later change does not go unseen.
        expected = file.checksum or (f"sha256:{old['sha256']}" if "sha256" in old else None)
        reasons = []
        for base in self._bases:
            url = f"{base.rstrip('/')}/{file.path or file.name}"
            try:
                self._retrieve(url, file.name, expected)
            except _UnavailableError as error:
                reasons.append(f"{base}: {error}")
                continue
            sha256 = sha256_file(path)
            return {
                "url": old["url"] if old.get("sha256") == sha256 else url,
                "bytes": path.stat().st_size,
                "sha256": sha256,
                "checked_against": "publisher" if file.checksum else ("first download" if expected else None),
            }
        raise _UnavailableError(f"{file.name} cannot be fetched ({'; '.join(reasons)}).")

    def _retrieve(self, url: str, name: str, expected: str | None) -> None:
        try:
            import pooch
            import requests
        except ImportError:
            raise MissingExtraError("train", "Downloading data") from None
        pooch.get_logger().setLevel(logging.ERROR)  # its advice on hashes is for programmers
        show = self._progress
        getter = ResumingDownload(
            self._folder / f"{name}.part",
            headers=self._headers,
            attempts=self._attempts,
            pause=self._pause,
            progress=None if show is None else lambda done, total: show(name, done, total),
        )
        try:
            pooch.retrieve(url, known_hash=expected, fname=name, path=self._folder, downloader=getter)
        except requests.HTTPError as error:
            code = None if error.response is None else error.response.status_code
            hint = ", is the Kaggle token valid?" if self._headers and code in {401, 403} else ""
            raise _UnavailableError(f"the server answered {code}{hint}") from None
        except requests.RequestException as error:
            raise _UnavailableError(_network(error)) from None
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written: {error.strerror or error}.") from None
        except ValueError:
            raise _UnavailableError(f"what came has not the expected checksum {expected}") from None


def _network(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return "the name cannot be resolved; is this machine offline?"
    if isinstance(error, requests.ConnectionError) and "Max retries" in str(error):
        return "no connection; is this machine offline?"
    return f"the connection was cut: {error}"


def _kaggle_token() -> dict[str, str]:
    """Authorization header of the Kaggle API, from the places that Kaggle's own client reads.

    Raises:
        InvalidArgumentError: No token is found.
    """
    if token := os.environ.get("KAGGLE_API_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if not (user and key):
        path = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle")) / "kaggle.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            user, key = str(data["username"]), str(data["key"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InvalidArgumentError(
                "Kaggle wants a token: make one under Settings, API on kaggle.com and set KAGGLE_API_TOKEN, or "
                f"KAGGLE_USERNAME and KAGGLE_KEY, or save {path}. The other sources need none."
            ) from None
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode("ascii")}
