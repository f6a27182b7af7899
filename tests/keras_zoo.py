"""Small Keras models, between them every layer that the importer rebuilds; each a function of the Keras module."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: Odd, even and unequal sides: TensorFlow pads each differently.
SIZE = (37, 46)


def _close(keras: Any, inputs: Any, x: Any, outputs: int = 4) -> Any:
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 3:
        x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, activation="softmax", name="predictions")(x))


def _start(keras: Any, filters: int = 6) -> tuple[Any, Any]:
    inputs = keras.layers.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    return inputs, keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)


def convolutions(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    x = k.Conv2D(8, (2, 4), padding="same", activation="relu")(x)
    x = k.Conv2D(8, (5, 3), strides=(1, 2), padding="same", use_bias=False, activation="tanh")(x)
    x = k.Conv2D(12, 3, dilation_rate=(2, 1), padding="same", groups=4, activation="relu")(x)
    x = k.Conv2D(8, 3, dilation_rate=2, activation="relu")(x)
    x = k.Conv2D(8, 4, strides=2, padding="same")(x)
    return _close(keras, inputs, k.Conv2D(6, 1, strides=3, padding="same", activation="relu")(x))


def depthwise(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    x = k.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="relu")(x)
    x = k.DepthwiseConv2D(3, padding="same", dilation_rate=2, use_bias=False)(x)
    x = k.SeparableConv2D(7, 3, padding="same", depth_multiplier=3, activation="relu")(x)
    x = k.SeparableConv2D(5, (3, 2), strides=2, padding="same", use_bias=False)(x)
    return _close(keras, inputs, k.SeparableConv2D(4, 3)(x))


def norms(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    x = k.BatchNormalization(scale=False)(x)
    x = k.BatchNormalization(center=False, epsilon=0.1)(x)
    x = k.LayerNormalization()(k.Conv2D(6, 3, activation="relu")(x))
    x = k.LayerNormalization(axis=[1, 2, 3], epsilon=1e-6)(x)
    x = k.LayerNormalization(center=False, scale=False)(x)
    x = k.BatchNormalization()(k.Reshape((-1, 14))(x))
    x = k.LayerNormalization()(k.BatchNormalization()(k.Flatten()(x)))
    return _close(keras, inputs, k.Dense(9, activation="relu")(x))


def small_epsilon(keras: Any) -> Any:
    """TensorFlow's fused batch norm once raised an epsilon this small; neither Keras does."""
    inputs, x = _start(keras)
    x = keras.layers.Conv2D(6, 1, name="faint")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-8, name="tiny_epsilon")(x)
    return _close(keras, inputs, x)


