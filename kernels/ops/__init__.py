"""The operators, one a file: `find("CONV_2D")` is the SPEC of `kernels/ops/conv_2d.py`, and
`compute(call, "fast")` what its kernel makes of a call.

There is no list to keep: a file is known by its name (a Python keyword gets a trailing
underscore: `if_.py`) and is imported when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType, ModuleType

import numpy as np

from kernels import delegate
from kernels.call import Call
from kernels.errors import NoKernel
from kernels.opspec import OpSpec
from kernels.profile import OPTIMIZED

__all__ = ["all", "apply", "compute", "find", "module", "names", "resolve"]

MODES = ("fast", "reference", "real")


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


def resolve(call: Call) -> Call:
    """The call on the path that computes it: what XNNPACK does not take falls back to optimized.

    An operator's file says what XNNPACK takes in `delegated(call) -> bool`; without it, nothing. It
    answers from types, shapes, parameters and constants alone: other inputs may have no data.
    Raises RuntimeRefuses for scales at which XNNPACK stops after it has taken the operator.
    """
    if not call.profile.is_xnnpack:
        return call
    delegated = getattr(module(call.name), "delegated", None)
    if delegated is not None and delegated(call):
        delegate.prepare(call)
        return call
    return call.on(profile=replace(call.profile, path=OPTIMIZED.path))


def compute(call: Call, mode: str = "fast") -> tuple[np.ndarray, ...]:
    """Outputs of one operator, then the new values of its STATE operands.

    mode: "fast", "reference" (the integers of call.profile) or "real" (inputs in real units).
    An operator in which nothing is quantized is computed by `real` in every mode.
    Raises NoKernel for an operator or a combination of types that has none, RuntimeRefuses where
    the official runtime stops.
    """
    return apply(call if mode == "real" or not call.form else resolve(call), mode)


def apply(call: Call, mode: str = "fast") -> tuple[np.ndarray, ...]:
    """`compute` of a call that is resolved."""
    found = module(call.name)
    if found is None or not hasattr(found, "real"):
        raise NoKernel(f"{call.name} has no kernel here")
    return getattr(found, mode if call.form else "real")(call)
