"""What rules ask of an operator: functions that make a condition, and conditions.

A condition returns "" where it holds, else what was found, in words: "int16 in 'x'".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from kernels.opspec import Role
from qcore.targets.rule import Condition, Takes
from qcore.targets.site import Operand, Site

# tflite_schema's ActivationFunctionType and Padding as numbers.
ACTIVATIONS = ("none", "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit")
SAME, VALID = 0, 1
CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
WEIGHTED = CONVOLUTIONS | {"FULLY_CONNECTED"}
POOLS = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"})
REDUCTIONS = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"})
RESIZES = frozenset({"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"})


def size(shape: Iterable[int]) -> str:
    """A shape in words: "1x8x8x3"; "a scalar" without axes."""
    return "x".join(map(str, shape)) or "a scalar"


def named(site: Site) -> str:
    return site.name


def listed(operators: Mapping[str, Takes]) -> Condition:
    """The operator is one of these."""
    return lambda site: "" if site.name in operators else site.name


def versions(operators: Mapping[str, Takes]) -> Condition:
    """The operator's version is not newer than its entry says."""

    def broken(site: Site) -> str:
        newest = operators[site.name].version if site.name in operators else 0
        return f"version {site.call.version}" if 0 < newest < site.call.version else ""

    return broken


def data_types(operators: Mapping[str, Takes]) -> Condition:
    """The data are of a type that the operator's entry lists."""

    def broken(site: Site) -> str:
        found = site.data
        allowed = operators[site.name].dtypes if site.name in operators else ()
        if not allowed or found is None or found.tensor.dtype in allowed:
            return ""
        return found.says(found.tensor.dtype)

    return broken


def first(operands: Iterable[Operand], wrong: Callable[[Operand], str]) -> str:
    """What is wrong with the first operand with which something is."""
    return next((o.says(what) for o in operands if (what := wrong(o))), "")


def dtypes(*allowed: str, roles: tuple[Role, ...] = (Role.ACTIVATION, Role.STATE)) -> Condition:
    """Operands with one of these roles have one of these types."""

    def wrong(o: Operand) -> str:
        return "" if o.tensor.dtype in allowed else o.tensor.dtype

    return lambda site: first(site.of(*roles), wrong)


def no_hybrid(site: Site) -> str:
    """Weights are integers where the data are, and only there."""
    data, weight = site.data, site.weight
    if data is None or weight is None or data.tensor.dtype != "float32":
        return ""
    kind = weight.tensor.dtype
    return weight.says(f"{kind} beside float32 data") if kind != "float32" else ""


def rank(most: int) -> Condition:
    """No operand has more axes."""

    def wrong(o: Operand) -> str:
        return f"{len(o.tensor.shape)} axes" if len(o.tensor.shape) > most else ""

    return lambda site: first(site.operands, wrong)


def ranks(*allowed: int, position: int = 0) -> Condition:
    """The input at `position` has so many axes."""

    def broken(site: Site) -> str:
        o = site.input(position)
        count = len(o.tensor.shape)
        return "" if count in allowed else o.says(f"{count} axes")

    return broken


def static(site: Site) -> str:
    """No operand's shape is left open."""
    return first(site.operands, lambda o: size(o.signature) if -1 in o.signature else "")


def constants(*positions: int) -> Condition:
    """Inputs at these positions are constants, where they are there."""

    def broken(site: Site) -> str:
        found = (site.input(p) for p in positions if site.has(p))
        return next((f"{o.name!r} is computed" for o in found if not o.tensor.constant), "")

    return broken


def weights_constant(site: Site) -> str:
    """Weights and biases are constants."""
    found = site.of(Role.WEIGHT, Role.BIAS)
    return next((f"{o.name!r} is computed" for o in found if not o.tensor.constant), "")


def option(name: str, *allowed: object, default: object = 0) -> Condition:
    """An option has one of these values."""

    def broken(site: Site) -> str:
        found = site.option(name, default)
        return "" if found in allowed else f"{name} {found}"

    return broken


def between(low: float, high: float, *names: str) -> Condition:
    """Every one of these options lies in [low, high]."""

    def broken(site: Site) -> str:
        found = ((name, site.option(name, 1)) for name in names)
        return next((f"{n} {value}" for n, value in found if not low <= value <= high), "")

    return broken


def no_activation(site: Site) -> str:
    """No activation is fused."""
    return activation("none")(site)


def activation(*allowed: str) -> Condition:
    """The fused activation is one of these."""

    def broken(site: Site) -> str:
        found = ACTIVATIONS[int(site.option("fused_activation_function"))]
        return "" if found in allowed else found

    return broken


