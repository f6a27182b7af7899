"""Reading predictions and labels in every form that people keep them in, and joining them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf.inference.prediction import Prediction
from skinclf.labels import HAM10000, ISIC2019, MALIGNANT, MELANOMA
from skinclf.tables.predictions import Joined, join, label_set_of, read_labels, read_predictions


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def predictions(n=4, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.ones(7), n).astype(np.float32)
    return [Prediction(f"imgs/{i}.jpg", HAM10000, tuple(map(float, v)), 0.5) for i, v in enumerate(values)]


def write_table(path, rows):
    """skinclf's predictions table, written by hand."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        head = [
            "image",
            "probability_malignant",
            "predicted_label",
            "predicted_class",
            "threshold",
            "flagged",
        ]
        writer.writerow([*head, *(f"p_{c}" for c in HAM10000.codes), "status", "error"])
        for p in rows:
            if not p.ok:
                writer.writerow([p.image, *[""] * 12, p.status, p.error])
                continue
            cells = [str(np.float32(v)) for v in p.values]
            total = str(np.float32(p.probability_malignant))
            writer.writerow([p.image, total, p.index, p.name, "0.5", int(p.flagged), *cells, "ok", ""])
    return path


def test_own_table_gives_the_same_float32(tmp_path):
    rows = predictions(50)
    table = read_predictions(write_table(tmp_path / "p.csv", rows))
    assert table.ids == tuple(p.image for p in rows)
    assert table.codes == HAM10000.codes
    assert table.probabilities.dtype == np.float32
    assert table.probabilities.tolist() == [list(p.values) for p in rows]
    assert table.malignant.tolist() == [p.probability_malignant for p in rows]
    # The sum over columns is the one that predict makes, bit for bit.
    assert (table.score(["mel", "bcc", "akiec"]) == table.malignant).all()


def test_failed_rows_stay_and_join_names_them(tmp_path):
    rows = [*predictions(3), Prediction("imgs/9.jpg", HAM10000, None, 0.5, "truncated", "cut")]
    table = read_predictions(write_table(tmp_path / "p.csv", rows))
    assert table.status == ("ok", "ok", "ok", "truncated")
    labels = read_labels(write(tmp_path / "l.csv", "image,label\n0,1\n1,0\n2,0\n9,1\n"))
    joined = join(table, labels)
    assert joined.failed == ("imgs/9.jpg",)
    assert len(joined) == 3


def test_json_lines(tmp_path):
    rows = predictions(5)
    path = write(tmp_path / "p.jsonl", "".join(json.dumps(p.to_dict()) + "\n" for p in rows))
    table = read_predictions(path)
    assert table.codes == HAM10000.codes
    assert table.probabilities.tolist() == [list(p.values) for p in rows]


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = predictions(5)
    columns = {"image": [p.image for p in rows]}
    columns |= {
        f"p_{c}": pa.array([p.values[i] for p in rows], pa.float32()) for i, c in enumerate(HAM10000.codes)
    }
    parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert read_predictions(tmp_path / "p.parquet").probabilities.tolist() == [list(p.values) for p in rows]


@pytest.mark.parametrize("threshold", ["", ",0.5"])
def test_both_forms_of_the_binary_seed(tmp_path, threshold):
    head = "image,probability_malignant,predicted_label,predicted_class" + (",threshold" if threshold else "")
    path = write(
        tmp_path / "p.csv", f"{head}\na/x.jpg,0.91,1,Malignant{threshold}\nb/y.png,0.2,0,Benign{threshold}\n"
    )
    table = read_predictions(path)
    assert table.codes is None
    assert table.malignant.tolist() == [np.float32(0.91), np.float32(0.2)]
    with pytest.raises(InvalidArgumentError, match="P\\(malignant\\) only"):
        table.score(["mel"])


