"""Official runtimes and quantizers, each run in a child process and imported only there.

`child` starts and watches the process, `worker` is what runs in it, `interpreter` runs models,
`real` runs them on real values; `tflite` and `litert` are the quantizers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """`qcore.peers.tflite` and the others without an import statement of their own."""
    if name in ("child", "interpreter", "litert", "real", "tflite"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
