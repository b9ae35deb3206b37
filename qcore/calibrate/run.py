"""The stage: a model and samples -> a Calibration. The model runs in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import tflite_schema as ts
from kernels.threads import cores
from qcore.binding import Binder, Bound
from qcore.calibrate.calibration import Calibration, fingerprint
from qcore.calibrate.collect import Found, Setting
from qcore.calibrate.program import Programs, build
from qcore.errors import BadInput, RuntimeFailed
from qcore.graph import Graph
from qcore.load import load
from qcore.observers import Observer, find
from qcore.params import TensorKey
from qcore.peers.child import Child, Items
from qcore.peers.interpreter import as_file, check_choice, installed
from qcore.progress import track
from qcore.tune.linear import Linear
from qcore.tune.moments import LEVELS
from qcore.tune.operators import linears

MOST_WORKERS = 4  # interpreters at once, each with all of its tensors in memory
FREE_BYTES = 32 << 20  # what all but the first may take together when nobody asked for threads
ASKED_BYTES = 512 << 20  # and when somebody did
# Products of a few hundred columns gain nothing from more threads, which also change the last bits.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "MKL")}


def calibrate(
    model: Any,
    samples: Any,
    observer: Any = "minmax",
    runtime: str = "litert",
    path: str | None = None,
    threads: int | None = None,
    progress: bool | Callable[[int], None] | None = None,
    signature: str | None = None,
    *,
    nonfinite: str | None = None,
    state: str = "keep",
    limit: int | None = None,
    time_limit: float | None = None,
    memory_limit: int | None = None,
    executor: Any = None,
    shard: int = 256,
    moments: str | None = None,
) -> Calibration:
    """Run `model` on every sample, once and in order, and observe each float32 tensor.

    model: a Model, path or bytes.  samples: any iterable (a one-shot generator too), each sample an
    array, tuple or dict, see `qcore.binding`.  observer: "minmax", "moving_average",
    "histogram", "tflite", or an Observer.  runtime: "litert" or "tensorflow".
    path: "xnnpack", "optimized" or "reference"; None takes xnnpack, and where the runtime cannot
    run the model that way optimized, with a note in the result.  threads: cores to use, by default
    all that cost little memory; the result does not depend on it.  progress: None shows a bar on a
    terminal; True, False; or a function that is told how many samples are done.
    signature: where a sample names none.
    nonfinite: "error" (default) refuses NaN and infinity, "skip" leaves such values out.
    state: what recurrent states and resource variables do between samples: "keep", as TFLite's
    calibrator, or "reset" to the start for every sample.  limit: use so many samples at most.
    time_limit: seconds for one answer of the child.  memory_limit: bytes that the child may take.
    executor: a `concurrent.futures.Executor` whose workers see the same files: samples go to them
    `shard` at a time and what they find is merged in order, equal to one pass (which it is where a
    state is kept from sample to sample).
    moments: "mean" or "covariance": observe that as well of what linear operators multiply their
    weights with, for roundings that ask for it (docs/tuning.md).

    Raises BadSample (with the sample's number), BadInput, RuntimeFailed.
    """
    chosen = find(observer)
    _check_importable(chosen)
    notes: list[str] = []
    if chosen.runtime is not None:
        if installed(chosen.runtime):
            runtime = chosen.runtime
        elif runtime != chosen.runtime:
            notes.append(
                f"observer {chosen.key!r} is exact with the {chosen.runtime} runtime, which is not "
                f"installed; these ranges are {runtime}'s, in the last bits different"
            )
    # Where nobody chose, a path that fails on the first sample gives way to the next.
    paths = [path or chosen.path or "xnnpack"]
    if path is None and chosen.path is None:
        paths.append("optimized")
    check_choice(runtime, paths[0])
    _check(nonfinite, state, threads, limit, moments)
    if not 1 <= shard <= 4096:
        raise BadInput(f"shard is {shard}; give 1 to 4096 samples")

    given = model
    model = load(given)
    binder = Binder(model, signature)
    programs = build(model, {e.subgraph for e in binder.entries})
    how = How(
        chosen, runtime, tuple(paths), threads, nonfinite or chosen.nonfinite, state, time_limit,
        memory_limit, moments,
    )  # fmt: skip
    bound = track(
        _limited(binder.all(samples), limit),
        "Calibrating",
        total=_total(samples, limit),
        show=False if callable(progress) else progress,
    )
    tell = progress if callable(progress) else None
    if executor is not None and not (programs.stateful and state == "keep"):
        from qcore.calibrate.shards import over

        part = over(executor, given, model, signature, bound, how, shard, tell)
    else:
        part = observe(given, model, binder, programs, bound, how, tell)
    if tell is not None:
        tell(part.samples)
    notes += part.notes
    found = part.found
    states = dict(found.states)
    for tensor, same in programs.aliases.items():
        if same in states:
            states[tensor] = states[same]
    states = chosen.finish(states, model, found.shapes)
    notes += chosen.notes(model, found.shapes)
    for key, count in sorted(found.skipped.items()):
        notes.append(
            f"{count} values of tensor {_name(model, key)!r} are not finite and were left out"
        )
    for key in programs.unseen:
        notes.append(f"tensor {_name(model, key)!r} is inside an operator and cannot be observed")
    if programs.other_floats:
        notes.append(
            f"{len(programs.other_floats)} tensors hold floats of another type than float32 and "
            f"are not observed (the first is {_name(model, programs.other_floats[0])!r})"
        )
    return Calibration(
        states,
        {key: _name(model, key) for key in (*states, *found.moments)},
        chosen,
        part.samples,
        part.ran,
        fingerprint(model),
        tuple(notes),
        found.moments,
    )


@dataclass(frozen=True)
class How:
    """How samples are observed; see `calibrate`. paths: tried one after the other."""

    observer: Observer
    runtime: str
    paths: tuple[str, ...]
    threads: int | None
    nonfinite: str
    state: str
    time_limit: float | None
    memory_limit: int | None
    moments: str | None


@dataclass(frozen=True)
class Part:
    """What consecutive samples gave. ran: what ran them.  notes: how."""

    found: Found
    samples: int
    ran: dict[str, Any]
    notes: tuple[str, ...]


def observe(
    given: Any, model: ts.Model, binder: Binder, programs: Programs, samples: Iterator[Bound],
    how: How, progress: Callable[[int], None] | None = None,
) -> Part:  # fmt: skip
    """Run the model on some samples in a child process. given: the model as it was given, whose
    file is used where it is one. Tensors made of constants alone are counted with sample 0."""
    notes = []
    counted = _Count()
    bound = counted(samples)
    with ExitStack() as stack:
        stack.callback(bound.close)
        first = next(bound)
        on_disk = isinstance(given, (str, os.PathLike)) and programs.model is model
        file = stack.enter_context(as_file(given if on_disk else programs.model))
        fixed_file = ""
        if programs.fixed_model is not None:
            fixed_file = stack.enter_context(as_file(programs.fixed_model))
        workers, kernel_threads = _workers(programs, how)
        read = _linear(model, programs) if how.moments is not None else {}

        def setting(path: str) -> Setting:
            return Setting(
                file=file,
                runtime=how.runtime,
                path=path,
                workers=workers,
                kernel_threads=kernel_threads,
                observer=how.observer,
                programs=programs.by_subgraph,
                fixed=programs.fixed if first.number == 0 else (),
                fixed_file=fixed_file,
                entries=tuple(
                    (e.subgraph, tuple(i.tensor for i in e.inputs)) for e in binder.entries
                ),
                nonfinite=how.nonfinite,
                state=how.state,
                rebuild=programs.resources,
                first=first.number,
                moments=how.moments,
                linear=read,
            )

        limits = {"time_limit": how.time_limit, "memory_limit": how.memory_limit}
        paths = how.paths
        child, used, refusal = _start(stack, [setting(p) for p in paths], _frame(first), limits)
        if child is None:
            raise RuntimeFailed(_explained(refusal, model))
        if refusal:
            notes.append(f"ran with path {used!r}, since with {paths[0]!r} {refusal}")
        for done in child.stream("feed", Items(), items=map(_frame, bound)):
            if progress is not None:
                progress(done)
        found: Found = child.call("result")
        version = child.call("version")
    ran = {
        "runtime": how.runtime,
        "version": version,
        "path": used,
        "kernel_threads": kernel_threads,
    }
    return Part(found, counted.count, ran, tuple(notes))


def _start(
    stack: ExitStack, settings: list[Setting], first: Any, limits: dict[str, Any]
) -> tuple[Child | None, str, str]:
    """A child that has run the first sample, by the first setting that can.

    Returns it (None if none can), the path it uses, and why the one before could not ("").
    """
    refusal = ""
    for setting in settings:
        child = stack.enter_context(
            Child(
                "qcore.calibrate.collect:command",
                what=f"calibration with {setting.runtime} ({setting.path})",
                env=ONE_THREAD if setting.moments else None,
                **limits,
            )
        )
        try:
            child.call("open", setting)
            answer = child.call("probe", first)
        except RuntimeFailed as error:
            if setting is settings[-1]:
                raise
            answer = str(error)
        if answer is None:
            return child, setting.path, refusal
        refusal = answer
        child.close()
    return None, "", refusal


def _linear(model: ts.Model, programs: Programs) -> dict[TensorKey, tuple[Linear, ...]]:
    """Linear operators by what they read."""
    found: dict[TensorKey, list[Linear]] = {}
    for number in programs.by_subgraph:
        for each in linears(Graph(model, number)):
            found.setdefault(each.input, []).append(each)
    return {key: tuple(each) for key, each in found.items()}


def _workers(programs: Programs, how: How) -> tuple[int, int]:
    """How many interpreters at once, and with how many threads each.

    One thread for each interpreter: the plain kernels split their sums by thread, and which kernels
    XNNPACK leaves to them differs by model. Samples are spread over workers instead.
    """
    observer = how.observer
    workers = min(how.threads or cores(), MOST_WORKERS)
    budget = FREE_BYTES if how.threads is None else ASKED_BYTES
    workers = min(workers, 1 + budget // _worker_bytes(programs.model))
    if observer.kernel_threads is not None or (programs.stateful and how.state == "keep"):
        workers = 1  # with a state, each sample starts from what the one before left
    if how.moments is not None:
        workers = 1  # sums of products in the order of the samples: the same bits each time
    return workers, observer.kernel_threads or 1


class _Count:
    """Counts what passes through."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, items: Iterator[Bound]) -> Generator[Bound, None, None]:
        for item in items:
            self.count += 1
            yield item


def _limited(items: Iterator[Bound], limit: int | None) -> Iterator[Bound]:
    """The first `limit` items; the next one is not even asked for."""
    if limit is None:
        yield from items
        return
    for _ in range(limit):
        try:
            yield next(items)
        except StopIteration:
            return


def _total(samples: Any, limit: int | None) -> int | None:
    """How many samples there will be, None where nobody knows."""
    parts = samples.values() if isinstance(samples, Mapping) else (samples,)
    try:
        total = sum(len(part) for part in parts)
    except TypeError:
        return limit
    return total if limit is None else min(limit, total)


def _frame(bound: Bound) -> tuple[int, int, Any]:
    return bound.number, bound.entry, bound.arrays


def _name(model: ts.Model, key: TensorKey) -> str:
    return model.subgraphs[key.subgraph].tensors[key.tensor].name or f"tensor {key.tensor}"


def _check_importable(observer: Observer) -> None:
    """Raises BadInput for an observer whose classes the child process could not import."""
    for kind in (type(observer), observer.state):
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
            raise BadInput(
                f"{kind.__qualname__} of observer {observer.key!r} is defined in a script, a "
                "notebook or a function, and observers run in a child process; move it to a "
                "module that can be imported"
            )


def _check(
    nonfinite: str | None, state: str, threads: int | None, limit: int | None, moments: str | None
) -> None:
    if moments is not None and moments not in LEVELS:
        raise BadInput(f"moments is {moments!r}; it is {' or '.join(map(repr, LEVELS))}")
    if nonfinite not in (None, "error", "skip"):
        raise BadInput(f"nonfinite is {nonfinite!r}; it is 'error' or 'skip'")
    if state not in ("keep", "reset"):
        raise BadInput(f"state is {state!r}; it is 'keep' or 'reset'")
    if threads is not None and threads < 1:
        raise BadInput(f"threads is {threads}; give at least 1")
    if limit is not None and limit < 1:
        raise BadInput(f"limit is {limit}; give at least 1")


def _worker_bytes(model: ts.Model) -> int:
    """About what one interpreter takes: every tensor at the size that the file gives, and a packed
    copy of the constants."""
    total = sum(buffer.nbytes for buffer in model.buffers)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if not model.buffers[tensor.buffer].nbytes:
                total += 4 * prod(max(d, 1) for d in tensor.shape or ())
    return max(total, 1 << 20)


def _explained(refusal: str, model: ts.Model) -> str:
    """A refusal for a custom operator the runtime does not have, in words that name it."""
    customs = sorted(
        {
            op.name
            for graph in model.subgraphs
            for op in graph.operators
            if getattr(op.code.builtin, "name", "") == "CUSTOM"
        }
    )
    unresolved = [c for c in customs if c in refusal]
    if unresolved and unresolved[0].startswith("Flex"):
        return (
            f"operator {unresolved[0]!r} is one of TensorFlow's own, without a kernel in TFLite, "
            "so the model cannot be run for calibration; convert it without SELECT_TF_OPS, or use "
            "a Calibration made elsewhere"
        )
    if unresolved and ("custom" in refusal.lower() or "unresolved" in refusal.lower()):
        return (
            f"custom operator {unresolved[0]!r} is unknown to the runtime, so the model cannot be "
            "run for calibration; use a Calibration made elsewhere, or remove the operator"
        )
    return refusal
