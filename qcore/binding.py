"""Samples as people write them -> the arrays that a model's inputs take, or one sentence why not.

A sample is an array (one input), a tuple or list of arrays (all inputs in order), or a dict of
name -> array (the signature's input names, or tensor names). With several signatures a sample may
name its own: ("name", sample). What is adapted, and nothing else:

* dtype: casts that keep every value (NumPy's "safe" casts), float64 or float16 to float32 when no
  value leaves the range of float32, and integers to a narrower integer type when they all fit;
* shape: missing dimensions of size 1 are added (28 x 28 for 1 x 28 x 28 x 1); where
  `shape_signature` has -1 any size is taken; and the leading dimension may differ from the model's,
  which then runs on that batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

import tflite_schema as ts
from qcore.errors import BadInput, BadSample

DTYPES = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "FLOAT64": np.float64, "INT8": np.int8,
    "UINT8": np.uint8, "INT16": np.int16, "UINT16": np.uint16, "INT32": np.int32,
    "UINT32": np.uint32, "INT64": np.int64, "UINT64": np.uint64, "BOOL": np.bool_,
    "COMPLEX64": np.complex64, "COMPLEX128": np.complex128,
}  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One input of an entry. shape: -1 where any size goes; None for a tensor of unknown rank.

    floats: a quantized input that also takes real values, which then stay float32.
    """

    name: str
    tensor: int
    tensor_name: str
    dtype: Any  # a NumPy scalar type, or `object` for strings
    shape: tuple[int, ...] | None
    floats: bool = False


@dataclass(frozen=True)
class Entry:
    """A way into the model: a signature, or subgraph 0 of a model that has none (name None)."""

    name: str | None
    subgraph: int
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, int], ...]

    def where(self) -> str:
        return f"signature {self.name!r}" if self.name is not None else "the model"


def _input(model: ts.Model, subgraph: int, name: str | None, tensor: int) -> Input:
    found = model.subgraphs[subgraph].tensors[tensor]
    kind = getattr(found.type, "name", str(found.type))
    shape = found.shape
    if shape is not None and found.shape_signature and len(found.shape_signature) == len(shape):
        shape = tuple(-1 if s < 0 else d for s, d in zip(found.shape_signature, shape))
    # A scalar's shape may be left out of the file; with has_rank it says that rank is 0.
    if shape is None or (len(shape) == 0 and not found.has_rank):
        shape = () if found.has_rank or shape is not None else None
    dtype = object if kind == "STRING" else DTYPES.get(kind)
    tensor_name = found.name or f"tensor {tensor}"
    if dtype is None:
        raise BadInput(
            f"input {tensor_name!r} has type {kind}, which cannot be fed from outside; give a "
            "model whose inputs are numbers or strings"
        )
    return Input(tensor_name if name is None else name, tensor, tensor_name, dtype, shape)


def _output_name(model: ts.Model, subgraph: int, tensor: int) -> str:
    return model.subgraphs[subgraph].tensors[tensor].name or f"tensor {tensor}"


def entries(model: ts.Model) -> tuple[Entry, ...]:
    """Every signature; without any, subgraph 0 under its tensor names. Inputs in the order of the
    subgraph's inputs, as a positional sample gives them."""
    if not model.signature_defs:
        graph = model.subgraphs[0]
        return (
            Entry(
                None,
                0,
                tuple(_input(model, 0, None, t) for t in graph.inputs),
                tuple((_output_name(model, 0, t), t) for t in graph.outputs),
            ),
        )
    found = []
    for signature in model.signature_defs:
        number = signature.subgraph_index
        order = {t: i for i, t in enumerate(model.subgraphs[number].inputs)}
        inputs = sorted(signature.inputs, key=lambda m: order.get(m.tensor_index, len(order)))
        found.append(
            Entry(
                signature.signature_key or "",
                number,
                tuple(_input(model, number, m.name, m.tensor_index) for m in inputs),
                tuple((m.name or "", m.tensor_index) for m in signature.outputs),
            )
        )
    return tuple(found)


