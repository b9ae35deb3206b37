"""How far a runtime's float32 result may be from our `real`: what an operator's `bound` is made of.

Runtimes add in other orders, with or without fused multiply-add, and approximate functions by
polynomials of their own. Sums have a bound that follows from their terms (E75); functions one in
ulp that was measured over the whole range on all paths of both runtimes (E76). An operator
without `bound` is equal bit for bit.

XNNPACK reads and writes subnormal numbers as zero; TINY is the most that this costs at a result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor

U = 2.0**-24  # unit roundoff: the relative error of one float32 rounding is at most U
TINY = 2.0**-126  # the smallest normal number


def gamma(n: float) -> float:
    """n U / (1 - n U): the relative error that n roundings in a row can make."""
    return n * U / (1 - n * U) if n * U < 0.5 else np.inf


def of_sums(call: Call, terms: int) -> np.ndarray:
    """E75: gamma(terms + 3) sum |x| |w|, in float64, of the output's shape.

    terms: products (or numbers) in the sum of an output element, without the bias. The sum of
    magnitudes is the operator's own `real` on the magnitudes of all its inputs.
    """
    found = ops.module(call.name)
    assert found is not None
    with np.errstate(over="ignore", invalid="ignore"):
        (total, *_) = found.real(magnitudes(call))
    return gamma(terms + 3) * total.astype(np.float64) + (terms + 1) * TINY


def of_function(size: np.ndarray, ulps: float) -> np.ndarray:
    """E76: so many units in the last place of numbers of this size (2 U times the size, at most).

    size: magnitude of the result; of more where the error does not shrink with the result.
    """
    return 2 * U * ulps * np.abs(size.astype(np.float64)) + TINY


def magnitudes(call: Call) -> Call:
    """The call on the magnitudes of its float inputs, without its fused activation."""
    return call.on(
        inputs=tuple(None if t is None else _magnitude(t) for t in call.inputs),
        options=Unfused(call.options),
    )


def _magnitude(t: Tensor) -> Tensor:
    if t.data is None:
        return t
    x = t.real()
    if x.dtype.kind != "f":
        return t
    return Tensor(str(x.dtype), np.abs(x), constant=t.constant)


class Unfused:
    """Options as they are, but without fused activation."""

    def __init__(self, options: Any):
        self._options = options

    def __getattr__(self, name: str) -> Any:
        return 0 if name == "fused_activation_function" else getattr(self._options, name)
