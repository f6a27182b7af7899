"""Every method finds the place that decides, in the geometry of the original; and says when it shows nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.colour_square import red_model, with_square
from torch import nn

from skinclf.errors import ImageError, InvalidArgumentError, ModelError
from skinclf.explanation import Explainer, explain
from skinclf.explanation.explainer import METHODS
from skinclf.explanation.explanation import check_map
from skinclf.inference.factory import make_scorer
from skinclf.inference.scorer import ScoredBatch
from skinclf.models.probabilities import Calibration

ALL = [method for method in METHODS if method != "auto"]
#: Rows and columns of the picture; top, left and side of its square.
PLACES = [(96, 96, 20, 50, 16), (80, 160, 30, 70, 18), (150, 70, 60, 10, 20), (200, 200, 110, 60, 24)]


def explainer(method: str, **preprocess: object) -> Explainer:
    return Explainer(red_model(**preprocess), method=method, runtime="torch", workers=0)


def peak(values: np.ndarray) -> tuple[float, float]:
    """The maximum's place as shares of height and width."""
    y, x = np.unravel_index(values.argmax(), values.shape)
    return (y + 0.5) / values.shape[0], (x + 0.5) / values.shape[1]


def assert_inside(found: np.ndarray, place: tuple[int, int, int, int, int], margin: float = 0.0) -> None:
    rows, cols, top, left, side = place
    y, x = peak(found)
    assert top - margin <= y * rows <= top + side + margin
    assert left - margin <= x * cols <= left + side + margin


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["gradcam", "integrated-gradients", "occlusion"])
def test_the_maximum_lies_in_the_square(method, place, fit):
    found = explainer(method, fit=fit).explain(with_square(*place))
    assert_inside(found.map, place, margin=2)
    assert found.direction == "raises"


