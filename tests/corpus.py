"""The corpus of trained models and real inputs: found, described by its manifest, streamed.

It is not part of the project. `QCORE_CORPUS` names its folder, else `../shared/corpus` is tried.
"""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(
    os.environ.get("QCORE_CORPUS", Path(__file__).resolve().parents[2] / "shared" / "corpus")
)
MISSING = f"no corpus at {ROOT}; set QCORE_CORPUS to its folder"

_PHOTO = {"data": "photos", "crop": 1.0, "mean": 127.5, "std": 127.5}
# Real inputs of the quantized models that have no float model beside them, and of two that have one
# with random inputs: pictures, and bands of the spectrum of a recording.
QUANTIZED_INPUTS: dict[str, dict[str, Any]] = {
    "mlperf_resnet8": {"data": "cifar10_sample.npz", "mean": 0.0, "std": 1.0, "shape": [32, 32, 3]},
    "mlperf_kws_dscnn": {"data": "spectrum", "shape": [49, 10, 1], "low": -120.0, "high": 25.0},
    "mlperf_ad_autoencoder": {"data": "spectrum", "shape": [640], "low": -80.0, "high": 14.0},
    "mlperf_sww": {"data": "spectrum", "shape": [30, 1, 40], "low": 0.0, "high": 0.94},
    "mww_okay_nabu": {"data": "spectrum", "shape": [3, 40], "low": 0.0, "high": 26.0},
    "fer_mini_xception": {**_PHOTO, "size": 64, "grey": True},
    "hand_recrop": {"data": "photos", "size": 256, "crop": 1.0, "mean": 0.0, "std": 255.0},
    "mobilefacenet": {**_PHOTO, "size": 112},
    "mtcnn_onet": {**_PHOTO, "size": 48},
    "posenet": {**_PHOTO, "size": 257},
}


@dataclass(frozen=True)
class Entry:
    """One model of the manifest. input: how its samples are made, in real units."""

    name: str
    path: Path
    input: dict[str, Any] | None

    def samples(self, count: int, part: str = "calib") -> Iterator[np.ndarray]:
        """`count` inputs at most, float32, batch 1; part: "calib" or "test" where data has both."""
        return _samples(self.input or {}, count, part)


def available() -> bool:
    return (ROOT / "manifest.json").is_file()


def entries(kind: str = "float") -> tuple[Entry, ...]:
    """Every model of a kind ("float", "int8") in the manifest's order; empty without a corpus."""
    if not available():
        return ()
    manifest = json.loads((ROOT / "manifest.json").read_text("utf-8"))
    known = {_stem(e["name"]): e["input"] for e in manifest["float"]} | QUANTIZED_INPUTS
    return tuple(
        Entry(e["name"], ROOT / e["path"], e.get("input") or known.get(_stem(e["name"])))
        for e in manifest[kind]
    )


def _stem(name: str) -> str:
    """effnet_lite0_int8 and effnet_lite0_f32 are one model."""
    return name.rsplit("_", 1)[0]


def entry(name: str) -> Entry:
    return next(e for kind in ("float", "int8") for e in entries(kind) if e.name == name)


def labelled(file: str, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """uint8 pictures and labels of one of the labelled data sets."""
    with np.load(ROOT / "data" / file) as data:
        return data[f"x_{part}"], data[f"y_{part}"]


def photos() -> tuple[Path, ...]:
    folder = ROOT / "data" / "photos"
    return tuple(sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png")))


def photo(path: Path, size: int, crop: float, mean: float, std: float, resample: str) -> np.ndarray:
    """(1, size, size, 3) float32: centre crop of the shorter side, resized, normalized."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = crop * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize(
        (size, size),
        Image.Resampling[resample.upper()],
        box=(left, top, left + side, top + side),
    )
    return ((np.asarray(image, np.float32)[None] - mean) / std).astype(np.float32)


def _samples(how: dict[str, Any], count: int, part: str) -> Iterator[np.ndarray]:
    data = how.get("data", "random")
    if data == "photos":
        resample = "bicubic" if how["crop"] < 1 else "bilinear"
        for path in photos()[:count]:
            found = photo(path, how["size"], how["crop"], how["mean"], how["std"], resample)
            yield found.mean(axis=3, keepdims=True) if how.get("grey") else found
    elif data == "spectrum":
        yield from _spectra(how["shape"], how["low"], how["high"], count)
    elif data == "random":
        rng = np.random.default_rng(0 if part == "calib" else 1)
        for _ in range(count):
            yield rng.standard_normal((1, *how["shape"]), np.float32)
    elif data.endswith(".wav"):
        yield from _windows(ROOT / "data" / data, how["samples"], how["rate"], count)
    elif "key" in how:
        with np.load(ROOT / "data" / data) as stored:
            frames = stored[how["key"]]
        starts = np.linspace(0, len(frames) - how["frames"], count).astype(int)
        for start in np.unique(starts):
            yield frames[None, start : start + how["frames"]]
    else:
        pictures, _ = labelled(data, part)
        for picture in pictures[:count]:
            scaled = (picture.astype(np.float32) - how["mean"]) / how["std"]
            yield scaled.reshape(1, *how["shape"]).astype(np.float32)


def _windows(path: Path, length: int, rate: int, count: int) -> Iterator[np.ndarray]:
    """Windows of a recording, resampled by linear interpolation, (1, length, 1) in [-1, 1]."""
    with wave.open(str(path)) as stored:
        sound = np.frombuffer(stored.readframes(stored.getnframes()), "<i2") / np.float32(32768)
        times = np.arange(0, len(sound), stored.getframerate() / rate)
    sound = np.interp(times, np.arange(len(sound)), sound).astype(np.float32)
    for start in np.linspace(0, len(sound) - length, count).astype(int):
        yield sound[start : start + length].reshape(1, length, 1)


def _spectra(shape: list[int], low: float, high: float, count: int) -> Iterator[np.ndarray]:
    """Log energies of a recording, frames of `bands` bands, spread over [low, high]."""
    with wave.open(str(ROOT / "data" / "sax.wav")) as stored:
        sound = np.frombuffer(stored.readframes(stored.getnframes()), "<i2") / np.float32(32768)
    windows = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::512] * np.hanning(1024)
    energy = np.abs(np.fft.rfft(windows))[:, 1:481]
    bands = max(n for n in (10, 40, 120) if np.prod(shape) % n == 0)
    grouped = energy[:, : 480 // bands * bands].reshape(len(energy), bands, -1)
    pooled = np.log(grouped.mean(2) + 1e-6)
    pooled = low + (high - low) * (pooled - pooled.min()) / np.ptp(pooled)
    frames = int(np.prod(shape)) // bands
    for start in np.linspace(0, len(pooled) - frames, count).astype(int):
        yield pooled[start : start + frames].reshape(1, *shape).astype(np.float32)