def per_tensor_weights(site: Site) -> str:
    """The weights have one scale."""
    o = site.weight
    if o is None or not o.tensor.per_channel:
        return ""
    assert o.tensor.scale is not None
    return o.says(f"{o.tensor.scale.size} scales")


def symmetric(roles: tuple[Role, ...], *types: str) -> Condition:
    """Operands of these roles and types have zero point 0."""

    def wrong(o: Operand) -> str:
        if not o.tensor.quantized or (types and o.tensor.dtype not in types):
            return ""
        z = next((int(z) for z in o.tensor.zero_points.ravel() if z), 0)
        return f"zero point {z}" if z else ""

    return lambda site: first(site.of(*roles), wrong)


def fixed_output(dtype: str, scale: float, zero_point: int) -> Condition:
    """An output of this type has exactly these parameters."""

    def broken(site: Site) -> str:
        y = site.output.tensor
        if y.dtype != dtype or not y.quantized:
            return ""
        if float(y.s) == scale and y.z == zero_point:
            return ""
        return site.output.says(f"scale {y.s:g}, zero point {y.z}")

    return broken


def same_parameters(*roles: Role) -> Condition:
    """Every quantized operand of these roles has the output's scale and zero point."""

    def broken(site: Site) -> str:
        y = site.output.tensor

        def wrong(o: Operand) -> str:
            t = o.tensor
            if not (t.quantized and y.quantized) or (t.s, t.z) == (y.s, y.z):
                return ""
            return f"scale {t.s:g}, zero point {t.z} before {y.s:g}, {y.z}"

        return first((o for o in site.of(*roles) if not o.output), wrong)

    return broken


def quantized(site: Site) -> str:
    """Data and weights have scales."""
    found = (o for o in site.of(Role.ACTIVATION, Role.WEIGHT, Role.STATE))
    return first(found, lambda o: "" if o.tensor.quantized else f"{o.tensor.dtype} without a scale")


def same_types(site: Site) -> str:
    """Data and output are of one type."""
    data = site.data
    if data is None or not site.outputs or data.tensor.dtype == site.output.tensor.dtype:
        return ""
    return (
        f"{data.tensor.dtype} in {data.name!r}, {site.output.tensor.dtype} in {site.output.name!r}"
    )


def ratio(low: float, high: float) -> Condition:
    """scale of data * scale of weights / scale of output lies in (low, high], for each channel."""

    def broken(site: Site) -> str:
        data, weight = site.data, site.weight
        if data is None or weight is None:
            return ""
        x, w, y = data.tensor, weight.tensor, site.output.tensor
        if not (x.quantized and w.quantized and y.quantized):
            return ""
        factors = w.scales.astype(float).ravel() * float(x.s) / float(y.s)
        wrong = factors[~((factors > low) & (factors <= high))]
        return weight.says(f"a multiplier of {wrong[0]:g}") if wrong.size else ""

    return broken


def kernel(site: Site) -> tuple[int, int]:
    """Height and width of the window of a convolution or pool, dilation counted in."""
    if site.name in POOLS:
        return int(site.option("filter_height")), int(site.option("filter_width"))
    shape = site.call[1].shape
    dilation = site.option("dilation_h_factor", 1), site.option("dilation_w_factor", 1)
    height, width = ((n - 1) * int(d) + 1 for n, d in zip(shape[1:3], dilation))
    return height, width


def kernel_height(low: int, high: int) -> Condition:
    def broken(site: Site) -> str:
        height, _ = kernel(site)
        return "" if low <= height <= high else f"kernel height {height}"

    return broken


def kernel_width(low: int, high: int) -> Condition:
    def broken(site: Site) -> str:
        _, width = kernel(site)
        return "" if low <= width <= high else f"kernel width {width}"

    return broken


def kernel_area(most: int) -> Condition:
    def broken(site: Site) -> str:
        height, width = kernel(site)
        return "" if height * width <= most else f"kernel {height}x{width}"

    return broken


def axes_without(*forbidden: int, position: int = 1) -> Condition:
    """A constant of axes names none of these."""

    def broken(site: Site) -> str:
        found = site.axes(position)
        if found is None:
            return f"{site.input(position).name!r} is computed"
        return next((f"axis {axis}" for axis in found if axis in forbidden), "")

    return broken


def elements(shape: Iterable[int]) -> int:
    return math.prod(shape)


def broadcast(site: Site) -> bool:
    """The two operands of a binary operator differ in shape."""
    return site.call[0].shape != site.call[1].shape
