"""`compare`: a float model and its candidates through everything, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels.errors import KernelError
from qcore.compare import make
from qcore.compare.accuracy import Evaluation
from qcore.compare.headline import headline
from qcore.compare.layers import Followed, Truth, follow
from qcore.compare.match import layer_tensors
from qcore.compare.values import Candidate, Comparison, Latency, Layer
from qcore.errors import BadInput, QcoreError
from qcore.execute import as_profile
from qcore.graph import Graph, graphs
from qcore.params import TensorKey
from qcore.progress import track
from tflite_schema.errors import SchemaError

LAYERS = 32  # samples that layers are compared on unless said otherwise
PATHS = ("reference", "optimized", "xnnpack")
FAILURES = (QcoreError, KernelError, SchemaError, OSError, MemoryError)


def compare(
    model: Any,
    candidates: Mapping[str, Any] | Sequence[Any],
    samples: Any,
    labels: Any = None,
    *,
    metric: Callable[..., float] | None = None,
    evaluation: Any = None,
    layers: int | None = LAYERS,
    latency: bool | Sequence[str] = True,
    profile: str = "xnnpack",
    runtime: str = "litert",
    signature: str | None = None,
    threads: int | None = None,
    observer: Any = None,
    progress: bool | None = None,
) -> Comparison:
    """A float model against quantized ones: every layer, accuracy, size, latency.

    model: float, whatever `qcore.load` takes.
    candidates: name -> a quantized result, Model, path, bytes, Recipe, Scheme, a spec as text
        ("int8", "int8+octav", "tflite:int8", "litert:dynamic"; see `qcore.compare.make`), or a
        function of nothing, or of (model, samples), that gives one of these. A sequence names each
        by its spec. One that cannot be made or run is in the result with its error.
    samples: any iterable, as the float model takes them; specs are calibrated on all of them, and
        layers are compared on the first `layers` (None: all; 0: none, the outputs on `evaluation`).
    evaluation: samples for accuracy and agreement; by default `samples`.  labels: (N,) classes, one
        for each of those, or whatever `metric` takes.
    metric: function(outputs, labels) -> number. outputs: (N, ...) real values of the model's only
        output, or a tuple with an array an output; all are held in memory.
    latency: whether to time the official interpreter, or which paths of it.
    profile, runtime: whose integers the candidates' are ("reference", "optimized", "xnnpack").
    signature: where samples name none.  threads: cores for accuracy.  observer: for calibration.
    progress: bars on stderr; None for "on a terminal".
    Raises BadInput, BadSample; what goes wrong with a candidate is told in its row.
    """
    named = _named(candidates)
    paths = _paths(latency)
    if layers is not None and (not isinstance(layers, (int, np.integer)) or layers < 0):
        raise BadInput(f"layers is {layers!r}; give a whole number, or None for all samples")
    labels = None if labels is None else _labels(labels)
    profile_ = as_profile(profile, runtime)
    held = make.Samples(samples)
    judged = held if evaluation is None else make.Samples(evaluation)
    maker = make.Maker(
        model, held, observer=observer, signature=signature, threads=threads, progress=False
    )
    return measured(
        maker, named, judged, labels, metric=metric, layers=layers, paths=paths, profile=profile_,
        signature=signature, threads=threads, progress=progress,
    )  # fmt: skip


def measured(
    maker: make.Maker, named: Mapping[str, Any], judged: make.Samples, labels: Any = None, *,
    metric: Callable[..., float] | None = None, layers: int | None = LAYERS,
    paths: Sequence[str] = (), profile: Any = None, signature: str | None = None,
    threads: int | None = None, progress: bool | None = None, outputs: bool = False,
) -> Comparison:  # fmt: skip
    """What `compare` does once its arguments are understood; `maker` keeps ranges for the next.

    outputs: errors of outputs are of all samples in `judged`, also where layers are compared on
    fewer.
    """
    outputs = outputs or layers == 0
    model, held, profile_ = maker.source, maker.samples, as_profile(profile or "xnnpack")
    runtime = profile_.runtime
    data = ts.to_bytes(maker.model)
    source, size = ts.read(data), len(data)
    errors: dict[str, str] = {}
    made: dict[str, make.Made] = {}
    for name in track(named, "Quantizing", show=progress):
        try:
            made[name] = maker.make(named[name])
        except FAILURES as error:
            errors[name] = str(error) or type(error).__name__
    with ExitStack() as stack:
        truth, followed = None, dict[str, Followed]()
        seen: tuple[Layer, ...] = ()
        counted, firsts = 0, list[tuple[int, dict[int, np.ndarray]]]()
        if layers != 0:
            truth = Truth(source, profile_, signature)
            stack.callback(truth.whole.close)
            for name, one in made.items():
                try:
                    followed[name] = Followed(name, one.model, truth, profile_)
                    stack.callback(followed[name].close)
                except FAILURES as error:
                    errors[name] = str(error)
            total = _count(held, layers)
            counted, firsts = follow(
                truth,
                followed.values(),
                track(held.first(layers), "Comparing layers", total=total, show=progress),
            )
            errors |= {name: f.error for name, f in followed.items() if f.error}
            seen = truth.seen()
        able = {name: one.model for name, one in made.items() if name not in errors}
        judge = Evaluation(source, able, profile_, metric, threads, signature, outputs)
        stack.callback(judge.close)
        if labels is not None or metric is not None or judge.classes or outputs:
            total = _count(judged, None)
            judge.run(track(judged, "Evaluating", total=total, show=progress), labels)
        if truth is None:
            errors |= judge.errors | {n: j.error for n, j in judge.judges.items() if n and j.error}
            able = {name: model for name, model in able.items() if name not in errors}
            counted, ways = judge.samples, judge.ways()
        else:
            entry, floats = firsts[0]
            ways = {"": (truth.binder.entries[entry].subgraph, dict(floats))}
            for name in able:
                pair = followed[name].match.entries[entry]
                assert pair is not None
                ways[name] = pair.b, followed[name].given(entry, floats)
        times = _latencies(source, able, ways, paths, runtime, progress)
        expected = (
            sum(len(truth.binder.entries[entry].outputs) for entry, _ in firsts)
            if truth is not None
            else len(judge.judges[None].pair.outputs)
        )
        rows = []
        for name in named:
            if name in errors:
                rows.append(_failed(name, made.get(name), errors[name]))
                continue
            rows.append(
                _row(name, made[name], followed.get(name), judge, labels, times.get(name, ()),
                     expected)
            )  # fmt: skip
        whole = judge.judges[None].whole if truth is None else truth.whole
        score = judge.score(None, labels)
        base = Candidate(
            name="float",
            made_by=_name(model),
            bytes=size,
            accuracy=judge.accuracy(None, labels),
            agreement=judge.agreement(None),
            score=score,
            latency=tuple(t for t, _ in times.get("", ())),
            operators=_operators(source),
            delegated=_delegated(times.get("", ())),
            left_float=_left_float(source),
            notes=(*whole.notes, *_unscored(judge, None)),
        )
        return Comparison(
            model=_name(model),
            truth=base,
            candidates=tuple(rows),
            layers=seen,
            pairs=judge.paired("float"),
            samples=counted,
            labelled=judge.labelled,
            metric="" if metric is None else getattr(metric, "__name__", type(metric).__name__),
            headline=headline(seen, rows, _inputs(source, seen)) if seen else "",
            versions=versions(),
            notes=tuple(
                filter(None, (judge.remark(labels), *(() if truth is None else _notes(truth))))
            ),
            models=able,
        )


def _named(candidates: Any) -> dict[str, Any]:
    if isinstance(candidates, (str, bytes)) or not isinstance(candidates, (Mapping, Iterable)):
        raise BadInput(
            f"candidates is a {type(candidates).__name__}; give a dict of name -> candidate, or a "
            "list of specs such as ['int8', 'tflite:int8']"
        )
    if isinstance(candidates, Mapping):
        found = dict(candidates)
    else:
        found = {}
        for one in candidates:
            name, spec = make.split_name(one) if isinstance(one, str) else (_name(one), one)
            number, base = 2, name
            while name in found:
                name, number = f"{base} {number}", number + 1
            found[name] = spec
    if not found:
        raise BadInput("there is no candidate; give at least one")
    for name in found:
        if not isinstance(name, str) or not name.strip() or name == "float":
            raise BadInput(
                f"a candidate has the name {name!r}; give a text, and not 'float', which is the "
                "float model's"
            )
    return found


def _labels(labels: Any) -> np.ndarray:
    """Labels as an array with one for each sample; of objects where they differ in shape."""
    try:
        found = np.asarray(labels)
    except ValueError:
        found = np.fromiter(labels, object, len(labels))
    if not found.ndim:
        raise BadInput(
            f"labels is a {type(labels).__name__}; give an array or a list with one for each sample"
        )
    return found


def _paths(latency: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(latency, bool):
        return PATHS if latency else ()
    if not isinstance(latency, Iterable):
        raise BadInput(f"latency is {latency!r}; give True, False, or some of {', '.join(PATHS)}")
    wanted = (latency,) if isinstance(latency, str) else tuple(latency)
    for path in wanted:
        if path not in PATHS:
            raise BadInput(f"path {path!r} is unknown; known are {', '.join(PATHS)}")
    return wanted


def _count(samples: Any, limit: int | None) -> int | None:
    try:
        found = len(samples)
    except TypeError:
        return limit
    return found if limit is None else min(found, limit)


def _name(model: Any) -> str:
    """What a report calls a model."""
    if isinstance(model, (str, Path)):
        return Path(model).name
    known = ts.path_of(model) if isinstance(model, ts.Model) else None
    return Path(known).name if known else getattr(model, "name", None) or type(model).__name__


def _row(
    name: str, made: make.Made, followed: Followed | None, judge: Evaluation, labels: Any,
    times: Sequence[tuple[Latency, int | None]], expected: int,
) -> Candidate:  # fmt: skip
    """expected: outputs of the float model, of all its entries that samples took."""
    reason = judge.errors.get(name) or (judge.judges[name].error if name in judge.judges else "")
    if followed is None:
        outputs, whole = tuple(judge.judges[name].outputs.values()), judge.judges[name].whole
    else:
        found = followed.outputs
        outputs, whole = tuple(found[at] for at in sorted(found)), followed.whole
        if name in judge.judges and judge.judges[name].outputs:
            outputs = tuple(judge.judges[name].outputs.values())
    score = judge.score(name, labels)
    notes = (*made.notes, *whole.notes, *_unscored(judge, name))
    missing = expected - sum(1 for d in outputs if d.count)
    if missing > 0:
        notes = (
            *notes, f"{missing} of {expected} outputs have no counterpart of their shape and were "
            "not compared",
        )  # fmt: skip
    if reason:
        notes = (*notes, f"accuracy was not measured: {reason}")
    return Candidate(
        name=name,
        made_by=made.made_by,
        bytes=made.bytes,
        seconds=made.seconds,
        outputs=outputs,
        accuracy=judge.accuracy(name, labels),
        agreement=judge.agreement(name),
        score=score,
        latency=tuple(t for t, _ in times),
        operators=_operators(made.model),
        delegated=_delegated(times),
        left_float=_left_float(made.model),
        seen={} if followed is None else followed.seen(),
        unmatched={} if followed is None else dict(followed.unmatched),
        notes=notes,
    )


def _unscored(judge: Evaluation, name: str | None) -> tuple[str, ...]:
    """What the user's metric raised, as a note."""
    said = judge.unscored.get(name)
    return () if said is None else (f"the metric failed with {said}",)


