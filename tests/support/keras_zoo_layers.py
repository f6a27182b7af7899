"""Small Keras models, one for each kind of layer that the importer rebuilds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Odd, even and unequal sides: TensorFlow pads each differently.
SIZE = (37, 46)


def close(keras: Any, inputs: Any, x: Any, outputs: int = 4) -> Any:
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 3:
        x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, activation="softmax", name="predictions")(x))


def start(keras: Any, filters: int = 6) -> tuple[Any, Any]:
    inputs = keras.layers.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    return inputs, keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)


def convolutions(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    x = k.Conv2D(8, (2, 4), padding="same", activation="relu")(x)
    x = k.Conv2D(8, (5, 3), strides=(1, 2), padding="same", use_bias=False, activation="tanh")(x)
    x = k.Conv2D(12, 3, dilation_rate=(2, 1), padding="same", groups=4, activation="relu")(x)
    x = k.Conv2D(8, 3, dilation_rate=2, activation="relu")(x)
    x = k.Conv2D(8, 4, strides=2, padding="same")(x)
    return close(keras, inputs, k.Conv2D(6, 1, strides=3, padding="same", activation="relu")(x))


def depthwise(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    x = k.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="relu")(x)
    x = k.DepthwiseConv2D(3, padding="same", dilation_rate=2, use_bias=False)(x)
    x = k.SeparableConv2D(7, 3, padding="same", depth_multiplier=3, activation="relu")(x)
    x = k.SeparableConv2D(5, (3, 2), strides=2, padding="same", use_bias=False)(x)
    return close(keras, inputs, k.SeparableConv2D(4, 3)(x))


def norms(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    x = k.BatchNormalization(scale=False)(x)
    x = k.BatchNormalization(center=False, epsilon=0.1)(x)
    x = k.LayerNormalization()(k.Conv2D(6, 3, activation="relu")(x))
    x = k.LayerNormalization(axis=[1, 2, 3], epsilon=1e-6)(x)
    x = k.LayerNormalization(center=False, scale=False)(x)
    x = k.BatchNormalization()(k.Reshape((-1, 14))(x))
    x = k.LayerNormalization()(k.BatchNormalization()(k.Flatten()(x)))
    return close(keras, inputs, k.Dense(9, activation="relu")(x))


def small_epsilon(keras: Any) -> Any:
    """TensorFlow's fused batch norm once raised an epsilon this small; neither Keras does."""
    inputs, x = start(keras)
    x = keras.layers.Conv2D(6, 1, name="faint")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-8, name="tiny_epsilon")(x)
    return close(keras, inputs, x)


