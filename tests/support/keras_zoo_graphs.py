"""Small Keras models, one for each way in which layers are put together, and random ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from support.keras_zoo_layers import SIZE, close, start


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
    inputs, x = start(keras)
    same = k.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")
    a = shared(x, training=True) if keras.__version__ >= "3" else shared(x)
    b = shared(k.MaxPooling2D(2)(x))
    x = k.Concatenate()([k.GlobalMaxPooling2D()(z) for z in (a, b, same(a), same(b))])
    return close(
        keras, inputs, keras.Sequential([k.Dense(9, activation="relu"), k.Dropout(0.5)], name="head")(x)
    )


def nested_binary(keras: Any) -> Any:
    """A small residual network as a layer of a binary classifier, laid out as the published ResNet50 is."""
    k = keras.layers
    inner = k.Input((*SIZE, 3), name="base_input")
    x = k.Conv2D(8, 3, strides=2, padding="same", name="conv1_conv")(inner)
    x = k.Activation("relu", name="conv1_relu")(k.BatchNormalization(name="conv1_bn")(x))
    for block in (1, 2):
        name = f"conv2_block{block}"
        y = k.Conv2D(8, 3, padding="same", name=f"{name}_conv")(x)
        y = k.BatchNormalization(name=f"{name}_bn")(y)
        x = k.Activation("relu", name=f"{name}_out")(k.Add(name=f"{name}_add")([x, y]))
    base = keras.Model(inner, x, name="resnet50")
    inputs = k.Input((*SIZE, 3))
    x = k.GlobalAveragePooling2D()(base(inputs, training=False))
    x = k.Dropout(0.5)(k.BatchNormalization()(x))
    x = k.Dense(12, activation="relu")(x)
    return keras.Model(inputs, k.Dense(1, activation="sigmoid")(x))


def shared_between(keras: Any) -> Any:
    """One layer that belongs to two nested models."""
    k = keras.layers
    inputs, x = start(keras)
    layer = k.Conv2D(6, 1, activation="relu", name="both")
    first = keras.Sequential([k.Input((19, 23, 6)), layer], name="first")
    second = keras.Sequential([k.Input((19, 23, 6)), k.MaxPooling2D(2), layer], name="second")
    return close(keras, inputs, k.Concatenate()([k.GlobalMaxPooling2D()(m(x)) for m in (first, second)]))


def named_ends(keras: Any) -> Any:
    """Input and output in a dict of one, as people do for data that comes in dicts."""
    inputs, x = start(keras)
    return keras.Model({"image": inputs}, close(keras, inputs, x).output)


def softmax_axes(keras: Any) -> Any:
    """Softmax over other axes, as layer and as function."""
    k = keras.layers
    inputs, x = start(keras)
    over_rows = (
        keras.ops.softmax if keras.__version__ >= "3" else importlib.import_module("tensorflow").nn.softmax
    )
    parts = [over_rows(k.Conv2D(4, 1)(x), axis=1), k.Softmax(axis=-2)(k.Conv2D(4, 1)(x)), k.Softmax()(x)]
    return close(keras, inputs, k.Flatten()(k.MaxPooling2D(4)(k.Concatenate()(parts))))


def two_ended(keras: Any) -> Any:
    """A nested model with two inputs and two outputs."""
    k = keras.layers
    p, q = k.Input((19, 23, 6)), k.Input((19, 23, 6))
    block = keras.Model([p, q], [k.Subtract()([p, q]), k.Conv2D(3, 1)(k.Multiply()([p, q]))], name="block")
    inputs, x = start(keras)
    first, second = block([k.Conv2D(6, 1)(x), x])
    return close(keras, inputs, k.Concatenate()([first, second]))


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
    return close(keras, inputs, k.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x))


def ensemble(keras: Any) -> Any:
    """The mean of two softmax members on one input: probabilities, not logits."""
    members = []
    for number in range(2):
        inputs, x = start(keras)
        y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, activation="relu")(x))
        members.append(
            keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(y), name=f"member_{number}")
        )
    fresh = keras.layers.Input((*SIZE, 3))
    return keras.Model(fresh, keras.layers.Average()([member(fresh) for member in members]))


def sigmoid_ensemble(keras: Any) -> Any:
    inputs, x = start(keras)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = [keras.layers.Dense(1, activation="sigmoid")(x) for _ in range(3)]
    return keras.Model(inputs, keras.layers.Average()(made))


def one_sigmoid(keras: Any) -> Any:
    inputs, x = start(keras)
    x = keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(x)))
    return keras.Model(inputs, keras.layers.Activation("sigmoid")(x))


def from_logits(keras: Any) -> Any:
    inputs, x = start(keras)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def simple_cnn(keras: Any) -> Any:
    """The small network of devatreya's project, smaller."""
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
        inputs, x = start(keras, int(rng.integers(3, 9)))
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
        return close(
            keras,
            inputs,
            k.Concatenate()([*ends, k.Flatten()(k.MaxPooling2D(2, padding="same")(values[-1]))]),
        )

    return make
