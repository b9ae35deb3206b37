"""In the child process: run samples, observe every float32 tensor beside its memory.

`command` is the target of the parent's calls: "open" once, then "feed" for streams of samples, then
"result". Samples are dealt to worker threads with an interpreter each (the runtimes and NumPy let
go of Python's lock while they compute); the result does not depend on how many there are.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qcore.calibrate.steps import Call, Program, Stretch, Watch
from qcore.errors import BadSample, QcoreError, RuntimeFailed
from qcore.observers.base import Observer, State, extremes
from qcore.params import TensorKey
from qcore.peers.interpreter import Session
from qcore.tune.linear import Linear
from qcore.tune.moments import Moments

POISON = np.uint32(0x7FC0DEAD)  # a NaN that no kernel makes
REPORT_SECONDS = 0.1
PATIENCE = 4  # samples that had to wait before another worker starts


@dataclass(frozen=True)
class Setting:
    """Everything "open" needs.

    entries: (subgraph, input tensors) of each way into the model.  nonfinite: "error", "skip" (both
    NaN and infinity are left out) or "tflite" (NaN only).  state: "keep" or "reset".
    moments: "mean" or "covariance" of what the operators of `linear` multiply, by what they read.
    """

    file: str
    runtime: str
    path: str
    workers: int
    kernel_threads: int
    observer: Any
    programs: dict[int, Program]
    fixed: tuple[Stretch, ...]
    fixed_file: str
    entries: tuple[tuple[int, tuple[int, ...]], ...]
    nonfinite: str
    state: str
    rebuild: bool
    first: int = 0  # number of the first sample
    moments: str | None = None
    linear: Mapping[TensorKey, tuple[Linear, ...]] = field(default_factory=dict)


@dataclass
class Found:
    """What a worker has collected: a state, a shape and the values left out for each tensor, and
    moments for the output of each linear operator."""

    states: dict[TensorKey, State] = field(default_factory=dict)
    shapes: dict[TensorKey, tuple[int, ...]] = field(default_factory=dict)
    skipped: dict[TensorKey, int] = field(default_factory=dict)
    moments: dict[TensorKey, Moments] = field(default_factory=dict)


def merged(parts: Iterable[Found]) -> Found:
    """What was found in all of them; parts in the order of their samples."""
    out = Found()
    for found in parts:
        for key, state in found.states.items():
            old = out.states.get(key)
            out.states[key] = state if old is None else old.merge(state)
        for key, shape in found.shapes.items():
            out.shapes.setdefault(key, shape)
        for key, count in found.skipped.items():
            out.skipped[key] = out.skipped.get(key, 0) + count
        for key, moments in found.moments.items():
            known = out.moments.get(key)
            out.moments[key] = moments if known is None else known.merge(moments)
    return out


class NotWritten(RuntimeFailed):
    """The runtime left a tensor alone that it should have computed (its memory is unchanged)."""


def _not_written(watch: Watch, setting: Setting) -> NotWritten:
    return NotWritten(
        f"the {setting.runtime} runtime ({setting.path}) does not write tensor {watch.name!r} of "
        f"{watch.maker}; calibrate with path='optimized'"
    )


class Worker:
    """One interpreter and what it has seen."""

    def __init__(self, setting: Setting, observer: Observer):
        self.setting = setting
        self.observer = observer
        self.found = Found()
        self.sample: dict[TensorKey, list[float]] = {}
        self.number = 0
        self.fresh = True
        self.checked: set[int] = set()
        self.session = self._open()

    def _open(self) -> Session:
        s = self.setting
        self.checked = set()
        self.initialised: set[int] = set()
        self.started: set[int] = set()
        return Session(s.file, s.runtime, s.path, s.kernel_threads, keep=True)

    def run(self, number: int, entry: int, arrays: tuple[np.ndarray, ...]) -> None:
        """Run one sample and observe. Raises QcoreError for what the user should know."""
        s = self.setting
        self.number = number
        self.sample = {}
        if s.state == "reset" and not self.fresh:
            if s.rebuild:
                self.session = self._open()
            else:
                self.session.reset()
                self.started.clear()
        self.fresh = False
        subgraph, order = s.entries[entry]
        given = dict(zip(order, arrays))
        program = s.programs[subgraph]
        self.execute(subgraph, [given.get(t) for t in program.inputs])

    def execute(self, subgraph: int, values: list[Any]) -> list[Any]:
        """Run one subgraph on the values of its inputs; the values of its outputs."""
        program = self.setting.programs[subgraph]
        env: dict[int, Any] = dict(program.constants)
        env.update(zip(program.inputs, values))
        for watch in program.watch:
            if env.get(watch.tensor) is not None:
                self.observe(watch, env[watch.tensor])
        for step in program.steps:
            if isinstance(step, Stretch):
                self.stretch(step, env)
            else:
                self.call(step, env)
        # The caller of the whole model has no use for its outputs, a called subgraph's has.
        return [env.get(t) for t in program.outputs]

    def stretch(self, step: Stretch, env: dict[int, Any]) -> None:
        """Let the runtime run some operators, observe what they wrote, keep what is passed on."""
        session = self.session
        arrays = [env[t] for t in step.inputs]
        try:
            session.prepare(step.subgraph, step.inputs, arrays)
        except (RuntimeError, ValueError) as error:
            raise self.refused(error) from None
        if step.subgraph not in self.started:
            self.started.add(step.subgraph)
            for watch in step.states:
                self.observe(watch, np.zeros_like(session.view(step.subgraph, watch.tensor)))
        check = step.subgraph not in self.checked
        if check:
            self.poison(step)
        try:
            session.feed(step.subgraph, step.inputs, arrays)
            session.invoke(step.subgraph)
        except (RuntimeError, ValueError) as error:
            raise self.refused(error) from None
        if check:
            self.checked.add(step.subgraph)
        for watch in (*step.watch, *step.states):
            try:
                values = session.view(step.subgraph, watch.tensor)
            except ValueError:
                if session.is_empty(step.subgraph, watch.tensor):
                    continue
                raise _not_written(watch, self.setting) from None
            if check and values.ndim and values.size and _poisoned(values):
                raise _not_written(watch, self.setting)
            self.observe(watch, values)
        for tensor in step.outputs:
            env[tensor] = session.copy(step.subgraph, tensor)

    def poison(self, step: Stretch) -> None:
        """Mark the tensors to observe, to see whether the runtime really writes them."""
        for watch in step.watch:
            try:
                values = self.session.view(step.subgraph, watch.tensor)
            except (ValueError, RuntimeError):
                continue  # no memory before it runs: a tensor of dynamic shape
            if values.ndim and values.size:  # the wrapper gives a copy of a tensor of rank 0
                values.view(np.uint32)[...] = POISON

    def refused(self, error: Exception) -> RuntimeFailed:
        s = self.setting
        return RuntimeFailed(
            f"the {s.runtime} runtime ({s.path}) refused sample {self.number}: "
            f"{' '.join(str(error).split())}"
        )

    def call(self, step: Call, env: dict[int, Any]) -> None:
        """Do what a control-flow operator does."""
        arguments = [env.get(t) if t >= 0 else None for t in step.inputs]
        results: list[Any]
        if step.kind == "while":
            cond, body = step.targets
            values = arguments
            while bool(np.all(self.execute(cond, values)[0])):
                values = self.execute(body, values)
            results = values
        elif step.kind == "if":
            branch = step.targets[0 if bool(np.all(arguments[0])) else 1]
            results = self.execute(branch, arguments[1:])
        elif step.kind == "case":
            chosen = int(np.asarray(arguments[0]).reshape(-1)[0])
            last = len(step.targets) - 1
            results = self.execute(
                step.targets[chosen if 0 <= chosen <= last else last], arguments[1:]
            )
        elif step.kind == "once":
            if step.targets[0] not in self.initialised:
                self.initialised.add(step.targets[0])
                self.execute(step.targets[0], [])
            results = []
        else:
            results = self.execute(step.targets[0], arguments)
        env.update(zip(step.outputs, results))
        for watch in step.watch:
            if env.get(watch.tensor) is not None:
                self.observe(watch, env[watch.tensor])

    def observe(self, watch: Watch, values: np.ndarray) -> None:
        """Take in one tensor: `values` is float32 of any shape, perhaps the runtime's memory."""
        values = np.asarray(values)
        if not values.size:
            return
        found = self.found
        if watch.key not in found.shapes:
            found.shapes[watch.key] = values.shape
        flat = values.reshape(-1)
        lo, hi = extremes(flat)
        if not (lo >= -3.4028234663852886e38 and hi <= 3.4028234663852886e38):
            flat, lo, hi = self.nonfinite(watch, flat)
            if not flat.size:
                return
            values = np.where(np.isfinite(values), values, np.float32(0))
        self.multiplied(watch, values)
        if self.observer.ordered:
            old = self.sample.get(watch.key)
            if old is None:
                self.sample[watch.key] = [lo, hi, flat.size]
            else:
                old[:] = min(old[0], lo), max(old[1], hi), old[2] + flat.size
            return
        state = found.states.get(watch.key)
        if state is None:
            state = found.states[watch.key] = self.observer.start()
        state.update(flat, lo, hi)

    def multiplied(self, watch: Watch, values: np.ndarray) -> None:
        """Take in one tensor as the input of linear operators."""
        for linear in self.setting.linear.get(watch.key, ()):
            moments = self.found.moments.get(linear.key)
            if moments is None:
                moments = Moments.start(linear.groups, linear.size, self.setting.moments or "mean")
                self.found.moments[linear.key] = moments
            moments.update(linear.columns(values))

    def nonfinite(self, watch: Watch, flat: np.ndarray) -> tuple[np.ndarray, float, float]:
        """What to do with a tensor that holds NaN or infinity: say so, or leave them out."""
        rule = self.setting.nonfinite
        if rule == "error":
            bad = ~np.isfinite(flat)
            kind = "NaN" if np.isnan(flat[bad]).any() else "infinity"
            source = f"written by {watch.maker}" if watch.maker else "an input"
            where = f" of subgraph {watch.key.subgraph}" if watch.key.subgraph else ""
            raise BadSample(
                f"sample {self.number}: tensor {watch.name!r}{where} ({source}) holds {kind} in "
                f"{np.count_nonzero(bad)} of {flat.size} values; mend the sample or the model, or "
                "leave such values out with nonfinite='skip'"
            )
        good = ~np.isnan(flat) if rule == "tflite" else np.isfinite(flat)
        kept = flat[good]
        if kept.size < flat.size:
            skipped = self.found.skipped
            skipped[watch.key] = skipped.get(watch.key, 0) + flat.size - kept.size
        return (kept, *extremes(kept)) if kept.size else (kept, 0.0, 0.0)


