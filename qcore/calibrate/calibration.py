"""The calibration: what was seen of each tensor, as a frozen value that can be kept and merged."""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import tflite_schema as ts
from qcore import textfiles
from qcore.calibrate import lstm
from qcore.errors import BadInput, NotCalibrated
from qcore.observers import MinMax, MinMaxState, Observer, State, find
from qcore.params import Stats, TensorKey
from qcore.tune.moments import Moments
from tflite_schema import files

FORMAT = "tflite-qcore calibration"
VERSION = 1
T = TypeVar("T")


def fingerprint(model: ts.Model) -> str:
    """sha256 of the model's structure: tensor names, types and shapes, operators and wiring of each
    subgraph. Weights do not count: a retrained model has the same fingerprint."""
    digest = hashlib.sha256()
    for graph in model.subgraphs:
        plain = [
            [[t.name, int(t.type), list(t.shape or ())] for t in graph.tensors],
            [[op.name, list(op.inputs), list(op.outputs)] for op in graph.operators],
            list(graph.inputs),
            list(graph.outputs),
        ]
        digest.update(json.dumps(plain, separators=(",", ":")).encode())
    return digest.hexdigest()


def _entries(
    entries: Any, what: str, made: Callable[[dict[str, Any]], T]
) -> tuple[dict[TensorKey, T], dict[TensorKey, str]]:
    """What a file says of tensors, and their names. Raises what damage brings, with the entry."""
    values: dict[TensorKey, T] = {}
    names: dict[TensorKey, str] = {}
    if not isinstance(entries, list):
        raise ValueError(f"its {what} are no list")
    for number, entry in enumerate(entries):
        try:
            key = TensorKey(_count(entry["subgraph"]), _count(entry["index"]))
            if key in values:
                raise ValueError(f"tensor {key.tensor} comes twice")
            if not isinstance(entry["name"], str):
                raise ValueError(f"the name is {entry['name']!r}")
            _count(entry["count"])
            values[key], names[key] = made(entry), entry["name"]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"entry {number} of its {what}: {why}") from None
    return values, names


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


