"""The training configuration: what it refuses, and what it resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf_training.config.read import config_dirs, known_configs, load_config, read_config
from skinclf_training.config.schema import Config


def write(folder: Path, text: str) -> str:
    path = folder / "c.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "optim:\n  learning_rate: 1\n",
            r"Unknown configuration keys in 'optim': learning_rate. Known: epochs, optimizer, lr",
        ),
        ("epochs: 3\n", "at the top level: epochs"),
        ("optim:\n  epochs: many\n", r"'optim.epochs': expected int, received 'many'"),
        ("optim:\n  epochs: true\n", "'optim.epochs': expected int"),
        ("optim:\n  lr: fast\n", "'optim.lr': expected float"),
        ("optim: 3\n", "'?optim'?: expected keys and values|Configuration optim"),
        ("augment:\n  scale: [1]\n", "'augment.scale': expected tuple"),
        (
            "loss:\n  class_weights: root\n",
            "expected 'none' or 'sqrt' or 'balanced' or 'pos_weight', received 'root'",
        ),
        ("model:\n  init: 3\n", "'model.init': expected str"),
        ("- a\n", "expected keys and values"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        load_config(write(tmp_path, text))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgumentError, match="ham10000-mobilenetv2"):
        load_config("no-such-config")


def test_overrides_win_and_are_typed(tmp_path: Path) -> None:
    source = write(tmp_path, "name: x\noptim:\n  lr: 1e-3\n  epochs: 3\n")
    config = load_config(source, ["optim.epochs=5", "augment.scale=[0.9, 1.1]", "model.init=null", "seed=1"])
    assert config.optim.lr == pytest.approx(1e-3)
    assert (config.optim.epochs, config.augment.scale, config.model.init, config.seed) == (
        5,
        (0.9, 1.1),
        None,
        1,
    )


@pytest.mark.parametrize("text", ["optim.epochs", "=3", "name.sub=1", "optim.epoch=3", "seed=[1"])
def test_bad_overrides(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        load_config(write(tmp_path, "name: x\n"), [text])


def test_resolved_configuration_reads_back(tmp_path: Path) -> None:
    config = load_config("ham10000-mobilenetv2")
    assert load_config(write(tmp_path, config.to_yaml())) == config


@pytest.mark.parametrize(
    "path", sorted(p for d in config_dirs() for p in d.glob("*.yaml")), ids=lambda p: p.stem
)
def test_configurations_that_come_with_skinclf(path: Path) -> None:
    config = read_config(yaml.safe_load(path.read_text()))
    assert config.name == path.stem
    assert config.preprocess.build().height >= 32


@pytest.mark.parametrize("config", known_configs(), ids=lambda c: c.name)
def test_no_configuration_needs_a_file_that_users_cannot_get(config: Config) -> None:
    """Weights come from the package, from timm, or from a run of another configuration that comes with skinclf."""
    names = {known.name for known in known_configs()}
    for source in filter(None, (config.model.init, config.model.transplant, *config.distill.teachers)):
        first, second, *_ = Path(source).parts
        assert (first == "runs" and second in names - {config.name}) or (first, second) == (
            "skinclf",
            "builtin",
        ), source


def test_scaled_decoding_can_be_declared(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "preprocess: {scaled_decoding: 2}\n"))
    assert config.preprocess.build().scaled_decoding == 2
    assert load_config("ham10000-mobilenetv2-plain").preprocess.build().scaled_decoding == 0
    config = load_config(
        write(tmp_path, "preprocess: {scaled_decoding: 2, library: opencv, interpolation: bilinear}\n")
    )
    with pytest.raises(ModelError, match="antialiased resizing"):
        config.preprocess.build()


def test_command_prints_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    from skinclf_cli.main import run

    assert run(["train", "--config", "ham10000-mobilenetv2", "--set", "seed=9", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 9
    assert run(["train", "--config", "ham10000-mobilenetv2"]) == 2
    assert run(["train", "--config", "nothing-here"]) == 2