def _poisoned(values: np.ndarray) -> bool:
    """Whether the whole tensor still holds the mark (ends first, to be quick)."""
    bits = values.reshape(-1).view(np.uint32)
    return bool(bits[0] == POISON and bits[-1] == POISON and (bits == POISON).all())


class Collector:
    """The workers, and the one place where what they found comes together."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.observer: Observer = setting.observer
        self.workers = [Worker(setting, self.observer)]
        self.ordered = Found()
        self.waiting: dict[int, dict[TensorKey, list[float]]] = {}
        self.next = setting.first
        self.done = 0
        self.lock = threading.Lock()
        self.failures: dict[int, BaseException] = {}

    def fixed(self, number: int) -> None:
        """Observe the tensors made of constants alone, once, by the plain kernels: XNNPACK may keep
        such a tensor to itself."""
        s = self.setting
        if not s.fixed:
            return
        session = Session(s.fixed_file, s.runtime, "optimized", s.kernel_threads, keep=True)
        worker = self.workers[0]
        worker.number, worker.sample = number, {}
        for step in s.fixed:
            session.prepare(step.subgraph, (), ())
            session.invoke(step.subgraph)
            for watch in step.watch:
                worker.observe(watch, session.view(step.subgraph, watch.tensor))
        for key, (lo, hi, count) in worker.sample.items():
            state = self.ordered.states.setdefault(key, self.observer.start())
            state.append(lo, hi, int(count))

    def finished(self, number: int, worker: Worker) -> None:
        """A sample is done: count it; ordered observers take it in when its turn comes."""
        with self.lock:
            self.done += 1
            if not self.observer.ordered:
                return
            self.waiting[number] = worker.sample
            while self.next in self.waiting:
                for key, (lo, hi, count) in self.waiting.pop(self.next).items():
                    state = self.ordered.states.get(key)
                    if state is None:
                        state = self.ordered.states[key] = self.observer.start()
                    state.append(lo, hi, int(count))
                self.next += 1

    def feed(self, items: Iterable[Any]) -> Iterator[int]:
        """Run the samples; yields now and then how many are done."""
        if self.setting.workers == 1:
            yield from self._feed_one(items)
            return
        work: queue.Queue[Any] = queue.Queue(maxsize=1)
        stop = threading.Event()
        threads: list[threading.Thread] = []

        def loop(worker: Worker) -> None:
            while (item := work.get()) is not None:
                if stop.is_set():
                    continue
                try:
                    worker.run(*item)
                    self.finished(item[0], worker)
                except BaseException as error:
                    self.failures[item[0]] = error
                    stop.set()

        def start() -> None:
            if len(self.workers) <= len(threads):
                self.workers.append(Worker(self.setting, self.observer))
            worker = self.workers[len(threads)]
            threads.append(threading.Thread(target=loop, args=(worker,), daemon=True))
            threads[-1].start()

        start()
        last = time.monotonic()
        waits = 0
        try:
            for item in items:
                # One more worker, with its memory, only when samples come faster than they run.
                waits = waits + 1 if work.full() else max(0, waits - 1)
                if waits >= PATIENCE and len(threads) < self.setting.workers:
                    waits = 0
                    start()
                work.put(item)
                if stop.is_set():
                    break
                if time.monotonic() - last > REPORT_SECONDS:
                    last = time.monotonic()
                    yield self.done
        finally:
            for _ in threads:
                work.put(None)
            for thread in threads:
                thread.join()
        if self.failures:
            # Samples are handed out in order, so the first bad one is always among these.
            raise self.failures[min(self.failures)]
        yield self.done

    def _feed_one(self, items: Iterable[Any]) -> Iterator[int]:
        worker = self.workers[0]
        last = time.monotonic()
        for item in items:
            worker.run(*item)
            self.finished(item[0], worker)
            if time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                yield self.done
        yield self.done

    def result(self) -> Found:
        """Everything that was found, merged."""
        return merged((self.ordered, *(w.found for w in self.workers)))


_collector: Collector | None = None


def command(name: str, *args: Any) -> Any:
    """ "open" setting; "probe" sample -> None or why not; "feed" samples; "result"; "version"."""
    global _collector
    if name == "open":
        _collector = Collector(*args)
        return None
    assert _collector is not None
    if name == "probe":
        return _probe(_collector, *args)
    if name == "feed":
        return _collector.feed(*args)
    if name == "version":
        return _version(_collector.setting.runtime)
    return _collector.result()


def _probe(collector: Collector, item: Any) -> str | None:
    """Run the first sample. What stands in the way of this path, None if nothing does."""
    worker = collector.workers[0]
    try:
        worker.run(*item)
    except BadSample:
        raise
    except QcoreError as error:
        return str(error)
    collector.finished(item[0], worker)
    collector.fixed(item[0])
    return None


def _version(runtime: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version({"litert": "ai-edge-litert"}.get(runtime, runtime))
    except PackageNotFoundError:
        return "unknown"
