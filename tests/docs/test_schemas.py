"""docs/schemas describes what skinclf writes: real outputs of each kind fit, with no key that is not described."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

jsonschema = pytest.importorskip("jsonschema", reason="schemas are validated by jsonschema (extra `dev`)")

from skinclf.labels import HAM10000
from skinclf_cli.main import run

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
CODES = HAM10000.codes


def strict(schema: Any) -> Any:
    """A schema that allows no key it does not describe."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    closed = isinstance(made.get("properties"), dict) and "object" in made.get("type", ())
    return made | {"additionalProperties": False} if closed and "additionalProperties" not in made else made


def validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(strict(schema))


def check(name: str, path: Path) -> None:
    found = [
        f"{list(e.absolute_path)}: {e.message[:200]}"
        for e in validator(name).iter_errors(json.loads(path.read_text()))
    ]
    assert found == [], path.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with the outputs of the commands below."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "imgs").symlink_to(ROOT / "examples" / "images")
    (folder / "bad").mkdir()
    (folder / "bad" / "broken.jpg").write_bytes(b"\xff\xd8no")
    shutil.copy(ROOT / "examples" / "images" / "synthetic-01.jpg", folder / "bad")
    names = sorted(path.stem for path in (ROOT / "examples" / "images").glob("*.jpg"))
    rows = [f"{n},L{i // 2},{CODES[i // 2 % 7]},{'fm'[i % 2]}" for i, n in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["image,lesion_id,dx,sex", *rows]) + "\n")
    costs = [f"{row}," + ",".join("0" if row == column else "1" for column in CODES) for row in CODES]
    (folder / "costs.csv").write_text("\n".join([f",{','.join(CODES)}", *costs]) + "\n")
    commands = (
        "conformal --coverage 0.9",
        "predict --image-dir bad/ -o turned.jsonl --tta flips",
        "tune-threshold --target-sensitivity 0.9 --grade guaranteed --group-by lesion_id --output lesion.json",
        "tune-threshold --target-sensitivity 0.9 --per-class --prevalence 0.05 --output class.json",
        "tune-threshold --cost-ratio 10 --cost-matrix costs.csv --output cost.json",
        "predict --image-dir bad/ -o all.jsonl --refer-below 0.6 --top-k 2 --conformal conformal.json",
        "predict --image-dir imgs/ --output part-1.csv --shard 1/2 --threshold class.json",
        "predict --image-dir imgs/ --output part-2.csv --shard 2/2 --threshold class.json",
        "merge part-1.csv part-2.csv --output whole.csv",
        "predict --image-dir imgs/ --output both.csv --model ham10000-mobilenetv2 --model ham10000-efficientnet-lite0",
        "tune-threshold --youden --predictions whole.csv --labels labels.csv --output own.json",
        "evaluate --predictions whole.csv --labels labels.csv --threshold class.json --output plain",
        "evaluate --predictions whole.csv --labels labels.csv --output rich --compare both.csv --subgroup sex",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands:
            assert run(["-q", *shlex.split(command)]) in {0, 3}, command
    return folder


def test_run_manifests(folder: Path) -> None:
    paths = sorted(folder.glob("*.run.json"))
    assert len(paths) == 6
    for path in paths:
        check("run.json", path)


def test_threshold_files(folder: Path) -> None:
    for name in ("lesion", "class", "cost", "own"):
        check("threshold.json", folder / f"{name}.json")


def test_metrics(folder: Path) -> None:
    cards = sorted((ROOT / "model_cards").glob("*/metrics.json"))
    assert len(cards) >= 2
    for path in (folder / "plain" / "metrics.json", folder / "rich" / "metrics.json", *cards):
        check("metrics.json", path)


def test_rows(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} > {"ok"}
    for row in rows:
        assert list(validator("row.json").iter_errors(row)) == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("threshold.json", ("threshold",), 1.5),
        ("threshold.json", ("intervals", "sensitivity", "width"), 0.1),
        ("threshold.json", ("grade",), "certain"),
        ("metrics.json", ("binary", "new_metric"), 0.5),
        ("metrics.json", ("multiclass", "accuracy"), 0.5),
        ("run.json", ("identity", "columns", "image"), "text"),
        ("run.json", ("counts", "lost"), 1),
    ],
)
def test_what_does_not_fit_is_found(folder: Path, name: str, path: tuple[str, ...], value: object) -> None:
    source = {
        "threshold.json": "own.json",
        "metrics.json": "plain/metrics.json",
        "run.json": "whole.csv.run.json",
    }
    data = json.loads((folder / source[name]).read_text())
    assert validator(name).is_valid(data)
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert not validator(name).is_valid(data)


def test_a_missing_key_is_found(folder: Path) -> None:
    data = json.loads((folder / "own.json").read_text())
    del data["claim"]
    assert not validator("threshold.json").is_valid(data)
