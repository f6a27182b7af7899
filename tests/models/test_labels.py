"""Labels: order is the order of the outputs, and every crosswalk is declared."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.labels import (
    CROSSWALKS,
    HAM10000,
    ISIC2019,
    ISIC2019_7,
    MALIGNANT,
    MELANOMA,
    TAXONOMIES,
    Label,
    LabelSet,
    crosswalk,
    parse_labels,
)


def test_ham10000_order_is_alphabetical_with_three_malignant_classes():
    assert HAM10000.codes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert [x.code for x in HAM10000 if x.malignant] == ["akiec", "bcc", "mel"]
    assert HAM10000.malignant_indices == (0, 1, 4)


def test_isic2019_order_is_the_ground_truths():
    assert ISIC2019.codes == ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")
    assert ISIC2019_7.codes == ISIC2019.codes[:7]
    assert [x.code for x in ISIC2019 if x.malignant] == ["mel", "bcc", "ak", "scc"]


def test_in_two_label_sets_the_second_is_positive():
    for labels in (MALIGNANT, MELANOMA):
        assert labels.malignant_indices == (1,)


def test_taxonomies_are_known_by_their_names():
    assert set(TAXONOMIES) == {"ham10000", "isic2019", "isic2019-7", "malignant", "melanoma"}
    assert all(x.name == name for name, x in TAXONOMIES.items())


def test_a_label_set_is_a_sequence():
    assert len(HAM10000) == 7
    assert HAM10000[4].code == "mel"
    assert [x.code for x in HAM10000[:2]] == ["akiec", "bcc"]
    assert Label("mel", "Melanoma", malignant=True) in HAM10000
    assert next(reversed(HAM10000)).code == "vasc"


def test_position_ignores_case_and_blanks():
    assert HAM10000.position(" MEL ") == 4
    with pytest.raises(InvalidArgumentError, match="akiec, bcc, bkl"):
        HAM10000.position("scc")


def test_unknown_malignancy_is_not_false():
    labels = LabelSet("x", (Label("a", "A", malignant=True), Label("b", "B")))
    assert labels.malignant_indices is None


@pytest.mark.parametrize(
    "codes",
    [("a",), (), ("a", "a"), ("a", "A"), ("a", ""), ("a", "b,c"), ("a", "b c"), ("a", "b\n"), ("a", '"b"')],
)
def test_impossible_label_sets_are_refused(codes):
    with pytest.raises(ModelError):
        LabelSet("x", tuple(Label(c, c) for c in codes))


code = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-.", min_size=1, max_size=8)
label_sets = st.builds(
    lambda name, rows: LabelSet(name, tuple(Label(*row) for row in rows)),
    st.text(max_size=10),
    st.lists(
        st.tuples(code, st.text(max_size=20), st.sampled_from([True, False, None])),
        min_size=2,
        max_size=9,
        unique_by=lambda row: row[0],
    ),
)


@given(label_sets)
def test_json_round_trip(labels):
    again = LabelSet.from_dict(json.loads(json.dumps(labels.to_dict())))
    assert again == labels
    assert again.fingerprint == labels.fingerprint


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"taxonomy": "x"},
        {"labels": [{"code": "a", "name": "A"}, {"code": "b", "name": "B"}]},
        {"taxonomy": "x", "labels": 5},
        {"taxonomy": "x", "labels": ["a", "b"]},
        {"taxonomy": "x", "labels": [{"code": "a"}, {"code": "b"}]},
        {"taxonomy": "x", "labels": [{"name": "A"}, {"name": "B"}]},
        {
            "taxonomy": "x",
            "labels": [{"code": "a", "name": "A", "malignant": "yes"}, {"code": "b", "name": "B"}],
        },
        {"taxonomy": "x", "labels": [{"code": "a", "name": "A", "malignant": 1}, {"code": "b", "name": "B"}]},
        {
            "taxonomy": "x",
            "labels": [{"code": "a", "name": "A", "malignant": []}, {"code": "b", "name": "B"}],
        },
        {"taxonomy": "x", "labels": [{"code": "a", "name": "A"}]},
    ],
)
def test_malformed_json_is_refused(data):
    with pytest.raises(ModelError):
        LabelSet.from_dict(data)


def test_fingerprint_counts_order_codes_and_flags_but_not_display_names():
    base = HAM10000.fingerprint
    renamed = LabelSet("other", tuple(Label(x.code, x.name.upper(), x.malignant) for x in HAM10000))
    turned = LabelSet("ham10000", tuple(reversed(HAM10000.labels)))
    flipped = LabelSet("ham10000", tuple(Label(x.code, x.name, not x.malignant) for x in HAM10000))
    assert renamed.fingerprint == base
    assert len({base, turned.fingerprint, flipped.fingerprint}) == 3


# --- what a user types ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ham10000", " HAM10000 ", "isic2019-7", "malignant", "Melanoma"])
def test_a_taxonomy_by_name(text):
    assert parse_labels(text) is TAXONOMIES[text.strip().lower()]


def test_two_codes_mean_negative_positive():
    labels = parse_labels("Benign, Malignant")
    assert labels.codes == ("benign", "malignant")
    assert labels.malignant_indices == (1,)


def test_more_codes_leave_malignancy_unknown_until_it_is_said():
    assert parse_labels("mel,nv,bkl").malignant_indices is None
    assert parse_labels("mel,nv,bkl", malignant=["MEL"]).malignant_indices == (0,)
    assert parse_labels("nv,mel", malignant=["nv"]).malignant_indices == (0,)
    assert parse_labels("nv,mel", malignant=[]).malignant_indices == ()
    assert parse_labels("ham10000", malignant=["mel"]).malignant_indices == (4,)


@pytest.mark.parametrize("text", ["", "mel", "ham1000", ",", "mel,mel", "mel,MEL", "me l,nv"])
def test_labels_that_make_no_set_are_refused(text):
    with pytest.raises(InvalidArgumentError):
        parse_labels(text)


def test_an_unknown_malignant_code_is_refused():
    with pytest.raises(InvalidArgumentError, match="scc"):
        parse_labels("ham10000", malignant=["scc"])


# --- crosswalks -------------------------------------------------------------------------------


def test_every_crosswalk_maps_known_codes_to_known_codes():
    for (source, target), walk in CROSSWALKS.items():
        assert (walk.source, walk.target) == (source, target)
        assert set(walk.mapping) <= set(TAXONOMIES[source].codes)
        assert set(walk.mapping.values()) <= set(TAXONOMIES[target].codes)
        assert walk.lossy, "all of these lose something, and must say what"


def test_crosswalks_to_malignant_agree_with_the_flags():
    for labels in (HAM10000, ISIC2019, ISIC2019_7):
        walk = crosswalk(labels, MALIGNANT)
        for label in labels:
            assert (walk.mapping[label.code] == "malignant") is label.malignant


def test_crosswalks_between_multi_class_sets_keep_malignancy():
    for source, target in [(HAM10000, ISIC2019), (ISIC2019, HAM10000), (ISIC2019_7, ISIC2019)]:
        for a, b in crosswalk(source, target).mapping.items():
            assert source[source.position(a)].malignant == target[target.position(b)].malignant


def test_same_codes_need_no_declaration():
    other = LabelSet("mine", HAM10000.labels)
    walk = crosswalk(other, HAM10000)
    assert walk.mapping == {c: c for c in HAM10000.codes}
    assert walk.lossy == ""


@pytest.mark.parametrize(
    ("source", "target"), [(MALIGNANT, HAM10000), (MELANOMA, MALIGNANT), (MALIGNANT, MELANOMA)]
)
def test_undeclared_crosswalks_are_refused(source, target):
    with pytest.raises(InvalidArgumentError, match="No crosswalk"):
        crosswalk(source, target)
