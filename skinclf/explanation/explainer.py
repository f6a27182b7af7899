"""`Explainer`: maps of where a model is sensitive, for single images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.explanation.explanation import Explanation, check_map
from skinclf.explanation.geometry import Geometry
from skinclf.explanation.perturbation import Canvas, occlusion, rise
from skinclf.explanation.target import Target, check_target, default_target, make_target
from skinclf.images.decode import ImageSource, RGBArray, load_image
from skinclf.inference.prediction import Prediction
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import LoadPixels, Scorer
from skinclf.inference.sources import Model
from skinclf.models.loaded import LoadedModel
from skinclf.models.options import HubOptions, ModelOptions

if TYPE_CHECKING:
    from torch import nn

    from skinclf.explanation.gradients import GradientNetwork
    from skinclf.explanation.layers import Layer

#: Methods that need gradients of a torch network, and those that need probabilities only.
GRADIENT_METHODS = ("gradcam", "saliency", "smoothgrad", "integrated-gradients")
SCORE_METHODS: Mapping[str, Callable[[Canvas, Target], Floats]] = MappingProxyType(
    {"occlusion": occlusion, "rise": rise}
)
METHODS = ("auto", *GRADIENT_METHODS, *SCORE_METHODS)


class Explainer:
    """Maps of where a model is sensitive; a map does not say why the model is right.

    For research and education; never a diagnosis.

    Example:
        >>> from skinclf.explanation import Explainer
        >>> explainer = Explainer()  # the built-in model, Grad-CAM, the log-odds of malignancy
        >>> explainer.explain("lesion.jpg").map.shape  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model | Sequence[Model] = None,
        *,
        method: str = "auto",
        target: str | None = None,
        layer: str | None = None,
        options: ModelOptions = ModelOptions(),
        hub: HubOptions = HubOptions(),
        tta: str = "none",
        **execution: Any,
    ) -> None:
        """Load a model, and prepare the method.

        Args:
            model: Model to explain, as for `Predictor`; several are an ensemble.
            method: One of `METHODS`. `auto` is Grad-CAM where gradients can be taken, else occlusion.
            target: Quantity to explain, always as log-odds: `malignant`, `predicted`, a label code against all
                others, or two codes as `A-B`. None: `malignant` where the labels declare it, else `predicted`.
            layer: Layer of Grad-CAM, by name; None chooses the last one that keeps the places of the image.
            options: Facts that the model's files lack.
            hub: Revision, cache and token for the Hugging Face Hub.
            tta: Test-time augmentation, as for `Predictor`.
            **execution: Further parameters of `Predictor`, such as `runtime` or `threshold`.

        Raises:
            ModelError: The model cannot be loaded, or its outputs are independent probabilities.
            InvalidArgumentError: The method, target or layer is unknown, or the method cannot explain this model.
        """
        if method not in METHODS:
            raise InvalidArgumentError(
                f"Unknown method {method!r}; expected one of {', '.join(METHODS)}.", parameter="method"
            )
        several = isinstance(model, Sequence) and not isinstance(model, str)
        given: list[Model] = list(model) if several else [model]  # type: ignore[arg-type, list-item]
        models = [m if isinstance(m, (LoadedModel, Scorer)) else _load(m, options, hub) for m in given]
        self.models = models
        self.predictor = Predictor(models, tta=tta, **{"gate": "off", **execution})
        if not self.predictor.spec.labels.exclusive:
            raise ModelError(
                f"{self.predictor.spec.name}: its outputs are independent probabilities, and maps are of the log-odds "
                "of classes that exclude each other; explain a model with a softmax or a single sigmoid."
            )
        self.target = default_target(self.predictor.spec.labels) if target is None else target
        check_target(self.target, self.predictor.spec.labels)
        reason = _why_no_gradients(models, self.predictor, tta)
        self.method = ("occlusion" if reason else "gradcam") if method == "auto" else method
        if reason and self.method in GRADIENT_METHODS:
            raise InvalidArgumentError(
                f"The method {method!r} needs gradients, and {reason}; the methods {' and '.join(SCORE_METHODS)} work.",
                parameter="method",
            )
        if layer is not None and self.method != "gradcam":
            raise InvalidArgumentError(
                f"`layer` belongs to the method gradcam; the method is {self.method}.", parameter="layer"
            )
        self._gradients: GradientNetwork | None = None
        self._layer: Layer | None = None
        if self.method in GRADIENT_METHODS and isinstance(models[0], LoadedModel):
            from skinclf.explanation.gradients import GradientNetwork

            self._gradients = GradientNetwork(models[0])
            if self.method == "gradcam":
                self._layer = self._gradients.layer(layer)

    @property
    def scorer(self) -> Scorer:
        """The scorer that is asked, without what only takes notes."""
        return self.predictor.scorer.bare

    @property
    def layer(self) -> str:
        """Name of the layer of Grad-CAM; empty for other methods."""
        return "" if self._layer is None else self._layer.name

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that Grad-CAM can take, from input to output, with grid and channels; empty without gradients."""
        return () if self._gradients is None else tuple(map(str, self._gradients.layers))

    def explain(
        self,
        source: ImageSource,
        prediction: Prediction | None = None,
        *,
        target: str | None = None,
        original: RGBArray | None = None,
    ) -> Explanation:
        """The map of one image.

        Args:
            source: A path, encoded bytes, PIL image or array (H, W, 3) uint8 RGB.
            prediction: What this explainer's predictor said about it; None asks it now.
            target: Quantity to explain in place of the explainer's own.
            original: The upright original, where it was decoded already; shape (H, W, 3), RGB.

        Raises:
            InvalidArgumentError: The target is unknown.
            ImageError: The image cannot be read, or its map is zero, constant or not finite.
            InvalidArgumentError: The target is unknown.
            ModelError: The pass with gradients gives other probabilities than the runtime.
        """
        prediction = self.predictor.predict(source) if prediction is None else prediction
        labels, values = self.predictor.spec.labels, tuple(prediction.probabilities.values())
        chosen = make_target(target or self.target, labels, prediction.index)
        if original is None:
            original = load_image(source)
        prepared = self.scorer.prepare(source)
        geometry = self._geometry(*original.shape[:2])
        found = self.on_canvas(Canvas.of(self.scorer, original, prepared), chosen, values)
        check_map(found, prediction.image, self.method)
        return Explanation(
            image=prediction.image,
            prediction=prediction,
            target=chosen.name,
            described=chosen.describe(labels),
            probability=chosen.probability(values),
            log_odds=float(chosen.of_probabilities(np.asarray([values]))[0]),
            method=self.method,
            layer=self.layer,
            map=geometry.to_original(found),
            geometry=geometry,
        )

    def on_canvas(self, canvas: Canvas, target: Target, expected: Sequence[float] | None = None) -> Floats:
        """The map over what the network is given, shape (h, w), with sign and at the method's own resolution.

        It may show nothing; `skinclf.explanation.explanation.check_map` tells.

        Args:
            canvas: Image.
            target: Quantity to explain.
            expected: Probabilities by label that a pass with gradients must give again; None leaves that out.

        Raises:
            ModelError: The pass with gradients gives other probabilities.
        """
        if self._gradients is None:
            return SCORE_METHODS[self.method](canvas, target)
        return self._from_gradients(self._gradients, canvas.pixels, target, expected)

    def with_network(self, network: nn.Module) -> Explainer:
        """The same method, target and layer for other weights, on PyTorch in float32.

        Args:
            network: Module of the same architecture.

        Raises:
            InvalidArgumentError: This explainer has several models, or one without a torch network.
        """
        changed = replace(
            self.one_model, network=network.eval(), build=None, check=None, artifact=None, folder=None
        )
        batch_size = self.predictor.batch_size
        return Explainer(
            changed,
            method=self.method,
            target=self.target,
            layer=self.layer or None,
            runtime="torch",
            precision="fp32",
            device="cpu",
            batch_size=batch_size,
            workers=0,
        )

    @property
    def one_model(self) -> LoadedModel:
        """The model, where it is one with a torch network.

        Raises:
            InvalidArgumentError: There are several models, or the model has no torch network.
        """
        model = self.models[0]
        if len(self.models) > 1 or not isinstance(model, LoadedModel) or not model.has_network:
            raise InvalidArgumentError(
                "Weights can be changed of one model with a PyTorch network; received "
                f"{'several models' if len(self.models) > 1 else 'a model without one'}.",
                parameter="model",
            )
        return model

    def restored(self, row: Mapping[str, str], file: Path, size: tuple[int, int]) -> Explanation:
        """The explanation of a row of `maps.csv`.

        Args:
            row: Cells by column.
            file: The map.
            size: Rows and columns of the upright original.
        """
        labels = self.predictor.spec.labels
        predicted = next(i for i, label in enumerate(labels) if label.name == row["predicted_class"])
        target = make_target(self.target, labels, predicted)
        return Explanation(
            image=row["image"],
            prediction=Prediction(row["image"], labels, None, self.predictor.threshold),
            target=row["target"],
            described=target.describe(labels),
            probability=float(row["p"]),
            log_odds=float(row["log_odds"]),
            method=row["method"],
            layer=row["layer"],
            map=np.load(file, allow_pickle=False),
            geometry=self._geometry(*size),
        )

    def _geometry(self, rows: int, cols: int) -> Geometry:
        prepare = self.scorer.prepare
        return (
            Geometry.of(prepare.preprocess, rows, cols)
            if isinstance(prepare, LoadPixels)
            else Geometry(rows, cols)
        )

    def _from_gradients(
        self, network: GradientNetwork, pixels: Any, target: Target, expected: Sequence[float] | None
    ) -> Floats:
        if self._layer is not None:
            return network.grad_cam(pixels, target, self._layer, expected)
        if self.method == "saliency":
            return network.saliency(pixels, target, expected)
        if self.method == "smoothgrad":
            return network.smooth_grad(pixels, target, expected)
        return network.integrated_gradients(pixels, target, expected)


def explain(source: ImageSource, model: Model | Sequence[Model] = None, **options: Any) -> Explanation:
    """The map of one image; for more than one, an `Explainer` loads the model once.

    Args:
        source: A path, encoded bytes, PIL image or array (H, W, 3) uint8 RGB.
        model: Model to explain, as for `Explainer`.
        **options: Further parameters of `Explainer`.

    Raises:
        ImageError: The image cannot be read, or its map is zero, constant or not finite.
        ModelError: The model cannot be loaded.
        InvalidArgumentError: An argument has a value that cannot be used.
    """
    return Explainer(model, **options).explain(source)


def _load(model: Any, options: ModelOptions, hub: HubOptions) -> LoadedModel:
    from skinclf.models.load import load_model

    return load_model(None if model is None else os.fspath(model), options=options, hub=hub)


def _why_no_gradients(models: Sequence[LoadedModel | Scorer], predictor: Predictor, tta: str) -> str:
    """The reason why no gradients can be taken, as part of a sentence; empty where they can."""
    if len(models) > 1:
        return "an ensemble has none of its own"
    if tta != "none":
        return "test-time augmentation has none of its own"
    model, precision = models[0], predictor.scorer.info["precision"]
    if not isinstance(model, LoadedModel) or not model.has_network:
        return "this model has no torch network"
    if precision != "fp32":
        return f"the precision {precision} has none"
    return ""
