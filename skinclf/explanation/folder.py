"""`MapFolder`: the files of a run, `maps.csv`, `<name>.npy`, `<name>.png`, `index.html` and the manifest."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf._utils.files import replace_file, writing
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.explanation import Explanation
from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import number
from skinclf.jobs.formats import Row, check_columns, csv_bytes, printable, read_csv

#: Columns of what the log-odds of malignancy are made of, with metadata, by key of `MetadataTerms.contributions`.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "image_log_odds": "image",
        "age_log_odds": "age",
        "sex_log_odds": "sex",
        "site_log_odds": "site",
        "fused_log_odds": "total",
    }
)
#: Columns of `maps.csv`; a failed input has `image`, `status` and `error` only.
COLUMNS = (
    "image",
    "target",
    "p",
    "log_odds",
    "predicted_class",
    "method",
    "layer",
    "direction",
    "maximum",
    "mass",
    "centre_x",
    "centre_y",
    "seen",
    "inside_mask",
    *PARTS,
    "map",
    "overlay",
    "status",
    "error",
)


#: Longest stem that is kept, in bytes: file systems take 255 for a name, and temporary files have longer ones.
_LONGEST = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFolder:
    """Folder of maps with its options.

    Attributes:
        path: The folder; made when it is missing.
        resume: Whether to complete an interrupted run, or start one.
        overwrite: Whether to replace the maps of an earlier run.
    """

    path: Path
    resume: bool = False
    overwrite: bool = False

    @property
    def table(self) -> Path:
        """`maps.csv`, one row for each input."""
        return self.path / "maps.csv"

    @property
    def manifest(self) -> Path:
        """The run manifest beside the table."""
        return self.path / "maps.csv.run.json"

    @property
    def page(self) -> Path:
        """`index.html`, pictures and maps side by side."""
        return self.path / "index.html"

    def check(self) -> None:
        """Check early that a run may write here: no file of anything else is replaced.

        Raises:
            InvalidArgumentError: The options exclude each other, the folder holds other files, or it holds maps and
                neither `resume` nor `overwrite` is set.
            OutputError: The folder cannot be made.
        """
        if self.resume and self.overwrite:
            raise InvalidArgumentError("`resume` and `overwrite` exclude each other.", parameter="resume")
        if self.path.exists() and not self.path.is_dir():
            raise InvalidArgumentError(f"{self.path} is a file; expected a folder.", parameter="output")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            filled = any(self.path.iterdir())
        if filled and not self.manifest.is_file():
            raise InvalidArgumentError(
                f"{self.path} holds files that are no maps; name a new or empty folder.", parameter="output"
            )
        if filled and not (self.resume or self.overwrite):
            raise InvalidArgumentError(
                f"{self.path} holds maps already; `resume` completes them and `overwrite` replaces them.",
                parameter="resume",
            )

    def parts(self, methods: Sequence[str]) -> list[MapFolder]:
        """Folders inside this one, named as methods, each checked as by `check`.

        Raises:
            InvalidArgumentError: As for `check`; or this folder holds anything but folders of methods and their page.
            OutputError: A folder cannot be made.
        """
        found = [replace(self, path=self.path / method) for method in methods]
        if self.path.exists() and not self.path.is_dir():
            raise InvalidArgumentError(f"{self.path} is a file; expected a folder.", parameter="output")
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        if names - {*methods, self.page.name} or names == {self.page.name}:
            raise InvalidArgumentError(
                f"{self.path} holds files other than the maps of {', '.join(methods)}; name a new or empty folder.",
                parameter="output",
            )
        for part in found:
            part.check()
        return found

    def clear(self) -> None:
        """Remove the files that the rows of an earlier run name, its page and its table.

        Raises:
            OutputError: A file cannot be removed.
        """
        with writing(self.path):
            for row in self.rows():
                for name in (row["map"], row["overlay"]):
                    if name and Path(name).name == name:
                        (self.path / name).unlink(missing_ok=True)
            self.page.unlink(missing_ok=True)
            self.table.unlink(missing_ok=True)

    def rows(self) -> Iterator[dict[str, str]]:
        """Complete rows of the table, as text by column."""
        if not self.table.is_file():
            return
        with self.table.open("rb") as file:
            for at, (cells, _, _) in enumerate(read_csv(file)):
                check_columns(cells, list(COLUMNS), names=at == 0)
                if at:
                    yield dict(zip(COLUMNS, cells, strict=True))

    def write_map(self, name: str, values: Float32) -> None:
        """Write one map as `.npy`, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        buffer = io.BytesIO()
        np.save(buffer, values.astype("<f4"), allow_pickle=False)
        self.write(f"{name}.npy", buffer.getvalue())

    def write(self, name: str, data: bytes) -> None:
        """Write one file of the folder, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        with writing(self.path / name):
            replace_file(self.path / name, data)


class Names:
    """Names of files for inputs: the stem of each, with a number where an earlier input has it already."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, image: str) -> str:
        """The name for the next input; the same inputs in the same order get the same names."""
        stem = Path(printable(image)).stem or "image"
        if len(stem.encode()) > _LONGEST:
            digest = hashlib.sha256(stem.encode()).hexdigest()[:12]
            stem = f"{stem.encode()[:_LONGEST].decode(errors='ignore')}-{digest}"
        name, number_ = stem, 1
        # File systems may ignore case, and a name such as "a-2" may be an input of its own.
        while name.lower() in self._taken:
            number_ += 1
            name = f"{stem}-{number_}"
        self._taken.add(name.lower())
        return name


class MapRows:
    """Rows of `maps.csv`; a `skinclf.jobs.formats.Format` for what is on disk."""

    def header(self) -> bytes:
        """See `Format.header`."""
        return csv_bytes([COLUMNS])

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """Rows of inputs that failed; see `Format.encode`."""
        return b"".join(failed_row(p) for p in predictions)

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """See `Format.read`."""
        for at, (cells, raw, end) in enumerate(read_csv(file)):
            check_columns(cells, list(COLUMNS), names=at == 0)
            if at:
                yield Row(cells[0], cells[-2], raw, end)


def failed_row(prediction: Prediction) -> bytes:
    """The row of an input that has no map."""
    cells = dict.fromkeys(COLUMNS, "")
    return _encode(
        cells | {"image": prediction.image, "status": prediction.status, "error": prediction.error}
    )


def map_row(
    found: Explanation, name: str, inside: float | None, parts: Mapping[str, float] | None = None
) -> bytes:
    """The row of a map.

    Args:
        found: The explanation.
        name: Name of its files.
        inside: Share of the mass inside the image's mask; None without a mask.
        parts: Contributions of picture and entries to the log-odds of malignancy; None without metadata.
    """
    x, y = found.centre
    numbers = {
        "p": found.probability,
        "log_odds": found.log_odds,
        "maximum": found.maximum,
        "mass": found.mass,
        "centre_x": x,
        "centre_y": y,
        "seen": found.geometry.seen_share,
        "inside_mask": inside,
    }
    texts = {
        "image": found.image,
        "target": found.target,
        "predicted_class": found.prediction.name,
        "method": found.method,
        "layer": found.layer,
        "direction": found.direction,
        "map": f"{name}.npy",
        "overlay": f"{name}.png",
        "status": "ok",
        "error": "",
    }
    # Not as float32: the parts sum to the total.
    shares = {column: "" if parts is None else str(round(parts[key], 9)) for column, key in PARTS.items()}
    return _encode(texts | shares | {key: number(value) for key, value in numbers.items()})


def _encode(cells: dict[str, str]) -> bytes:
    return csv_bytes([[printable(cells[column]) for column in COLUMNS]])
