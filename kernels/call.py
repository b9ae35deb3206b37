"""One operator with its operands: what the functions of `kernels/ops/` take.

Each operator's file has three functions on a `Call`, all returning a tuple with an array for each
output, followed by the new value of each STATE operand in the order of the SPEC:

    real(call)       what the operator means: float32 in and out; integers that are not quantized
                     (int32, int64, bool) as themselves
    reference(call)  the integers of call.profile, in NumPy, as the definition reads
    fast(call)       the same integers, jitted

Shapes follow from the inputs; those declared for outputs are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from kernels import affine, ranges
from kernels.errors import NoKernel, Undefined
from kernels.profile import Profile
from kernels.ranges import IntRange

# How an unpacked array of a stored type is held, where the two differ (bfloat16: its bits).
HELD = {"int4": "int8", "int2": "int8", "uint4": "uint8", "bfloat16": "uint16"}


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array and what its integers mean.

    dtype: the stored type, lower case as the schema spells it ("int8", "int4", "float32", "bool").
    data: the values; int4 and int2 unpacked to int8. None for an output, or while they are unknown.
    scale, zero_point: float32 and int64 arrays of one value, or one a channel of `axis`; blockwise
        (O, blocks), axis 0. None where the tensor is not quantized.
    constant: the data come from the file, so a runtime may prepare them once (or insist on it).
    shape: of `data`, or as declared where there are none.
    """

    dtype: str
    data: np.ndarray | None = None
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    axis: int = 0
    constant: bool = False
    declared: tuple[int, ...] | None = None

    @property
    def quantized(self) -> bool:
        return self.scale is not None

    @property
    def per_channel(self) -> bool:
        return self.scale is not None and self.scale.size > 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape if self.data is not None else self.declared or ()

    @property
    def x(self) -> np.ndarray:
        """The values. Raises NoKernel if there are none."""
        if self.data is None:
            raise NoKernel("a tensor has no values; give data to every input of the call")
        return self.data

    @property
    def s(self) -> np.float32:
        """The (first) scale."""
        return np.float32(self.scales.flat[0])

    @property
    def z(self) -> int:
        """The (first) zero point."""
        return 0 if self.zero_point is None else int(self.zero_point.flat[0])

    @property
    def scales(self) -> np.ndarray:
        """The scales. Raises NoKernel if there are none."""
        if self.scale is None:
            raise NoKernel(f"a {self.dtype} tensor has no scale, and this kernel needs one")
        return self.scale

    @property
    def zero_points(self) -> np.ndarray:
        """The zero points, int64, one for each scale."""
        z = np.zeros(1, np.int64) if self.zero_point is None else self.zero_point
        return np.broadcast_to(z, self.scales.shape).astype(np.int64)

    @property
    def range(self) -> IntRange:
        """The integers of the stored type."""
        return ranges.NAMED[self.dtype]

    @property
    def held(self) -> np.dtype:
        """NumPy type in which the values are held."""
        return np.dtype(HELD.get(self.dtype, self.dtype))

    def real(self) -> np.ndarray:
        """The values in real units, float32 (E1); unchanged where they are not quantized."""
        if self.scale is None or self.x.dtype.kind not in "iu":
            return self.x
        zero_point = np.zeros(1, np.int64) if self.zero_point is None else self.zero_point
        if self.scale.ndim > 1:  # blockwise along the last axis
            block = self.x.shape[-1] // self.scale.shape[-1]
            steps = self.x.reshape(*self.x.shape[:-1], -1, block).astype(np.float32)
            return (steps * self.scale[..., None]).reshape(self.x.shape)
        axis = self.axis if self.scale.size > 1 else None
        scale = affine.along(self.scale, axis, self.x.ndim)
        per_channel = axis if zero_point.size > 1 else None
        return affine.dequantize(self.x, scale, affine.along(zero_point, per_channel, self.x.ndim))


