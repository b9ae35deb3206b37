"""LiteRT's quantizer (`litert-quantizer`, Python API), from the `peers` extra, in a child process.

    qcore.peers.litert(model, samples)                     # its static int8 recipe
    qcore.peers.litert.quantize(data, "dynamic")           # -> Made(data, version)

It works on signatures; a model without one gets one for the call, which stays in its output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from qcore.errors import BadRecipe, MissingExtra, NotCalibrated

WHAT = "LiteRT's quantizer"
KEY = "serving_default"

# Our recipe -> the name of its counterpart in litert_quantizer.recipe.
RECIPES: Mapping[str, str] = {
    "int8": "static_wi8_ai8",
    "int16x8": "static_wi8_ai16",
    "dynamic": "dynamic_wi8_afp32",
    "dynamic_1024": "dynamic_legacy_wi8_afp32",
    "weight_only": "weight_only_wi8_afp32",
    "int4": "dynamic_wi4_afp32",
    "int4_weight_only": "weight_only_wi4_afp32",
}
STATIC = ("int8", "int16x8")


@dataclass(frozen=True)
class Made:
    """data: the .tflite.  version: of the package that made it."""

    data: bytes
    version: str


def quantize(
    data: bytes,
    recipe: str | list[dict[str, Any]] = "int8",
    samples: Iterable[Any] | None = None,
    time_limit: float | None = 600.0,
) -> Made:
    """What LiteRT's quantizer makes of a float .tflite.

    recipe: a key of RECIPES, or a recipe of its own (a list, as in its JSON files).
    samples: for static recipes; arrays, tuples in the order of the inputs, or dicts by the names of
    the signature's inputs; read once and kept by the quantizer, which iterates twice.
    Raises BadRecipe, NotCalibrated, MissingExtra, and RuntimeFailed with its own words where it
    refuses or crashes.
    """
    from qcore.peers.child import Child, Items

    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise BadRecipe(
                f"{WHAT} has no counterpart of recipe {recipe!r}; use one of {', '.join(RECIPES)}"
            )
        if recipe in STATIC and samples is None:
            raise NotCalibrated(f"{WHAT} needs samples for recipe {recipe!r}; give some")
    with Child("qcore.peers.litert:_quantize", what=WHAT, time_limit=time_limit) as child:
        stream = child.stream(bytes(data), recipe, Items(), items=_named(data, samples))
        while True:
            try:
                next(stream)
            except StopIteration as stop:
                return Made(*stop.value)


def convert(model: Any, samples: Iterable[Any] | None = None, recipe: str = "int8") -> Any:
    """As `quantize`, from a Model, path or bytes to a Model."""
    import tflite_schema as ts
    from qcore.peers.interpreter import read_model

    return ts.read(quantize(ts.to_bytes(read_model(model)), recipe, samples).data)


class _Callable(ModuleType):
    def __call__(
        self, model: Any, samples: Iterable[Any] | None = None, recipe: str = "int8"
    ) -> Any:
        return convert(model, samples, recipe)


# `qcore.peers.litert(model, samples)`, as `qcore.peers.tflite`.
sys.modules[__name__].__class__ = _Callable


def _named(data: bytes, samples: Iterable[Any] | None) -> Iterable[Any]:
    """Samples as dicts by the names that the child's signature will have."""
    if samples is None:
        return
    import tflite_schema as ts
    from qcore.binding import Binder

    model = ts.read(data)
    binder = Binder(model)
    names = _input_names(model)
    for bound in binder.all(samples):
        yield dict(zip(names, bound.arrays, strict=True))


def _input_names(model: Any) -> list[str]:
    """Names of the first signature's inputs in the order of the subgraph's; made up without one."""
    main = model.subgraphs[0]
    for signature in model.signature_defs[:1]:
        named = {m.tensor_index: m.name or "" for m in signature.inputs}
        return [named[t] for t in model.subgraphs[signature.subgraph_index].inputs if t in named]
    return [f"input_{i}" for i in range(len(main.inputs))]


# --- in the child ---------------------------------------------------------------------------------


def _signed(data: bytes) -> bytes:
    """The model with a signature."""
    import tflite_schema as ts

    model = ts.read(data)
    if model.signature_defs:
        return data
    main = model.subgraphs[0]
    signature = ts.SignatureDef(
        signature_key=KEY,
        subgraph_index=0,
        inputs=tuple(ts.TensorMap(f"input_{i}", t) for i, t in enumerate(main.inputs)),
        outputs=tuple(ts.TensorMap(f"output_{i}", t) for i, t in enumerate(main.outputs)),
    )
    return ts.to_bytes(model, [ts.SetSignatures((signature,))])


def _quantize(
    data: bytes, recipe: str | list[dict[str, Any]], samples: Iterable[Any]
) -> tuple[bytes, str]:
    from importlib.metadata import version

    import tflite_schema as ts

    try:
        from litert_quantizer import quantizer as package
        from litert_quantizer import recipe as recipes
    except ImportError:
        raise MissingExtra(
            "LiteRT's quantizer is not installed; install it with: "
            "pip install 'tflite-qcore[peers]'"
        ) from None
    data = _signed(data)
    found = getattr(recipes, RECIPES[recipe])() if isinstance(recipe, str) else recipe
    quantizer = package.Quantizer(data, found)
    result = None
    if quantizer.need_calibration:
        key = ts.read(data).signature_defs[0].signature_key or KEY
        kept = [{k: np.asarray(v) for k, v in sample.items()} for sample in samples]
        result = quantizer.calibrate({key: kept})
    made = quantizer.quantize(result)
    return bytes(made.quantized_model), version("litert-quantizer")
