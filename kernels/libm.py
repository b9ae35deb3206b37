"""float32 functions of the C library, the ones the official kernels call when they make tables.

    libm.exp(x)     float32 array -> float32 array of the same shape, entry by entry `expf`
    expf(x)         the same on one number, for jitted code

NumPy's own float32 functions are vector code with other last bits (3 of 768k LOGISTIC entries
differ by them), and a float64 result rounded once differs in a few per cent of the arguments; so
the tables of a runtime need the functions that the runtime itself calls. Entries cost about 0.3 us:
meant for tables, not for tensors. Where no C library is found the float64 functions stand in,
rounded once, and the last bit may differ.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache

import numpy as np

from kernels.jit import jit

__all__ = [
    "cos", "erf", "erfc", "exp", "exp64", "expf", "expm1", "log", "logf", "sin", "tanh", "tanhf",
]  # fmt: skip


@cache
def _library() -> ctypes.CDLL | None:
    for name in ("m", "System", "ucrtbase"):
        found = ctypes.util.find_library(name)
        if found:
            try:
                return ctypes.CDLL(found)
            except OSError:
                continue
    return None


@cache
def _entrywise(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """`<name>f` on arrays of float32."""
    function = getattr(_library(), f"{name}f", None)
    if function is None:
        return np.frompyfunc(_quiet(getattr(math, name)), 1, 1)
    function.argtypes = [ctypes.c_float]
    function.restype = ctypes.c_float
    return np.frompyfunc(function, 1, 1)


def _quiet(function: Callable[[float], float]) -> Callable[[float], float]:
    """Infinity where Python raises."""

    def at(x: float) -> float:
        try:
            return function(x)
        except OverflowError:
            return math.inf
        except ValueError:
            return -math.inf if x == 0 else math.nan

    return at


def _apply(name: str, x: np.ndarray | np.float32) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(_entrywise(name)(np.asarray(x, np.float32)), np.float32)


def exp(x: np.ndarray) -> np.ndarray:
    return _apply("exp", x)


def expm1(x: np.ndarray) -> np.ndarray:
    return _apply("expm1", x)


def log(x: np.ndarray | np.float32) -> np.ndarray:
    return _apply("log", x)


def tanh(x: np.ndarray) -> np.ndarray:
    return _apply("tanh", x)


def erf(x: np.ndarray) -> np.ndarray:
    return _apply("erf", x)


def erfc(x: np.ndarray) -> np.ndarray:
    return _apply("erfc", x)


def sin(x: np.ndarray) -> np.ndarray:
    return _apply("sin", x)


def cos(x: np.ndarray) -> np.ndarray:
    return _apply("cos", x)


def exp64(x: np.ndarray) -> np.ndarray:
    """The C library's `exp` on float64 arrays."""
    with np.errstate(all="ignore"):
        return np.asarray(np.frompyfunc(_quiet(math.exp), 1, 1)(np.asarray(x, np.float64)), float)


@jit
def expf(x):
    return np.float32(math.exp(np.float32(x)))


@jit
def logf(x):
    return np.float32(math.log(np.float32(x)))


@jit
def tanhf(x):
    return np.float32(math.tanh(np.float32(x)))
