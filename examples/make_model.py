#!/usr/bin/env python3
"""Make the model and the data of the quick start: symbols.tflite and symbols.npz.

    python examples/make_model.py            # writes both beside this file, in about a minute
    python examples/make_model.py --check    # makes both again and compares with the files here

The data are ours: ten symbols, drawn as wobbly strokes under a random affine map, with stray
strokes, uneven light and noise, in 16 grey levels. The model is a small depthwise-separable network
with three residual additions. Needs the extra `tensorflow`.

What `--check` can promise: pictures and labels are the same everywhere, except that another CPU's
sine may move a pixel by one grey level. The weights are the same, byte for byte, with the same
TensorFlow on the same kind of CPU; elsewhere training ends at other weights of the same quality, so
there the operators and the accuracy are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SIZE = 32
GREY = 17  # the step between two of the 16 grey levels: 15 * 17 == 255
SEGMENTS = 12
TRAIN, CALIB, TEST = 16_000, 200, 1_000
EPOCHS = 8
BATCH = 64
ACCURACY_TOLERANCE = (
    0.02  # two trainings of equal quality differ by less than this on 1,000 pictures
)


def _ring(count: int, radii: np.ndarray, start: float = 0.0, turns: float = 1.0) -> np.ndarray:
    """`count` points at the given radii, evenly spread over `turns` turns: (count, 2)."""
    angle = start + 2 * np.pi * turns * np.arange(count) / (count - 1)
    return np.stack([radii * np.cos(angle), radii * np.sin(angle)], axis=1)


def symbols() -> dict[str, list[np.ndarray]]:
    """Each symbol as strokes: arrays (points, 2) in [-1, 1], y downwards."""

    def line(*points: tuple[float, float]) -> np.ndarray:
        return np.array(points, np.float64)

    star = _ring(11, np.where(np.arange(11) % 2, 0.42, 1.0), start=-np.pi / 2)
    return {
        "circle": [_ring(SEGMENTS + 1, np.full(SEGMENTS + 1, 0.85))],
        "square": [
            line((-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75), (-0.75, -0.75))
        ],
        "triangle": [line((0, -0.9), (0.85, 0.7), (-0.85, 0.7), (0, -0.9))],
        "cross": [line((-0.7, -0.7), (0.7, 0.7)), line((0.7, -0.7), (-0.7, 0.7))],
        "plus": [line((0, -0.9), (0, 0.9)), line((-0.9, 0), (0.9, 0))],
        "star": [star],
        "arrow": [line((-0.9, 0), (0.9, 0)), line((0.25, -0.6), (0.9, 0), (0.25, 0.6))],
        "zigzag": [line((-0.9, 0.5), (-0.45, -0.5), (0, 0.5), (0.45, -0.5), (0.9, 0.5))],
        "spiral": [_ring(SEGMENTS + 1, np.linspace(0.12, 0.95, SEGMENTS + 1), turns=1.75)],
        "house": [line((-0.7, 0.8), (-0.7, -0.1), (0, -0.9), (0.7, -0.1), (0.7, 0.8), (-0.7, 0.8))],
    }


def _segments() -> np.ndarray:
    """Each symbol as SEGMENTS segments, (classes, SEGMENTS, 2 ends, 2); spares repeat the first."""
    table = []
    for strokes in symbols().values():
        segments = np.concatenate([np.stack([s[:-1], s[1:]], axis=1) for s in strokes])
        spare = np.repeat(segments[:1], SEGMENTS - len(segments), axis=0)
        table.append(np.concatenate([segments, spare]))
    return np.stack(table)


def _ink(segments: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Coverage of each pixel by strokes, (N, SIZE, SIZE) in [0, 1].

    segments: (N, S, 2 ends, 2) in pixels.  width: (N,) in pixels.
    """
    axis = np.arange(SIZE) + 0.5
    x, y = (p.reshape(1, 1, -1) for p in np.meshgrid(axis, axis))
    ax, ay = (segments[:, :, 0, i, None] for i in (0, 1))
    dx, dy = (segments[:, :, 1, i, None] - segments[:, :, 0, i, None] for i in (0, 1))
    along = ((x - ax) * dx + (y - ay) * dy) / np.maximum(dx * dx + dy * dy, 1e-9)
    np.clip(along, 0, 1, out=along)
    distance = np.sqrt(np.min((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2, axis=1))
    return np.clip(width[:, None] / 2 + 0.5 - distance, 0, 1).reshape(-1, SIZE, SIZE)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` labelled pictures: (count, SIZE, SIZE, 1) uint8 in 16 grey levels, (count,) uint8.

    RandomState, because its stream is frozen for good.
    """
    random = np.random.RandomState(seed)
    table = _segments()
    labels = random.randint(len(table), size=count)
    pictures = np.empty((count, SIZE, SIZE), np.uint8)
    for start in range(0, count, 500):
        chosen = labels[start : start + 500]
        n = len(chosen)
        turn, shear = random.normal(0, 0.35, n), random.normal(0, 0.18, n)
        stretch = random.uniform(6.5, 12.5, (n, 2))
        matrix = np.stack(
            [
                np.cos(turn) * stretch[:, 0],
                -np.sin(turn) * stretch[:, 1] + shear * 4,
                np.sin(turn) * stretch[:, 0],
                np.cos(turn) * stretch[:, 1],
            ],
            axis=1,
        ).reshape(n, 2, 2)
        shape = table[chosen] + random.normal(0, 0.075, (n, SEGMENTS, 2, 2))
        drawn = (
            np.einsum("nij,nsej->nsei", matrix, shape)
            + SIZE / 2
            + random.normal(0, 2.0, (n, 1, 1, 2))
        )
        centre = random.uniform(2, SIZE - 2, (n, 2, 1, 2))
        stray = centre + random.uniform(-5, 5, (n, 2, 2, 2))
        ink = np.maximum(
            _ink(drawn, random.uniform(0.8, 2.6, n)), 0.8 * _ink(stray, random.uniform(0.5, 1.8, n))
        )
        slope = random.uniform(-0.25, 0.25, (n, 2, 1, 1))
        ramp = np.arange(SIZE) / (SIZE - 1) - 0.5
        paper = (
            random.uniform(0.1, 0.9, (n, 1, 1)) + slope[:, 0] * ramp + slope[:, 1] * ramp[:, None]
        )
        contrast = random.uniform(0.2, 0.7, (n, 1, 1)) * np.where(
            paper.mean(axis=(1, 2), keepdims=True) > 0.5, -1, 1
        )
        noise = random.normal(0, 1, (n, SIZE, SIZE)) * random.uniform(0.01, 0.16, (n, 1, 1))
        light = np.clip(paper + contrast * ink + noise, 0, 1)
        pictures[start : start + n] = np.rint(light * 15).astype(np.uint8) * GREY
    return pictures[..., None], labels.astype(np.uint8)


def make_data(target: Path) -> None:
    """Write the .npz that ships: x_calib, y_calib, x_test, y_test and the names of the classes."""
    x_calib, y_calib = draw(CALIB, seed=2)
    x_test, y_test = draw(TEST, seed=3)
    np.savez_compressed(
        target,
        x_calib=x_calib,
        y_calib=y_calib,
        x_test=x_test,
        y_test=y_test,
        classes=np.array(list(symbols())),
    )


def make_model(target: Path) -> None:
    """Train on pictures of its own (seed 1) and write the float32 .tflite."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the CPU's cache sizes
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    layers = tf.keras.layers

    def separable(x, filters: int, strides: int = 1):
        skip = x
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 1, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        if x.shape == skip.shape:
            x = layers.Add()([skip, x])
        return layers.ReLU()(x)

    picture = layers.Input((SIZE, SIZE, 1), name="picture")
    x = layers.Conv2D(24, 3, strides=2, padding="same", use_bias=False)(picture)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = separable(x, 24)
    x = separable(x, 48, strides=2)
    x = separable(x, 48)
    x = separable(x, 96, strides=2)
    x = separable(x, 96)
    x = separable(x, 128)
    x = layers.GlobalAveragePooling2D()(x)
    network = tf.keras.Model(
        picture, layers.Dense(len(symbols()), activation="softmax", name="symbol")(x)
    )

    x_train, y_train = draw(TRAIN, seed=1)
    steps = EPOCHS * (TRAIN // BATCH)
    network.compile(
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(
        x_train.astype(np.float32) / 255, y_train, batch_size=BATCH, epochs=EPOCHS, verbose=2
    )
    target.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


def _operators_and_accuracy(model: Path, data: Path) -> tuple[list[str], float]:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(model), experimental_preserve_all_tensors=True)
    operators = [
        op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"
    ]
    with np.load(data) as arrays:
        x, y = arrays["x_test"].astype(np.float32) / 255, arrays["y_test"]
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return operators, float(np.mean(scores.argmax(axis=1) == y))


def differences(folder: Path) -> list[str]:
    """How the files just made in `folder` differ from those beside this script, in sentences."""
    found = []
    with np.load(HERE / "symbols.npz") as ours, np.load(folder / "symbols.npz") as made:
        if set(ours) != set(made):
            found.append(f"symbols.npz holds {sorted(ours)}, the script makes {sorted(made)}")
        for name in sorted(set(ours) & set(made)):
            if ours[name].shape != made[name].shape or ours[name].dtype != made[name].dtype:
                found.append(
                    f"symbols.npz: {name} is {ours[name].dtype}{ours[name].shape}, "
                    f"the script makes {made[name].dtype}{made[name].shape}"
                )
            elif not name.startswith("x_"):
                if not np.array_equal(ours[name], made[name]):
                    found.append(f"symbols.npz: {name} differs")
            else:
                step = np.abs(ours[name].astype(int) - made[name])
                if step.max() > GREY or np.count_nonzero(step) > step.size // 10_000:
                    found.append(
                        f"symbols.npz: {np.count_nonzero(step)} of {step.size} pixels of {name} "
                        f"differ by up to {step.max() // GREY} grey levels"
                    )
    if (HERE / "symbols.tflite").read_bytes() == (folder / "symbols.tflite").read_bytes():
        return found
    (ours_ops, ours_accuracy), (made_ops, made_accuracy) = (
        _operators_and_accuracy(where / "symbols.tflite", HERE / "symbols.npz")
        for where in (HERE, folder)
    )
    print(
        f"symbols.tflite: other weights; accuracy {ours_accuracy:.3f} shipped, "
        f"{made_accuracy:.3f} made again"
    )
    if ours_ops != made_ops:
        found.append("symbols.tflite: the operators differ")
    if abs(ours_accuracy - made_accuracy) > ACCURACY_TOLERANCE:
        found.append(
            f"symbols.tflite: accuracy {ours_accuracy:.3f} shipped, {made_accuracy:.3f} made again"
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument(
        "--data-only", action="store_true", help="leave the model alone (no TensorFlow needed)"
    )
    arguments = parser.parse_args()
    if not arguments.check:
        make_data(HERE / "symbols.npz")
        if not arguments.data_only:
            make_model(HERE / "symbols.tflite")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder) / "symbols.npz")
        if arguments.data_only:
            (Path(folder) / "symbols.tflite").write_bytes((HERE / "symbols.tflite").read_bytes())
        else:
            make_model(Path(folder) / "symbols.tflite")
        found = differences(Path(folder))
    for sentence in found:
        print(sentence)
    if found:
        print("Run `python examples/make_model.py` to write both again.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