def activations(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
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
    return close(keras, inputs, k.Concatenate()(parts))


def activation_layers(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    made = [
        k.ReLU(),
        k.ReLU(6.0),
        k.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.25),
        k.ReLU(negative_slope=0.2),
        k.LeakyReLU(0.1),
        k.PReLU(),
        k.PReLU(shared_axes=[1, 2]),
        k.PReLU(shared_axes=[2]),
        k.ELU(0.5),
        k.Softmax(),
        k.Softmax(axis=1),
        k.Activation("gelu"),
    ]
    parts = [layer(k.Conv2D(3, 1)(x)) for layer in made]
    parts.append(k.Conv2D(3, 1, activation=k.LeakyReLU(0.3))(x))
    x = k.Concatenate()(parts)
    x = k.PReLU()(k.Dense(12)(k.GlobalAveragePooling2D()(x)))
    return close(keras, inputs, x)


def pooling(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    parts = []
    for kind in (k.MaxPooling2D, k.AveragePooling2D):
        for size, stride, padding in (
            (2, 2, "same"),
            (3, 2, "same"),
            (3, 1, "same"),
            (2, 1, "same"),
            ((3, 2), (2, 3), "valid"),
            (2, 3, "same"),
            ((4, 3), (2, 1), "same"),
            (3, None, "valid"),
        ):
            y = kind(size, strides=stride, padding=padding)(k.Conv2D(3, 1)(x))
            parts.append(k.GlobalMaxPooling2D()(y))
    y = k.GlobalAveragePooling2D(keepdims=True)(x)
    parts += [k.Flatten()(y), k.Flatten()(k.GlobalMaxPooling2D(keepdims=True)(x))]
    return close(keras, inputs, k.Concatenate()(parts))


def padding(keras: Any) -> Any:
    """Padding that folds into what follows, and padding that must not."""
    k = keras.layers
    inputs, x = start(keras)
    x = k.Conv2D(6, 3, activation="relu")(k.ZeroPadding2D(1)(x))
    x = k.Conv2D(6, 3, strides=2)(k.ZeroPadding2D(((0, 1), (1, 0)))(x))
    negative = k.MaxPooling2D(3, strides=2)(k.ZeroPadding2D(1)(k.Activation("linear")(x)))
    positive = k.MaxPooling2D(3, strides=2)(k.ZeroPadding2D((1, 1))(k.ReLU()(x)))
    padded = k.ZeroPadding2D(1)(x)  # used twice
    both = k.Add()([k.Conv2D(6, 3, strides=2)(padded), k.AveragePooling2D(3, strides=2)(padded)])
    x = k.Concatenate()([negative, positive, both])
    return close(keras, inputs, k.Cropping2D(((1, 0), (0, 1)))(x))


def merging(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    a, b, c = (k.Conv2D(6, 3, padding="same")(x) for _ in range(3))
    gate = k.Dense(6, activation="sigmoid")(k.GlobalAveragePooling2D()(a))
    parts = [
        k.Add()([a, b, c]),
        k.Multiply()([a, k.Reshape((1, 1, 6))(gate)]),
        k.Subtract()([a, b]),
        k.Average()([a, b, c]),
        k.Maximum()([a, b]),
        k.Minimum()([b, c]),
    ]
    x = k.Concatenate()([k.Concatenate(axis=1)(parts[:2]), k.Concatenate(axis=1)(parts[2:4])])
    y = k.Concatenate(axis=2)([k.Concatenate(axis=-1)(parts[2:4]), k.Concatenate(axis=3)(parts[4:])])
    x = k.Concatenate()([k.Flatten()(k.MaxPooling2D(5)(x)), k.Flatten()(k.MaxPooling2D(5)(y))])
    return close(keras, inputs, x)


def reshaping(keras: Any) -> Any:
    """Everything whose order of numbers differs between Keras and torch."""
    k = keras.layers
    inputs, x = start(keras)
    x = k.MaxPooling2D(2)(x)  # 9 x 11 x 6
    x = k.Permute((3, 1, 2))(x)
    x = k.Conv2D(4, 3, activation="relu")(k.Permute((2, 3, 1))(k.Permute((2, 1, 3))(x)))
    x = k.Reshape((-1, 8))(k.Flatten()(x))
    x = k.Dense(10, activation="relu")(k.Permute((2, 1))(x))
    x = k.Reshape((2, 4, -1))(x)
    x = k.Conv2D(4, 2, activation="relu")(x)
    y = k.Dense(5, activation="tanh")(k.Reshape((3, 1, 4))(x))
    return close(keras, inputs, k.Dense(6, activation="relu")(k.Flatten()(y)))


def resizing(keras: Any) -> Any:
    k = keras.layers
    inputs, x = start(keras)
    x = k.Conv2D(6, 3, activation="relu")(k.UpSampling2D((2, 3))(x))
    x = k.MaxPooling2D(4)(k.UpSampling2D(3, interpolation="bilinear")(x))
    x = k.Conv2D(4, 3, activation="relu")(k.Resizing(21, 33)(x))
    x = k.Resizing(15, 40, interpolation="nearest")(x)
    return close(keras, inputs, k.Flatten()(k.MaxPooling2D(5)(x)))


def nearest(keras: Any) -> Any:
    """Pairs of sizes between which float32 rounding decides which of two neighbours is nearer."""
    k = keras.layers
    inputs, x = start(keras)
    x = k.Resizing(8, 6, interpolation="nearest")(x)
    x = k.Resizing(164, 369, interpolation="nearest")(x)
    return close(keras, inputs, k.Conv2D(4, (5, 7), strides=(4, 9), activation="relu")(x))


def scaling(keras: Any) -> Any:
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = k.Rescaling([1 / 255, 1 / 250, 1 / 240], offset=[0.0, 0.1, -0.1])(inputs)
    x = k.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.05, 0.06, 0.07])(x)
    return close(keras, inputs, k.Conv2D(8, 5, strides=3, activation="relu")(x))


def adapted(keras: Any) -> Any:
    """A Normalization whose statistics are variables."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = k.Normalization(name="adapted")(k.Rescaling(1 / 255)(inputs))
    return close(keras, inputs, k.Conv2D(8, 5, strides=3, activation="relu")(x))


def preprocessed(module: str) -> Callable[[Any], Any]:
    def make(keras: Any) -> Any:
        inputs = keras.layers.Input((*SIZE, 3))
        x = getattr(keras.applications, module).preprocess_input(inputs)
        x = keras.layers.Conv2D(8, 5, strides=3, activation="relu")(x)
        return close(keras, inputs, keras.layers.BatchNormalization()(x))

    return make


def operators(keras: Any) -> Any:
    """Arithmetic on tensors outside of any layer."""
    k = keras.layers
    inputs, x = start(keras)
    y = k.Conv2D(6, 1)(x)
    x = (x * 0.5 + 1.0 - y) / 2.0
    x = 1.0 - x * y
    return close(keras, inputs, k.Conv2D(5, 3, activation="relu")(x + 0.25))


def idle(keras: Any) -> Any:
    """Layers that only do something in training, called as for training."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = inputs
    for name in (
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomTranslation",
        "RandomContrast",
        "RandomBrightness",
        "RandomHeight",
        "RandomWidth",
    ):
        if not hasattr(k, name):
            continue
        arguments = {"RandomFlip": [], "RandomTranslation": [0.1, 0.1]}.get(name, [0.2])
        x = getattr(k, name)(*arguments)(x)
    x = k.Rescaling(1 / 128, offset=-1)(x)
    x = k.Conv2D(8, 3, strides=2, activation="relu")(k.GaussianNoise(0.2)(x))
    for made in (k.SpatialDropout2D(0.5), k.Dropout(0.5), k.GaussianDropout(0.5), k.AlphaDropout(0.5)):
        x = made(x)
    return close(keras, inputs, k.ActivityRegularization(0.1)(x))


def modern_idle(keras: Any) -> Any:
    """Keras 3's further augmentations."""
    k = keras.layers
    inputs = k.Input((*SIZE, 3))
    x = inputs
    augmentations: dict[str, list[Any]] = {
        "RandomHue": [0.2],
        "RandomSaturation": [0.2],
        "RandomSharpness": [0.2],
        "RandomShear": [0.2, 0.2],
        "RandomGrayscale": [0.5],
        "RandomErasing": [0.5],
        "RandomInvert": [0.5],
        "RandomPosterization": [4],
        "RandomPerspective": [0.5],
        "RandomColorJitter": [],
        "RandomColorDegeneration": [0.5],
        "RandomGaussianBlur": [0.5],
        "RandomElasticTransform": [0.5],
        "RandAugment": [],
        "AugMix": [],
        "Solarization": [0.5],
        "MixUp": [],
        "CutMix": [],
    }
    for name, arguments in augmentations.items():
        if hasattr(k, name):
            x = getattr(k, name)(*arguments)(x)
    x = k.RandomCrop(*SIZE)(x)
    return close(keras, inputs, k.Conv2D(8, 3, strides=2, activation="relu")(k.Rescaling(1 / 255)(x)))
