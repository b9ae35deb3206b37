"""Keras models that TFLiteConverter converts three times: float, dynamic range, float16.

Run as a script in a process of its own (it imports TensorFlow):
    python keras_models.py FOLDER [NAME ...]
writes NAME.float.tflite, NAME.dynamic.tflite and NAME.float16.tflite for each model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODES = ("float", "dynamic", "float16")
SEED = 1


def _models():
    import numpy as np
    import tensorflow as tf

    keras = tf.keras
    layers = keras.layers
    constant = keras.initializers.Constant

    def layer(build, call):
        """A layer from the shapes (or arrays) of its weights and a function of layer and input."""

        class Made(layers.Layer):
            def build(self, shape):
                for name, value in build.items():
                    given = isinstance(value, np.ndarray)
                    weight = self.add_weight(
                        shape=value.shape if given else value,
                        name=name,
                        initializer=constant(value) if given else None,
                    )
                    setattr(self, name, weight)

            def call(self, x):
                return call(self, x)

        return Made()

    def dense_shared():
        x = keras.Input((32,), batch_size=1)
        dense = layers.Dense(32)
        y = dense(x)
        return keras.Model(x, [y, dense(layers.ReLU()(y))])

    def cnn():
        """Below and above 1024 elements, depthwise, PRELU, transposed convolution, no bias."""
        x = keras.Input((16, 16, 8), batch_size=1)
        y = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
        y = layers.DepthwiseConv2D(3, padding="same")(y)
        y = layers.DepthwiseConv2D(9, padding="same")(y)
        y = layers.BatchNormalization()(y)
        y = layers.PReLU()(y)
        y = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(y)
        y = layers.Conv2D(4, 1)(y)
        y = layers.GlobalAveragePooling2D()(y)
        y = layers.Dense(300)(y)
        return keras.Model(x, layers.Dense(10, activation="softmax")(y))

    def transposed():
        x = keras.Input((8, 8, 16), batch_size=1)
        y = layers.Conv2DTranspose(
            16, 3, strides=2, activation="relu", bias_initializer="random_normal"
        )(x)
        return keras.Model(x, layers.Conv2DTranspose(4, 3, bias_initializer="random_normal")(y))

    def threshold():
        """1023, 1024 and 1025 weights in dense layers, 1017 and 1026 in depthwise ones."""
        x = keras.Input((33,), batch_size=1)
        outputs = [layers.Dense(31)(x), layers.Dense(32)(layers.Dense(32)(x)), layers.Dense(35)(x)]
        y = layers.Reshape((12, 12, 1))(layers.Dense(144)(x))
        outputs.append(layers.DepthwiseConv2D(3, depth_multiplier=113)(y))
        outputs.append(layers.DepthwiseConv2D(3, depth_multiplier=114)(y))
        outputs.append(layers.Dense(41)(layers.Dense(25)(x)))
        return keras.Model(x, outputs)

    def grouped():
        x = keras.Input((16, 16, 32), batch_size=1)
        y = layers.DepthwiseConv2D(6)(x)
        y = layers.DepthwiseConv2D(3, dilation_rate=2)(y)
        return keras.Model(x, layers.Conv2D(64, 3, groups=4)(y))

    def text():
        x = keras.Input((12,), batch_size=1, dtype="int32")
        y = layers.Embedding(200, 32)(x)
        attended = layers.MultiHeadAttention(2, 16)(y, y)
        y = layers.LayerNormalization()(y + attended)
        return keras.Model(x, layers.Dense(64, activation="gelu")(y))

    def lstm():
        x = keras.Input((6, 20), batch_size=1)
        return keras.Model(x, layers.Dense(40)(layers.LSTM(24, return_sequences=True)(x)))

    def gru():
        x = keras.Input((6, 20), batch_size=1)
        return keras.Model(x, layers.Dense(50)(layers.GRU(24)(x)))

    def bidirectional():
        x = keras.Input((6, 20), batch_size=1)
        y = layers.Bidirectional(layers.LSTM(24, return_sequences=True))(x)
        return keras.Model(x, layers.RNN(layers.LSTMCell(30))(y))

    def unrolled():
        x = keras.Input((4, 20), batch_size=1)
        y = layers.SimpleRNN(40, unroll=True)(x)
        return keras.Model(
            x, layers.LSTM(40, unroll=True, return_sequences=True)(layers.RepeatVector(2)(y))
        )

    def conv1d():
        x = keras.Input((40, 8), batch_size=1)
        y = layers.Conv1D(32, 5)(x)
        y = layers.SeparableConv1D(16, 3)(y)
        return keras.Model(x, layers.Conv1D(24, 3, dilation_rate=2)(y))

    def conv3d():
        x = keras.Input((6, 6, 6, 8), batch_size=1)
        y = layers.Flatten()(layers.Conv3D(8, 3)(x))
        return keras.Model(x, layers.Dense(8)(y))

    def dynamic_shapes():
        x = keras.Input((None, None, 3))
        y = layers.Conv2D(32, 3, strides=2)(x)
        y = layers.Conv2D(32, 3)(y)
        y = layers.Concatenate()([y, layers.Conv2D(8, 3, padding="same")(y)])
        y = layers.Dense(64)(layers.GlobalMaxPooling2D()(y))
        return keras.Model(x, [y, layers.Dense(3)(y)])

    def batch_matmul():
        x = keras.Input((16, 32), batch_size=1)
        made = layer(
            {"w": (1, 32, 40), "b": (40,)}, lambda s, x: tf.matmul(x, tf.tile(s.w, [1, 1, 1])) + s.b
        )
        return keras.Model(x, made(x))

    def tied_embedding():
        """One table read by GATHER and, as it is, by FULLY_CONNECTED."""

        def call(s, i):
            both = tf.gather(s.w, i) + tf.gather(s.v, i % 60)
            return tf.matmul(both, s.w, transpose_b=True)

        i = keras.Input((12,), batch_size=1, dtype="int32")
        return keras.Model(i, layer({"w": (200, 32), "v": (64, 32)}, call)(i))

    def gathers():
        """A table with two readers, one smaller than what is taken from it, one that moves on."""

        def call(s, i):
            first = tf.gather(s.w, i) * tf.gather(s.w, i % 7)
            wide = tf.gather(s.v, tf.concat([i] * 8, 1))
            return first, wide, tf.nn.relu(tf.gather(s.u, i)[:, :, :8])

        i = keras.Input((12,), batch_size=1, dtype="int32")
        return keras.Model(i, layer({"w": (40, 32), "v": (64, 32), "u": (70, 32)}, call)(i))

    def shared_with_float():
        """Weights that an ADD, a CONCATENATION and a graph output read too."""

        def call(s, x):
            y = tf.matmul(x, s.e, transpose_b=True)[:, :32]
            return tf.matmul(x, s.w, transpose_b=True) + s.w, tf.concat([y, s.w], 0), s.e

        x = keras.Input((32,), batch_size=32)
        return keras.Model(x, layer({"w": (32, 32), "e": (48, 32)}, call)(x))

    def scalars():
        def call(s, x):
            y = tf.reshape(tf.matmul(x, tf.transpose(s.w)), (1, 4, 16))
            z = tf.einsum("bhd,hde->bhe", tf.tile(y, [1, 1, 2]), s.b)
            rows = tf.gather(s.w, tf.cast(x[0, :3], tf.int32))
            return z, tf.slice(s.w, [0, 0], [4, 4]) + rows[0, 0]

        x = keras.Input((64,), batch_size=1)
        return keras.Model(x, layer({"w": (64, 64), "b": (4, 32, 16)}, call)(x))

    def numbers():
        """Zero, constant, tiny, denormal and huge channels, half ties, values beyond float16."""
        rng = np.random.default_rng(SEED)
        w = rng.standard_normal((64, 64)).astype(np.float32)
        w[:, 0] = 0
        w[:, 1] = 0.7
        w[:, 2] = -0.3
        w[:, 3] *= np.float32(1e-9)
        w[:, 4] *= np.float32(1e-42)
        w[:, 5] *= np.float32(3e37)
        w[:, 6] = np.float32(5e-7)
        # Channels whose largest value is 127 or a power of two of it: every half step is a tie.
        for column, power in enumerate(range(-8, 9), start=10):
            steps = rng.integers(-254, 255, 64) / 2
            steps[0] = 127
            w[:, column] = (steps * 2.0**power).astype(np.float32)
        half = rng.standard_normal((64, 64)).astype(np.float32)
        half[0] = np.float32(2.0) ** -24 * rng.integers(-9, 9, 64)
        half[1] = [65504, 65519, 65520, 65536, 1e6, 3e38, -65504, -65520] * 8
        half[2] = (1 + (2 * rng.integers(0, 512, 64) + 1) * 2.0**-11).astype(np.float32)
        half[3] = np.float32(2.0) ** -25 * rng.integers(-9, 9, 64)
        zero = np.zeros((64, 20), np.float32)
        splat = np.full((3, 3, 16, 8), -0.3, np.float32)

        def call(s, x):
            y = tf.matmul(tf.matmul(x, s.w), s.h)
            image = tf.nn.conv2d(tf.reshape(y, (1, 2, 2, 16)), s.c, 1, "SAME")
            return image, tf.matmul(y, s.z)

        x = keras.Input((64,), batch_size=1)
        weights = {"w": w, "h": half, "z": zero, "c": splat}
        return keras.Model(x, layer(weights, call)(x))

    return {
        f.__name__: f
        for f in (
            dense_shared, cnn, transposed, threshold, grouped, text, lstm, gru, bidirectional,
            unrolled, conv1d, conv3d, dynamic_shapes, batch_matmul, tied_embedding, gathers,
            shared_with_float, scalars, numbers,
        )
    }  # fmt: skip


NAMES = (
    "dense_shared", "cnn", "transposed", "threshold", "grouped", "text", "lstm", "gru",
    "bidirectional", "unrolled", "conv1d", "conv3d", "dynamic_shapes", "batch_matmul",
    "tied_embedding", "gathers", "shared_with_float", "scalars", "numbers",
)  # fmt: skip


def convert(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    """Build and convert; raises what Keras or the converter raise."""
    import tensorflow as tf

    made = _models()
    assert tuple(made) == NAMES
    for name in names:
        tf.keras.utils.set_random_seed(SEED)
        model = made[name]()
        for mode in MODES:
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            if mode != "float":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if mode == "float16":
                converter.target_spec.supported_types = [tf.float16]
            (folder / f"{name}.{mode}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    convert(Path(sys.argv[1]), tuple(sys.argv[2:]) or NAMES)
