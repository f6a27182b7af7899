"""Rows: columns, numbers that parse back, odd names, and reading back what a kill left."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.errors import MismatchError
from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import Schema, number
from skinclf.jobs.formats import CsvFormat, JsonlFormat, TextFormat, printable
from skinclf.labels import HAM10000, MALIGNANT, parse_labels

VALUES = (0.1, 0.2, 0.3, 0.05, 0.15, 0.1, 0.1)


def prediction(name: str = "a.jpg", values=VALUES, labels=HAM10000, **more) -> Prediction:
    floats = None if values is None else tuple(float(np.float32(v)) for v in values)
    return Prediction(name, labels, floats, 0.5, **more)


FAILED = prediction("bad.jpg", None, status="truncated", error='cut, "off"\nhere')


def test_the_first_columns_are_the_seeds():
    names = list(Schema(HAM10000, 2, {"spread": float}).columns)
    assert names[:4] == ["image", "probability_malignant", "predicted_label", "predicted_class"]
    assert names[4:6] == ["threshold", "flagged"]
    assert names[6:13] == [f"p_{code}" for code in HAM10000.codes]
    assert names[13:] == [
        "top1_class",
        "top1_name",
        "top1_probability",
        "top2_class",
        "top2_name",
        "top2_probability",
        "spread",
        "status",
        "error",
    ]


def test_top_k_is_at_most_the_number_of_classes():
    schema = Schema(MALIGNANT, 9)
    p = prediction(values=(0.25, 0.75), labels=MALIGNANT)
    assert len(schema.values(p)) == len(schema.columns)
    assert schema.values(p)[8:14] == ["malignant", "Malignant", 0.75, "benign", "Benign", 0.25]
    assert len(schema.values(prediction("x", None, MALIGNANT, status="empty"))) == len(schema.columns)


@given(st.floats(0, 1, width=32))
def test_numbers_parse_back_to_the_same_float32(value):
    assert np.float32(number(value)) == np.float32(value)
    assert np.float32(float(number(value))) == np.float32(value)


ODD = [
    "a,b.jpg",
    'say "hi".jpg',
    "line\nbreak.jpg",
    "cr\rname.jpg",
    "=1+1.jpg",
    " space .jpg",
    "ünï-β.jpg",
    "\u202egnp.jpg",
    "-rf.jpg",
    "'.jpg",
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", [CsvFormat, JsonlFormat])
def test_odd_names_survive(name, kind):
    rows = kind(Schema(HAM10000))
    data = rows.header() + rows.encode([prediction(name), FAILED, prediction(name)])
    found = list(rows.read(io.BytesIO(data)))
    assert [r.image for r in found] == [name, "bad.jpg", name]
    assert [r.status for r in found] == ["ok", "truncated", "ok"]
    assert found[-1].end == len(data)
    if kind is CsvFormat:
        parsed = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        assert [row["image"] for row in parsed] == [name, "bad.jpg", name]
        assert parsed[1]["error"] == FAILED.error


def test_undecodable_names_are_written_escaped():
    name = "\udcff.jpg"
    data = CsvFormat(Schema(HAM10000)).encode([prediction(name)])
    assert data.decode("utf-8").startswith("\\udcff.jpg,")
    assert printable(name) == "\\udcff.jpg"


@pytest.mark.parametrize("kind", [CsvFormat, JsonlFormat])
def test_a_torn_end_is_dropped_wherever_it_tears(kind):
    rows = kind(Schema(HAM10000, 1))
    items = [prediction("line\nbreak.jpg"), FAILED, prediction("c.jpg")]
    head, data = len(rows.header()), rows.header() + rows.encode(items)
    ends = [r.end for r in rows.read(io.BytesIO(data))]
    for size in range(head, len(data) + 1):
        found = list(rows.read(io.BytesIO(data[:size])))
        assert len(found) == sum(end <= size for end in ends)
        assert b"".join([rows.header(), *(r.raw for r in found)]) == data[: found[-1].end if found else head]


def test_a_torn_header_has_no_rows():
    rows = CsvFormat(Schema(HAM10000))
    assert list(rows.read(io.BytesIO(rows.header()[:20]))) == []
    assert list(rows.read(io.BytesIO(b""))) == []


@pytest.mark.parametrize("kind", [CsvFormat, JsonlFormat])
def test_a_table_with_other_columns_is_refused(kind):
    old, new = kind(Schema(HAM10000)), kind(Schema(HAM10000, 1))
    data = old.header() + old.encode([prediction()])
    with pytest.raises(MismatchError):
        list(new.read(io.BytesIO(data)))
    with pytest.raises(MismatchError):
        list(new.read(io.BytesIO(b"not,a,table\n1,2,3\n")))


def test_jsonl_holds_the_same_numbers_as_csv():
    schema = Schema(HAM10000, 2, {"spread": float, "flag": bool, "note": str})
    items = [prediction(extra={"spread": 0.1, "flag": True, "note": "x"}), FAILED]
    cells = list(
        csv.DictReader(io.StringIO((CsvFormat(schema).header() + CsvFormat(schema).encode(items)).decode()))
    )
    lines = [json.loads(line) for line in JsonlFormat(schema).encode(items).splitlines()]
    for row, line in zip(cells, lines, strict=True):
        for name, kind in schema.columns.items():
            value = line[name]
            text = "" if value is None else str(int(value)) if kind is bool else str(value)
            if kind is float and value is not None:
                assert np.float32(row[name]) == np.float32(value)
                assert float(row[name]) == value
            else:
                assert row[name] == text


def test_nan_in_an_extra_column_is_an_empty_cell():
    schema = Schema(HAM10000, 0, {"spread": float})
    item = prediction(extra={"spread": float("nan")})
    assert CsvFormat(schema).encode([item]).endswith(b",,ok,\n")
    assert json.loads(JsonlFormat(schema).encode([item]))["spread"] is None


def test_labels_without_malignant_classes_leave_the_cells_empty():
    labels = parse_labels("a,b,c")
    p = prediction(values=(0.2, 0.5, 0.3), labels=labels)
    row = dict(zip(Schema(labels).columns, Schema(labels).values(p), strict=True))
    assert (row["probability_malignant"], row["flagged"], row["predicted_class"]) == (None, None, "b")


def test_text_is_one_line_each():
    assert TextFormat().encode([prediction(), FAILED]).count(b"\n") >= 2
    assert TextFormat().header() == b""
