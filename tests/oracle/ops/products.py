"""FULLY_CONNECTED by its sums."""

from __future__ import annotations

from fractions import Fraction

from tests import oracle as o
from tests.oracle.stage import stage
from tests.oracle.task import Answer, Task, oracle


@oracle("FULLY_CONNECTED")
def fully_connected(task: Task) -> list[Answer]:
    x, w, y = task.x(0), task.x(1), task.y
    units, depth = w.shape
    rows = len(x.values) // depth
    assert x.scales and w.scales and y.scales

    def factor(unit: int) -> Fraction:
        sw = w.scales[unit % len(w.scales)]
        if task.path == "xnnpack":
            return o.f32(o.f32(x.scale * sw) / y.scale)
        if task.path == "optimized" and len(w.scales) == 1:
            return o.f64(o.f32(x.scale * sw) / y.scale)
        return o.f64(o.f64(x.scale * sw) / y.scale)

    rule = {"reference": "F64", "optimized": "UP", "xnnpack": "XF"}[task.path]
    values = []
    for row in range(rows):
        for unit in range(units):
            acc = task.inputs[2].values[unit] if task.has(2) else 0
            for i in range(depth):
                acc += (x.values[row * depth + i] - x.zero_point) * w.values[unit * depth + i]
            values.append(stage(task, rule, o.wrap(acc, 32), factor(unit), y))
    shape = (*x.shape[:-1], units) if task.option("keep_num_dims", False) else (rows, units)
    return [(shape, values)]
