"""Further data sets with some of the labels: which rows, which targets, and a loss over their own labels only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from skinclf.errors import MismatchError
from skinclf.labels import LabelSet, parse_labels
from skinclf_training.config.schema import Config, LossConfig
from skinclf_training.data.prepared import Prepared
from skinclf_training.data.store import JoinedStore
from skinclf_training.recipes.losses import build_loss
from skinclf_training.torch.datamodule import joined_rows
from skinclf_training.torch.loader import StoreLoader


def data(labels: LabelSet, targets: list[int], parts: list[str], name: str = "own") -> Prepared:
    return Prepared(
        folder=Path(name),
        labels=labels,
        images=tuple(f"{name}{i}" for i in range(len(targets))),
        lesions=tuple(f"{name}{i}" for i in range(len(targets))),
        targets=np.asarray(targets, np.int64),
        parts=tuple(parts),
        paths=tuple(Path(f"{name}{i}.jpg") for i in range(len(targets))),
        manifest={},
    )


HAM = parse_labels("ham10000")
OWN = data(HAM, [0, 1, 2, 3, 4, 5, 6], ["train"] * 5 + ["val", "test"])


def test_rows_of_several_data_sets_are_numbered_one_after_the_other() -> None:
    few = parse_labels("nv,mel")
    rows, targets, known = joined_rows(OWN, [data(few, [0, 1, 1], ["train", "test", "train"], "b")])
    assert rows.tolist() == [0, 1, 2, 3, 4, 7, 9]
    assert [HAM.codes[t] for t in targets[7:]] == ["nv", "mel", "mel"]
    assert known is not None
    assert known[:7].all()
    for row in known[7:]:
        assert [HAM.codes[i] for i in np.flatnonzero(row)] == sorted(["nv", "mel"], key=HAM.codes.index)


def test_one_data_set_has_no_mask() -> None:
    rows, targets, known = joined_rows(OWN, [])
    assert known is None
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(targets, OWN.targets)


def test_a_label_that_the_run_has_not_is_refused_by_name() -> None:
    with pytest.raises(MismatchError, match="scc"):
        joined_rows(OWN, [data(parse_labels("isic2019"), [0], ["train"], "other")])


def test_joined_store_is_the_concatenation() -> None:
    rng = np.random.default_rng(0)
    stores = [rng.integers(0, 255, (n, 2, 3, 3), dtype=np.uint8) for n in (4, 1, 5)]
    joined, whole = JoinedStore(stores), np.concatenate(stores)
    assert len(joined) == 10
    rows = rng.permutation(10)
    assert np.array_equal(joined[rows], whole[rows])


def test_batches_carry_the_mask_of_their_rows() -> None:
    store, known = np.zeros((6, 2, 2, 3), np.uint8), np.arange(18).reshape(6, 3) % 2 == 0
    order = np.asarray([5, 0, 3])
    (batch,) = StoreLoader(store, order, np.arange(6), batch_size=3, known=known)
    assert batch.known is not None
    assert np.array_equal(batch.known.numpy(), known[order])


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_masked_logits_get_no_gradient_and_the_rest_is_the_smaller_problem(
    kind: str, smoothing: float
) -> None:
    config = LossConfig(kind=kind, label_smoothing=smoothing)  # type: ignore[arg-type]
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    soft = torch.eye(4)[[0, 2, 2, 0, 2]]
    known = torch.tensor([True, False, True, False]).repeat(5, 1)
    loss = build_loss(config, weights, 4)(logits, soft, known)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()
    assert torch.equal(gradient[:, [1, 3]], torch.zeros(5, 2))
    small = build_loss(config, weights[[0, 2]], 2)(logits[:, [0, 2]], soft[:, [0, 2]])
    assert torch.allclose(loss, small, atol=1e-6)


def test_all_labels_known_is_the_plain_loss() -> None:
    loss = build_loss(LossConfig(), torch.tensor([1.0, 2.0, 0.5]), 3)
    logits, soft = (
        torch.randn(8, 3, generator=torch.Generator().manual_seed(1)),
        torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]],
    )
    assert torch.allclose(
        loss(logits, soft), loss(logits, soft, torch.ones(8, 3, dtype=torch.bool)), atol=1e-6
    )


def test_select_last_prefers_the_latest_epoch_whatever_the_figures() -> None:
    config = Config(select="last")
    assert config.score({"loss": 0.1}, 3) > config.score({"loss": 9.0}, 2)
    assert Config(select="loss").score({"loss": 0.1}, 0) > Config(select="loss").score({"loss": 0.2}, 1)
    assert Config(select="macro_auc").score({"macro_auc": 0.9}, 0) == 0.9
