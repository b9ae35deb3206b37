"""What XNNPACK takes of a graph: the conditions that many operators share.

An operator's file answers `delegated(call)` with these; where it says no, the optimized kernel
computes. Source: LiteRT delegates/xnnpack/xnnpack_delegate.cc (CheckTensor..., Visit...Node).
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses


def static(call: Call, *positions: int) -> bool:
    """Every operand at these positions that is there is a constant."""
    return all(call[p].constant for p in positions if call.has(p))


def per_tensor(*tensors: Tensor) -> bool:
    """int8 or uint8 with one scale and quantized_dimension 0, which counts even then. The values
    are looked at when the operator has been taken already: `prepare`."""
    return all(
        t.dtype in ("int8", "uint8") and t.scale is not None and t.scale.size == 1 and t.axis == 0
        for t in tensors
    )


def takes_shape(t: Tensor) -> bool:
    """At most 6 axes, none of them empty."""
    return len(t.shape) <= 6 and 0 not in t.shape


def normal(t: Tensor) -> bool:
    """Every scale is finite and a normal float32; XNNPACK rejects others, some of them only when
    it has taken the operator already."""
    return bool((np.isfinite(t.scales) & (t.scales >= np.finfo(np.float32).tiny)).all())


def prepare(call: Call) -> None:
    """Raises RuntimeRefuses where XNNPACK has taken the operator and then cannot define one of its
    8-bit tensors, so that the interpreter is not made: a scale that is not `normal`, or a zero
    point outside of the type."""
    for t in (*call.inputs, *call.outputs):
        if t is None or t.dtype not in ("int8", "uint8") or t.scale is None or t.scale.size != 1:
            continue
        if not normal(t) or not t.range.qmin <= t.z <= t.range.qmax:
            raise RuntimeRefuses(
                f"{call.name}: XNNPACK takes it and stops at scale {t.s}, zero point {t.z}; "
                "give the tensor a scale of at least 2^-126"
            )