def test_challenge_submission(tmp_path):
    path = write(
        tmp_path / "s.csv", "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nI,.5,.1,.1,.1,.1,.05,.03,.02,0\n"
    )
    table = read_predictions(path)
    assert table.codes == ISIC2019.codes
    assert table.score(None, ISIC2019)[0] == pytest.approx(0.72)


def test_seed_arrays(tmp_path):
    np.savez(tmp_path / "v.npz", y_true=np.array([0, 1, 1]), y_prob=np.array([[0.1], [0.7], [0.4]]))
    joined = join(read_predictions(tmp_path / "v.npz"), read_labels(tmp_path / "v.npz", MALIGNANT))
    truth, score = joined.binary()
    assert truth.tolist() == [0, 1, 1]
    assert score.tolist() == [np.float32(x) for x in (0.1, 0.7, 0.4)]
    assert joined.labels.codes == ("benign", "malignant", "malignant")


@pytest.mark.parametrize(
    "arrays",
    [{"y_true": [0, 1]}, {"y_true": [0, 2], "y_prob": [0.1, 0.2]}, {"y_true": [0], "y_prob": [0.1, 0.2]}],
)
def test_bad_arrays(tmp_path, arrays):
    np.savez(tmp_path / "v.npz", **{k: np.array(v) for k, v in arrays.items()})
    with pytest.raises(InvalidArgumentError):
        read_predictions(tmp_path / "v.npz")


