"""Float models of linear operators, their samples, and recipes that tune them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import qcore
import tflite_schema as ts
from qcore.recipe import Recipe
from qcore.testing.build import Builder


@dataclass(frozen=True)
class Lone:
    """One linear operator of `network`: what it reads and writes, its constants, its window."""

    name: str
    input: str
    output: str
    weight: str
    bias: str
    window: dict[str, Any] = field(default_factory=dict)


LONE = (
    Lone("CONV_2D", "a", "conv", "wa", "ba", {"padding": "SAME", "stride": (2, 1)}),
    Lone("DEPTHWISE_CONV_2D", "c", "depthwise", "wc", "bc", {"padding": "SAME"}),
    Lone("FULLY_CONNECTED", "f", "dense", "wf", "bf"),
)
SHAPES = {"a": (1, 5, 4, 3), "c": (1, 4, 4, 3), "f": (2, 64)}


def network(seed: int = 0) -> ts.Model:
    """The operators of LONE beside each other: three inputs, three outputs."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = {name: b.input(shape, name) for name, shape in SHAPES.items()}

    def constants(end: str, shape: tuple[int, ...], units: int) -> list[int]:
        w, bias = rng.normal(0, 0.5, shape), rng.normal(0, 1, units)
        return [
            b.const(w.astype(np.float32), f"w{end}"),
            b.const(bias.astype(np.float32), f"b{end}"),
        ]

    same = {"padding": "SAME", "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}
    outputs = [
        b.op("CONV_2D", [x["a"], *constants("a", (6, 3, 3, 3), 6)], (1, 3, 4, 6), names=["conv"],
             stride_h=2, **same),
        b.op("DEPTHWISE_CONV_2D", [x["c"], *constants("c", (1, 3, 3, 6), 6)], (1, 4, 4, 6),
             names=["depthwise"], stride_h=1, depth_multiplier=2, **same),
        b.op("FULLY_CONNECTED", [x["f"], *constants("f", (5, 64), 5)], (2, 5), names=["dense"]),
    ]  # fmt: skip
    return b.model(outputs)


def samples(count: int = 12, seed: int = 1) -> list[tuple[np.ndarray, ...]]:
    """Inputs of `network` that are not about zero and go together."""
    rng = np.random.default_rng(seed)
    return [
        tuple(
            (1 + rng.normal(0, 1) + 0.5 * rng.normal(0, 1, shape)).astype(np.float32)
            for shape in SHAPES.values()
        )
        for _ in range(count)
    ]


def base(name: str) -> Recipe:
    """A recipe that ships, for weights of any size; "per tensor" and "blocks" are variants."""
    shipped = {"blocks": "int4", "per tensor": "int8"}.get(name, name)
    found = qcore.recipe(shipped).with_rule(operand="weight", min_elements=0)
    if name == "blocks":
        found = found.with_rule(operand="weight", granularity="blockwise:32")
    if name == "per tensor":
        found = found.with_rule(operand="weight", granularity="per_tensor")
    return found


def corrected(recipe: Recipe) -> Recipe:
    return recipe.with_rule(operand="bias", rounding="corrected")


def chosen(recipe: Recipe) -> Recipe:
    return recipe.with_rule(operand="weight", rounding="gptq")


def place(model: ts.Model, name: str) -> int:
    """The one tensor of that name."""
    (found,) = (i for i, t in enumerate(model.subgraphs[0].tensors) if t.name == name)
    return found


def constant(model: ts.Model, name: str) -> np.ndarray:
    found = ts.array(model, 0, place(model, name))
    assert found is not None
    return found
