"""Small models with control flow and state, made by TensorFlow's converter in a child process."""

from __future__ import annotations

import numpy as np


def _convert(tf, functions, resources=False, model=None):
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, model)
    if resources:
        converter.experimental_enable_resource_variables = True
    return converter.convert()


def control_flow() -> dict[str, bytes]:
    """name -> .tflite: loop, branch, nested, lstm, counter (a resource variable), counter_loop
    (the variable changes inside WHILE), two (two signatures), dynamic (batch), scalar."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    w = tf.constant(rng.standard_normal((4, 4)).astype(np.float32) * 0.7)
    spec = tf.TensorSpec([1, 4], tf.float32, name="x")
    out: dict[str, bytes] = {}

    @tf.function(input_signature=[spec])
    def loop(x):
        _, y = tf.while_loop(
            lambda i, y: i < 5,
            lambda i, y: (i + 1, tf.nn.relu(tf.matmul(y, w)) * 1.5 - 0.25),
            (tf.constant(0), x + 1.0),
        )
        return {"y": tf.tanh(y) * 3.0}

    out["loop"] = _convert(tf, [loop.get_concrete_function()])

    @tf.function(input_signature=[spec])
    def branch(x):
        y = tf.cond(
            tf.reduce_sum(x) > 0.0,
            lambda: tf.exp(x * 0.5) + 1.0,
            lambda: tf.matmul(x - 2.0, w),
        )
        return {"y": y * 2.0}

    out["branch"] = _convert(tf, [branch.get_concrete_function()])

    @tf.function(input_signature=[spec])
    def nested(x):
        def body(i, y):
            y = tf.cond(tf.reduce_max(y) > 2.0, lambda: y * 0.25, lambda: tf.matmul(y, w) + 0.5)
            _, y = tf.while_loop(
                lambda j, z: j < i, lambda j, z: (j + 1, z * 1.25 + 0.1), (tf.constant(0), y)
            )
            return i + 1, y

        _, y = tf.while_loop(lambda i, y: i < 4, body, (tf.constant(0), x))
        return {"y": y - 1.0}

    out["nested"] = _convert(tf, [nested.get_concrete_function()])

    tf.keras.utils.set_random_seed(1)
    inputs = tf.keras.Input((6, 3), batch_size=1)
    outputs = tf.keras.layers.Dense(2)(
        tf.keras.layers.LSTM(5, unroll=False, return_sequences=True)(inputs)
    )
    lstm = tf.keras.Model(inputs, outputs)
    lstm_call = tf.function(lstm.call, input_signature=[tf.TensorSpec([1, 6, 3], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [lstm_call.get_concrete_function()], lstm
    )
    # Without this the loop becomes one UNIDIRECTIONAL_SEQUENCE_LSTM.
    converter._experimental_lower_tensor_list_ops = True
    converter.experimental_lower_to_saved_model = False
    out["lstm_fused"] = converter.convert()

    @tf.function(input_signature=[tf.TensorSpec([1, 6, 3], tf.float32, name="x")])
    def cells(x):
        k = tf.constant(rng.standard_normal((8, 20)).astype(np.float32) * 0.4)

        def body(t, h, c):
            z = tf.matmul(tf.concat([x[:, t], h], 1), k)
            i, f, g, o = tf.split(z, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return t + 1, tf.sigmoid(o) * tf.tanh(c), c

        zero = tf.zeros([1, 5])
        _, h, _ = tf.while_loop(lambda t, h, c: t < 6, body, (tf.constant(0), zero, zero))
        return {"h": h}

    out["lstm_loop"] = _convert(tf, [cells.get_concrete_function()])

    class Counter(tf.Module):
        def __init__(self):
            super().__init__()
            self.total = tf.Variable(tf.zeros([1, 4]), name="total")

        @tf.function(input_signature=[spec])
        def add(self, x):
            self.total.assign_add(x)
            return {"y": self.total * 2.0}

        @tf.function(input_signature=[spec])
        def add_in_loop(self, x):
            def body(i):
                self.total.assign_add(x * 0.5)
                return (i + 1,)

            tf.while_loop(lambda i: i < 3, body, (tf.constant(0),))
            return {"y": self.total.read_value() * 2.0}

    counter = Counter()
    out["counter"] = _convert(tf, [counter.add.get_concrete_function()], True, counter)
    counter = Counter()
    out["counter_loop"] = _convert(tf, [counter.add_in_loop.get_concrete_function()], True, counter)

    class Two(tf.Module):
        @tf.function(input_signature=[spec])
        def double(self, x):
            return {"y": x * 2.0}

        @tf.function(input_signature=[spec, tf.TensorSpec([1, 4], tf.float32, name="b")])
        def add(self, x, b):
            return {"y": tf.nn.relu(x + b)}

    two = Two()
    converter = tf.lite.TFLiteConverter.from_concrete_functions
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(
            two,
            folder,
            signatures={
                "double": two.double.get_concrete_function(),
                "add": two.add.get_concrete_function(),
            },
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["double", "add"]
        )
        out["two"] = converter.convert()

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def dynamic(x):
        return {"y": tf.nn.relu(tf.matmul(x, w))}

    out["dynamic"] = _convert(tf, [dynamic.get_concrete_function()])

    @tf.function(input_signature=[spec, tf.TensorSpec([], tf.float32, name="s")])
    def scalar(x, s):
        return {"y": x * s}

    out["scalar"] = _convert(tf, [scalar.get_concrete_function()])
    return out