@dataclass(frozen=True, eq=False)
class Call:
    """An operator about to be computed.

    inputs: None where an optional operand is absent.
    options: any object with the schema's field names; enums as their numbers.
    version: of the operator, as the file has it; 0 where it does not matter.
    intermediates: tensors of Operator.intermediates (LSTM): parameters only, no data.
    run: computes another subgraph: number and inputs -> outputs (IF, WHILE, CALL_ONCE).
    resources: values of resource variables by handle, shared by all calls of a model.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = field(default_factory=SimpleNamespace)
    profile: Profile = field(default_factory=Profile)
    version: int = 0
    intermediates: tuple[Tensor, ...] = ()
    run: Callable[[int, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]] | None = None
    resources: dict[str, Any] | None = None

    def has(self, position: int) -> bool:
        """Whether the operand at `position` is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def __getitem__(self, position: int) -> Tensor:
        """The input at `position`. Raises NoKernel if it is absent."""
        if not self.has(position):
            raise NoKernel(f"{self.name}: input {position} is absent, and this kernel needs it")
        found = self.inputs[position]
        assert found is not None
        return found

    def x(self, position: int = 0) -> np.ndarray:
        """The values of the input at `position`."""
        return self[position].x

    @cached_property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    def option(self, name: str, default: Any = 0) -> Any:
        """An option; `default` where these options have no such field, or None in it."""
        found = getattr(self.options, name, None)
        return default if found is None else found

    @cached_property
    def form(self) -> str:
        """The kind of kernel asked for, by stored types: "int8", "int8 x int4", "hybrid", ...

        The first activation that is quantized names it; "hybrid" is a float activation beside
        integer weights; "" a call in which nothing is quantized.
        """
        from kernels.ops import find  # the SPEC says which operand is what; not a cycle at import

        spec = find(self.name)
        at = None if spec is None else spec.weight_and_bias
        weight = self.inputs[at[0]] if at is not None and self.has(at[0]) else None
        if at is None and spec is not None:  # recurrent operators have many weights
            weight = self._recurrent_weight(spec)
        position = spec.data if spec is not None and spec.data is not None else 0
        if not self.inputs and not self.outputs:  # CALL_ONCE
            return ""
        data = self.inputs[position] if self.has(position) else (*self.outputs, *self.inputs)[0]
        assert data is not None
        if weight is not None and weight.quantized:
            if data.dtype == "float32":
                return "hybrid" if weight.dtype == "int8" else f"hybrid x {weight.dtype}"
            usual = weight.dtype == ("uint8" if data.dtype == "uint8" else "int8")
            return data.dtype if usual else f"{data.dtype} x {weight.dtype}"
        if data.quantized:
            return data.dtype
        if spec is not None and spec.dynamic is not None and spec.dynamic.hybrid:
            position = spec.dynamic.operand  # BATCH_MATMUL: a second activation as the weights
            if self.has(position) and self[position].quantized:
                return "hybrid"
        found = next((t for t in self.outputs if t.quantized), None)
        return "" if found is None else found.dtype

    def _recurrent_weight(self, spec: Any) -> Tensor | None:
        """The first quantized weight of an operator that keeps a state."""
        from kernels.opspec import Role

        if not any(o.role is Role.STATE for o in spec.inputs):
            return None
        found = zip(self.inputs, spec.inputs, strict=False)
        return next(
            (t for t, o in found if t is not None and t.quantized and o.role is Role.WEIGHT), None
        )

    def on(self, **changes: Any) -> Call:
        """This call with other fields: `call.on(profile=OPTIMIZED)`."""
        return replace(self, **changes)

    def undefined(self, reason: str) -> Undefined:
        """The error that says why the official kernel's result is no answer; raise it."""
        return Undefined(str(self.refuse(reason)))

    def refuse(self, reason: str) -> NoKernel:
        """The error that says which kernel is missing; raise it."""
        kinds = ", ".join("absent" if t is None else t.dtype for t in self.inputs)
        return NoKernel(f"{self.name}({kinds}) on the {self.profile}: {reason}")


def variable(handle: np.ndarray) -> str:
    """The key in Call.resources of the value of the variable with this handle."""
    return f"variable {handle.item()}"


def options(**fields: Any) -> Mapping[str, Any] | Any:
    """Options made by hand: `options(axis=1)`."""
    return SimpleNamespace(**fields)
