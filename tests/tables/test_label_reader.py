"""One truth from a labels table: columns that agree or are refused, names in use, what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000, ISIC2019, MALIGNANT, MELANOMA, parse_labels
from skinclf.tables.diagnosis_names import ALIASES, class_in, class_of, fold, map_classes
from skinclf.tables.reference import LabelOptions, LabelTable, read_labels


def read(path: Path, text: str, labels: object = HAM10000, **stated: object) -> LabelTable:
    path = path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, labels, options=LabelOptions(**stated))  # type: ignore[arg-type]


def rows(header: str, *lines: str) -> str:
    return "\n".join([f"image,{header}", *(f"I{k},{line}" for k, line in enumerate(lines))]) + "\n"


# --- columns that must agree ------------------------------------------------------------------


def test_a_diagnosis_and_a_0_1_column_agree(tmp_path: Path) -> None:
    table = read(tmp_path, rows("dx,target", "nv,0", "mel,1", "bcc,1.0"))
    assert table.codes == ("nv", "mel", "bcc")
    assert table.binary is not None
    assert table.binary.tolist() == table.truth().tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            rows("dx,target", "nv,0", "mel,1", "bcc,0", "bcc,0"),
            r"dx and target disagree in 2 of 4 .*bcc with 0: 2",
        ),
        (
            rows("target,malignant", "0,0", "1,0", "0,1"),
            r"target and malignant disagree in 2 of 3 .*1 and 1 positives",
        ),
        (
            rows("dx,diagnosis", "nv,nevus", "mel,nevus"),
            r"dx and diagnosis disagree in 1 of 2 rows \(mel with nevus: 1",
        ),
        (rows("dx,MEL,NV", "nv,0,1", "nv,1,0"), r"dx and MEL, \.\.\. .* disagree in 1 of 2"),
        (rows("diagnosis_1,diagnosis_3", "Benign,Nevus", "Benign,Melanoma Invasive"), "disagree in 1 of 2"),
    ],
)
def test_columns_that_disagree_are_refused_with_the_counts(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.parameter == "label_column"


def test_one_of_two_columns_is_chosen(tmp_path: Path) -> None:
    text = rows("dx,target", "nv,0", "mel,1", "bcc,0")
    chosen = read(tmp_path, text, label_column="TARGET")
    assert chosen.codes is None
    assert chosen.truth().tolist() == [0, 1, 0]
    chosen = read(tmp_path, text, label_column="dx")
    assert chosen.binary is None
    assert chosen.truth().tolist() == [0, 1, 1]
    with pytest.raises(InvalidArgumentError, match="no column 'dz' as `label_column`"):
        read(tmp_path, text, label_column="dz")


def test_a_1_means_melanoma_where_that_is_asked_for(tmp_path: Path) -> None:
    text = rows("dx,target", "nv,0", "mel,1", "bcc,0")
    assert read(tmp_path, text, MELANOMA).codes == ("non_melanoma", "melanoma", "non_melanoma")
    with pytest.raises(InvalidArgumentError, match="disagree"):
        read(tmp_path, text, MALIGNANT)
    with pytest.raises(InvalidArgumentError, match="says malignant or benign"):
        read(tmp_path, rows("benign_malignant", "benign", "malignant"), MELANOMA)


def test_a_1_means_the_malignant_one_of_two_labels_in_any_order(tmp_path: Path) -> None:
    turned = parse_labels("cancer,harmless", malignant=["cancer"])
    assert read(tmp_path, rows("target", "0", "1"), turned).codes == ("harmless", "cancer")


# --- tables as published ----------------------------------------------------------------------


def test_isic_2020_is_scored_by_its_0_1_columns(tmp_path: Path) -> None:
    text = rows(
        "patient_id,diagnosis,benign_malignant,target",
        "P1,nevus,benign,0",
        "P2,unknown,benign,0",
        "P3,melanoma,malignant,1",
        "P4,lentigo NOS,benign,0",
    )
    table = read(tmp_path, text)
    assert table.codes is None
    assert table.truth().tolist() == [0, 0, 1, 0]
    assert not table.left_out
    assert "diagnosis gives no class for 1 images (lentigo NOS 1)" in table.note
    assert "scored by target" in table.note
    with pytest.raises(InvalidArgumentError, match=r"unknown label 'lentigo NOS' \(1 rows\).*`map_labels`"):
        read(tmp_path, text, label_column="diagnosis")
    mapped = read(tmp_path, text, label_column="diagnosis", map_labels={"Lentigo nos": "bkl"})
    assert mapped.codes == ("nv", "mel", "bkl")
    assert mapped.left_out == {"I1": "unk"}


@pytest.mark.parametrize(
    ("text", "codes", "left_out"),
    [
        (rows("MEL,NV,BCC,UNK", "1,0,0,0", "0,0,0,1", "0,1,0,0"), ("mel", "nv"), {"I1": "unk"}),
        (rows("MEL,NV,BCC", "1,0,0", "0,1,0"), ("mel", "nv"), {}),
        (rows("diagnostic", "NEV", "SEK", "ACK"), ("nv", "bkl", "akiec"), {}),
        (rows("diagnosis", "clark nevus", "melanoma (0.76 to 1.5 mm)"), ("nv", "mel"), {}),
        (
            rows(
                "diagnosis_1,diagnosis_3",
                'Benign,"Nevus, NOS, Compound"',
                "Indeterminate,Solar or actinic keratosis",
            ),
            ("nv", "akiec"),
            {},
        ),
        (
            rows("dx", "nv", "", "NA", "null", "mel"),
            ("nv", "mel"),
            dict.fromkeys(["I1", "I2", "I3"], "no label"),
        ),
        (rows("label,dx", "5,nv", "4,mel", "0,akiec"), ("nv", "mel", "akiec"), {}),
        (rows("disease,malignant", "melanoma-in-situ,True", "blue-nevus,False"), ("mel", "nv"), {}),
        (rows("AKIEC,BCC,BEN_OTH,MEL,SCCKA", "0,0,0,0,1", "1,0,0,0,0"), ("scc", "akiec"), {}),
    ],
)
def test_public_layouts(tmp_path: Path, text: str, codes: tuple[str, ...], left_out: dict[str, str]) -> None:
    table = read(tmp_path, text)
    assert table.codes == codes
    assert table.left_out == left_out


@pytest.mark.parametrize("name", ["image_name", "isic_id", "img_id", "bcn_filename", "DDI_file", "derm"])
def test_column_names_of_public_tables(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"{name},diagnosis\nx.jpg,Nevus\n").ids == ("x.jpg",)


def test_fitzpatrick_and_ddi_by_malignancy(tmp_path: Path) -> None:
    text = "md5hash,label,three_partition_label\na,psoriasis,non-neoplastic\nb,lentigo maligna,malignant\n"
    table = read(tmp_path, text)
    assert table.ids == ("a", "b")
    assert table.truth().tolist() == [0, 1]
    table = read(tmp_path, "DDI_file,malignant,disease\n1.png,True,mycosis-fungoides\n2.png,False,scar\n")
    assert table.truth().tolist() == [1, 0]


# --- what the user states ---------------------------------------------------------------------


def test_classes_are_dropped_by_any_of_their_names(tmp_path: Path) -> None:
    text = rows("diagnosis", "squamous cell carcinoma", "nevus", "SCC", "melanoma")
    table = read(tmp_path, text, drop_classes=["scc"])
    assert table.ids == ("I1", "I3")
    assert table.left_out == {"I0": "scc", "I2": "scc"}
    # A class of the taxonomy may have no image; a word that is no class is a mistake.
    assert len(read(tmp_path, text, drop_classes=["df"]).ids) == 4
    with pytest.raises(InvalidArgumentError, match="names wart, which no image has"):
        read(tmp_path, text, drop_classes=["wart"])
    with pytest.raises(InvalidArgumentError, match="no image is left; 1 are nv"):
        read(tmp_path, rows("dx", "nv"), drop_classes=["nv"])


def test_dropping_a_name_of_two_classes_leaves_these_classes(tmp_path: Path) -> None:
    text = rows("diagnosis", "SCC", "Bowen's disease", "nevus")
    assert read(tmp_path, text, drop_classes=["Bowens disease"]).ids == ("I0", "I2")


def test_labels_are_mapped_before_anything_else(tmp_path: Path) -> None:
    text = rows("dx", "mole", "nv", "mel")
    assert read(tmp_path, text, map_labels={"MOLE": "nv"}).codes == ("nv", "nv", "mel")
    assert read(tmp_path, text, map_labels={"mole": "nv"}, drop_classes=["nv"]).ids == ("I2",)
    with pytest.raises(InvalidArgumentError, match="names 'male', which no row has"):
        read(tmp_path, text, map_labels={"male": "nv"})


def test_the_column_of_names_is_stated(tmp_path: Path) -> None:
    text = "image,photo,dx\n1,P/a.jpg,nv\n2,P/b.jpg,mel\n"
    assert read(tmp_path, text).ids == ("1", "2")
    assert read(tmp_path, text, id_column="Photo").ids == ("P/a.jpg", "P/b.jpg")
    with pytest.raises(InvalidArgumentError, match="no column 'foto' as `id_column`; found image, photo, dx"):
        read(tmp_path, text, id_column="foto")


def test_options_for_class_folders(tmp_path: Path) -> None:
    for name in ("nevus/a.jpg", "mole/b.jpg", "unknown/c.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    table = read_labels(tmp_path, HAM10000, options=LabelOptions(map_labels={"mole": "nv"}))
    assert dict(zip(table.ids, table.codes or (), strict=True)) == {"mole/b.jpg": "nv", "nevus/a.jpg": "nv"}
    assert table.left_out == {"unknown/c.jpg": "unk"}
    with pytest.raises(InvalidArgumentError, match="has no columns; `label_column`"):
        read_labels(tmp_path, HAM10000, options=LabelOptions(label_column="dx"))


def test_a_class_that_is_called_unknown_or_none_is_a_class(tmp_path: Path) -> None:
    labels = parse_labels("mel,none,unk")
    table = read(tmp_path, rows("label", "none", "unk", "mel", "NA"), labels)
    assert table.codes == ("none", "unk", "mel")
    assert table.left_out == {"I3": "no label"}


# --- names ------------------------------------------------------------------------------------


def test_every_alias_is_folded_and_has_a_class() -> None:
    known = {*HAM10000.codes, *ISIC2019.codes}
    for name, codes in ALIASES.items():
        assert fold(name) == name
        assert set(codes) <= known


def test_a_name_of_two_taxonomies_follows_the_one_at_hand() -> None:
    assert class_in("Bowen’s disease", HAM10000) == "akiec"  # noqa: RUF001 - as typesetters write it
    assert class_in("Bowen's disease", ISIC2019) == "scc"
    assert class_of("Squamous cell carcinoma, NOS", HAM10000) == "scc"
    assert map_classes(["scc", "akiec", "nv"], HAM10000).codes == {
        "scc": "akiec",
        "akiec": "akiec",
        "nv": "nv",
    }
    assert class_of("lentigo", HAM10000) is None
    assert class_of("epidermal nevus", HAM10000) is None


# --- any layout -------------------------------------------------------------------------------

_WRITTEN = {
    "akiec": ["akiec", "AKIEC", "Actinic keratosis", "ACK"],
    "bcc": ["bcc", "Basal cell carcinoma", "basal-cell-carcinoma", "Basal cell carcinoma, Nodular"],
    "bkl": ["bkl", "SEK", "seborrheic keratosis", "Solar lentigo", "Lichen planus like keratosis"],
    "df": ["df", "Dermatofibroma"],
    "mel": ["mel", "Melanoma", "malignant melanoma", "Melanoma in situ", "melanoma (in situ)"],
    "nv": ["nv", "nevus", "Nevus, NOS, Junctional", "melanocytic nevi", "NEV"],
    "vasc": ["vasc", "vascular lesion", "Hemangioma"],
}
_ONE = {0: ["0", "0.0", "benign", "False"], 1: ["1", "1.0", "malignant", "True"]}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_layout_gives_the_truth_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    truth: Sequence[str] = data.draw(st.lists(st.sampled_from(HAM10000.codes), min_size=2, max_size=12))
    malignant = [int(code in {"akiec", "bcc", "mel"}) for code in truth]
    columns: dict[str, list[str]] = {}
    for name in data.draw(st.lists(st.sampled_from(["dx", "diagnosis", "class"]), max_size=2, unique=True)):
        columns[name] = [data.draw(st.sampled_from(_WRITTEN[code])) for code in truth]
    if data.draw(st.booleans()):
        columns |= {c.upper(): [str(float(code == c)) for code in truth] for c in HAM10000.codes}
    if not columns or data.draw(st.booleans()):
        form = data.draw(st.integers(0, 3))
        columns["target"] = [_ONE[value][form] for value in malignant]
    separator = data.draw(st.sampled_from(",;\t"))
    order = data.draw(st.permutations(list(columns)))
    lines = [["image", *order], *([f"I{k}", *(columns[n][k] for n in order)] for k in range(len(truth)))]
    text = "\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines)
    path = tmp_path_factory.mktemp("t") / "labels.csv"
    path.write_text(text, encoding="utf-8")
    table = read_labels(path, HAM10000)
    assert table.truth(labels=HAM10000).tolist() == malignant
    assert table.codes == (tuple(truth) if set(order) != {"target"} else None)
    # One wrong cell of a 0/1 column is never read over.
    if "target" in columns and len(columns) > 1:
        columns["target"][0] = _ONE[1 - malignant[0]][0]
        lines = [["image", *order], *([f"I{k}", *(columns[n][k] for n in order)] for k in range(len(truth)))]
        path.write_text("\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines))
        with pytest.raises(InvalidArgumentError, match="disagree in 1 of"):
            read_labels(path, HAM10000)
