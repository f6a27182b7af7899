"""The truth of a labels table as each of the commands sees it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from skinclf.decisions.held_out import read_held_out
from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.inputs import join_split, open_labels
from skinclf.evaluation.labelled_predictions import label_predictions
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.tables.predictions import label_set_of, read_predictions
from skinclf.tables.reference import LabelOptions
from skinclf_training.data.reading.metadata import read_records
from skinclf_training.data.reading.targets import to_taxonomy


def write_table(path: Path, columns: Mapping[str, Sequence[str]], separator: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def predict(path: Path, names: Sequence[str]) -> Path:
    p = np.random.default_rng(0).dirichlet(np.ones(7), len(names)).round(6)
    p[:, 0] += 1 - p.sum(axis=1)
    columns = {"image": [f"{name}.jpg" for name in names]}
    return write_table(
        path, columns | {f"p_{c}": list(map(str, p[:, k])) for k, c in enumerate(HAM10000.codes)}
    )


def truths(labels: Path, predictions: Path, options: LabelOptions) -> list[object]:
    """Malignant or not by image, as each of the commands sees it; the sentence where it refuses."""
    found: list[object] = []

    def look(see: object) -> None:
        try:
            found.append(see())  # type: ignore[operator]
        except InvalidArgumentError as error:
            found.append(type(error))

    def evaluated() -> dict[str, int]:
        table = read_predictions(predictions)
        known = label_set_of(table)
        cases = label_predictions(join_split(table, *open_labels(labels, known, None, options)), labels=known)
        assert cases.positive is not None
        return {name.removesuffix(".jpg"): int(y) for name, y in zip(cases.ids, cases.positive, strict=True)}

    def decided() -> dict[str, int]:
        held_out = read_held_out(predictions=predictions, labels=labels, label_options=options)
        y = held_out.joined.binary(None, held_out.classes)[0]
        codes = held_out.class_codes
        if codes is not None:  # what calibrate and conformal fit on
            assert [int(code in {"akiec", "bcc", "mel"}) for code in codes] == y.tolist()
        names = held_out.joined.predictions.ids
        return {name.removesuffix(".jpg"): int(value) for name, value in zip(names, y, strict=True)}

    def prepared() -> dict[str, int]:
        read = read_records([labels], labels=MALIGNANT, options=options)
        targets = to_taxonomy(read.records, MALIGNANT, dropped_before=read.dropped)
        return {r.image: int(r.label == "malignant") for r in targets.records}

    for see in (evaluated, decided, prepared):
        look(see)
    return found