def test_pickled_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / "v.npz", y_true=np.array([{}], object), y_prob=np.array([0.1]))
    with pytest.raises(InvalidArgumentError):
        read_predictions(tmp_path / "v.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x\na,1\n", "no probabilities"),
        ("x,probability_malignant\na,1\n", "names the image"),
        ("image,probability_malignant\n", "no rows"),
        ("image,probability_malignant\na,0.5\nb\n", "row 3"),
        ("image,probability_malignant\na,high\n", "probability_malignant"),
        ("image,probability_malignant\na,1.5\n", "within 0 and 1"),
        ("image,probability_malignant\na,nan\nb,0.5\n", "within 0 and 1"),
        ("image,probability_malignant\na,\nb,0.5\n", "within 0 and 1"),
        ("image,image\na,b\n", "twice"),
        ("", "no rows"),
    ],
)
def test_bad_predictions(tmp_path, text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        read_predictions(write(tmp_path / "p.csv", text))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(InvalidArgumentError):
        read_predictions(tmp_path / "b.csv")


HAM_HEAD = "lesion_id,image_id,dx,dx_type,age,sex,localization"
HAM_ROWS = (
    "HAM_1,ISIC_1,mel,histo,80.0,male,back",
    "HAM_1,ISIC_2,mel,histo,80.0,male,back",
    ",ISIC_3,nv,follow_up,,,",
)


@pytest.mark.parametrize("separator", [",", "\t"])
def test_ham10000_metadata(tmp_path, separator):
    text = "\n".join([HAM_HEAD, *HAM_ROWS]).replace(",", separator) + "\n"
    labels = read_labels(write(tmp_path / "m.tab", text), HAM10000)
    assert labels.ids == ("ISIC_1", "ISIC_2", "ISIC_3")
    assert labels.codes == ("mel", "mel", "nv")
    assert labels.lesion_id == ("HAM_1", "HAM_1", "image:ISIC_3")
    assert labels.truth().tolist() == [1, 1, 0]
    assert labels.columns["sex"] == ("male", "male", "")


def test_split_csv_of_the_binary_seed(tmp_path):
    rows = [
        f"{row},{y},{s}" for row, y, s in zip(HAM_ROWS, (1, 1, 0), ("train", "test", "test"), strict=True)
    ]
    path = write(tmp_path / "labels_binary_split.csv", "\n".join([f"{HAM_HEAD},label,split", *rows]) + "\n")
    labels = read_labels(path, HAM10000, split="TEST")
    assert labels.ids == ("ISIC_2", "ISIC_3")
    assert labels.binary.tolist() == [1, 0]
    assert labels.codes == ("mel", "nv")
    assert read_labels(path, MALIGNANT, split="test").codes == ("malignant", "benign")
    with pytest.raises(InvalidArgumentError, match="no row of split 'val'"):
        read_labels(path, split="val")


@pytest.mark.parametrize(
    ("text", "labels", "codes"),
    [
        (
            "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nA,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n",
            ISIC2019,
            ("scc",),
        ),
        (
            "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nA,1,0,0,0,0,0,0\nB,0,0,0,1,0,0,0\n",
            HAM10000,
            ("mel", "akiec"),
        ),
        ("image_id,label,lesion_id\nA,bkl,L1\n", HAM10000, ("bkl",)),
        ("filename,diagnosis\nA,Melanoma\nB,melanocytic nevus\n", HAM10000, ("mel", "nv")),
        ("image,target\nA,1\nB,0.0\n", MELANOMA, ("melanoma", "non_melanoma")),
        ("image,benign_malignant\nA,malignant\nB,benign\n", MALIGNANT, ("malignant", "benign")),
    ],
)
def test_label_forms(tmp_path, text, labels, codes):
    table = read_labels(write(tmp_path / "l.csv", text), labels)
    assert table.codes == codes
    assert table.ids[0] == "A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,MEL,NV\nA,1,1\n", "exactly one"),
        ("image,MEL,NV\nA,0,0\n", "exactly one"),
        ("image,MEL,NV\nA,0.5,0.5\n", "exactly one"),
        ("image,label\nA,wart\n", "unknown label 'wart'"),
        ("image,label\nA,\n", "no label"),
        ("image,colour\nA,red\n", "no label column"),
        ("label\nmel\n", "names the image"),
    ],
)
def test_bad_labels(tmp_path, text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        read_labels(write(tmp_path / "l.csv", text), HAM10000)


@pytest.mark.parametrize("split", ["", "test/"])
def test_class_folders(tmp_path, split):
    for name in ("mel/b.JPG", "mel/a.png", "nv/c.jpg", "nv/notes.txt", "nv/.hidden.jpg"):
        path = tmp_path / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    labels = read_labels(tmp_path, HAM10000, split="test" if split else None)
    assert labels.ids == (f"{split}mel/a.png", f"{split}mel/b.JPG", f"{split}nv/c.jpg")
    assert labels.codes == ("mel", "mel", "nv")


def test_no_class_folders(tmp_path):
    with pytest.raises(InvalidArgumentError, match="subfolder"):
        read_labels(tmp_path)


def test_positive_classes_and_unknown_malignancy(tmp_path):
    labels = read_labels(write(tmp_path / "l.csv", "image,label\nA,mel\nB,bcc\nC,nv\n"), HAM10000)
    assert labels.truth(["mel"]).tolist() == [1, 0, 0]
    strange = read_labels(write(tmp_path / "s.csv", "image,label\nA,wart\nB,cyst\n"))
    with pytest.raises(InvalidArgumentError, match="`positive`"):
        strange.truth()
    assert strange.truth(["wart"]).tolist() == [1, 0]
    plain = read_labels(write(tmp_path / "b.csv", "image,label\nA,1\n"))
    with pytest.raises(InvalidArgumentError, match="class codes are needed"):
        plain.truth(["mel"])


# --- join -------------------------------------------------------------------------------------


def table_of(tmp_path, names):
    return read_predictions(
        write(
            tmp_path / "p.csv",
            "image,probability_malignant\n" + "".join(f"{n},0.{i + 1}\n" for i, n in enumerate(names)),
        )
    )


def labels_of(tmp_path, names):
    return read_labels(
        write(tmp_path / "l.csv", "image,label\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(names)))
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["x/a.jpg", "x/b.jpg"], ["/data/x/a.jpg", "/data/x/b.jpg"]),
        (["C:\\d\\x\\a.jpg", "C:\\d\\x\\b.jpg"], ["./x/a.JPG", "x//b.png"]),
        (["https://host/d/x%20y/a.jpg?v=1", "https://host/d/z/b.jpg"], ["x y/a", "z/b"]),
        (["C:\\d\\x\\a.jpg", "C:\\d\\y\\a.jpg"], ["/mnt/x/a.jpg", "/mnt/y/a.jpg"]),
        (["t/benign/1.jpg", "t/malignant/1.jpg"], ["benign/1.jpg", "malignant/1.jpg"]),
        (["x\\a.jpg", "x\\b.jpg"], ["a", "b"]),
        (["/d/a.JPG", "/d/b.png"], ["a", "b"]),
        (["ISIC_1_downsampled.jpg", "v1.2.jpg"], ["ISIC_1_downsampled", "v1.2"]),
        (["x/1.jpg", "y/1.jpg"], ["x/1.jpg", "y/1.jpg"]),
    ],
)
def test_join_by_the_longest_common_end_of_the_path(tmp_path, left, right):
    joined = join(table_of(tmp_path, left), labels_of(tmp_path, right))
    assert joined.predictions.ids == tuple(left)
    assert joined.labels.ids == tuple(right)
    assert joined.labels.binary.tolist() == [0, 1]


