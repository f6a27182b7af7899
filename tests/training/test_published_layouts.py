"""Random tables in the layouts of public data sets: the same truth in every command, contradictions refused by all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.label_truths import predict, truths

from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000
from skinclf.tables.reference import LabelOptions
from skinclf_training.data.reading.metadata import read_records

_LONG = {
    "akiec": ["Actinic keratosis", "ACK", "Solar or actinic keratosis"],
    "bcc": ["basal cell carcinoma", "BCC", "Basal cell carcinoma, NOS"],
    "bkl": ["SEK", "pigmented benign keratosis", "Seborrheic keratosis"],
    "df": ["dermatofibroma", "DF"],
    "mel": ["Melanoma, NOS", "melanoma (in situ)", "MEL"],
    "nv": ["NEV", "clark nevus", "Nevus, Atypical, Dysplastic, or Clark"],
    "vasc": ["vascular lesion", "Hemangioma"],
}
_MALIGNANT = {"akiec", "bcc", "mel"}
_IDS = [
    "image",
    "Image ID",
    "isic_id",
    "img_id",
    "image_name",
    "FILENAME",
    "DDI_file",
    "bcn_filename",
    "image_path",
]
_WORDS = [("0", "1"), ("0.0", "1.0"), ("benign", "malignant"), ("False", "True"), ("no", "yes")]
_MISSING = ["", "NA", "nan", "None", "NULL", "n/a", "."]


def marks(truth: Sequence[str | None], draw: st.DrawFn) -> dict[str, list[str]]:
    """One column per class, of all classes or of those that occur, at times with UNK."""
    present = [c for c in HAM10000.codes if c in truth or draw(st.booleans())]
    if len(present) < 2:
        present = list(HAM10000.codes)
    zero, one = draw(st.sampled_from([("0", "1"), ("0.0", "1.0"), ("False", "True"), ("", "X")]))
    unk = draw(st.booleans())
    blank = "" if not unk else zero
    columns = {
        code.upper(): [blank if t is None else one if t == code else zero for t in truth] for code in present
    }
    return columns | ({"UNK": [one if t is None else zero for t in truth]} if unk else {})


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[str], list[str | None], dict[str, list[str]], bool]:
    """Names, class of each (None where it is unknown), columns, and whether two of them contradict each other."""
    truth: list[str | None] = [
        "mel",
        "nv",
        *draw(st.lists(st.sampled_from([*HAM10000.codes, None]), max_size=8)),
    ]
    missing = draw(st.sampled_from(_MISSING))
    columns: dict[str, list[str]] = {}
    if draw(st.booleans()):
        name = draw(st.sampled_from(["dx", "Diagnosis", "diagnostic", "diagnosis_3", "label", "class_name"]))
        columns[name] = [missing if t is None else draw(st.sampled_from([t, *_LONG[t]])) for t in truth]
    if not columns or draw(st.booleans()):
        columns |= marks(truth, draw)
    wrong = False
    if draw(st.booleans()):
        words = draw(st.sampled_from(_WORDS))
        name = draw(st.sampled_from(["target", "malignant", "benign_malignant", "y_true"]))
        cells = [missing if t is None else words[t in _MALIGNANT] for t in truth]
        if wrong := "class_name" not in columns and draw(st.booleans()):
            cells[0] = words[0]
        columns[name] = cells
    names = [f"I{k}" for k in range(len(truth))]
    return names, truth, columns, wrong


def save(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], data: st.DataObject) -> None:
    """A file as a spreadsheet or a program writes it: separator, encoding, blank rows, a column without content."""
    separator = data.draw(st.sampled_from(",;\t|"))
    blank = separator * (len(header) - 1)
    lines = [separator.join(f'"{cell}"' for cell in row) for row in [header, *rows]]
    if data.draw(st.booleans()):
        lines = [f"{line}{separator}" for line in lines]
        blank += separator
    for _ in range(data.draw(st.integers(0, 2))):
        lines.insert(data.draw(st.integers(1, len(lines))), blank)
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    path.write_bytes((end.join(lines) + end).encode(encoding))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_command_sees_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp = tmp_path_factory.mktemp("t")
    names, truth, columns, wrong = data.draw(layouts())
    order = data.draw(st.permutations([data.draw(st.sampled_from(_IDS)), *columns]))
    everything = {**columns, next(name for name in order if name not in columns): [f"{n}.jpg" for n in names]}
    rows = [[everything[name][k] for name in order] for k in range(len(names))]
    save(tmp / "labels.csv", order, rows, data)
    expected = {n: int(t in _MALIGNANT) for n, t in zip(names, truth, strict=True) if t is not None}
    found = truths(tmp / "labels.csv", predict(tmp / "p.csv", names), LabelOptions())
    assert found == [InvalidArgumentError if wrong else expected] * 3
    if wrong:
        with pytest.raises(InvalidArgumentError, match=r"disagree in 1 of \d+ rows .*`label_column`"):
            read_records([tmp / "labels.csv"], labels=HAM10000)
