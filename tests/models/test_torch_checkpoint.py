"""`skinclf.models.formats.torch`: three projects' files and plain networks, recognised by their tensors."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from support.bundles import random_network
from torch import nn

from skinclf.errors import ModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000, ISIC2019, MELANOMA, parse_labels
from skinclf.models.architectures.published import PublishedNetwork
from skinclf.models.formats.torch import import_torch
from skinclf.models.loaded import Stated


def randomised(network: nn.Module) -> nn.Module:
    """Weights that let pictures through, and batch norms that are no identity: a swapped tensor shows."""
    random = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
        if name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=random) * 0.2)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=random) + 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def assistant():
    return randomised(PublishedNetwork("skin-condition-assistant", "efficientnet_b0", 8))


@pytest.fixture(scope="module")
def analyzer():
    return randomised(PublishedNetwork("melanoma-analyzer", "efficientnet_v2_s", 2))


@pytest.fixture(scope="module")
def dermalyze():
    return randomised(PublishedNetwork("dermalyze", "efficientnet_v2_s", 7))


@pytest.fixture(scope="module")
def smaller():
    return randomised(PublishedNetwork("dermalyze", "efficientnet_b0", 7))


def load(path, **stated):
    return import_torch(path, Stated(**stated), name=path.stem, source=str(path))


def same_function(loaded, network):
    x = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = network(x)
        assert (expected[0] - expected[1]).abs().max() > 1e-4  # else equality would say little
        return torch.equal(loaded.torch_network()(x), expected)


def test_sizes_are_those_of_the_projects(assistant, analyzer, dermalyze):
    for network, tensors, parameters in (
        (assistant, 367, 4_338_052),
        (analyzer, 782, 20_180_050),
        (dermalyze, 796, 20_968_023),
    ):
        assert len(network.state_dict()) == tensors
        assert sum(p.numel() for p in network.parameters()) == parameters
    with torch.device("meta"):
        for variant, tensors, parameters in (("m", 1134, 53_648_891), ("l", 1562, 118_024_807)):
            network = PublishedNetwork("dermalyze", f"efficientnet_v2_{variant}", 7)
            assert len(network.state_dict()) == tensors
            assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_assistants_training_checkpoint(tmp_path, assistant):
    optimizer = torch.optim.AdamW(assistant.parameters())
    file = tmp_path / "best_model_gradual.pth"
    torch.save(
        {
            "epoch": 12,
            "model_state_dict": OrderedDict((f"module.{k}", v) for k, v in assistant.state_dict().items()),
            "optimizer_state_dict": optimizer.state_dict(),
            "val_acc": 74.36,
            "frozen_layers": 3,
            "config": {"batch_size": 96, "lr": 5e-5, "epochs": 100, "patience": 15, "min_delta": 0.002},
        },
        file,
    )
    loaded = load(file)
    assert loaded.spec.labels == ISIC2019
    assert loaded.spec.activation == "softmax"
    assert loaded.spec.training == {"epoch": 12, "val_acc": 74.36}
    assert same_function(loaded, assistant)
    preprocess = loaded.spec.preprocess
    assert [s.name for s in preprocess.steps] == ["resize", "jpeg", "clahe", "hair_removal", "jpeg"]
    assert (preprocess.height, preprocess.interpolation, preprocess.fit) == (224, "bilinear", "squash")
    assert preprocess.std == (0.229, 0.224, 0.225)


def test_nine_outputs_are_refused_until_all_nine_are_stated(tmp_path):
    network = PublishedNetwork("skin-condition-assistant", "efficientnet_b0", 9)
    file = tmp_path / "nine.pth"
    torch.save(network.state_dict(), file)
    with pytest.raises(ModelError, match=r"UNK.*`labels` mel,nv,bcc,ak,bkl,df,vasc,scc,unk"):
        load(file)
    labels = parse_labels("mel,nv,bcc,ak,bkl,df,vasc,scc,unk")
    assert load(file, labels=labels).spec.labels == labels
    with pytest.raises(ModelError, match="9 outputs but there are 8 labels"):
        load(file, labels=ISIC2019)


def test_the_melanoma_analyzers_state_dict(tmp_path, analyzer):
    file = tmp_path / "best_model.pth"
    torch.save(analyzer.state_dict(), file)
    loaded = load(file)
    assert loaded.spec.labels == MELANOMA
    assert (loaded.spec.preprocess.height, loaded.spec.preprocess.width) == (380, 380)
    assert loaded.spec.preprocess.steps == ()
    assert same_function(loaded, analyzer)


def test_dermalyzes_checkpoint_brings_its_image_size(tmp_path, dermalyze):
    file = tmp_path / "checkpoint_best.pt"
    torch.save(
        {
            "epoch": 7,
            "model_state_dict": dermalyze.state_dict(),
            "scheduler_state_dict": {"T_0": 10, "last_epoch": 7, "_last_lr": [1e-5]},
            "metrics": {"train_loss": 0.3, "val_loss": float("nan"), "val_acc": 0.81},
            "config": {"model": {"size": "small", "image_size": 320, "num_classes": 7}},
        },
        file,
    )
    loaded = load(file)
    assert loaded.spec.labels == HAM10000
    assert loaded.spec.preprocess == scaling("torch", height=320, width=320)
    assert loaded.spec.training == {"epoch": 7, "train_loss": 0.3, "val_acc": 0.81}
    assert same_function(loaded, dermalyze)


def test_dermalyzes_bare_safetensors(tmp_path, smaller):
    from safetensors.torch import save_file

    file = tmp_path / "weights.bin"
    save_file(smaller.state_dict(), file)
    loaded = load(file)
    assert loaded.spec.preprocess == scaling("torch")
    assert same_function(loaded, smaller)


def test_later_dermalyze_revisions_load_with_their_plain_weights(tmp_path, caplog, smaller):
    state = smaller.state_dict()
    file = tmp_path / "later.pt"
    model = {"backbone": "efficientnet_b0", "image_size": 224}
    averaged = {k: v * 0 for k, v in state.items()}
    torch.save(
        {
            "model_state_dict": state,
            "ema_state_dict": averaged,
            "ema_decay": 0.99,
            "config": {"model": model},
        },
        file,
    )
    loaded = load(file)
    found = loaded.torch_network().state_dict()
    assert all(torch.equal(found[k], v) for k, v in state.items())
    assert "ema_state_dict" in caplog.text


@pytest.mark.parametrize(
    ("change", "extra", "says"),
    [
        ({}, {"metadata_encoder_state": {"w": torch.zeros(2)}}, "patient data"),
        (
            {"backbone.features.0.0.weight": torch.zeros(96, 3, 4, 4)},
            {"config": {"model": {"backbone": "convnext_tiny"}}},
            "'convnext_tiny' is not supported",
        ),
        ({"backbone.features.0.0.weight": torch.zeros(96, 3, 4, 4)}, {}, "laid out like dermalyze"),
        ({"classifier.1.weight": torch.zeros(512, 1300)}, {}, r"classifier\.1\.weight .*1300"),
        ({"classifier.11.weight": torch.zeros(2)}, {}, r"Unexpected: classifier\.11\.weight"),
        ({}, {"config": {"model": {"image_size": "224"}}}, "image_size is '224'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, smaller, change, extra, says):
    file = tmp_path / "odd.pt"
    torch.save({"model_state_dict": {**smaller.state_dict(), **change}, **extra}, file)
    with pytest.raises(ModelError, match=says):
        load(file)


def test_a_missing_tensor_is_named(tmp_path, smaller):
    state = smaller.state_dict()
    del state["backbone.features.2.0.block.1.1.running_var"]
    file = tmp_path / "gap.pt"
    torch.save(state, file)
    with pytest.raises(ModelError, match=r"Missing: backbone\.features\.2\.0\.block\.1\.1\.running_var"):
        load(file)


def test_an_architecture_that_contradicts_the_file_is_an_error(tmp_path, smaller):
    file = tmp_path / "b0.pt"
    torch.save(smaller.state_dict(), file)
    with pytest.raises(ModelError, match="efficientnet_b0, but `architecture` is resnet50"):
        load(file, architecture="resnet50")
    assert load(file, architecture="efficientnet_b0").spec.labels == HAM10000


STATED = {"labels": HAM10000, "preprocess": scaling("torch", height=64, width=64)}


def test_plain_networks_need_labels_and_preprocessing(tmp_path):
    file = tmp_path / "plain.pth"
    torch.save(random_network("resnet18", 7, seed=3), file)
    with pytest.raises(ModelError, match="`labels`"):
        load(file)
    with pytest.raises(ModelError, match="`preprocess`"):
        load(file, labels=HAM10000)
    assert load(file, **STATED).spec.architecture == "resnet18"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_resnets_load_by_themselves(tmp_path, name):
    models = pytest.importorskip("torchvision").models
    theirs = randomised(getattr(models, name)(num_classes=7))
    file = tmp_path / "resnet.pth"
    torch.save({"state_dict": theirs.state_dict()}, file)
    loaded = load(file, **STATED)
    assert loaded.spec.architecture == name
    assert same_function(loaded, theirs)


def test_torchvision_efficientnet_loads_by_itself(tmp_path):
    models = pytest.importorskip("torchvision").models
    theirs = randomised(models.efficientnet_b0(num_classes=1))
    file = tmp_path / "b0.pth"
    torch.save(theirs.state_dict(), file)
    loaded = load(file, labels=parse_labels("benign,malignant"), preprocess=STATED["preprocess"])
    assert loaded.spec.activation == "sigmoid"
    assert same_function(loaded, theirs)


def test_timm_networks_load_by_name(tmp_path):
    import timm

    state = random_network("test_efficientnet", 7, seed=4)
    file = tmp_path / "timm.pth"
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}, "args": None}, file)
    with pytest.raises(ModelError, match="`architecture`"):
        load(file, **STATED)
    with pytest.raises(ModelError, match="no network 'hf-hub:evil/net'"):
        load(file, **STATED, architecture="hf-hub:evil/net")
    loaded = load(file, **STATED, architecture="test_efficientnet")
    theirs = timm.create_model("test_efficientnet", num_classes=7).eval()
    theirs.load_state_dict(state)
    assert same_function(loaded, theirs)


def test_seed_networks_run_in_the_torch_runtime(smaller):
    from skinclf.models.loaded import LoadedModel
    from skinclf.models.spec import ModelSpec
    from skinclf.runtimes.create import create_runtime

    spec = ModelSpec(
        name="x",
        architecture="skinclf/published-efficientnet",
        labels=HAM10000,
        preprocess=STATED["preprocess"],
        model_args={"design": "dermalyze", "variant": "efficientnet_b0"},
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    runtime = create_runtime(LoadedModel(spec=spec, network=smaller), runtime="torch", device="cpu")
    with torch.inference_mode():
        expected = smaller(torch.from_numpy(spec.preprocess.normalize(pixels)))
    assert np.abs(runtime.run(pixels) - expected.numpy()).max() < 1e-5
