"""Small Keras files and SavedModel folders, written by the child process that holds TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

SEED = 3


def write(folder: str, _settings: Any = None, _items: Iterable[Any] = ()) -> None:
    """cnn (.keras, .h5, SavedModel), two.keras with two inputs, signatures (SavedModel), and what
    only this code can read: own.keras, own.h5, lambda.keras."""
    import tensorflow as tf

    keras, place = tf.keras, Path(folder)
    layers = keras.layers
    keras.utils.set_random_seed(SEED)

    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3)(y))
    y = layers.Add()([y, layers.Conv2D(16, 1, activation="tanh")(y)])
    y = layers.Dense(70, activation="relu")(layers.GlobalAveragePooling2D()(y))
    cnn = keras.Model(x, layers.Dense(4, activation="softmax")(y))
    for i, layer in enumerate(cnn.layers):  # no bias of zeros, and no two that are one buffer
        own = np.linspace(0.1, 0.4 + 0.1 * i, 99)
        layer.set_weights([w if w.ndim > 1 else w + own[: w.size] for w in layer.get_weights()])
    cnn.save(place / "cnn.keras")
    cnn.save(place / "cnn.h5")
    cnn.export(str(place / "cnn"), verbose=False)

    left, right = keras.Input((6,), name="zebra"), keras.Input((3,), name="apple")
    both = layers.Concatenate()([left, layers.Dense(6)(right)])
    keras.Model([left, right], layers.Dense(5)(both)).save(place / "two.keras")

    class Pair(tf.Module):
        def __init__(self) -> None:
            self.w = tf.Variable((np.arange(32, dtype=np.float32) / 16 - 1).reshape(4, 8))

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
        def encode(self, x: Any) -> Any:
            return {"code": tf.nn.relu(tf.matmul(x, self.w))}

        @tf.function(input_signature=[tf.TensorSpec([1, 8], tf.float32, "code")])
        def decode(self, code: Any) -> Any:
            return {"x": tf.matmul(code, self.w, transpose_b=True)}

    pair = Pair()
    tf.saved_model.save(
        pair, str(place / "signatures"), signatures={"encode": pair.encode, "decode": pair.decode}
    )

    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    x = keras.Input((4,))
    own = keras.Model(x, Own()(x))
    own.save(place / "own.keras")
    own.save(place / "own.h5")
    keras.Model(x, layers.Lambda(lambda v: v + 1)(x)).save(place / "lambda.keras")
    keras.Model(x, layers.Dense(2)(x)).save_weights(place / "only.weights.h5")

    class Strange(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
        def __call__(self, x: Any) -> Any:
            return tf.math.erfinv(x)

    tf.saved_model.save(Strange(), str(place / "strange"))


def crash(_source: str, _settings: Any, _items: Iterable[Any]) -> None:
    """Ends the process as the converter's native code does when it aborts."""
    os.write(2, b"F0000 check failed: shape.rank() == 4\n")
    os.abort()