def test_join_keeps_the_order_of_the_predictions(tmp_path):
    joined = join(table_of(tmp_path, ["c", "a", "b"]), labels_of(tmp_path, ["a", "b", "c", "d"]))
    assert joined.labels.ids == ("c", "a", "b")
    assert joined.unused == ("d",)


@pytest.mark.parametrize(
    ("left", "right", "what"),
    [
        (["a", "a"], ["a"], "more than once in the predictions: a"),
        (["x/a.jpg", "./x\\a.JPG"], ["a"], "more than once in the predictions: x/a.jpg"),
        (["a"], ["a", "a"], "more than once in the labels: a"),
        (["a.jpg", "a.png"], ["a"], "a of the labels is a.jpg, a.png of the predictions"),
        (["x/a.jpg", "y/a.jpg"], ["a"], "a of the labels is x/a.jpg, y/a.jpg of the predictions"),
        (["a"], ["x/a.jpg", "y/a.jpg"], "a of the predictions is x/a.jpg, y/a.jpg of the labels"),
        (["d/c/1", "d/e/2"], ["c/1", "2"], "d/c/1 for c/1 and d/e/2 for 2"),
    ],
)
def test_repeated_and_ambiguous_names_are_refused(tmp_path, left, right, what):
    with pytest.raises(InvalidArgumentError, match=what):
        join(table_of(tmp_path, left), labels_of(tmp_path, right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["P2/a.jpg", "P2/b.jpg"], ["P1/a.jpg", "P1/b.jpg"]),
        (["P2\\a.jpg"], ["P1\\a.jpg"]),
        (["site2/P1/a.jpg"], ["site1/P1/a.jpg"]),
        (["/data/site2/P1/a.jpg"], ["/data/site1/P1/a.jpg"]),
        (["/data/P2/a.jpg"], ["D:\\data\\P1\\a.jpg"]),
        (["p1/a.jpg"], ["P1/a.jpg"]),
    ],
)
def test_the_same_file_name_in_another_folder_is_another_image(tmp_path, left, right):
    with pytest.raises(InvalidArgumentError, match=r"None of the \d predictions has a label.*other folders"):
        join(table_of(tmp_path, left), labels_of(tmp_path, right))


