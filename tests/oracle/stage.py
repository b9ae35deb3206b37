"""The output stage, exact: activation clamp and the rules by which accumulators meet factors."""

from __future__ import annotations

from fractions import Fraction

from tests import oracle as o
from tests.oracle.task import Operand, Task

BOUNDS = {0: (-o.INF, o.INF), 1: (Fraction(0), o.INF), 2: (Fraction(-1), Fraction(1)),
          3: (Fraction(0), Fraction(6))}  # fmt: skip


def clamp(task: Task, y: Operand) -> tuple[int, int]:
    """The fused activation in output steps."""
    lo, hi = BOUNDS[int(task.option("fused_activation_function"))]
    rule = o.activation_range_xnnpack if task.path == "xnnpack" else o.activation_range
    return rule(lo, hi, y.scale, y.zero_point, y.qmin, y.qmax)


def steps(rule: str, acc: int, factor: Fraction, position: int = 0, length: int = 0) -> int:
    """acc * factor rounded by the rule. position, length: in the run that MIX rules look at."""
    if rule == "F64":
        return o.multiply_float64(acc, factor)
    multiplier, shift = o.quantize_multiplier(factor)
    if rule.startswith("MIX"):
        lanes = int(rule[3:])
        rule = "UP" if position < length // lanes * lanes else "DBL"
    return {
        "DBL": o.multiply_double,
        "UP": o.multiply_up,
        "SGL": o.multiply_single,
        "M64": o.multiply_int64,
    }[rule](acc, multiplier, shift)


def stage(
    task: Task, rule: str, acc: int, factor: Fraction, y: Operand, position: int = 0,
    length: int = 0,
) -> int:  # fmt: skip
    """One accumulator as an output integer."""
    qmin, qmax = clamp(task, y)
    if rule == "XF":
        return o.requantize_xnnpack(acc, factor, y.zero_point, qmin, qmax)
    found = steps(rule, acc, factor, position, length)
    if rule == "F64":  # a float that int32 does not hold converts to its least value
        found = found if abs(found) < 2**31 else -(2**31)
        return o.clip(o.wrap(found + y.zero_point, 32), qmin, qmax)
    return o.clip(found + y.zero_point, qmin, qmax)
