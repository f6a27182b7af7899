"""Errors: one family, exit codes, and messages that survive a process border."""

from __future__ import annotations

import pickle

import pytest

from skinclf import errors
from skinclf.errors import (
    HubError,
    ImageError,
    InvalidArgumentError,
    MissingExtraError,
    ModelError,
    OutputError,
    SkinclfError,
    UnsafeModelError,
)

ARGUMENTS = {ImageError: ("empty", "a.jpg: the file is empty."), MissingExtraError: ("onnx", "ONNX Runtime")}
CLASSES = [x for x in vars(errors).values() if isinstance(x, type) and issubclass(x, SkinclfError)]
EXAMPLES = [cls(*ARGUMENTS.get(cls, ("What happened.",))) for cls in CLASSES]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_errors_are_one_family_and_survive_pickling(error):
    assert isinstance(error, SkinclfError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_only_wrong_usage_exits_with_2():
    assert not any(hasattr(x, "exit_code") for x in CLASSES)


def test_errors_are_caught_by_the_builtin_that_people_expect():
    assert issubclass(InvalidArgumentError, ValueError)
    assert issubclass(ImageError, ValueError)
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(OutputError, OSError)
    assert issubclass(HubError, ModelError)
    assert issubclass(UnsafeModelError, ModelError)


def test_a_missing_extra_says_how_to_install_it():
    error = MissingExtraError("onnx", "The ONNX runtime")
    assert "The ONNX runtime" in str(error)
    assert "pip install 'skinclf[onnx]'" in str(error)
    assert (error.extra, error.what) == ("onnx", "The ONNX runtime")


def test_output_error_prints_its_sentence_and_no_errno():
    assert str(OutputError("preds.csv: exists.")) == "preds.csv: exists."
    assert str(OutputError()) == ""
