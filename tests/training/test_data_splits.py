"""Splits that exist already, folds, and pictures that look alike."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.prepared_data import SHARES, ham_like, make_data

from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf.labels import HAM10000, MALIGNANT, MELANOMA
from skinclf_training.data.near_duplicates import merge_groups, near_pairs, perceptual_hash
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.reading.split_files import read_split
from skinclf_training.data.split import fold_splits, shared_groups, split_hash

PARTS = ("train", "val", "test")


def ham_rows(metadata: Path) -> list[dict[str, str]]:
    with metadata.open() as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def by_lesion(rows: list[dict[str, str]]) -> list[str]:
    """A split that keeps lesions together: the number of the lesion decides."""
    return [PARTS[int(r["lesion_id"].split("-")[1]) % 3] for r in rows]


# --- the targets share one split --------------------------------------------------------------


def test_every_target_gets_the_same_split(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    out = tmp_path / "out"
    manifests = {
        name: prepare(metadata, dirs, out / name, shares=SHARES, seed=3, labels=name)
        for name in ("ham10000", "malignant", "melanoma")
    }
    assert len({m["split_sha256"] for m in manifests.values()}) == 1
    assert manifests["malignant"]["crosswalk"]["lossy"]
    malignant, melanoma = read_prepared(out / "malignant"), read_prepared(out / "melanoma")
    assert (malignant.labels, melanoma.labels) == (MALIGNANT, MELANOMA)
    dx = malignant.columns["dx"]
    assert [t == 1 for t in malignant.targets] == [x in {"akiec", "bcc", "mel"} for x in dx]
    assert [t == 1 for t in melanoma.targets] == [x == "mel" for x in dx]


def test_dropping_a_class(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    manifest = prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=3, drop_classes=["DF"])
    assert manifest["dropped_classes"] == {"df": 9}
    assert "df" not in read_prepared(tmp_path / "out").labels.codes


def test_no_lesion_ids_need_a_word(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = [{"image_id": r["image_id"], "label": r["dx"]} for r in ham_rows(metadata)]
    bare = write_csv(tmp_path / "labels.csv", rows)
    with pytest.raises(InvalidArgumentError, match=r"no lesion ids.*`image_level`"):
        prepare(bare, dirs, tmp_path / "out", shares=SHARES)
    manifest = prepare(bare, dirs, tmp_path / "out", shares=SHARES, image_level=True)
    assert manifest["images_without_lesion_id"] == manifest["lesions"] == 63
    joined = prepare([bare, metadata], dirs, tmp_path / "both", shares=SHARES)
    assert joined["split_sha256"] == prepare(metadata, dirs, tmp_path / "all", shares=SHARES)["split_sha256"]


# --- existing splits --------------------------------------------------------------------------


def test_devatreya_keeps_its_split(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = ham_rows(metadata)
    parts = by_lesion(rows)
    malignant = {"akiec", "bcc", "mel"}
    table = write_csv(
        tmp_path / "labels_binary_split.csv",
        [
            {**r, "label": str(int(r["dx"] in malignant)), "split": p}
            for r, p in zip(rows, parts, strict=True)
        ],
    )
    lesions = {p: sorted({r["lesion_id"] for r, q in zip(rows, parts, strict=True) if q == p}) for p in PARTS}
    meta = tmp_path / "split_metadata.json"
    meta.write_text(json.dumps({f"{p}_lesion_ids": v for p, v in lesions.items()} | {"random_state": 42}))
    out = tmp_path / "out"
    manifest = prepare([], dirs, out, shares=SHARES, labels="malignant", use_split=table)
    assert manifest["split_sha256"] == split_hash([r["image_id"] for r in rows], parts)
    assert (manifest["seed"], manifest["lesions_in_several_parts"]) == (None, 0)
    assert read_prepared(out).parts == tuple(parts)
    # The lists of lesions alone, with the labels from the metadata, say the same.
    same = prepare(metadata, dirs, tmp_path / "b", shares=SHARES, use_split=meta)
    assert same["split_sha256"] == manifest["split_sha256"]
    # A table and lists that contradict are no split.
    lesions["train"], lesions["val"] = lesions["val"], lesions["train"]
    meta.write_text(json.dumps({f"{p}_lesion_ids": v for p, v in lesions.items()}))
    with pytest.raises(InvalidArgumentError, match=r"is in train, its lesion .* in val"):
        prepare([], dirs, out, shares=SHARES, labels="malignant", use_split=table)


def test_dermalyze_keeps_its_split(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = ham_rows(metadata)
    parts = by_lesion(rows)
    run = tmp_path / "run"
    for part in PARTS:
        write_csv(
            run / f"{part}_split.csv",
            [
                {"image_id": r["image_id"], "label": r["dx"], "lesion_id": r["lesion_id"]}
                for r, p in zip(rows, parts, strict=True)
                if p == part
            ],
        )
    manifest = prepare([], dirs, tmp_path / "out", shares=SHARES, use_split=run)
    assert manifest["split_sha256"] == split_hash([r["image_id"] for r in rows], parts)
    assert len(manifest["tables"]) == 3


def test_skinconditionassistant_shares_lesions_and_is_refused(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = ham_rows(metadata)
    parts = [PARTS[i % 3] for i in range(len(rows))]  # by image
    codes = list(HAM10000.codes)
    for part in PARTS:
        write_csv(
            tmp_path / "data" / f"split_{part}.csv",
            [
                {
                    "image": r["image_id"],
                    **{c.upper(): str(float(c == r["dx"])) for c in codes},
                    "label_name": r["dx"].upper(),
                    "label_idx": str(codes.index(r["dx"])),
                }
                for r, p in zip(rows, parts, strict=True)
                if p == part
            ],
        )
    options = {"shares": SHARES, "use_split": tmp_path / "data"}
    with pytest.raises(LeakageError, match=r"21 lesions are in several parts; [\d.]+% of the val images"):
        prepare(metadata, dirs, tmp_path / "out", **options)  # type: ignore[arg-type]
    manifest = prepare(metadata, dirs, tmp_path / "out", allow_shared_lesions=True, **options)  # type: ignore[arg-type]
    assert manifest["lesions_in_several_parts"] == 21
    assert read_prepared(tmp_path / "out").parts == tuple(parts)
    # Without the metadata nobody knows the lesions, and that has to be said.
    with pytest.raises(InvalidArgumentError, match="no lesion ids"):
        prepare([], dirs, tmp_path / "b", **options)  # type: ignore[arg-type]


def test_folders_keep_their_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    number = 0
    for part in PARTS:
        for name in ("mel", "nomel"):
            for _ in range(3):
                number += 1
                path = tmp_path / "in" / part / f"{name}_I{number:02}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    (tmp_path / "in" / "test" / "mel_aug_1_I03.jpg").write_bytes(path.read_bytes())
    out = tmp_path / "out"
    manifest = prepare(
        [], [], out, shares=SHARES, labels="melanoma", use_split=tmp_path / "in", image_level=True
    )
    assert manifest["counts"] == {p: {"non_melanoma": 3, "melanoma": 3} for p in PARTS}
    assert list(manifest["left_out"]) == ["test/mel_aug_1_I03.jpg"]
    prepared = read_prepared(out)
    assert all(
        path.is_file() and path.stem.endswith(i)
        for path, i in zip(prepared.paths, prepared.images, strict=True)
    )
    prepared.paths[0].unlink()
    with pytest.raises(InvalidArgumentError, match="1 images are no longer there"):
        read_prepared(out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,dx\na,nv\n", "expected a column split"),
        ("image_id,split\na,dev\n", "split is 'dev'"),
        ("image_id,split\na,train\na,test\n", "is in two parts"),
    ],
)
def test_splits_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        read_split(path)
    path.unlink()
    with pytest.raises(InvalidArgumentError, match="no split; expected"):
        read_split(tmp_path)


def test_a_split_without_a_part_is_refused_and_strangers_are_counted(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = [
        {"image_id": r["image_id"], "split": p}
        for r, p in zip(ham_rows(metadata), by_lesion(ham_rows(metadata)), strict=True)
    ]
    split = write_csv(tmp_path / "split.csv", [r for r in rows if r["split"] != "val"])
    with pytest.raises(InvalidArgumentError, match="no labelled image is in val"):
        prepare(metadata, dirs, tmp_path / "out", shares=SHARES, use_split=split)
    write_csv(split, [{**r, "split": "validation" if r["split"] == "val" else r["split"]} for r in rows[:-1]])
    manifest = prepare(metadata, dirs, tmp_path / "out", shares=SHARES, use_split=split)
    assert (manifest["images"], manifest["images_not_in_split"]) == (62, 1)


# --- folds ------------------------------------------------------------------------------------


def test_folds_test_every_image_once_and_never_cut_a_lesion() -> None:
    groups, labels = ham_like(1)
    splits = fold_splits(groups, labels, folds=5, val_share=0.15, seed=42)
    assert all(sum(parts[i] == "test" for parts in splits) == 1 for i in range(len(groups)))
    for parts in splits:
        assert shared_groups(groups, parts) == 0
        for label in set(labels):
            total = labels.count(label)
            found = Counter(p for p, x in zip(parts, labels, strict=True) if x == label)
            assert abs(found["test"] - total / 5) <= 2
            assert abs(found["val"] - 0.15 * total * 0.8) <= 2
    assert splits == fold_splits(groups, labels, folds=5, val_share=0.15, seed=42)
    # A change of the algorithm would silently move images between published folds.
    digest = split_hash([str(i) for i in range(len(groups))], splits[2])
    assert digest.startswith("8694045bb855ecf8")
    with pytest.raises(InvalidArgumentError, match="at least 2"):
        fold_splits(groups, labels, folds=1, val_share=0.15, seed=42)


def test_each_fold_is_a_prepared_folder(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    result = prepare(metadata, dirs, tmp_path / "cv", shares=SHARES, folds=3)
    folds = [read_prepared(tmp_path / "cv" / f"fold{i}") for i in range(3)]
    assert [f.hash for f in folds] == [m["split_sha256"] for m in result["splits"]]
    assert json.loads((tmp_path / "cv" / "folds.json").read_text())["splits"] == [f.hash for f in folds]
    tested = np.concatenate([f.rows("test") for f in folds])
    assert sorted(tested) == list(range(63))
    # One decoded store serves all folds.
    assert {f.cache.resolve() for f in folds} == {(tmp_path / "cv" / "cache").resolve()}
    assert [p.resolve() for p in folds[0].paths] == [p.resolve() for p in folds[1].paths]
    with pytest.raises(InvalidArgumentError, match="Too few lesions to fill 7 parts"):
        prepare(metadata, dirs, tmp_path / "x", shares=SHARES, folds=7)


# --- pictures that look alike -----------------------------------------------------------------


def smooth(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture with structure at every scale, coarse stronger than fine, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for k in range(5):
        grid = rng.integers(0, 256, (3 << k, 4 << k, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), float) / 2**k
    return Image.fromarray((total * 255 / total.max()).astype(np.uint8))


def test_the_hash_sees_through_size_colour_and_compression(tmp_path: Path) -> None:
    original = smooth(0, (320, 240))
    original.save(tmp_path / "a.jpg", quality=60)
    again = Image.open(tmp_path / "a.jpg")
    warmer = ImageEnhance.Color(ImageEnhance.Brightness(original.resize((160, 120))).enhance(0.9)).enhance(
        1.2
    )
    hashes = [perceptual_hash(np.asarray(i)) for i in (original, again, warmer, smooth(1), smooth(2))]
    assert all(len(h) == 64 for h in hashes)
    pairs = near_pairs(hashes, distance=40)
    assert {(i, j) for i, j, _ in pairs} == {(0, 1), (0, 2), (1, 2)}
    assert [bits for _, _, bits in pairs] == sorted(bits for _, _, bits in pairs)
    assert near_pairs(hashes[:1]) == []
    assert (0, 1, 0) in near_pairs([hashes[0], hashes[0]], distance=0)


def test_near_pairs_equal_counting_bits() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (1100, 32), dtype=np.uint8)
    rows[1050] = rows[3]
    rows[1051] = rows[3] ^ np.eye(1, 32, dtype=np.uint8)[0]
    found = near_pairs([r.tobytes().hex() for r in rows], distance=90)
    bits = np.unpackbits(rows, axis=1).astype(int)
    expected = sorted(
        (int(d), i, i + 1 + j)
        for i in range(len(bits))
        for j, d in enumerate((bits[i] != bits[i + 1 :]).sum(axis=1))
        if d <= 90
    )
    assert [(d, i, j) for i, j, d in found] == expected
    assert (3, 1050, 0) in found


def test_groups_merge_through_others() -> None:
    assert merge_groups(list("abcd"), [(0, 1), (2, 1)]) == ["a", "a", "a", "d"]
    assert merge_groups(["x", "y", "x"], []) == ["x", "y", "x"]


def test_near_duplicates_of_other_lesions_are_reported_and_merged(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    rows = ham_rows(metadata)
    plain = prepare(metadata, dirs, tmp_path / "a", shares=SHARES, seed=1)
    assert plain["near_duplicates"]["pairs"] == 0
    part = {r["image_id"]: r["split"] for r in csv.DictReader((tmp_path / "a" / "split.csv").open())}
    nevi = [r for r in rows if r["dx"] == "nv"]
    first = nevi[0]
    other = next(r for r in nevi if part[r["image_id"]] != part[first["image_id"]])
    for k, row in enumerate((first, other)):
        path = next(d / f"{row['image_id']}.jpg" for d in dirs if (d / f"{row['image_id']}.jpg").is_file())
        smooth(5).save(path, quality=95 - 20 * k)
    manifest = prepare(metadata, dirs, tmp_path / "a", shares=SHARES, seed=1)
    assert manifest["split_sha256"] == plain["split_sha256"]
    (pair,) = manifest["near_duplicates"]["across_parts"]
    assert set(pair["images"]) == {first["image_id"], other["image_id"]}
    assert manifest["identical_files"] == []
    merged = prepare(metadata, dirs, tmp_path / "b", shares=SHARES, seed=1, merge_duplicates=True)
    assert (merged["near_duplicates"]["pairs"], merged["near_duplicates"]["across_parts"]) == (1, [])
    lesions = {r["image_id"]: r["lesion_id"] for r in csv.DictReader((tmp_path / "b" / "split.csv").open())}
    assert lesions == {r["image_id"]: r["lesion_id"] for r in rows}


def test_the_default_distance_ignores_what_random_pictures_have_in_common() -> None:
    hashes = [perceptual_hash(np.asarray(smooth(seed))) for seed in range(60)]
    assert near_pairs(hashes) == []
