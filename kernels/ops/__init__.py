"""The operators, one a file: `find("CONV_2D")` is the SPEC of `kernels/ops/conv_2d.py`.

There is no list to keep: a file is known by its name (a Python keyword gets a trailing
underscore: `if_.py`) and is imported when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType, ModuleType

from kernels.opspec import OpSpec

__all__ = ["all", "find", "module", "names"]


@cache
def _modules() -> Mapping[str, str]:
    """Operator name -> module name."""
    found = (info.name for info in iter_modules(__path__) if not info.name.startswith("_"))
    return MappingProxyType({name.rstrip("_").upper(): name for name in found})


def names() -> tuple[str, ...]:
    """Names of all operators that have a file, sorted; imports none of them."""
    return tuple(sorted(_modules()))


@cache
def module(name: str) -> ModuleType | None:
    """The module of the operator called `name` (as the schema spells it), None if there is none."""
    found = _modules().get(name)
    return import_module(f"{__name__}.{found}") if found else None


def find(name: str) -> OpSpec | None:
    """The SPEC of the operator called `name` (as the schema spells it), None if there is none."""
    found = module(name)
    return None if found is None else found.SPEC


def all() -> Mapping[str, OpSpec]:
    """Every operator's SPEC by name."""
    return MappingProxyType({name: spec for name in names() if (spec := find(name)) is not None})