def _with_floats(model: ts.Model, entry: Entry) -> Entry:
    """The entry with real values allowed where the input is quantized."""
    tensors = model.subgraphs[entry.subgraph].tensors

    def allowed(i: Input) -> bool:
        q = tensors[i.tensor].quantization
        return q is not None and q.scale is not None and q.scale.size > 0

    inputs = tuple(replace(i, floats=allowed(i)) for i in entry.inputs)
    return replace(entry, inputs=inputs)


class Bound(NamedTuple):
    """A sample ready to be sent: its number, its entry, one array for each input of the entry."""

    number: int
    entry: int
    arrays: tuple[np.ndarray, ...]


class Binder:
    """Binds samples to the entries of one model. signature: the one meant when none is named.

    floats: quantized inputs take real values too, which are handed on as float32.
    """

    def __init__(self, model: ts.Model, signature: str | None = None, floats: bool = False):
        self.entries = entries(model)
        if floats:
            self.entries = tuple(_with_floats(model, entry) for entry in self.entries)
        self.names = {e.name: i for i, e in enumerate(self.entries)}
        self.default = 0
        # Entry, shape and dtype of arrays that were handed on as they are; their like will be too.
        self._unchanged: set[tuple[int, tuple[int, ...], np.dtype]] = set()
        if signature is not None:
            self.default = self._entry(signature)

    def _entry(self, name: Any, number: int | None = None) -> int:
        if name in self.names:
            return self.names[name]
        known = ", ".join(repr(n) for n in self.names if n is not None)
        where = "" if number is None else f"sample {number}: "
        raise (BadInput if number is None else BadSample)(
            f"{where}the model has no signature {name!r}; "
            + (f"it has {known}" if known else "it has none, so leave the name out")
        )

    def all(self, samples: Any) -> Iterator[Bound]:
        """Every sample, bound, in order and one at a time. `samples`: an iterable, or a mapping of
        signature name -> iterable. Raises BadSample, and BadInput when there is no sample."""
        number = -1
        for number, (name, sample) in enumerate(self._flat(samples)):
            yield self.bind(sample, number, name)
        if number < 0:
            raise BadInput("there is not a single sample; give at least one")

    def _flat(self, samples: Any) -> Iterator[tuple[str | None, Any]]:
        if isinstance(samples, Mapping):
            names = {n for n in self.names if n is not None}
            if samples and not set(samples) <= names:
                unknown = next(k for k in samples if k not in names)
                raise BadInput(
                    f"samples is a mapping with the key {unknown!r}, which is no signature of the "
                    f"model ({', '.join(sorted(map(repr, names))) or 'it has none'}); map "
                    "signature names to iterables, or put a single sample into a list"
                )
            for name, part in samples.items():
                for sample in part:
                    yield name, sample
            return
        check_iterable(samples)
        for sample in samples:
            yield None, sample

    def bind(self, sample: Any, number: int, name: str | None = None) -> Bound:
        """One sample as the arrays of its entry's inputs."""
        index = self.default if name is None else self._entry(name, number)
        if type(sample) is np.ndarray and sample.flags.c_contiguous:
            if (index, sample.shape, sample.dtype) in self._unchanged:
                return Bound(number, index, (sample,))
        if (
            isinstance(sample, tuple)
            and len(sample) == 2
            and isinstance(sample[0], str)
            and name is None
            and not (self.entries[index].inputs and self.entries[index].inputs[0].dtype is object)
        ):
            index = self._entry(sample[0], number)
            sample = sample[1]
        entry = self.entries[index]
        values = _in_order(sample, entry, number)
        arrays = tuple(_adapt(v, i, number) for v, i in zip(values, entry.inputs))
        if len(arrays) == 1 and arrays[0] is sample:
            self._unchanged.add((index, sample.shape, sample.dtype))
        return Bound(number, index, arrays)


def check_iterable(samples: Any) -> None:
    """Raises BadInput for what is no iterable of samples."""
    if isinstance(samples, (str, bytes)) or not isinstance(samples, Iterable):
        raise BadInput(
            f"samples is a {type(samples).__name__}; give an iterable of arrays, tuples or "
            "dicts (qcore.data.open makes one from a file or folder)"
        )


