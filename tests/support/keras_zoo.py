"""Small Keras models, between them every layer that the importer rebuilds; each a function of the Keras module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from support import keras_zoo_graphs as graphs
from support import keras_zoo_layers as layers

SIZE = layers.SIZE

MODELS: Mapping[str, Callable[[Any], Any]] = {
    **{
        f.__name__: f
        for f in (
            layers.convolutions,
            layers.depthwise,
            layers.norms,
            layers.small_epsilon,
            layers.activations,
            layers.activation_layers,
            layers.pooling,
            layers.padding,
            layers.merging,
            layers.reshaping,
            layers.resizing,
            layers.nearest,
            layers.scaling,
            layers.adapted,
            layers.operators,
            layers.idle,
            layers.modern_idle,
            graphs.nesting,
            graphs.shared_between,
            graphs.named_ends,
            graphs.softmax_axes,
            graphs.two_ended,
            graphs.chain,
            graphs.without_size,
            graphs.ensemble,
            graphs.sigmoid_ensemble,
            graphs.one_sigmoid,
            graphs.from_logits,
            graphs.simple_cnn,
        )
    },
    "preprocess_caffe": layers.preprocessed("resnet50"),
    "preprocess_tf": layers.preprocessed("mobilenet_v2"),
    "preprocess_torch": layers.preprocessed("densenet"),
    **{f"random_{seed}": graphs.random_graph(seed) for seed in range(8)},
}
