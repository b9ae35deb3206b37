"""What XNNPACK takes of a graph: the conditions that many operators share.

An operator's file answers `delegated(call)` with these; where it says no, the optimized kernel
computes. Source: LiteRT delegates/xnnpack/xnnpack_delegate.cc (CheckTensor..., Visit...Node).
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call, Tensor


def eight_bit(t: Tensor | None) -> bool:
    """int8 or uint8, per tensor, with a finite normal scale and a zero point in range."""
    return (
        t is not None
        and t.dtype in ("int8", "uint8")
        and t.scale is not None
        and t.scale.size == 1
        and bool(np.isfinite(t.s))
        and float(t.s) >= float(np.finfo(np.float32).tiny)
        and t.range.qmin <= t.z <= t.range.qmax
    )


def static(call: Call, *positions: int) -> bool:
    """Every operand at these positions that is there is a constant."""
    return all(call[p].constant for p in positions if call.has(p))


def per_tensor(t: Tensor) -> bool:
    """int8 or uint8 with one scale, whatever it is, and quantized_dimension 0."""
    single = t.scale is not None and t.scale.size == 1
    return t.dtype in ("int8", "uint8") and single and t.axis == 0


def takes_shape(t: Tensor) -> bool:
    """At most 6 axes, none of them empty."""
    return len(t.shape) <= 6 and 0 not in t.shape


def bad_scale(t: Tensor) -> bool:
    """A scale that XNNPACK rejects when it has taken the operator already: zero, subnormal, or not
    finite."""
    return not (np.isfinite(t.s) and float(t.s) >= float(np.finfo(np.float32).tiny))
