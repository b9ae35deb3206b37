"""What an operator is to a quantizer: operands, ties, fixed ranges, and who has which kernel.

One `OpSpec` stands in each file of `kernels/ops/`; planner, documents and tests find it there.
Sources of the facts: LiteRT `quantization_spec.md`, `operator_property.cc`, `tfl_ops.td`,
`op_version.cc`, and what tensorflow 2.21 and ai-edge-litert 2.3 were measured to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from kernels.opversion import Special, Use


class Role(Enum):
    """What an operand is to the quantizer."""

    ACTIVATION = "activation"  # data: computed, or a constant that stands in an activation's place
    WEIGHT = "weight"  # constant, symmetric
    BIAS = "bias"  # constant, scale = product of the scales of activation and weight
    STATE = "state"  # variable tensor kept between invocations
    INDEX = "index"  # shapes, axes, indices, conditions, resources: never quantized


class Tie(Enum):
    """Which operands must share scale and zero point."""

    NONE = "none"
    SAME = "same"  # every activation operand and every output
    OUTPUT = "output"  # the output keeps its own range, operands are requantized to it
    FIRST = "first"  # outputs take over from the first activation operand, others are left alone


@dataclass(frozen=True)
class Fixed:
    """An output range that the operator's kernel insists on."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Product:
    """A scale made of others: `factor` times the scales of the named operands or intermediates.

    given: holds only where this optional operand is present.
    """

    operands: tuple[str, ...]
    factor: float = 1.0
    given: str | None = None


@dataclass(frozen=True)
class Operand:
    """One named input, output or intermediate tensor.

    axis: quantized_dimension of a weight when quantized per channel, None if only per tensor.
    optional: the operand may be absent (index -1 or a shorter list).
    variadic: the operand stands for this and every further position.
    fixed: by activation dtype ("int8", "int16", "uint8"), the only parameters the kernel takes.
    dtype: stored type in an integer operator where it is not the role's usual one (activation and
        state: the activation dtype; weight: int8; bias: int32, beside int16 activations int64).
    bits: how many bits of that type are used, None for all.
    scale: a bias: how its scale follows from others, the first Product that holds.
    power_of_two: the scale is the next power of two that covers the range.
    """

    name: str
    role: Role = Role.ACTIVATION
    axis: int | None = None
    optional: bool = False
    variadic: bool = False
    fixed: Mapping[str, Fixed] = field(default_factory=dict)
    dtype: str | None = None
    bits: int | None = None
    scale: tuple[Product, ...] = ()
    power_of_two: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", MappingProxyType(dict(self.fixed)))


@dataclass(frozen=True)
class DynamicRange:
    """How the converter's dynamic-range mode treats the constant `operand` of an operator.

    hybrid: the kernel takes float activations beside int8 weights; otherwise the weights are
    stored int8 and dequantized in front of the operator.
    per_channel: the converter quantizes along the operand's axis.
    asymmetric_inputs: the converter sets asymmetric_quantize_inputs.
    version: operator version that the hybrid form needs (per-channel where per_channel is set).
    others: further operands treated in the same way (LSTM, RNN, SVDF).
    all_or_none: if one of the constants cannot be quantized, none is.
    after: not hybrid, and DEQUANTIZE stands behind the operator (it moves int8), not in front.
    """

    operand: int
    hybrid: bool
    per_channel: bool
    asymmetric_inputs: bool
    version: int
    others: tuple[int, ...] = ()
    all_or_none: bool = False
    after: bool = False

    @property
    def operands(self) -> tuple[int, ...]:
        """Every operand position that is quantized."""
        return (self.operand, *self.others)


