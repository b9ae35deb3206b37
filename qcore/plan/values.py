"""The plan: every tensor and every operator of the file to be written, before it is written.

A plan is complete (nothing is decided after it) and editable (frozen values, `replace`). It speaks
of the source model's tensors by index, and of what becomes of them as *forms*: a float activation
may have an int8 form, a requantized int8 form for one reader, and a dequantized float32 form for
another. *Steps* are the operators in the order in which they will stand in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kernels.ranges import IntRange
from qcore import textfiles
from qcore.errors import BadInput
from qcore.params import Affine, Stats
from qcore.rounding import Rounding
from tflite_schema import files


@dataclass(frozen=True)
class Form:
    """One stored or computed form of a source tensor.

    tensor: index of the source tensor in its subgraph whose value this is.
    dtype: schema name of the stored type in lower case ("int8", "int4", "int16", "int32", "int64",
        "float16", "float32", "bool", ...).
    params: scale and zero point; None for what is not quantized.
    rule: how the parameters came about, in a few words ("minmax", "fixed by SOFTMAX",
        "same as CONCATENATION 12", "bias = input x weight", "kept", "requantized", ...).
    stats: the range that params were chosen from, where there was one.
    range: constants: the integers that may be used (narrow or full).
    rounding: how the integers of a constant are made from its float values; None for computed
        tensors and for constants that are kept as they are.
    name: name in the written file; None keeps the source tensor's name.
    note: what a person should know (left float and why, all zero, bias saturated ...).
    saturated: constants: how many integers were clipped; None where that was not counted.
    """

    tensor: int
    dtype: str
    params: Affine | None = None
    rule: str = "kept"
    stats: Stats | None = None
    range: IntRange | None = None
    rounding: Rounding | None = None
    name: str | None = None
    note: str | None = None
    saturated: int | None = None

    @property
    def quantized(self) -> bool:
        return self.params is not None

    def replace(self, **changes: Any) -> Form:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "tensor": self.tensor,
            "dtype": self.dtype,
            "params": self.params and self.params.to_json(),
            "rule": self.rule,
            "stats": self.stats and self.stats.to_json(),
            "range": self.range and [self.range.qmin, self.range.qmax, self.range.dtype.name],
            "rounding": self.rounding and self.rounding.to_json(),
            "name": self.name,
            "note": self.note,
            "saturated": self.saturated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Form:
        return cls(
            **{
                **data,
                "params": data["params"] and Affine.from_json(data["params"]),
                "stats": data["stats"] and Stats.from_json(data["stats"]),
                "range": data["range"] and IntRange(*data["range"]),
                "rounding": data["rounding"] and Rounding.from_json(data["rounding"]),
            }
        )


@dataclass(frozen=True)
class Step:
    """One operator of the planned graph.

    source: index of the source operator; None for an inserted QUANTIZE or DEQUANTIZE.
    name: builtin name, or the custom code.
    version: operator version to write.
    inputs, outputs, intermediates: form numbers; -1 where the operand is absent.
    options: fields of the builtin options to set differently from the source.
    mode: "int8", "int16x8", "dynamic", "weight_only", "float16", "float32" (left float), "kept"
        (not arithmetic on quantized values, for instance SHAPE).
    note: why it is left float, what was folded into it, ...
    """

    source: int | None
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "float32"
    note: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @property
    def inserted(self) -> bool:
        return self.source is None

    def replace(self, **changes: Any) -> Step:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "name": self.name,
            "version": self.version,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "intermediates": list(self.intermediates),
            "options": dict(self.options),
            "mode": self.mode,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        lists = {k: tuple(data[k]) for k in ("inputs", "outputs", "intermediates")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class SubgraphPlan:
    """What becomes of one subgraph: forms, operators in order, inputs and outputs as form numbers.

    folded: (source operator, reason) for operators that no longer stand in the graph.
    """

    forms: tuple[Form, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    folded: tuple[tuple[int, str], ...] = ()

    def replace(self, **changes: Any) -> SubgraphPlan:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "forms": [form.to_json() for form in self.forms],
            "steps": [step.to_json() for step in self.steps],
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "folded": [list(pair) for pair in self.folded],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SubgraphPlan:
        return cls(
            tuple(Form.from_json(form) for form in data["forms"]),
            tuple(Step.from_json(step) for step in data["steps"]),
            tuple(data["inputs"]),
            tuple(data["outputs"]),
            tuple((operator, reason) for operator, reason in data["folded"]),
        )


@dataclass(frozen=True)
class Plan:
    """The whole file: one SubgraphPlan for each subgraph of the (prepared) model.

    recipe: name of the recipe it was made by.  notes: remarks on the model as a whole.
    names: by subgraph, the source tensors' names, so that a plan can be read without the model.
    """

    recipe: str
    subgraphs: tuple[SubgraphPlan, ...]
    notes: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()

    def replace(self, **changes: Any) -> Plan:
        return replace(self, **changes)

    def name(self, subgraph: int, form: int) -> str:
        """What a person calls a form: its own name, its tensor's, or the tensor's number."""
        found = self.subgraphs[subgraph].forms[form]
        if found.name is not None:
            return found.name
        try:
            return self.names[subgraph][found.tensor] or f"tensor {found.tensor}"
        except IndexError:
            return f"tensor {found.tensor}"

    def to_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "notes": list(self.notes),
            "names": [list(names) for names in self.names],
            "subgraphs": [part.to_json() for part in self.subgraphs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        return cls(
            data["recipe"],
            tuple(SubgraphPlan.from_json(part) for part in data["subgraphs"]),
            tuple(data["notes"]),
            tuple(tuple(names) for names in data["names"]),
        )

    def save(self, path: str | Path) -> None:
        """Writes the plan as JSON; an existing file is replaced only by a whole one."""
        text = _lines(self.to_json()) + "\n"
        files.replace(path, (text.encode(),))

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Reads a saved plan. Raises BadInput where the file is not one."""
        try:
            return cls.from_json(textfiles.read(path))
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            raise BadInput(f"{path} is not a plan ({why}); save one with quantize --plan") from None

    def __rich__(self) -> Any:
        from qcore.plan.show import table

        return table(self)

    def __str__(self) -> str:
        from qcore.plan.show import text

        return text(self)

    def _repr_html_(self) -> str:
        from qcore.plan.show import html

        return html(self)


def _lines(data: dict[str, Any]) -> str:
    """JSON with a line for each form and step, which `indent` would spread over hundreds."""

    def block(items: Iterable[str], ends: str, depth: int) -> str:
        inner = ",\n".join(" " * (depth + 1) + item for item in items)
        return f"{ends[0]}\n{inner}\n{' ' * depth}{ends[1]}" if inner else ends

    def part(subgraph: dict[str, Any]) -> str:
        items = []
        for key, value in subgraph.items():
            long = key in ("forms", "steps", "folded")
            text = block(map(json.dumps, value), "[]", 3) if long else json.dumps(value)
            items.append(f"{json.dumps(key)}: {text}")
        return block(items, "{}", 2)

    items = []
    for key, value in data.items():
        text = json.dumps(value)
        if key == "subgraphs":
            text = block(map(part, value), "[]", 1)
        items.append(f"{json.dumps(key)}: {text}")
    return block(items, "{}", 0)