def _failed(name: str, made: make.Made | None, error: str) -> Candidate:
    """A candidate of which there is only what making it told."""
    if made is None:
        return Candidate(name, error=error)
    return Candidate(name, made.made_by, made.bytes, made.seconds, error=error)


def _operators(model: ts.Model) -> int:
    return sum(len(s.operators) for s in model.subgraphs)


def _left_float(model: ts.Model) -> int:
    """Operators that compute floats from floats alone."""
    count = 0
    for graph in graphs(model):
        layers = {number for number, _ in layer_tensors(graph)}
        for number in layers:
            op = graph.operators[number]
            used = [t for t in (*op.inputs, *op.outputs) if t >= 0]
            count += any(graph.is_float(t) for t in op.outputs) and not any(
                _quantized(graph, t) for t in used
            )
    return count


def _quantized(graph: Graph, tensor: int) -> bool:
    q = graph.tensors[tensor].quantization
    scaled = q is not None and ((q.scale is not None and q.scale.size > 0) or q.details is not None)
    return scaled and not graph.is_float(tensor)


def _delegated(times: Sequence[tuple[Latency, int | None]]) -> int | None:
    return next((n for t, n in times if t.path == "xnnpack"), None)


def _latencies(
    source: ts.Model, models: Mapping[str, ts.Model],
    ways: Mapping[str, tuple[int, dict[int, np.ndarray]]], paths: Sequence[str], runtime: str,
    progress: bool | None,
) -> dict[str, list[tuple[Latency, int | None]]]:  # fmt: skip
    """Name ("" for the float model) -> time and delegated operators on each path that runs.

    ways: subgraph and one sample's inputs, as they are stored, of each.
    """
    from qcore.peers.interpreter import as_file, installed
    from qcore.peers.steps import Timer

    found: dict[str, list[tuple[Latency, int | None]]] = {}
    if not paths or not installed(runtime):
        return found
    everyone = {"": source, **models}
    with Timer(runtime) as timer:
        for name in track(everyone, "Timing", show=progress):
            model, (subgraph, given) = everyone[name], ways[name]
            with as_file(model) as file:
                for path in paths:
                    try:
                        timing = timer.time(file, subgraph, given, path)
                    except QcoreError:
                        continue  # the path cannot run it: a time that is not there says so
                    spent = Latency(runtime, path, timing.ms, timing.runs)
                    found.setdefault(name, []).append((spent, timing.delegated))
    return found