@dataclass(frozen=True)
class OpSpec:
    """Everything the planner needs to know of one builtin operator.

    versions: operator version for an activation dtype, "float32", "int8", "int16", "uint8", as the
        converter (rules A) computes it; `special` comes before it, the first that holds.
    legacy_version: the older quantizer (rules B) raises every operator of this kind, also one that
        it leaves float, to at least this version and looks at nothing else.
    mlir: TensorFlow 2.21's MLIR quantizer (rules A) quantizes it to int8.
    legacy: activation dtypes to which the older quantizer (rules B) quantizes it.
    tie: operands that share scale and zero point by the kernel's own demand (or by rules A).
    mlir_tie, legacy_tie: where the two quantizers tie differently from `tie`.
    kernels: activation dtypes for which the official runtime (ai-edge-litert 2.3) has an integer
        kernel that honours scale and zero point.
    intermediates: operands in Operator.intermediates (LSTM).
    shared: (input, output) positions that get one range, the union of both.
    static: a program can be planned with it before there are values: outputs follow from the
        operands alone and have the shapes that the file declares. False where shapes follow from
        values (WHERE), and for what runs subgraphs or has to do with resources, which can be
        planned only where the operator's own `lower` says how.
    """

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    tie: Tie = Tie.NONE
    mlir_tie: Tie | None = None
    legacy_tie: Tie | None = None
    mlir: bool = False
    legacy: frozenset[str] = frozenset()
    kernels: frozenset[str] = frozenset()
    versions: Mapping[str, int] = field(default_factory=lambda: {"float32": 1})
    legacy_version: int | None = None
    special: tuple[Special, ...] = ()
    dynamic: DynamicRange | None = None
    intermediates: tuple[Operand, ...] = ()
    shared: tuple[tuple[int, int], ...] = ()
    static: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", MappingProxyType(dict(self.versions)))

    def operand(self, position: int) -> Operand | None:
        """The input operand at `position`, counting a variadic one for every further position."""
        return _at(self.inputs, position)

    def output(self, position: int) -> Operand | None:
        """The output operand at `position`, likewise."""
        return _at(self.outputs, position)

    def states(self, count: int) -> tuple[int, ...]:
        """Those of the first `count` input positions that are kept between invocations."""
        found = ((p, self.operand(p)) for p in range(count))
        return tuple(p for p, o in found if o is not None and o.role is Role.STATE)

    def position(self, name: str) -> int:
        """Position of the input called `name`. Raises KeyError."""
        for i, operand in enumerate(self.inputs):
            if operand.name == name:
                return i
        raise KeyError(f"{self.name} has no input {name!r}")

    def tie_under(self, rules: str) -> Tie:
        """The tie that quantizer "mlir" (A) or "legacy" (B) applies."""
        other = {"mlir": self.mlir_tie, "legacy": self.legacy_tie}[rules]
        return self.tie if other is None else other

    @property
    def data(self) -> int | None:
        """Position of the first activation input, the one whose dtype names the kernel."""
        for i, operand in enumerate(self.inputs):
            if operand.role is Role.ACTIVATION:
                return i
        return None

    @property
    def weight_and_bias(self) -> tuple[int, int] | None:
        """Positions of weight and bias of an operator with one of each; None for any other."""
        weights, biases = (
            [p for p, o in enumerate(self.inputs) if o.role is role]
            for role in (Role.WEIGHT, Role.BIAS)
        )
        return (weights[0], biases[0]) if len(weights) == len(biases) == 1 else None

    def version(self, use: Use) -> int:
        """Operator version as the converter writes it (LiteRT `op_version.cc`).

        The dtype looked up in `versions` is that of the first activation input (of the first
        activation output if there is none, as in READ_VARIABLE; float32 for CALL_ONCE, which has
        neither).
        """
        for special in self.special:
            if special.when(use):
                return special.version
        at = self.data
        found = use.inputs[at : at + 1] if at is not None else ()
        (dtype,) = found or use.outputs[:1] or (None,)
        return self.versions.get(dtype or "float32", self.versions["float32"])


def _at(operands: tuple[Operand, ...], position: int) -> Operand | None:
    if position < len(operands):
        return operands[position]
    last = operands[-1] if operands else None
    return last if last is not None and last.variadic else None