@pytest.mark.parametrize("method", ["saliency", "smoothgrad", "rise"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_slower_methods_find_it_too(method, height, width):
    place = PLACES[1]
    found = explainer(method, height=height, width=width).explain(with_square(*place))
    assert_inside(found.map, place, margin=4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
def test_maps_belong_to_the_upright_original(method, orientation, tmp_path):
    place = PLACES[1]
    save_turned(with_square(*place), orientation, tmp_path / "turned.png")
    found = explainer(method, fit="crop").explain(tmp_path / "turned.png")
    assert found.map.shape == (place[0], place[1])
    assert_inside(found.map, place, margin=2)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated-gradients", "occlusion"])
def test_any_place_in_any_geometry(method, data, tmp_path_factory):
    """Any crop, EXIF orientation and size of picture and input: the maximum lies in the square that decides."""
    rows, cols = data.draw(st.integers(70, 200)), data.draw(st.integers(70, 200))
    fit = data.draw(st.sampled_from(["squash", "crop", "pad"]))
    height, width = data.draw(st.sampled_from([(64, 64), (48, 80), (80, 56)]))
    orientation = data.draw(st.integers(1, 8))
    e = explainer(method, fit=fit, height=height, width=width)
    geometry = e._geometry(rows, cols)
    side = min(rows, cols) // 4
    # Anywhere in what the crop leaves.
    seen = geometry.seen(rows, cols)
    inside_y, inside_x = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top = data.draw(st.integers(int(inside_y[0]), max(int(inside_y[0]), int(inside_y[-1]) - side)))
    left = data.draw(st.integers(int(inside_x[0]), max(int(inside_x[0]), int(inside_x[-1]) - side)))
    path = tmp_path_factory.mktemp("any") / "turned.png"
    save_turned(with_square(rows, cols, top, left, side), orientation, path)
    found = e.explain(path)
    assert found.map.shape == (rows, cols)
    # One cell of the network (four pixels of its input), one pixel that the resize smears, and one of the picture.
    margin = 1 + 5 * max(rows / height * geometry.height, cols / width * geometry.width)
    assert_inside(found.map, (rows, cols, top, left, side), margin=margin)


def save_turned(upright: np.ndarray, orientation: int, path: Path) -> None:
    """Save a picture as a camera that was held another way does, with the EXIF tag that turns it back."""
    # The transposition that undoes what a viewer does for this orientation.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    picture = Image.fromarray(upright)
    stored = picture.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else picture
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(path, exif=exif)


def test_what_the_crop_removed_is_zero_and_not_seen():
    found = explainer("occlusion", fit="crop").explain(with_square(60, 240, 20, 110, 20))
    assert not found.map[:, :85].any()
    assert found.geometry.seen_share == pytest.approx(0.25, abs=0.01)


def test_grad_cam_is_the_textbook_one():
    model, picture = red_model(), with_square(64, 64, 20, 30, 16)
    kept: dict[str, torch.Tensor] = {}
    network = red_model().network
    assert network is not None
    network.act.inplace = False
    network.act.register_forward_hook(lambda _m, _i, out: kept.update(value=out))
    logit = network(torch.from_numpy(model.spec.preprocess.normalize(picture[None])))[0, 0]
    (slopes,) = torch.autograd.grad(logit, kept["value"])
    expected = (slopes.mean(dim=(2, 3), keepdim=True) * kept["value"]).sum(dim=1)[0].detach().numpy()
    e = Explainer(model, method="gradcam", runtime="torch", workers=0)
    found = e._gradients.grad_cam(picture, _malignant(e), e._layer, _values(e, picture))
    assert found.shape == (16, 16)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _malignant(e: Explainer):
    from skinclf.explanation.target import make_target

    return make_target("malignant", e.predictor.spec.labels, 0)


def _values(e: Explainer, picture: np.ndarray) -> list[float]:
    return list(e.predictor.predict(picture).probabilities.values())


def test_integrated_gradients_add_up_to_the_difference():
    e, picture = explainer("integrated-gradients"), with_square(64, 64, 20, 30, 16)
    found = e._gradients.integrated_gradients(picture, _malignant(e), _values(e, picture))
    plain = np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape)
    raw = e._gradients._network(
        torch.from_numpy(e.predictor.spec.preprocess.normalize(np.stack([picture.astype(np.float32), plain])))
    )
    assert found.sum() == pytest.approx(float(raw[0, 0] - raw[1, 0]), rel=0.05)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated-gradients", "occlusion"])
def test_channel_order_is_the_models(method):
    picture = with_square(*PLACES[0])
    bgr = explainer(method, color="bgr").explain(np.ascontiguousarray(picture[:, :, ::-1]))
    np.testing.assert_allclose(bgr.map, explainer(method).explain(picture).map, atol=1e-5)


def test_the_runtimes_network_and_the_models_own_stay_as_they_were():
    model, picture = red_model(), with_square(*PLACES[0])
    before = Explainer(model, method="gradcam", runtime="torch", workers=0)
    first = before.predictor.predict(picture).values
    before.explain(picture)
    assert before.predictor.predict(picture).values == first
    assert model.network is not None
    assert model.network.act.inplace is True
    assert all(p.requires_grad for p in model.network.parameters())
    assert not any(m._forward_hooks for m in before._gradients._network.modules())


def test_the_same_image_gives_the_same_bytes():
    for method in ALL:
        e, picture = explainer(method), with_square(*PLACES[0])
        assert e.explain(picture).map.tobytes() == e.explain(picture).map.tobytes()


@pytest.mark.parametrize("text", ["malignant", "benign", "malignant-benign", "benign-malignant"])
def test_the_target_turns_the_sign(text):
    picture = with_square(*PLACES[0])
    sign = 1 if text.startswith("malignant") else -1
    plain = explainer("gradcam").explain(picture)
    found = Explainer(red_model(), method="gradcam", target=text, runtime="torch", workers=0).explain(picture)
    np.testing.assert_allclose(found.map, sign * plain.map, atol=1e-6)
    assert found.log_odds == pytest.approx(sign * plain.log_odds, abs=1e-4)
    assert found.direction == ("raises" if sign > 0 else "lowers")
    assert_inside(found.shown, PLACES[0], margin=2)


def test_temperature_scales_the_map():
    model, picture = red_model(), with_square(*PLACES[0])
    cold = replace(model, spec=replace(model.spec, calibration=Calibration("temperature", (0.5,))))
    one = Explainer(model, method="gradcam", runtime="torch", workers=0).explain(picture)
    two = Explainer(cold, method="gradcam", runtime="torch", workers=0).explain(picture)
    np.testing.assert_allclose(two.map, one.map / 2, rtol=1e-4, atol=1e-7)


def test_auto_takes_occlusion_for_ensembles_and_test_time_augmentation():
    picture, place = with_square(*PLACES[0]), PLACES[0]
    assert explainer("auto").method == "gradcam"
    pair = [red_model(), red_model(height=48, width=80, fit="crop")]
    for e in (
        Explainer(pair, runtime="torch", workers=0),
        Explainer(red_model(), tta="d4", runtime="torch", workers=0),
        Explainer(red_model(), tta="d4+zoom", runtime="torch", workers=0),
        Explainer(red_model(), precision="bf16", runtime="torch", workers=0),
        Explainer(make_scorer([red_model()], runtime="torch"), workers=0),
    ):
        assert e.method == "occlusion"
        found = e.explain(picture)
        assert_inside(found.map, place, margin=3)
        assert e.layers == ()


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad", "integrated-gradients"])
def test_gradients_of_what_has_none_are_refused_with_what_works(method):
    for options in ({"tta": "flips"}, {"precision": "bf16"}):
        with pytest.raises(InvalidArgumentError, match=r"needs gradients.*occlusion and rise work") as caught:
            Explainer(red_model(), method=method, runtime="torch", workers=0, **options)
        assert caught.value.parameter == "method"


def test_unknown_layers_list_the_layers():
    with pytest.raises(InvalidArgumentError, match=r"'conv9' is not known.*cells, colours, act") as caught:
        Explainer(red_model(), layer="conv9", runtime="torch", workers=0)
    assert caught.value.parameter == "layer"
    e = Explainer(red_model(), layer="colours", runtime="torch", workers=0)
    assert e.layer == "colours"
    assert e.layers == (
        "cells (16 x 16, 3 channels)",
        "colours (16 x 16, 2 channels)",
        "act (16 x 16, 2 channels)",
    )


def test_a_layer_for_another_method_is_refused():
    with pytest.raises(InvalidArgumentError, match="belongs to the method gradcam"):
        Explainer(red_model(), method="occlusion", layer="act", runtime="torch", workers=0)


def test_unknown_methods_name_the_known_ones():
    with pytest.raises(InvalidArgumentError, match="auto, gradcam, saliency"):
        Explainer(red_model(), method="lime")


def test_a_map_of_another_network_is_an_error():
    # The runtime is given other weights than the pass with gradients: such a map would explain another model.
    e, picture = explainer("gradcam"), with_square(*PLACES[0])
    with torch.no_grad():
        e._gradients._network.head.bias.add_(0.1)
    with pytest.raises(ModelError, match=r"differ from the runtime's by .*belong to another model"):
        e.explain(picture)


@pytest.mark.parametrize("method", ALL)
def test_a_dead_network_shows_nothing_and_says_so(method):
    model = red_model()
    assert model.network is not None
    with torch.no_grad():
        model.network.head.weight.zero_()
    with pytest.raises(ImageError, match="shows nothing") as caught:
        Explainer(model, method=method, runtime="torch", workers=0).explain(with_square(*PLACES[0]))
    assert caught.value.code == "no_map"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((3, 3)), "zero"),
        (np.full((3, 3), 2.5), "constant"),
        (np.full((3, 3), 1.0) + np.eye(3) * 1e-9, "constant"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[1.0, np.inf]]), "not finite"),
    ],
)
def test_maps_that_show_nothing_are_refused(values, word):
    with pytest.raises(ImageError, match=word):
        check_map(values, "a.jpg", "gradcam")
    check_map(np.array([[1.0, 0.0]]), "a.jpg", "gradcam")


