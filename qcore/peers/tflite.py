"""TFLite's own quantizers, as TFLiteConverter calls them, from the `tensorflow` extra.

A is the MLIR quantizer (`mlir_quantize`, TFLiteConverter's int8 path), B the older one
(`Calibrator.calibrate_and_quantize`, its 16x8 path). Both take and give a .tflite in memory. Every
function runs in a child process: both quantizers can abort the process, on valid models too.

    qcore.peers.tflite(model, samples)               # what TFLiteConverter would have made
    qcore.peers.tflite.make(model, samples).by       # "TFLite's MLIR quantizer, tensorflow 2.21.0"
    with qcore.peers.tflite.Quantizer() as quantizer:
        quantizer.mlir(data)                         # A, from the ranges that `data` carries

Argument values are those of tensorflow 2.21, lite/python/lite.py (`_quantize`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from qcore.errors import MissingExtra, NotCalibrated, RuntimeFailed
from qcore.peers.made import TENSORFLOW, Made, made, named, no_counterpart

RECIPES = ("int8", "int8_float_io", "int8_legacy", "int16x8")
A, B = "TFLite's MLIR quantizer", "TFLite's older quantizer"
_TARGET = "qcore.peers.tflite:_"
_MARK = "qcore: {} of call {}\n"


# --- in this process ------------------------------------------------------------------------------


class Quantizer:
    """One child process for many calls of A and B; started anew after it crashed."""

    def __init__(self, time_limit: float | None = 600.0):
        self._time_limit = time_limit
        self._children: dict[str, Any] = {}
        self._calls = 0

    def __enter__(self) -> Quantizer:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.close()
        self._children.clear()

    def _child(self, function: str, what: str) -> Any:
        from qcore.peers.child import Child

        child = self._children.get(function)
        if child is None or not child.alive:
            child = Child(_TARGET + function, what=what, time_limit=self._time_limit)
            self._children[function] = child
        return child

    def mlir(
        self,
        data: bytes,
        input_type: str = "int8",
        output_type: str = "int8",
        denied_operators: Sequence[str] = (),
        denied_names: Sequence[str] = (),
        per_channel: bool = True,
    ) -> bytes:
        """A: the int8 model that the MLIR quantizer makes of a float model that carries its ranges.

        data: a .tflite whose float tensors have min and max.  input_type, output_type: "int8",
        "uint8" or "float32".  denied_operators (builtin names), denied_names (tensor names that an
        operator writes): left float.  Raises RuntimeFailed with the quantizer's own words where it
        refuses.
        """
        child = self._child("mlir", A)
        self._calls += 1
        try:
            return child.call(
                bytes(data), input_type, output_type, tuple(denied_operators), tuple(denied_names),
                per_channel, self._calls,
            )  # fmt: skip
        except RuntimeFailed as refused:
            said = _diagnostics(child, self._calls) if child.alive else ""
            if not said:
                raise
            raise RuntimeFailed(f"{A} refused: {said}", printed=child.printed()) from refused

    def legacy(
        self,
        data: bytes,
        samples: Iterable[Any] | None = None,
        activations: str = "int16",
        input_type: str = "int16",
        output_type: str = "int16",
        bias: str | None = None,
        allow_float: bool = True,
        per_channel: bool = True,
    ) -> bytes:
        """B: what the older quantizer makes of a float model and samples.

        samples: arrays, tuples (in the order of the graph's inputs) or dicts by input name; None
        feeds nothing, so that the ranges that `data` carries are all there is.  activations:
        "int16" or "int8".  bias: "int64" or "int32", by default the one that goes with the
        activations.  Raises RuntimeFailed with the quantizer's own words where it refuses or
        crashes.
        """
        from qcore.peers.child import Items

        bias = bias or ("int64" if activations == "int16" else "int32")
        return self._child("legacy", B).call(
            bytes(data), Items(), activations, input_type, output_type, bias, allow_float,
            per_channel, items=() if samples is None else samples,
        )  # fmt: skip

    def calibrated(self, data: bytes, samples: Iterable[Any]) -> bytes:
        """The float model with the min and max that TFLite's calibrator records on the samples."""
        from qcore.peers.child import Items

        child = self._child("calibrated", "TFLite's calibrator")
        return child.call(bytes(data), Items(), items=samples)


def _diagnostics(child: Any, call: int) -> str:
    """What the quantizer printed of a call that failed: the exception itself says nothing."""
    begin, end = (_MARK.format(what, call) for what in ("begin", "end"))
    until = time.monotonic() + 2.0
    text = child.printed()
    while end not in text and time.monotonic() < until:
        time.sleep(0.01)
        text = child.printed()
    lines = text.split(begin)[-1].split(end)[0].splitlines()
    errors = [line.split("error: ", 1)[1] for line in lines if "error: " in line]
    useful = [e for e in errors if not e.startswith("Failed VHLO")]
    return (useful or errors or [""])[0]


def make(
    model: Any,
    samples: Iterable[Any] | None = None,
    recipe: str = "int8",
    *,
    per_channel: bool = True,
    time_limit: float | None = 600.0,
) -> Made:
    """The model that TFLiteConverter's post-training quantization would make of a float model.

    model: a Model, path or bytes.  samples: any iterable, see `qcore.binding`.  recipe: "int8",
    "int8_float_io" (A), "int8_legacy" or "int16x8" (B).  per_channel: False for one scale a weight.
    Float16 constants and LSTM intermediates are prepared as by our own recipes, since both
    quantizers refuse or crash otherwise.
    Raises BadRecipe, NotCalibrated, MissingExtra, and RuntimeFailed with the quantizer's own words.
    """
    import tflite_schema as ts
    from qcore.load import load
    from qcore.prepare import prepare
    from qcore.recipe import recipe as find_recipe

    if not isinstance(recipe, str) or recipe not in RECIPES:
        no_counterpart("TFLite's quantizer", recipe, RECIPES)
    if samples is None:
        raise NotCalibrated(f"TFLite's quantizer needs samples for recipe {recipe!r}; give some")
    found = find_recipe(recipe)
    prepared = ts.prune(prepare(load(model), found))
    data, items = ts.to_bytes(prepared), _items(prepared, samples)
    io = found.input_type, found.output_type
    with Quantizer(time_limit) as quantizer:
        if found.dialect == "legacy":
            kind = "int8" if recipe == "int8_legacy" else "int16"
            result = quantizer.legacy(data, items, kind, *io, per_channel=per_channel)
            return made(result, B, *TENSORFLOW)
        ranges = quantizer.calibrated(data, items)
        return made(quantizer.mlir(ranges, *io, per_channel=per_channel), A, *TENSORFLOW)


def _items(model: Any, samples: Iterable[Any]) -> Iterator[Any]:
    """Samples as TFLite's calibrator takes them: in order, or by signature where there are some."""
    for signature, arrays in named(model, samples):
        yield tuple(arrays.values()) if signature is None else (signature, arrays)


class _Callable(ModuleType):
    def __call__(self, model: Any, samples: Any = None, recipe: str = "int8", **more: Any) -> Any:
        return make(model, samples, recipe, **more).model


# `qcore.peers.tflite(model, samples)` reads well and so does `qcore.peers.tflite.Quantizer`.
sys.modules[__name__].__class__ = _Callable


# --- in the child ---------------------------------------------------------------------------------


def import_tensorflow(what: str = "TFLite's quantizers are") -> Any:
    """The package, on the processor and quiet.  what: how the sentence starts if it is missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow
    except ImportError:
        raise MissingExtra(
            f"{what} in the tensorflow package; install it with: "
            "pip install 'tflite-qcore[tensorflow]'"
        ) from None
    return tensorflow


def _mlir(
    data: bytes,
    input_type: str,
    output_type: str,
    denied_operators: Sequence[str],
    denied_names: Sequence[str],
    per_channel: bool,
    call: int,
) -> bytes:
    tf = import_tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    os.write(2, _MARK.format("begin", call).encode())
    try:
        return bytes(
            mlir_quantize(
                data,
                disable_per_channel=not per_channel,
                input_data_type=getattr(tf, input_type),
                output_data_type=getattr(tf, output_type),
                denylisted_ops=list(denied_operators) or None,
                denylisted_nodes=list(denied_names) or None,
            )
        )
    finally:
        os.write(2, _MARK.format("end", call).encode())


def _feed(samples: Iterable[Any]) -> Any:
    """A representative dataset over samples that are read once."""

    def generator() -> Iterator[Any]:
        for sample in samples:
            if isinstance(sample, tuple) and sample and isinstance(sample[0], str):
                yield sample  # a signature and its inputs by name
            elif isinstance(sample, dict):
                yield {name: np.asarray(value) for name, value in sample.items()}
            elif isinstance(sample, (tuple, list)):
                yield [np.asarray(value) for value in sample]
            else:
                yield [np.asarray(sample)]

    return generator


def _legacy(
    data: bytes,
    samples: Iterable[Any],
    activations: str,
    input_type: str,
    output_type: str,
    bias: str,
    allow_float: bool,
    per_channel: bool,
) -> bytes:
    tf = import_tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    return bytes(
        Calibrator(data).calibrate_and_quantize(
            _feed(samples),
            getattr(tf, input_type),
            getattr(tf, output_type),
            allow_float,
            activations_type=getattr(tf, activations),
            bias_type=getattr(tf, bias),
            disable_per_channel=not per_channel,
        )
    )


def _calibrated(data: bytes, samples: Iterable[Any]) -> bytes:
    import_tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    return bytes(Calibrator(data).calibrate(_feed(samples)))