def _inputs(model: ts.Model, layers: Sequence[Any]) -> dict[TensorKey, list[TensorKey]]:
    """Layer -> the layers that its operator reads."""
    keys = {layer.key for layer in layers}
    parts = graphs(model)
    found: dict[TensorKey, list[TensorKey]] = {}
    for layer in layers:
        graph = parts[layer.key.subgraph]
        reads = (graph.key(t) for t in graph.operators[layer.operator].inputs if t >= 0)
        found[layer.key] = [k for k in reads if k in keys]
    return found


def _notes(truth: Truth) -> tuple[str, ...]:
    notes = []
    if truth.nonfinite:
        count = sum(truth.nonfinite.values())
        notes.append(
            f"{count:,} values of {len(truth.nonfinite)} tensors of the float model are not finite"
        )
    inside = len(truth.graphs) - len({e.subgraph for e in truth.binder.entries})
    if inside > 0:
        notes.append(
            f"tensors inside {inside} further subgraphs are not compared one by one, only what the "
            "operators that run them give"
        )
    return tuple(notes)


def versions() -> dict[str, str]:
    """Of the packages that decide what is measured."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("tflite-qcore", "ai-edge-litert", "tensorflow", "litert-quantizer", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def file_name(name: str) -> str:
    """A candidate's name as one of a file."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_") or "candidate"