def activations(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    names = [
        "elu",
        "selu",
        "softplus",
        "softsign",
        "sigmoid",
        "tanh",
        "exponential",
        "swish",
        "gelu",
        "hard_sigmoid",
    ]
    names += ["mish", "relu6", "leaky_relu", "silu", "hard_swish"] if keras.__version__ >= "3" else ["mish"]
    parts = [k.Activation(name)(k.Conv2D(3, 1)(x)) for name in names]
    parts += [k.Conv2D(3, 1, activation=name)(x) for name in ("softmax", "linear", "relu")]
    return _close(keras, inputs, k.Concatenate()(parts))


def activation_layers(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    made = [
        k.ReLU(), k.ReLU(6.0), k.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.25), k.ReLU(negative_slope=0.2),
        k.LeakyReLU(0.1), k.PReLU(), k.PReLU(shared_axes=[1, 2]), k.PReLU(shared_axes=[2]), k.ELU(0.5),
        k.Softmax(), k.Softmax(axis=1), k.Activation("gelu"),
    ]  # fmt: skip
    parts = [layer(k.Conv2D(3, 1)(x)) for layer in made]
    parts.append(k.Conv2D(3, 1, activation=k.LeakyReLU(0.3))(x))
    x = k.Concatenate()(parts)
    x = k.PReLU()(k.Dense(12)(k.GlobalAveragePooling2D()(x)))
    return _close(keras, inputs, x)


def pooling(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    parts = []
    for kind in (k.MaxPooling2D, k.AveragePooling2D):
        for size, stride, padding in (
            (2, 2, "same"), (3, 2, "same"), (3, 1, "same"), (2, 1, "same"), ((3, 2), (2, 3), "valid"),
            (2, 3, "same"), ((4, 3), (2, 1), "same"), (3, None, "valid"),
        ):  # fmt: skip
            y = kind(size, strides=stride, padding=padding)(k.Conv2D(3, 1)(x))
            parts.append(k.GlobalMaxPooling2D()(y))
    y = k.GlobalAveragePooling2D(keepdims=True)(x)
    parts += [k.Flatten()(y), k.Flatten()(k.GlobalMaxPooling2D(keepdims=True)(x))]
    return _close(keras, inputs, k.Concatenate()(parts))


def padding(keras: Any) -> Any:
    """Padding that folds into what follows, and padding that must not."""
    k = keras.layers
    inputs, x = _start(keras)
    x = k.Conv2D(6, 3, activation="relu")(k.ZeroPadding2D(1)(x))
    x = k.Conv2D(6, 3, strides=2)(k.ZeroPadding2D(((0, 1), (1, 0)))(x))
    negative = k.MaxPooling2D(3, strides=2)(k.ZeroPadding2D(1)(k.Activation("linear")(x)))
    positive = k.MaxPooling2D(3, strides=2)(k.ZeroPadding2D((1, 1))(k.ReLU()(x)))
    padded = k.ZeroPadding2D(1)(x)  # used twice
    both = k.Add()([k.Conv2D(6, 3, strides=2)(padded), k.AveragePooling2D(3, strides=2)(padded)])
    x = k.Concatenate()([negative, positive, both])
    return _close(keras, inputs, k.Cropping2D(((1, 0), (0, 1)))(x))


def merging(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    a, b, c = (k.Conv2D(6, 3, padding="same")(x) for _ in range(3))
    gate = k.Dense(6, activation="sigmoid")(k.GlobalAveragePooling2D()(a))
    parts = [
        k.Add()([a, b, c]), k.Multiply()([a, k.Reshape((1, 1, 6))(gate)]), k.Subtract()([a, b]),
        k.Average()([a, b, c]), k.Maximum()([a, b]), k.Minimum()([b, c]),
    ]  # fmt: skip
    x = k.Concatenate()([k.Concatenate(axis=1)(parts[:2]), k.Concatenate(axis=1)(parts[2:4])])
    y = k.Concatenate(axis=2)([k.Concatenate(axis=-1)(parts[2:4]), k.Concatenate(axis=3)(parts[4:])])
    x = k.Concatenate()([k.Flatten()(k.MaxPooling2D(5)(x)), k.Flatten()(k.MaxPooling2D(5)(y))])
    return _close(keras, inputs, x)


def reshaping(keras: Any) -> Any:
    """Everything whose order of numbers differs between Keras and torch."""
    k = keras.layers
    inputs, x = _start(keras)
    x = k.MaxPooling2D(2)(x)  # 9 x 11 x 6
    x = k.Permute((3, 1, 2))(x)
    x = k.Conv2D(4, 3, activation="relu")(k.Permute((2, 3, 1))(k.Permute((2, 1, 3))(x)))
    x = k.Reshape((-1, 8))(k.Flatten()(x))
    x = k.Dense(10, activation="relu")(k.Permute((2, 1))(x))
    x = k.Reshape((2, 4, -1))(x)
    x = k.Conv2D(4, 2, activation="relu")(x)
    y = k.Dense(5, activation="tanh")(k.Reshape((3, 1, 4))(x))
    return _close(keras, inputs, k.Dense(6, activation="relu")(k.Flatten()(y)))


def resizing(keras: Any) -> Any:
    k = keras.layers
    inputs, x = _start(keras)
    x = k.Conv2D(6, 3, activation="relu")(k.UpSampling2D((2, 3))(x))
    x = k.MaxPooling2D(4)(k.UpSampling2D(3, interpolation="bilinear")(x))
    x = k.Conv2D(4, 3, activation="relu")(k.Resizing(21, 33)(x))
    x = k.Resizing(15, 40, interpolation="nearest")(x)
    return _close(keras, inputs, k.Flatten()(k.MaxPooling2D(5)(x)))


def nearest(keras: Any) -> Any:
    """Pairs of sizes between which float32 rounding decides which of two neighbours is nearer."""
    k = keras.layers
    inputs, x = _start(keras)
    x = k.Resizing(8, 6, interpolation="nearest")(x)
    x = k.Resizing(164, 369, interpolation="nearest")(x)
    return _close(keras, inputs, k.Conv2D(4, (5, 7), strides=(4, 9), activation="relu")(x))


def scaling(keras: Any) -> Any:
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = k.Rescaling([1 / 255, 1 / 250, 1 / 240], offset=[0.0, 0.1, -0.1])(inputs)
    x = k.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.05, 0.06, 0.07])(x)
    return _close(keras, inputs, k.Conv2D(8, 5, strides=3, activation="relu")(x))


def adapted(keras: Any) -> Any:
    """A Normalization whose statistics are variables."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = k.Normalization(name="adapted")(k.Rescaling(1 / 255)(inputs))
    return _close(keras, inputs, k.Conv2D(8, 5, strides=3, activation="relu")(x))


def _preprocessed(module: str) -> Callable[[Any], Any]:
    def make(keras: Any) -> Any:
        inputs = keras.layers.Input((*SIZE, 3))
        x = getattr(keras.applications, module).preprocess_input(inputs)
        x = keras.layers.Conv2D(8, 5, strides=3, activation="relu")(x)
        return _close(keras, inputs, keras.layers.BatchNormalization()(x))

    return make


def operators(keras: Any) -> Any:
    """Arithmetic on tensors outside of any layer."""
    k = keras.layers
    inputs, x = _start(keras)
    y = k.Conv2D(6, 1)(x)
    x = (x * 0.5 + 1.0 - y) / 2.0
    x = 1.0 - x * y
    return _close(keras, inputs, k.Conv2D(5, 3, activation="relu")(x + 0.25))


def idle(keras: Any) -> Any:
    """Layers that only do something in training, called as for training."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = inputs
    for name in (
        "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness",
        "RandomHeight", "RandomWidth",
    ):  # fmt: skip
        if not hasattr(k, name):
            continue
        arguments = {"RandomFlip": [], "RandomTranslation": [0.1, 0.1]}.get(name, [0.2])
        x = getattr(k, name)(*arguments)(x)
    x = k.Rescaling(1 / 128, offset=-1)(x)
    x = k.Conv2D(8, 3, strides=2, activation="relu")(k.GaussianNoise(0.2)(x))
    for made in (k.SpatialDropout2D(0.5), k.Dropout(0.5), k.GaussianDropout(0.5), k.AlphaDropout(0.5)):
        x = made(x)
    return _close(keras, inputs, k.ActivityRegularization(0.1)(x))


def modern_idle(keras: Any) -> Any:
    """Keras 3's further augmentations."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = inputs
    for name, arguments in {
        "RandomHue": [0.2], "RandomSaturation": [0.2], "RandomSharpness": [0.2], "RandomShear": [0.2, 0.2],
        "RandomGrayscale": [0.5], "RandomErasing": [0.5], "RandomInvert": [0.5], "RandomPosterization": [4],
        "RandomPerspective": [0.5], "RandomColorJitter": [], "RandomColorDegeneration": [0.5],
        "RandomGaussianBlur": [0.5], "RandomElasticTransform": [0.5], "RandAugment": [], "AugMix": [],
        "Solarization": [0.5], "MixUp": [], "CutMix": [],
    }.items():  # fmt: skip
        if hasattr(k, name):
            x = getattr(k, name)(*arguments)(x)
    x = k.RandomCrop(*SIZE)(x)
    return _close(keras, inputs, k.Conv2D(8, 3, strides=2, activation="relu")(k.Rescaling(1 / 255)(x)))


def nesting(keras: Any) -> Any:
    """Models in models, one of them called twice, a layer called on two sizes, names with '/' and '.'."""
    k = keras.layers
    small = k.Input((None, None, 6))
    y = k.Conv2D(6, 3, strides=2, padding="same", name="conv")(small)
    y = k.BatchNormalization(name="conv.bn" if keras.__version__ >= "3" else "conv/bn")(y)
    # Keras 2 cannot save two layers of one name in one nested model; Keras 3 can.
    name = "conv" if keras.__version__ >= "3" else "deep_conv"
    inner = keras.Sequential(
        [k.Conv2D(6, 1, activation="relu", name=name), k.BatchNormalization()], name="inner"
    )
    shared = keras.Model(small, k.Add()([inner(y), y]), name="shared")
    inputs, x = _start(keras)
    same = k.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")
    a = shared(x, training=True) if keras.__version__ >= "3" else shared(x)
    b = shared(k.MaxPooling2D(2)(x))
    x = k.Concatenate()([k.GlobalMaxPooling2D()(z) for z in (a, b, same(a), same(b))])
    return _close(
        keras, inputs, keras.Sequential([k.Dense(9, activation="relu"), k.Dropout(0.5)], name="head")(x)
    )


def shared_between(keras: Any) -> Any:
    """One layer that belongs to two nested models."""
    k = keras.layers
    inputs, x = _start(keras)
    layer = k.Conv2D(6, 1, activation="relu", name="both")
    first = keras.Sequential([k.Input((19, 23, 6)), layer], name="first")
    second = keras.Sequential([k.Input((19, 23, 6)), k.MaxPooling2D(2), layer], name="second")
    return _close(keras, inputs, k.Concatenate()([k.GlobalMaxPooling2D()(m(x)) for m in (first, second)]))


def named_ends(keras: Any) -> Any:
    """Input and output in a dict of one, as people do for data that comes in dicts."""
    inputs, x = _start(keras)
    return keras.Model({"image": inputs}, _close(keras, inputs, x).output)


def softmax_axes(keras: Any) -> Any:
    """Softmax over other axes, as layer and as function."""
    k = keras.layers
    inputs, x = _start(keras)
    over_rows = (
        keras.ops.softmax if keras.__version__ >= "3" else importlib.import_module("tensorflow").nn.softmax
    )
    parts = [over_rows(k.Conv2D(4, 1)(x), axis=1), k.Softmax(axis=-2)(k.Conv2D(4, 1)(x)), k.Softmax()(x)]
    return _close(keras, inputs, k.Flatten()(k.MaxPooling2D(4)(k.Concatenate()(parts))))


def two_ended(keras: Any) -> Any:
    """A nested model with two inputs and two outputs."""
    k = keras.layers
    p, q = k.Input((19, 23, 6)), k.Input((19, 23, 6))
    block = keras.Model([p, q], [k.Subtract()([p, q]), k.Conv2D(3, 1)(k.Multiply()([p, q]))], name="block")
    inputs, x = _start(keras)
    first, second = block([k.Conv2D(6, 1)(x), x])
    return _close(keras, inputs, k.Concatenate()([first, second]))


def chain(keras: Any) -> Any:
    """A Sequential model around a nested one."""
    k = keras.layers
    small = k.Input((*SIZE, 3))
    base = keras.Model(
        small, k.Conv2D(8, 5, strides=3, activation="relu")(k.Rescaling(1 / 255)(small)), name="base"
    )
    return keras.Sequential(
        [base, k.GlobalAveragePooling2D(), k.BatchNormalization(), k.Dense(5), k.Activation("softmax")]
    )


def without_size(keras: Any) -> Any:
    k = keras.layers
    inputs = k.Input((None, None, 3))
    x = k.Conv2D(8, 3, strides=2, padding="same", activation="relu")(k.Rescaling(1 / 255)(inputs))
    return _close(keras, inputs, k.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x))


def ensemble(keras: Any) -> Any:
    """The mean of two softmax members on one input: probabilities, not logits."""
    members = []
    for number in range(2):
        inputs, x = _start(keras)
        y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, activation="relu")(x))
        members.append(
            keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(y), name=f"member_{number}")
        )
    fresh = keras.layers.Input((*SIZE, 3))
    return keras.Model(fresh, keras.layers.Average()([member(fresh) for member in members]))


def sigmoid_ensemble(keras: Any) -> Any:
    inputs, x = _start(keras)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = [keras.layers.Dense(1, activation="sigmoid")(x) for _ in range(3)]
    return keras.Model(inputs, keras.layers.Average()(made))


def one_sigmoid(keras: Any) -> Any:
    inputs, x = _start(keras)
    x = keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(x)))
    return keras.Model(inputs, keras.layers.Activation("sigmoid")(x))


def from_logits(keras: Any) -> Any:
    inputs, x = _start(keras)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def simple_cnn(keras: Any) -> Any:
    """Seed 001's own small network, smaller."""
    k = keras.layers
    layers = [k.Input((*SIZE, 3)), k.Rescaling(1 / 255)]
    for filters in (8, 12, 16):
        layers += [k.Conv2D(filters, 3, padding="same", activation="relu"), k.BatchNormalization()]
        layers += [k.MaxPooling2D(2), k.Dropout(0.25)]
    layers += [
        k.GlobalAveragePooling2D(),
        k.Dense(24, activation="relu"),
        k.Dropout(0.5),
        k.Dense(1, activation="sigmoid"),
    ]
    return keras.Sequential(layers)


def random_graph(seed: int) -> Callable[[Any], Any]:
    """A network of random layers, branches and joins."""

    def make(keras: Any) -> Any:
        k, rng = keras.layers, np.random.default_rng(seed)
        inputs, x = _start(keras, int(rng.integers(3, 9)))
        values = [x]

        def pick(options: list[Any]) -> Any:
            return options[int(rng.integers(len(options)))]

        for _ in range(int(rng.integers(6, 14))):
            x = pick(values[-3:])
            small = min(x.shape[1], x.shape[2]) < 6
            width, size, step = (
                int(rng.integers(3, 9)),
                pick([1, 2, 3, 5]),
                1 if small else pick([1, 1, 2, 3]),
            )
            pad, act = (
                "same" if small else pick(["same", "valid"]),
                pick([None, "relu", "swish", "tanh", "elu"]),
            )
            choice = int(rng.integers(9))
            if choice < 2:
                y = k.Conv2D(width, (size, pick([1, 2, 3])), strides=step, padding=pad, activation=act)(x)
            elif choice == 2:
                y = k.DepthwiseConv2D(size, strides=step, padding=pad, depth_multiplier=pick([1, 2]))(x)
            elif choice == 3:
                y = k.SeparableConv2D(width, size, strides=step, padding=pad, activation=act)(x)
            elif choice == 4:
                y = pick([k.MaxPooling2D, k.AveragePooling2D])(size, strides=step, padding=pad)(x)
            elif choice == 5:
                y = pick([k.BatchNormalization, k.LayerNormalization])()(x)
            elif choice == 6:
                y = k.ZeroPadding2D(((0, pick([0, 1])), (1, pick([0, 1, 2]))))(x)
            elif choice == 7:
                gate = k.Dense(x.shape[-1], activation="sigmoid")(k.GlobalAveragePooling2D(keepdims=True)(x))
                y = k.Multiply()([x, gate])
            else:
                y = pick([k.Add, k.Maximum, k.Concatenate])()(
                    [x, k.Conv2D(x.shape[-1], 3, padding="same")(x)]
                )
            values.append(y)
        ends = [k.GlobalAveragePooling2D()(v) for v in values[-3:]]
        return _close(
            keras,
            inputs,
            k.Concatenate()([*ends, k.Flatten()(k.MaxPooling2D(2, padding="same")(values[-1]))]),
        )

    return make


MODELS: Mapping[str, Callable[[Any], Any]] = {
    **{
        f.__name__: f
        for f in (
            convolutions, depthwise, norms, small_epsilon, activations, activation_layers, pooling, padding, merging,
            reshaping, resizing, nearest, scaling, adapted, operators, idle, modern_idle, nesting, shared_between,
            named_ends, softmax_axes, two_ended, chain,
            without_size, ensemble, sigmoid_ensemble, one_sigmoid, from_logits, simple_cnn,
        )
    },
    "preprocess_caffe": _preprocessed("resnet50"),
    "preprocess_tf": _preprocessed("mobilenet_v2"),
    "preprocess_torch": _preprocessed("densenet"),
    **{f"random_{seed}": random_graph(seed) for seed in range(8)},
}  # fmt: skip
