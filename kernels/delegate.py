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
