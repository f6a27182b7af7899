"""Scorers that take notes beside another one: its arrays, its answers and its devices stay its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.pictures import encode

from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.notes.beside import NotesScorer
from skinclf.inference.notes.dicom_ids import DicomIdsScorer
from skinclf.inference.notes.scaled_decoding import NotedScorer
from skinclf.inference.scorer import Slot


@pytest.fixture
def image_paths(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "bb.png", "c.png")]
    for seed, path in enumerate(paths):
        path.write_bytes(encode(synthetic_lesion(seed, width=40, height=30), "PNG"))
    return list(map(str, paths))


class Lengths(NotesScorer):
    """Notes the length of each name."""

    notes = Slot((2,), np.int64)

    def __init__(self, base):
        prepare = base.prepare
        super().__init__(base, lambda source: (*prepare(source), np.array([len(source), -1])))
        self.columns = {"length": int}

    def noted(self, scored, notes):
        return replace(scored, columns={**scored.columns, "length": notes[:, 0].copy()})


def batch_of(scorer, sources):
    """The arrays of several images, as the engine stacks them."""
    return tuple(np.stack(arrays) for arrays in zip(*map(scorer.prepare, sources), strict=True))


class Doubling(FakeScorer):
    """Copies a batch to another place, as a scorer on a GPU does."""

    def stage(self, batch):
        return tuple(array.copy() for array in batch)


@pytest.mark.parametrize("base", [FakeScorer(), Doubling(), Lengths(FakeScorer())])
def test_the_answers_are_those_of_the_other_scorer(base, image_paths):
    scorer = Lengths(base)
    assert scorer.layout == (*base.layout, Slot((2,), np.int64))
    staged = scorer.stage(batch_of(scorer, image_paths))
    expected = base.score(base.stage(batch_of(base, image_paths)))
    scored = scorer.score(staged)
    np.testing.assert_array_equal(scored.probabilities, expected.probabilities)
    np.testing.assert_array_equal(scored.columns["length"], [len(path) for path in image_paths])


def test_what_stands_behind_the_notes_reaches_the_other_scorer(image_paths):
    """Vectors of metadata stand behind the arrays of the layout."""
    seen = []

    class Two(FakeScorer):
        def score(self, batch):
            seen.append(batch[-1])
            return super().score(batch[:1])

    scorer = Lengths(Two())
    vectors = np.arange(len(image_paths))
    scorer.score((*batch_of(scorer, image_paths), vectors))
    assert seen[0] is vectors


def test_bare_is_the_scorer_below_all_notes():
    base = FakeScorer()
    assert NotedScorer(base, {}).bare is base
    assert DicomIdsScorer(NotedScorer(base, {})).bare is base
    assert base.bare is base
