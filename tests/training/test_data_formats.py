"""Every form in which labels are kept, and how labels become the classes that are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000, ISIC2019, ISIC2019_7, MALIGNANT, MELANOMA, LabelSet
from skinclf.tables.reference import LabelOptions, read_labels
from skinclf_training.data.reading.metadata import Record, read_records
from skinclf_training.data.reading.targets import to_taxonomy

ISIC_COLUMNS = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"


def one_hot(position: int, width: int, one: str = "1.0", zero: str = "0.0") -> str:
    return ",".join(one if i == position else zero for i in range(width))


def isic_like(folder: Path, *, unk: bool = False) -> Path:
    """The 2019 challenge in small: one image per class, lesions in a table of their own."""
    path = folder / "ISIC_2019_Training_GroundTruth.csv"
    classes = 9 if unk else 8
    rows = [f"ISIC_{i:07}{'_downsampled' if i == 0 else ''},{one_hot(i, 9)}" for i in range(classes)]
    path.write_text("\n".join([ISIC_COLUMNS, *rows]) + "\n")
    lesions = [
        "image,age_approx,anatom_site_general,lesion_id,sex",
        "ISIC_0000000_downsampled,55,torso,,male",
    ]
    lesions += [f"ISIC_{i:07},{40 + i},torso,BCN_{i // 2},female" for i in range(1, classes)]
    (folder / "ISIC_2019_Training_Metadata.csv").write_text("\n".join(lesions) + "\n")
    return path


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_ham10000_with_commas_and_tabs(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "metadata"
    rows = [["lesion_id", "image_id", "dx", "age"], ["L1", "a.jpg", "NV", "40"], ["", "b", "mel", ""]]
    path.write_text("\ufeff" + "\n".join(delimiter.join(r) for r in rows) + "\n", encoding="utf-8")
    read = read_records([path])
    first, second = read.records
    assert read.format == "ham10000"
    assert read.lesions == 1
    assert (first.image, first.lesion, first.label, first.columns["age"]) == ("a", "L1", "NV", "40")
    assert (second.image, second.lesion, second.label) == ("b", "b", "mel")


@pytest.mark.parametrize("header", ["image,diagnosis", "image_id,label", "isic_id,dx", "Image_ID,Label"])
def test_aliases_of_columns(tmp_path: Path, header: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{header}\nx.y_1.png,bcc\n")
    (record,) = read_records([path]).records
    assert (record.image, record.label) == ("x.y_1", "bcc")


def test_isic_2019_takes_lesions_from_the_metadata_beside_it(tmp_path: Path) -> None:
    read = read_records([isic_like(tmp_path)])
    assert read.format == "isic2019"
    assert [path.name for path in read.tables][1:] == ["ISIC_2019_Training_Metadata.csv"]
    assert [r.label for r in read.records] == list(ISIC2019.codes)
    # An image without a lesion is its own; the image of a large picture keeps its full name.
    assert read.records[0].image == read.records[0].lesion == "ISIC_0000000_downsampled"
    assert read.records[2].lesion == read.records[3].lesion == "BCN_1"
    assert read.lesions == 7
    assert read.records[1].columns["anatom_site_general"] == "torso"


def test_isic_2018_takes_lesions_from_a_second_table(tmp_path: Path) -> None:
    labels, lesions = tmp_path / "a" / "GroundTruth.csv", tmp_path / "groups.csv"
    labels.parent.mkdir()
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    labels.write_text("\n".join([header, *(f"i{k},{one_hot(k, 7)}" for k in range(7))]) + "\n")
    lesions.write_text(
        "image,lesion_id,diagnosis_confirm_type\n" + "".join(f"i{k},L,histo\n" for k in range(7))
    )
    read = read_records([labels, lesions])
    assert read.format == "onehot"
    assert {r.lesion for r in read.records} == {"L"}
    assert read_records([labels]).lesions == 0


@pytest.mark.parametrize(("one", "zero"), [("1.0", "0.0"), ("1", "0"), ("1.00", "0.00"), ("1e0", "0")])
def test_one_hot_values_are_numbers(tmp_path: Path, one: str, zero: str) -> None:
    path = tmp_path / "GroundTruth.csv"
    rows = [f"i{k},{one_hot(k, 7, one, zero)}" for k in range(7)]
    path.write_text("\n".join(["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", *rows]) + "\n")
    assert [r.label for r in read_records([path]).records] == [
        "mel",
        "nv",
        "bcc",
        "akiec",
        "bkl",
        "df",
        "vasc",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,dx\na,nv\na,nv\n", "appears twice"),
        ("image_id,lesion_id\na,1\n", "none of the columns dx"),
        ("lesion_id,dx\n1,nv\n", "none of the columns image_id"),
        ("image_id,dx\n", "no rows"),
        ("", "no rows"),
        ("image_id,dx\na\n", "truncated"),
        ("image_id,dx\na,\n", "column dx: no image is left; 1 have no label"),
        ("image,MEL,NV\na,1,1\nb,0,1\n", "row 2 does not mark exactly one"),
        ("image,MEL,NV\na,0,1\nb,0,0\n", "row 3 does not mark exactly one"),
        ("image,MEL,NV\na,0.9,0.1\nb,0,1\n", "row 2 does not mark exactly one"),
        ("image,MEL,NV\na,,1\nb,1,0\n", "row 2 does not mark exactly one"),
        ("image,MEL,NV\na,yes,1\n", "MEL"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        read_records([path])


def test_a_format_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("image_id,dx,label\na,nv,0\nb,mel,1\n")
    assert [r.label for r in read_records([path]).records] == ["nv", "mel"]
    with pytest.raises(InvalidArgumentError, match="names of classes"):
        read_records([path], format="onehot")
    with pytest.raises(InvalidArgumentError, match="the format isic2019 is a table"):
        read_records([tmp_path], format="isic2019")
    with pytest.raises(InvalidArgumentError, match="expected one of ham10000"):
        read_records([path], format="xml")
    path.write_text("image_id,label\na,nv\n")
    with pytest.raises(InvalidArgumentError, match="needs one of the columns dx"):
        read_records([path], format="ham10000")


def test_a_second_table_must_be_about_the_same_images(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("image_id,dx\na,nv\n")
    second.write_text("image,lesion_id\nz,1\n")
    with pytest.raises(InvalidArgumentError, match="knows none of the labelled images"):
        read_records([first, second])


# --- folders ----------------------------------------------------------------------------------


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (120, 80, 60)).save(path)


def test_class_folders_with_and_without_parts(tmp_path: Path) -> None:
    for name in ("MEL/a.jpg", "NV/b.PNG", "NV/.hidden.jpg", "NV/note.txt"):
        picture(tmp_path / "flat" / name) if not name.endswith("txt") else None
    (tmp_path / "flat" / "NV" / "note.txt").write_text("")
    read = read_records([tmp_path / "flat"])
    assert read.format == "folders"
    assert [(r.image, r.label) for r in read.records] == [("a", "MEL"), ("b", "NV")]
    assert read.lesions == 0
    for name in ("train/MEL/a.jpg", "validation/NV/b.jpg", "test/NV/c.jpg"):
        picture(tmp_path / "split" / name)
    read = read_records([tmp_path / "split"])
    assert [(r.image, r.columns["split"]) for r in read.records] == [
        ("c", "test"),
        ("a", "train"),
        ("b", "val"),
    ]


def test_prefixes_leave_synthetic_copies_out(tmp_path: Path) -> None:
    for name in (
        "train/mel_a.jpg",
        "train/nomel_b.jpg",
        "test/mel_aug_3_a.jpg",
        "test/mel_mel_aug_1_a.jpg",
        "test/nomel_c.jpg",
        "test/readme.jpg",
    ):
        picture(tmp_path / name)
    read = read_records([tmp_path])
    assert read.format == "prefix"
    # `mel_` is inside `nomel_`, which once made every file a melanoma.
    assert {r.image: r.label for r in read.records} == {
        "a": "melanoma",
        "b": "non_melanoma",
        "c": "non_melanoma",
    }
    assert {name: reason.split(":")[0] for name, reason in read.left_out.items()} == {
        "test/mel_aug_3_a.jpg": "synthetic",
        "test/mel_mel_aug_1_a.jpg": "synthetic",
        "test/readme.jpg": "no prefix mel_ or nomel_",
    }


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "MEL").mkdir()
    with pytest.raises(InvalidArgumentError, match="one subfolder of images per class"):
        read_records([tmp_path])
    picture(tmp_path / "MEL" / "a.jpg")
    picture(tmp_path / "NV" / "a.jpg")
    assert [(r.image, r.label) for r in read_records([tmp_path]).records] == [
        ("MEL/a", "MEL"),
        ("NV/a", "NV"),
    ]


# --- classes ----------------------------------------------------------------------------------


def records(*labels: str) -> list[Record]:
    return [Record(image=f"i{k}", lesion=f"l{k}", label=label) for k, label in enumerate(labels)]


def translate(labels: tuple[str, ...], target: LabelSet, **options: object) -> list[str]:
    return [r.label for r in to_taxonomy(records(*labels), target, **options).records]  # type: ignore[arg-type]


def test_ham10000_as_every_target() -> None:
    assert translate(HAM10000.codes, HAM10000) == list(HAM10000.codes)
    assert [
        c
        for c, t in zip(HAM10000.codes, translate(HAM10000.codes, MALIGNANT), strict=True)
        if t == "malignant"
    ] == ["akiec", "bcc", "mel"]
    assert [
        c for c, t in zip(HAM10000.codes, translate(HAM10000.codes, MELANOMA), strict=True) if t == "melanoma"
    ] == ["mel"]
    targets = to_taxonomy(records(*HAM10000.codes), MELANOMA)
    assert [r.origin for r in targets.records] == list(HAM10000.codes)
    assert "does not mean benign" in targets.crosswalk.lossy


def test_isic_scc_is_malignant_and_not_melanoma() -> None:
    assert translate(("SCC", "AK", "NV"), MALIGNANT) == ["malignant", "malignant", "benign"]
    assert translate(("SCC", "MEL", "NV"), MELANOMA) == ["non_melanoma", "melanoma", "non_melanoma"]


def test_crosswalks_that_lose_something_must_be_asked_for() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"'scc' \(2 rows\).*drop_classes.*from_labels=isic2019. \(scc"
    ):
        to_taxonomy(records("nv", "scc", "scc"), HAM10000)
    assert translate(("NV", "SCC", "AK"), HAM10000, source=ISIC2019) == ["nv", "akiec", "akiec"]
    with pytest.raises(InvalidArgumentError, match=r"'scc' \(1 rows\)"):
        to_taxonomy(records("nv", "scc"), ISIC2019_7)
    with pytest.raises(InvalidArgumentError, match="No crosswalk from malignant"):
        to_taxonomy(records("0", "1"), HAM10000, source=MALIGNANT)


def test_dropped_classes_are_counted_and_leave_the_taxonomy() -> None:
    targets = to_taxonomy(records("MEL", "nv", "SCC", "scc"), ISIC2019, drop=["SCC"])
    assert targets.dropped == {"scc": 2}
    assert targets.labels == ISIC2019_7
    assert len(targets.records) == 2
    assert to_taxonomy(records("mel", "nv", "scc"), ISIC2019_7, drop=["scc"]).labels == ISIC2019_7
    assert to_taxonomy(records("mel", "nv", "df"), HAM10000, drop=["DF"]).labels.codes == (
        "akiec",
        "bcc",
        "bkl",
        "mel",
        "nv",
        "vasc",
    )
    # A class of the source that is none of the target's leaves the target as it is.
    assert to_taxonomy(records("mel", "nv", "df"), MALIGNANT, drop=["df"]).labels == MALIGNANT
    # A class of the taxonomy without an image is left out when told so; a word that is no class is a mistake.
    assert to_taxonomy(records("mel", "nv"), ISIC2019, drop=["Squamous cell carcinoma"]).labels == ISIC2019_7
    with pytest.raises(InvalidArgumentError, match="names wart, which no image has; found mel, nv"):
        to_taxonomy(records("mel", "nv"), ISIC2019, drop=["wart"])


def test_names_in_full_and_numbers() -> None:
    assert translate(("Melanoma", "nevus", "basal cell carcinoma", "Dermatofibroma"), HAM10000) == [
        "mel",
        "nv",
        "bcc",
        "df",
    ]
    assert translate(("melanoma", "actinic_keratosis", "vascular_lesions"), ISIC2019) == ["mel", "ak", "vasc"]
    assert translate(("0", "1"), MALIGNANT) == ["benign", "malignant"]
    assert translate(("0", "1"), MELANOMA) == ["non_melanoma", "melanoma"]
    with pytest.raises(InvalidArgumentError, match=r"'0' \(1 rows\)"):
        to_taxonomy(records("0", "1"), HAM10000)
    with pytest.raises(InvalidArgumentError, match=r"'unknown' \(1 rows\)"):
        to_taxonomy(records("nv", "unknown"), MALIGNANT)


def test_an_unknown_diagnosis_is_left_out_and_counted(tmp_path: Path) -> None:
    read = read_records([isic_like(tmp_path, unk=True)])
    assert read.dropped == {"unk": 1}
    for drop in ([], ["UNK"]):
        targets = to_taxonomy(read.records, ISIC2019, drop=drop, dropped_before=read.dropped)
        assert targets.labels == ISIC2019
        assert targets.dropped == {"unk": 1}


def test_a_one_hot_table_that_lacks_a_class(tmp_path: Path) -> None:
    path = tmp_path / "GroundTruth.csv"
    path.write_text("image,MEL,NV,SCC\na,1.0,0.0,0.0\nb,0.0,1.0,0.0\n")
    read = read_records([path])
    assert [r.label for r in read.records] == ["mel", "nv"]
    assert to_taxonomy(read.records, ISIC2019, drop=["scc"]).labels == ISIC2019_7


ISIC_2020 = (
    "image_name,patient_id,diagnosis,benign_malignant,target\n"
    "a,P1,nevus,benign,0\nb,P2,unknown,benign,0\nc,P3,melanoma,malignant,1\n"
)


def test_isic_2020_is_read_as_for_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(ISIC_2020)
    for target, codes in ((MALIGNANT, ["benign", "benign", "malignant"]), (MELANOMA, None)):
        read = read_records([path], labels=target)
        assert "diagnosis gives no class for 1 images (unknown 1)" in read.note
        labels = [r.label for r in to_taxonomy(read.records, target).records]
        assert labels == (codes or ["non_melanoma", "non_melanoma", "melanoma"])
        table = read_labels(path, target)
        assert list(table.codes or ()) == labels
    stated = LabelOptions(label_column="diagnosis")
    read = read_records([path], labels=MALIGNANT, options=stated)
    assert [(r.image, r.label) for r in read.records] == [("a", "nevus"), ("c", "melanoma")]
    assert read.dropped == {"unk": 1}


def test_columns_that_disagree_are_refused_or_chosen(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("photo,dx,target\na.jpg,nv,0\nb.jpg,bcc,0\nc.jpg,mel,1\n")
    options = LabelOptions(id_column="photo")
    with pytest.raises(InvalidArgumentError, match="dx and target disagree in 1 of 3 rows"):
        read_records([path], labels=HAM10000, options=options)
    chosen = read_records([path], labels=HAM10000, options=replace(options, label_column="dx"))
    assert [(r.image, r.label) for r in chosen.records] == [("a", "nv"), ("b", "bcc"), ("c", "mel")]


def test_labels_outside_the_taxonomy_are_mapped_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,diagnosis\na,lentigo NOS\nb,nevus\nc,scar\n")
    with pytest.raises(
        InvalidArgumentError, match=r"Labels outside ham10000: 'lentigo nos' \(1 rows\).*`map_labels`"
    ):
        to_taxonomy(read_records([path], labels=HAM10000).records, HAM10000)
    options = LabelOptions(map_labels={"lentigo NOS": "bkl"}, drop_classes=["scar"])
    read = read_records([path], labels=HAM10000, options=options)
    assert [
        r.label
        for r in to_taxonomy(read.records, HAM10000, drop=["scar"], dropped_before=read.dropped).records
    ] == [
        "bkl",
        "nv",
    ]
