"""Every configuration that comes with skinclf: it reads, it is one of its framework's, and it trains to a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

from support.train_fixtures import synthetic_data

from skinclf.inference.predictor import Predictor
from skinclf.labels import TAXONOMIES
from skinclf.models.bundle import read_spec
from skinclf_cli.main import run
from skinclf_training.config.read import Config, known_configs
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.class_balance import stacked
from skinclf_training.recipes.schedule import check_phases
from skinclf_training.torch.networks.freezing import Freezer

CONFIGS = {config.name: config for config in known_configs()}
TORCH = [name for name, config in CONFIGS.items() if config.framework == "torch"]
SYSTEMS = {
    "skinsight-efficientnetb0",
    "skinsight-resnet50",
    "devatreya-simple-cnn",
    "devatreya-resnet50",
    "devatreya-vgg16",
    "devatreya-inceptionv3",
    "devatreya-efficientnetb0",
    "skinconditionassistant-tensorflow",
    "skinconditionassistant-torch",
    "melanoma-analyzer",
    "dermalyze-small",
    "dermalyze-medium",
    "dermalyze-large",
}
#: What a published run has that a test has not: ImageNet, teachers, a GPU, large pictures, hours.
SMALL = {
    "model.pretrained": "false",
    "data.also": "[]",
    "model.init": "null",
    "model.transplant": "null",
    "distill.weight": "0",
    "preprocess.height": "32",
    "preprocess.width": "32",
    "augment.size": "32",
    "data.batch_size": "4",
    "data.store_height": "40",
    "data.store_width": "40",
    "data.workers": "1",
    "threads": "1",
    "optim.accelerator": "cpu",
    "optim.precision": "32-true",
    "optim.init_share": "0",
    "optim.refresh_images": "0",
    "log.report": "false",
}


def test_every_system_has_its_configurations() -> None:
    assert set(CONFIGS) >= SYSTEMS
    assert len(CONFIGS) == len(known_configs())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_says_what_it_is(name: str) -> None:
    config = CONFIGS[name]
    assert config.labels == "any" or config.labels in TAXONOMIES
    assert stacked(config) is None
    check_phases(config.optim)
    if name in SYSTEMS or config.framework == "tensorflow":
        assert config.about
        assert config.labels != "any"


@pytest.mark.parametrize("name", sorted(SYSTEMS.intersection(TORCH)))
def test_phases_name_parts_that_the_network_has(name: str) -> None:
    import torch

    from skinclf_training.torch.networks.build import build_network

    config = CONFIGS[name]
    with torch.device("meta"):
        network, _ = build_network(read_small(config).model, len(TAXONOMIES[config.labels]))
    Freezer(network, config.optim)


def read_small(config: Config) -> Config:
    from skinclf_training.config.read import load_config

    return load_config(config.name, [f"{key}={value}" for key, value in SMALL.items()])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """56 pictures for each taxonomy; twice as many where few are melanomas."""
    folder = tmp_path_factory.mktemp("systems")
    return {
        labels: synthetic_data(folder / labels, labels=labels, images=112 if labels == "melanoma" else 56)
        for labels in ("ham10000", "isic2019", "melanoma", "malignant")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_a_configuration_trains_to_a_bundle(data: dict[str, Prepared], tmp_path: Path, name: str) -> None:
    config = CONFIGS[name]
    prepared = data["ham10000" if config.labels == "any" else config.labels]
    changes = dict(SMALL)
    if config.model.architecture.startswith("vit"):
        changes["model.args"] = "{img_size: 32}"
    options = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    folder = tmp_path / "run"
    arguments = [
        "--config",
        name,
        "--data",
        str(prepared.folder),
        "--output",
        str(folder),
        "--max-steps",
        "2",
    ]
    assert run(["train", *arguments, *options]) == 0
    rows = json.loads((folder / "history.json").read_text())
    assert [row["step"] for row in rows] == [2]
    spec = read_spec(folder / "bundle")
    assert spec.labels.codes == prepared.labels.codes
    assert spec.training["config"]["name"] == name
    assert (spec.training["data"] == "ISIC 2019") == (config.labels == "isic2019")
    predictor = Predictor(str(folder / "bundle"), runtime="torch", device="cpu", workers=0)
    answer = predictor.predict(prepared.paths[0])
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_one_output_for_two_classes(tmp_path: Path) -> None:
    """devatreya's network and loss, in torch, from a file of one's own."""
    prepared = synthetic_data(tmp_path / "data", labels="malignant", images=56)
    (tmp_path / "binary.yaml").write_text(
        "name: binary\nselect: malignant_pr_auc\nlabels: malignant\nthreads: 1\n"
        "model: {architecture: simple_cnn}\npreprocess: {height: 32, width: 32}\n"
        "loss: {kind: bce, class_weights: pos_weight, label_smoothing: 0.0}\n"
        "data: {batch_size: 8}\naugment: {preset: devatreya, size: 32}\n"
        "optim: {epochs: 2, accelerator: cpu, precision: 32-true}\n"
    )
    folder = tmp_path / "run"
    arguments = [
        "--config",
        str(tmp_path / "binary.yaml"),
        "--data",
        str(prepared.folder),
        "--output",
        str(folder),
    ]
    assert run(["train", *arguments, "--test-part"]) == 0
    spec = read_spec(folder / "bundle")
    assert (spec.activation, spec.num_outputs, spec.architecture) == ("sigmoid", 1, "skinclf/simple-cnn")
    predictor = Predictor(str(folder / "bundle"), runtime="torch", device="cpu", workers=0)
    answers = predictor.predict(list(prepared.paths[:4]))
    assert all(sum(a.probabilities.values()) == pytest.approx(1, abs=1e-6) for a in answers)
    rows = json.loads((folder / "history.json").read_text())
    assert all(0 <= row["val_malignant_pr_auc"] <= 1 for row in rows)
    page = (folder / "report.md").read_text()
    assert "PR-AUC malignant" in page
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for part in ("evaluation", "evaluation_val"):
        assert (folder / part / "report.html").is_file()


def test_the_command_lists_them_and_refuses_other_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--list-configs"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CONFIGS)
    assert run(["train"]) == 2
    prepared = synthetic_data(tmp_path / "data")
    arguments = ["--data", str(prepared.folder), "--output", str(tmp_path / "run")]
    assert run(["train", "--config", "melanoma-analyzer", *arguments]) == 2
    assert "for the labels melanoma" in capsys.readouterr().err
