"""Calibration: run the float model on samples and record what each tensor holds.

`calibration` is the frozen result, `run` the stage; `program` cuts a model into the `steps` that
the child process runs (control flow included), `collect` is what runs there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcore.calibrate.calibration import Calibration, fingerprint
    from qcore.calibrate.run import calibrate

__all__ = ["Calibration", "calibrate", "fingerprint"]

_HOME = {"Calibration": "calibration", "fingerprint": "calibration", "calibrate": "run"}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: the child process needs none of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
