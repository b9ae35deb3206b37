"""LiteRT's quantizer (`litert-quantizer`, Python API), from the `peers` extra, in a child process.

    qcore.peers.litert(model, samples)                      # its static int8 recipe, as a Model
    qcore.peers.litert(model, recipe="dynamic_wi4b32_afp32")
    qcore.peers.litert.make(model, samples, "int16x8").by   # who made it, in which version

It works on signatures; a model without one gets one for the call, which stays in its output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from qcore.errors import BadRecipe, MissingExtra, NotCalibrated
from qcore.peers.made import Made, made, named, no_counterpart

WHO = "LiteRT's quantizer"
PACKAGE = "litert-quantizer"
KEY = "serving_default"

Entry = Mapping[str, Any]
_FLOAT_IO = [
    {"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"}
    for operation in ("INPUT", "OUTPUT")
]
_FLOAT16: Entry = {
    "regex": ".*",
    "operation": "*",
    "algorithm_key": "float_casting",
    "op_config": {
        "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
        "compute_precision": "FLOAT",
        "explicit_dequantize": True,
    },
}
# Our recipe -> what stands for it: recipes of litert_quantizer.recipe and entries, joined in order.
RECIPES: Mapping[str, tuple[str | Entry, ...]] = {
    "int8": ("static_wi8_ai8",),
    "int8_float_io": ("static_wi8_ai8", *_FLOAT_IO),
    "int16x8": ("static_wi8_ai16",),
    "dynamic": ("dynamic_wi8_afp32",),
    "dynamic_1024": ("dynamic_legacy_wi8_afp32",),
    "weight_only": ("weight_only_wi8_afp32",),
    "float16": (_FLOAT16,),
    "int4": ("dynamic_wi4_afp32",),
    "int4_weight_only": ("weight_only_wi4_afp32",),
}


def make(
    model: Any,
    samples: Iterable[Any] | None = None,
    recipe: str | os.PathLike[str] | list[Entry] = "int8",
    *,
    time_limit: float | None = 600.0,
) -> Made:
    """What LiteRT's quantizer makes of a float model.

    model: a Model, path or bytes.  samples: for recipes with static operators, else not read;
    any iterable, see `qcore.binding`.  recipe: a key of RECIPES, a name in the installed
    `litert_quantizer.recipe` ("dynamic_wi4b32_afp32"), one of its .json files, or the list that
    such a file holds.
    Raises BadRecipe, NotCalibrated, MissingExtra, and RuntimeFailed with its own words where it
    refuses or crashes.
    """
    import tflite_schema as ts
    from qcore.load import load
    from qcore.peers.child import Child, Items

    asked = _asked(recipe)
    source = _signed(load(model))
    with Child("qcore.peers.litert:_command", what=WHO, time_limit=time_limit) as child:
        first = source.signature_defs[0].signature_key or ""
        if child.call("open", ts.to_bytes(source), first, asked):
            if samples is None:
                text = recipe if isinstance(recipe, str) else "a static recipe"
                raise NotCalibrated(f"{WHO} needs samples for recipe {text!r}; give some")
            for _ in child.stream("calibrate", Items(), items=named(source, samples)):
                pass
        return made(child.call("quantize"), WHO, PACKAGE)


class _Callable(ModuleType):
    def __call__(self, model: Any, samples: Any = None, recipe: Any = "int8", **more: Any) -> Any:
        return make(model, samples, recipe, **more).model


# `qcore.peers.litert(model, samples)`, as `qcore.peers.tflite`.
sys.modules[__name__].__class__ = _Callable


def _asked(recipe: Any) -> str | list[Entry]:
    """What the child is told: a name, or the entries of a recipe."""
    if isinstance(recipe, (str, os.PathLike)) and Path(recipe).suffix == ".json":
        from qcore import textfiles

        try:
            recipe = textfiles.read(recipe)
        except OSError as error:
            raise BadRecipe(f"{recipe}: {error.strerror}; check the path") from None
        except ValueError as error:
            raise BadRecipe(f"{recipe} is not JSON: {error}; mend the file") from None
    if isinstance(recipe, str):
        return recipe
    if isinstance(recipe, list) and recipe and all(isinstance(e, Mapping) for e in recipe):
        return [dict(e) for e in recipe]
    raise BadRecipe(
        f"a recipe of {WHO} is a name, or a list of tables as in its .json files, and this is a "
        f"{type(recipe).__name__}{'' if recipe else ' that is empty'}; give one of these"
    )


def _signed(model: Any) -> Any:
    """The model with a signature."""
    import tflite_schema as ts

    if model.signature_defs:
        return model
    main = model.subgraphs[0]
    signature = ts.SignatureDef(
        signature_key=KEY,
        subgraph_index=0,
        inputs=tuple(ts.TensorMap(f"input_{i}", t) for i, t in enumerate(main.inputs)),
        outputs=tuple(ts.TensorMap(f"output_{i}", t) for i, t in enumerate(main.outputs)),
    )
    return ts.apply(model, [ts.SetSignatures((signature,))])


# --- in the child ---------------------------------------------------------------------------------

_open: dict[str, Any] = {}  # the quantizer between the calls, and what it calibrated


def _command(what: str, *arguments: Any) -> Any:
    """One call: "open" (data, its first signature, recipe) -> whether samples are needed;
    "calibrate" (samples); "quantize" -> the file."""
    functions: dict[str, Callable[..., Any]] = {
        "open": _start, "calibrate": _calibrate, "quantize": _quantize,
    }  # fmt: skip
    return functions[what](*arguments)


def _start(data: bytes, signature: str, recipe: str | list[Entry]) -> bool:
    try:
        from litert_quantizer import quantizer as package
        from litert_quantizer import recipe as recipes
    except ImportError:
        raise MissingExtra(
            "LiteRT's quantizer is not installed; install it with: "
            "pip install 'tflite-qcore[peers]'"
        ) from None
    found = _entries(recipe, recipes) if isinstance(recipe, str) else recipe
    try:
        quantizer = package.Quantizer(data, found)
    except (KeyError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise BadRecipe(f"{WHO} does not take this recipe ({what}); mend it") from None
    _open.clear()
    _open.update(quantizer=quantizer, signature=signature)
    return bool(quantizer.need_calibration)


def _entries(name: str, recipes: ModuleType) -> list[Entry]:
    """The entries that a name of ours or of the installed package stands for."""
    if name in RECIPES:
        found: list[Entry] = []
        for part in RECIPES[name]:
            found += getattr(recipes, part)() if isinstance(part, str) else [part]
        return found
    theirs = {
        key: value()
        for key, value in vars(recipes).items()
        if isinstance(value, FunctionType) and not key.startswith("_")
    }
    lists = {key: value for key, value in theirs.items() if isinstance(value, list)}
    if name in lists:
        return lists[name]
    if name in theirs:
        raise BadRecipe(
            f"{name} of {WHO} has a recipe for each model of a .litertlm file; give the list of "
            f"one of them: {', '.join(theirs[name])}"
        )
    no_counterpart(WHO, name, (*RECIPES, *lists, "a .json file"))


def _calibrate(samples: Iterable[Any]) -> None:
    from qcore.peers.kept import Kept

    kept = Kept(samples)
    of = {key or _open["signature"]: kept.of(key) for key in kept.signatures()}
    _open["ranges"] = _open["quantizer"].calibrate(of)


def _quantize() -> bytes:
    return bytes(_open["quantizer"].quantize(_open.get("ranges")).quantized_model)
