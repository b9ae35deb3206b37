"""Devices and runtimes that run .tflite models, and what each takes: one file a target.

`names()` are the keys, `find("edgetpu")` is a table of rules. A file is known by its name, with "-"
for "_", and imported when somebody asks for it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from qcore.errors import BadInput
from qcore.targets.rule import Target

__all__ = ["all", "find", "names"]

# In the order of tables: the interpreter's paths, delegates, microcontrollers.
_NAMES = ("reference", "xnnpack", "gpu", "edgetpu", "tflm", "cmsis-nn", "ethos-u")


def names() -> tuple[str, ...]:
    """Keys of all targets; imports none of them."""
    return _NAMES


@cache
def find(key: str) -> Target:
    """The target with this key. Raises BadInput for a key that is none."""
    if key not in _NAMES:
        raise BadInput(f"target {key!r} is unknown; known are {', '.join(_NAMES)}")
    found = import_module(f"qcore.targets.{key.replace('-', '_')}").TARGET
    assert isinstance(found, Target)
    return found


def all() -> tuple[Target, ...]:
    """Every target."""
    return tuple(map(find, _NAMES))