def test_the_scorer_alone_decides_a_gradient_free_map():
    class Corner:
        """A scorer that looks at one corner, in the place of the network's."""

        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        @property
        def bare(self):
            return self

        def score(self, batch):
            corner = batch[0][:, :16, :16].astype(np.float64).mean(axis=(1, 2, 3)) / 255
            return ScoredBatch(np.stack([1 - corner, corner], axis=1).astype(np.float32))

    e = explainer("occlusion")
    e.predictor._scorer = Corner(e.predictor.scorer)
    picture = with_square(64, 64, 40, 40, 16)
    picture[:16, :16] = 250
    assert_inside(e.explain(picture).map, (64, 64, 0, 0, 16), margin=2)


def test_the_short_form_is_the_same():
    picture = with_square(*PLACES[0])
    found = explain(picture, red_model(), method="gradcam", runtime="torch", workers=0)
    assert found.map.tobytes() == explainer("gradcam").explain(picture).map.tobytes()


def test_a_network_without_places_has_no_grad_cam():
    model = red_model()
    flat = replace(model, network=nn.Sequential(nn.Flatten(), nn.Linear(64 * 64 * 3, 1)).eval())
    with pytest.raises(ModelError, match=r"no Grad-CAM.*occlusion"):
        Explainer(flat, method="gradcam", runtime="torch", workers=0)


def test_independent_outputs_are_refused() -> None:
    model = red_model()
    spec = replace(model.spec, activation="independent", calibration=None)
    with pytest.raises(ModelError, match="independent probabilities"):
        Explainer(replace(model, spec=spec), method="occlusion", runtime="torch", workers=0)