def test_a_name_that_two_splits_share_is_that_of_the_split_asked_for(tmp_path):
    tables = table_of(tmp_path, ["b/1.jpg", "b/2.jpg"]), labels_of(tmp_path, ["test/b/1.jpg", "test/b/2.jpg"])
    joined = join(*tables, others=["train/b/1.jpg", "train/b/3.jpg"])
    assert joined.labels.ids == ("test/b/1.jpg", "test/b/2.jpg")
    joined = join(table_of(tmp_path, ["x/1.jpg", "y/2.jpg"]), labels_of(tmp_path, ["y/2"]), others=["x/1"])
    assert joined.predictions.ids == ("y/2.jpg",)
    assert joined.unmatched == ()


def test_unmatched_rows_are_listed_and_too_many_refused(tmp_path):
    names = [f"i{n}" for n in range(8)]
    predictions, labels = table_of(tmp_path, names), labels_of(tmp_path, names[:7])
    with pytest.raises(InvalidArgumentError, match=r"1 of 8 predictions have no label .*i7"):
        join(predictions, labels)
    joined = join(predictions, labels, max_unmatched=0.2)
    assert joined.unmatched == ("i7",)
    assert len(joined) == 7
    with pytest.raises(InvalidArgumentError):
        join(predictions, labels_of(tmp_path, ["other"]), max_unmatched=1.0)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text("abc._-", min_size=1, max_size=6), min_size=1, max_size=9, unique=True), st.randoms())
def test_join_is_by_identity_whatever_the_order(tmp_path, names, random):
    shuffled = random.sample(names, len(names))
    joined = join(table_of(tmp_path, names), labels_of(tmp_path, shuffled))
    assert isinstance(joined, Joined)
    assert joined.predictions.ids == joined.labels.ids == tuple(names)
    assert joined.labels.binary.tolist() == [shuffled.index(n) % 2 for n in names]


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ("NEL/Nel026.JPG", "NEL/NEL026.jpg", "differ in upper and lower case"),
        ("0012345.jpg", "12345", "same number written differently"),
        ("7.jpg", "7.0", "same number written differently"),
        ("a.jpg", "b.jpg", r"Names in the labels: b\.jpg"),
    ],
)
def test_names_that_nearly_agree_are_refused_with_the_difference(tmp_path, ours, theirs, message):
    table = read_predictions(write(tmp_path / "p.csv", f"image,probability_malignant\n{ours},0.5\n"))
    labels = read_labels(write(tmp_path / "l.csv", f"image,target\n{theirs},1\n"))
    with pytest.raises(InvalidArgumentError, match=message):
        join(table, labels)


MILK10K = "AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC"


def test_no_class_of_a_submission_is_lost(tmp_path):
    # P(malignant) of MILK10k is over AKIEC, BCC, MAL_OTH, MEL and SCCKA.
    row = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.2, 0.1, 0.09, 0.3, 0.1]
    text = f"image,{MILK10K}\na,{','.join(map(str, row))}\n"
    table = read_predictions(write(tmp_path / "p.csv", text))
    assert table.codes == tuple(MILK10K.lower().split(","))
    assert table.score().tolist() == pytest.approx([0.01 + 0.02 + 0.2 + 0.1 + 0.3])
    truth = "isic_id,dx\na,MAL_OTH\n"
    labels = read_labels(write(tmp_path / "l.csv", truth), label_set_of(table))
    assert labels.truth(labels=label_set_of(table)).tolist() == [1]


@pytest.mark.parametrize(
    ("header", "codes"),
    [
        ("Melanoma,Nevus,Basal cell carcinoma", ("mel", "nv", "bcc")),
        ("MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK", ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")),
        ("actinic keratosis,squamous cell carcinoma,nevus", ("ak", "scc", "nv")),
        ("benign,malignant", ("benign", "malignant")),
    ],
)
def test_columns_of_probabilities_by_names_in_use(tmp_path, header, codes):
    cells = [0.5, 0.5, *[0] * header.count(",")][: header.count(",") + 1]
    table = read_predictions(
        write(tmp_path / "p.csv", f"Image Name,{header}\na,{','.join(map(str, cells))}\n")
    )
    assert table.ids == ("a",)
    assert table.codes == codes