@dataclass(frozen=True, eq=False)
class Calibration(Mapping[TensorKey, Stats]):
    """A read-only mapping TensorKey -> Stats (one group each), and where it comes from.

    states: what the observer knows of each tensor; names: tensor names; observer: how it observed;
    samples: how many; runtime: name, version, path and kernel threads of what ran the model, empty
    for ranges that a file carried; model: `fingerprint` of the model; notes: what a reader should
    know (values left out, tensors that could not be seen); moments: by the output of each linear
    operator, of what its weights are multiplied with, where that was asked for.
    """

    states: Mapping[TensorKey, State]
    names: Mapping[TensorKey, str]
    observer: Observer = field(default_factory=MinMax)
    samples: int = 0
    runtime: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    notes: tuple[str, ...] = ()
    moments: Mapping[TensorKey, Moments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("states", "names", "runtime", "moments"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def _stats(self) -> dict[TensorKey, Stats]:
        return {key: state.stats() for key, state in sorted(self.states.items())}

    def __getitem__(self, key: TensorKey) -> Stats:
        return self._stats[key]

    def __iter__(self) -> Iterator[TensorKey]:
        return iter(self._stats)

    def __len__(self) -> int:
        return len(self.states)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and self.to_json() == other.to_json()

    def by_name(self, name: str) -> Stats:
        """Stats of the one tensor with this name. Raises KeyError for none or several."""
        found = [k for k, n in self.names.items() if n == name and k in self.states]
        if len(found) != 1:
            raise KeyError(f"{len(found) or 'no'} calibrated tensors have the name {name!r}")
        return self[found[0]]

    @classmethod
    def from_model(cls, model: Any) -> Calibration:
        """The ranges that a file carries: min and max of its tensors' quantization, where a tensor
        has one of each (per-channel ranges belong to constants and are left to the weights).

        model: a Model, or anything `tflite_schema.read` takes. Raises NotCalibrated if there are
        none.
        """
        from qcore.load import load

        model = load(model)
        states: dict[TensorKey, State] = {}
        names: dict[TensorKey, str] = {}
        for number, graph in enumerate(model.subgraphs):
            for index, tensor in enumerate(graph.tensors):
                q = tensor.quantization
                if q is None or q.min is None or q.max is None:
                    continue
                if q.min.size != 1 or q.max.size != 1 or model.buffers[tensor.buffer].nbytes:
                    continue
                key = TensorKey(number, index)
                states[key] = MinMaxState(float(q.min[0]), float(q.max[0]))
                names[key] = tensor.name or f"tensor {index}"
        if not states:
            raise NotCalibrated(
                "the file carries no min and max of its tensors; calibrate it with samples"
            )
        return cls(states, names, model=fingerprint(model))

    def for_model(self, model: ts.Model) -> Calibration:
        """This calibration with the keys of `model`: as it is for the model it was made of or one
        with the same names at the same places; matched by name where names are unique in both.
        LSTM intermediates that `model` has and the source had not take the range of the output.

        Raises NotCalibrated for any other model.
        """

        mark = fingerprint(model)

        def name_of(key: TensorKey) -> str | None:
            if key.subgraph >= len(model.subgraphs):
                return None
            tensors = model.subgraphs[key.subgraph].tensors
            if key.tensor >= len(tensors):
                return None
            return tensors[key.tensor].name or f"tensor {key.tensor}"

        keys = tuple(dict.fromkeys((*self.states, *self.moments)))
        if all(name_of(key) == self.names.get(key) for key in keys):
            if mark == self.model:
                return self
            return replace(self, model=mark)._with_intermediates(model)
        places: dict[str, list[TensorKey]] = {}
        for number, graph in enumerate(model.subgraphs):
            for index, tensor in enumerate(graph.tensors):
                places.setdefault(tensor.name or "", []).append(TensorKey(number, index))
        moved: dict[TensorKey, TensorKey] = {}
        mine = [self.names[k] for k in keys]
        for key in keys:
            name = self.names[key]
            found = places.get(name, [])
            if len(found) != 1 or mine.count(name) != 1:
                what = "has no tensor" if not found else "does not have exactly one tensor"
                raise NotCalibrated(
                    f"this calibration is of another model: the model to quantize {what} {name!r}; "
                    "calibrate the model itself"
                )
            moved[key] = found[0]
        return replace(
            self,
            states={moved[k]: s for k, s in self.states.items()},
            names={moved[k]: self.names[k] for k in keys},
            model=mark,
            moments={moved[k]: m for k, m in self.moments.items()},
        )._with_intermediates(model)

    def _with_intermediates(self, model: ts.Model) -> Calibration:
        """With a range for each LSTM intermediate that is the operator's output."""
        states, names = dict(self.states), dict(self.names)
        for number, graph in enumerate(model.subgraphs):
            for op in graph.operators:
                if not lstm.has_intermediates(op) or lstm.has_projection(op):
                    continue
                output = TensorKey(number, op.outputs[0])
                last = TensorKey(number, op.intermediates[4])
                if output in states and last not in states:
                    states[last] = states[output]
                    names[last] = graph.tensors[last.tensor].name or f"tensor {last.tensor}"
        return replace(self, states=states, names=names)

    def merge(self, other: Calibration) -> Calibration:
        """Both calibrations as one: this one's samples, then the other's. Associative and exact,
        but for the last bits of moments, which stay where both have them.

        Raises NotCalibrated for another model, BadInput for another observer.
        """
        if other.observer != self.observer:
            raise BadInput(
                f"calibrations by {self.observer.key!r} and {other.observer.key!r}"
                + (" with other settings" if self.observer.key == other.observer.key else "")
                + " do not merge; make both with the same observer"
            )
        if other.model != self.model:
            raise NotCalibrated(
                "the two calibrations are of different models; merge only calibrations of one model"
            )
        states = dict(self.states)
        for key, state in other.states.items():
            states[key] = states[key].merge(state) if key in states else state
        runtime = dict(self.runtime)
        for name, value in other.runtime.items():
            if runtime.get(name, value) != value:
                value = (
                    f"{runtime[name]} + {value}"
                    if str(value) not in str(runtime[name])
                    else runtime[name]
                )
            runtime[name] = value
        return replace(
            self,
            states=states,
            names={**self.names, **other.names},
            samples=self.samples + other.samples,
            runtime=runtime,
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
            moments={
                key: moments.merge(other.moments[key])
                for key, moments in self.moments.items()
                if key in other.moments
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats are exact, as Python writes the shortest digits that read back."""
        moments = [self._entry(key) | m.to_json() for key, m in sorted(self.moments.items())]
        return {
            "format": FORMAT,
            "version": VERSION,
            "observer": self.observer.to_json(),
            "samples": self.samples,
            "runtime": dict(self.runtime),
            "model": self.model,
            "notes": list(self.notes),
            "tensors": [
                self._entry(key) | state.to_json() for key, state in sorted(self.states.items())
            ],
            **({"moments": moments} if moments else {}),
        }

    def _entry(self, key: TensorKey) -> dict[str, Any]:
        name = self.names.get(key, "")
        return {"subgraph": key.subgraph, "index": key.tensor, "name": name}

    @classmethod
    def from_json(cls, data: Any) -> Calibration:
        """What `to_json` gave. Raises BadInput for anything else."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadInput("this JSON is no calibration; give a file that `save` wrote")
        if data.get("version") != VERSION:
            raise BadInput(
                f"the calibration has version {data.get('version')!r} and this program reads "
                f"version {VERSION}; calibrate again"
            )
        try:
            observer = find(data["observer"])
            states, names = _entries(data["tensors"], "tensors", observer.state.from_json)
            moments, more = _entries(data.get("moments", []), "moments", Moments.from_json)
            notes = tuple(data["notes"])
            made = cls(
                states, more | names, observer, _count(data["samples"]), data["runtime"],
                data["model"], notes, moments,
            )  # fmt: skip
            if not isinstance(data["notes"], list) or not all(isinstance(n, str) for n in notes):
                raise ValueError("its notes are no list of texts")
            if not isinstance(made.model, str):
                raise ValueError(f"its model is {made.model!r}")
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            raise BadInput(f"the calibration is damaged ({why}); calibrate again") from None
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, one tensor a line; the file is replaced as a whole or not at all."""
        data = self.to_json()
        lists = {name: data.pop(name) for name in ("tensors", "moments") if name in data}
        text = json.dumps(data, indent=1)[:-2]
        for name, entries in lists.items():
            lines = ",\n  ".join(json.dumps(entry) for entry in entries)
            text += f',\n "{name}": [\n  {lines}\n ]'
        files.replace(path, (f"{text}\n}}\n".encode(),))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read what `save` wrote. Raises BadInput for a file that is no calibration."""
        try:
            data = textfiles.read(path)
        except ValueError as error:
            raise BadInput(
                f"{path} is no calibration ({error}); give a file that `save` wrote"
            ) from None
        try:
            return cls.from_json(data)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None

    def _rows(self) -> Iterator[tuple[str, str, str, str, str]]:
        for key, stats in self.items():
            where = f"{key.subgraph}:{key.tensor}" if key.subgraph else str(key.tensor)
            yield (
                where,
                self.names.get(key, ""),
                f"{stats.lo[0]:.6g}",
                f"{stats.hi[0]:.6g}",
                f"{stats.count:,}",
            )

    def summary(self) -> str:
        """One line: how many tensors, from what."""
        ran = ", ".join(
            f"{self.runtime[n]}" for n in ("runtime", "version", "path") if n in self.runtime
        )
        plural = "s" * (self.samples != 1)
        return (
            f"{len(self)} tensors, {self.observer.key}"
            + (f", {self.samples} sample{plural}" if self.samples else ", carried by the file")
            + (f" ({ran})" if ran else "")
        )

    def __repr__(self) -> str:
        return f"Calibration({self.summary()})"

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.summary(), caption="\n".join(self.notes) or None)
        for name in ("tensor", "name"):
            table.add_column(name, overflow="fold")
        for name in ("min", "max", "values"):
            table.add_column(name, justify="right")
        for row in self._rows():
            table.add_row(*map(Text, row))
        return table

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{c}</th>" for c in ("tensor", "name", "min", "max", "values"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>"
            for row in self._rows()
        )
        notes = "".join(f"<p>{html.escape(n)}</p>" for n in self.notes)
        caption = f"<caption>{html.escape(self.summary())}</caption>"
        return f"<table>{caption}<tr>{head}</tr>{body}</table>{notes}"