def _in_order(sample: Any, entry: Entry, number: int) -> list[Any]:
    names = [i.name for i in entry.inputs]
    if isinstance(sample, Mapping):
        for known in (names, [i.tensor_name for i in entry.inputs]):
            if set(sample) == set(known):
                return [sample[n] for n in known]
        unknown = [k for k in sample if k not in names]
        missing = [n for n in names if n not in sample]
        raise BadSample(
            f"sample {number}: "
            + (f"{unknown[0]!r} is no input of {entry.where()}" if unknown
               else f"input {missing[0]!r} is missing")
            + f"; it takes {', '.join(map(repr, names)) or 'no input'}"
        )  # fmt: skip
    # A plain list of numbers is an array, a list of arrays is one array for each input.
    if isinstance(sample, tuple) or (
        isinstance(sample, list)
        and (len(names) != 1 or any(np.ndim(v) for v in sample))
        and not (len(names) == 1 and len(sample) != 1)
    ):
        values = list(sample)
    else:
        values = [sample]
    if len(values) != len(names):
        raise BadSample(
            f"sample {number} has {len(values)} array{'s' * (len(values) != 1)} and "
            f"{entry.where()} takes {len(names)} ({', '.join(map(repr, names))})"
        )
    return values


def _adapt(value: Any, to: Input, number: int) -> np.ndarray:
    """`value` in the input's dtype and a shape that it can take."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadSample(f"sample {number}: input {to.name!r} is no array ({error})") from None
    if to.dtype is object:
        return _fit(array.astype(object), to, number)
    if to.floats and array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != to.dtype:
        array = _cast(array, to, number)
    return np.ascontiguousarray(_fit(array, to, number))


def _cast(array: np.ndarray, to: Input, number: int) -> np.ndarray:
    have, want = array.dtype, np.dtype(to.dtype)
    where = f"sample {number}: input {to.name!r} takes {want.name} and got {have.name}"
    if have.kind not in "biufc":
        raise BadSample(f"{where}; give numbers")
    if np.can_cast(have, want, "safe"):
        return array.astype(want)
    if have.kind == "f" and want.kind == "f":
        with np.errstate(over="ignore"):
            out = array.astype(want)
        if np.isinf(out).any() and not np.isinf(array).any():
            raise BadSample(f"{where} with a value beyond its range; scale the sample")
        return out
    if have.kind in "iu" and want.kind in "iu":
        bounds = np.iinfo(want)
        if array.size and (array.min() < bounds.min or array.max() > bounds.max):
            raise BadSample(
                f"{where} with values from {array.min()} to {array.max()}; it holds "
                f"{bounds.min} to {bounds.max}"
            )
        return array.astype(want)
    raise BadSample(f"{where}; convert it the way the model was trained on (nothing is cast here)")


def _fit(array: np.ndarray, to: Input, number: int) -> np.ndarray:
    want = to.shape
    if want is None:
        return array
    if array.ndim < len(want):
        array = with_ones(array, want)
    if (
        array.ndim == len(want)
        and array.size
        and (_same(array.shape, want) or (array.ndim > 1 and _same(array.shape[1:], want[1:])))
    ):
        return array
    raise BadSample(
        f"sample {number}: input {to.name!r} takes shape {_text(want)} and got "
        f"{_text(array.shape)}; only the leading dimension"
        + (" and those marked ? may" if -1 in want else " may")
        + " differ"
    )


def with_ones(array: np.ndarray, want: tuple[int, ...]) -> np.ndarray:
    """`array` with the missing dimensions of size 1 put in, the leading ones first, if that makes
    it fit; else as it is."""
    missing = len(want) - array.ndim
    free = [i for i, d in enumerate(want) if d in (1, -1)]
    for places in combinations(free, missing):
        rest = tuple(d for i, d in enumerate(want) if i not in places)
        if _same(array.shape, rest):
            return np.expand_dims(array, places)
    return array


def _same(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    return all(w in (-1, h) for h, w in zip(have, want)) and len(have) == len(want)


def _text(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join("?" if d < 0 else str(d) for d in shape) + ")"
