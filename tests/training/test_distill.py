"""Distillation: the divergence, and teachers that answer as the SDK does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000, MALIGNANT, LabelSet, parse_labels
from skinclf.models.load import load_model
from skinclf.models.registry import BUILTIN
from skinclf.runtimes.create import create_runtime
from skinclf_training.config.optimisation import Phase
from skinclf_training.config.schema import DistillConfig
from skinclf_training.torch.distill import Teachers, distillation_loss

TEACHER = str(BUILTIN / "ham10000-mobilenetv2")


def test_divergence_against_its_formula():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(5, 7))).float()
    teacher = torch.from_numpy(rng.dirichlet(np.ones(7), size=5)).float()
    student = (logits / 2).softmax(1)
    wanted = 4 * (teacher * (teacher / student).log()).sum(1).mean()
    assert float(distillation_loss(logits, teacher, 2.0)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(distillation_loss(logits, student, 2.0)) == pytest.approx(0, abs=1e-6)


def test_teacher_answers_as_the_runtime_does():
    model = load_model(TEACHER)
    pixels = model.spec.preprocess.pixels(synthetic_lesion(3))[None]
    scores = torch.from_numpy(create_runtime(model, runtime="torch", device="cpu").run(pixels))
    teachers = Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5, temperature=2.0), HAM10000)
    got = teachers.probabilities(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    assert torch.allclose(got, (scores / 2).softmax(1), atol=1e-5)


def test_teachers_are_averaged_and_see_the_asked_size():
    one = Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5, size=96), HAM10000)
    two = Teachers(DistillConfig(teachers=(TEACHER, TEACHER), weight=0.5, size=96), HAM10000)
    small = torch.rand(2, 3, 96, 96) * 255
    large = torch.nn.functional.interpolate(small, size=(192, 192), mode="nearest")
    assert torch.allclose(one.probabilities(small), two.probabilities(small), atol=1e-6)
    assert torch.allclose(one.probabilities(large), one.probabilities(small), atol=0.2)
    assert one.probabilities(large).sum(1) == pytest.approx([1, 1], abs=1e-5)


def test_labels_that_fall_together_are_added_up():
    pixels = torch.from_numpy(np.stack([synthetic_lesion(i, width=96, height=96) for i in range(3)]))
    pixels = pixels.permute(0, 3, 1, 2).float()
    seven = Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5), HAM10000).probabilities(pixels)
    two = Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5), MALIGNANT).probabilities(pixels)
    assert torch.allclose(two[:, 1], seven[:, [0, 1, 4]].sum(1), atol=1e-6)
    assert torch.allclose(two.sum(1), torch.ones(3), atol=1e-6)
    backwards = LabelSet("other", HAM10000.labels[::-1])
    other = Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5), backwards).probabilities(pixels)
    assert torch.equal(other, seven.flip(1))


def test_a_smaller_student_sees_the_crop_that_its_teachers_see():
    from skinclf_training.config.read import read_config
    from skinclf_training.torch.lightning_module import Classifier
    from skinclf_training.torch.loader import Batch

    seen: dict[str, torch.Tensor] = {}

    class Student(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen["student"] = x
            return self.head(x.mean((2, 3)))

        def get_classifier(self) -> torch.nn.Module:
            return self.head

    config = read_config(
        {
            "distill": {"teachers": [TEACHER], "weight": 0.5, "student_size": 32},
            "preprocess": {"scaling": "raw"},
            "augment": {"preset": "none", "size": 96},
        }
    )
    module = Classifier(config, Student(), HAM10000, np.ones(7, np.float32), batches_per_epoch=1)
    module.freezer.enter(Phase())
    teachers = Teachers(config.distill, HAM10000)

    class Spy:
        def probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
            seen["teacher"] = pixels
            return teachers.probabilities(pixels)

    module._teachers = Spy()  # type: ignore[assignment]
    images = np.stack([synthetic_lesion(i, width=96, height=96) for i in range(4)])
    module.training_step(
        Batch(torch.from_numpy(images), torch.arange(4), 0, 0, 7, np.random.default_rng(7)), 0
    )
    assert seen["teacher"].shape == (4, 3, 96, 96)
    assert seen["student"].shape == (4, 3, 32, 32)
    blocks = torch.nn.functional.avg_pool2d(seen["teacher"], 3)
    assert float((seen["student"] - blocks).abs().mean()) < 2


def test_refuses_no_teacher_and_other_labels():
    with pytest.raises(InvalidArgumentError, match="names no model"):
        Teachers(DistillConfig(weight=0.5), HAM10000)
    with pytest.raises(MismatchError, match="akiec"):
        Teachers(DistillConfig(teachers=(TEACHER,), weight=0.5), parse_labels("isic2019"))


def test_the_loss_of_a_step_is_shared_between_labels_and_teachers():
    import timm

    from skinclf_training.config.read import read_config
    from skinclf_training.torch.lightning_module import Classifier
    from skinclf_training.torch.loader import Batch

    images = np.stack([synthetic_lesion(i, width=64, height=64) for i in range(4)])
    targets = torch.tensor([0, 3, 5, 5])

    def step(weight: float) -> float:
        config = read_config(
            {
                "distill": {"teachers": [TEACHER], "weight": weight, "temperature": 2.0},
                "augment": {"size": 64},
                "model": {"drop_rate": 0.0},
            }
        )
        torch.manual_seed(0)
        network = timm.create_model("mobilenetv2_035", num_classes=7)
        module = Classifier(config, network, HAM10000, np.ones(7, np.float32), batches_per_epoch=1)
        module.freezer.enter(Phase())
        if weight:
            module._teachers = Teachers(config.distill, HAM10000)
        batch = Batch(torch.from_numpy(images), targets, 0, 0, 7, np.random.default_rng(7))
        return float(module.training_step(batch, 0))

    labels, mixed, teachers = step(0.0), step(0.25), step(1.0)
    assert labels != pytest.approx(teachers, rel=0.05)
    assert mixed == pytest.approx(0.75 * labels + 0.25 * teachers, rel=1e-5)
