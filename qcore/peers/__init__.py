"""Official runtimes and quantizers, each run in a child process and imported only there.

`child` starts and watches the process, `worker` is what runs in it, `interpreter` runs models,
`real` runs them on real values; `tflite`, `litert` and `converter` are the quantizers. Each of
these is called as

    qcore.peers.tflite(model, samples, recipe)              # -> Model
    qcore.peers.tflite.make(model, samples, recipe)         # -> Made: data, model, by, save
    qcore.peers.make("tflite", model, samples, recipe)      # the same, by name
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcore.peers.made import Made as Made

QUANTIZERS = ("tflite", "litert", "converter")
_MODULES = ("child", "interpreter", "real", *QUANTIZERS)


def make(
    name: str,
    model: Any,
    samples: Iterable[Any] | None = None,
    recipe: Any = "int8",
    **options: Any,
) -> Made:
    """The model that a quantizer makes, with who made it in which version.

    name: one of QUANTIZERS.  model: float; for "converter" a Keras file or SavedModel folder.
    samples: any iterable; read only where the recipe needs them.  recipe: a name in the RECIPES of
    the quantizer's module; "litert" takes LiteRT's own as well.  options: of its `make`.
    """
    if name not in QUANTIZERS:
        from qcore.errors import BadInput

        raise BadInput(f"quantizer {name!r} is unknown; known are {', '.join(QUANTIZERS)}")
    return import_module(f"{__name__}.{name}").make(model, samples, recipe, **options)


def __getattr__(name: str) -> Any:
    """`qcore.peers.tflite` and the others without an import statement of their own."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "Made":
        return import_module(f"{__name__}.made").Made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
