"""The official interpreter one sample at a time: every tensor of it, or how long it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from qcore.errors import RuntimeFailed
from qcore.peers.interpreter import Session, as_file, check_choice

WARM = 2  # runs before the clock counts


class Stepper:
    """An interpreter in a child process, asked whenever a sample is there.

    Its states stay from one sample to the next. Close it, or use it in a `with` statement.
    """

    def __init__(
        self, model: Any, runtime: str = "litert", path: str = "xnnpack",
        *, keep: bool = True, time_limit: float | None = None,
    ) -> None:  # fmt: skip
        """keep: all tensors are kept, and may be asked for; else only outputs."""
        from qcore.peers.child import Child

        check_choice(runtime, path)
        with ExitStack() as stack:
            file = stack.enter_context(as_file(model))
            self._child = stack.enter_context(
                Child(
                    "qcore.peers.steps:_command", what=f"{runtime} ({path})", time_limit=time_limit
                )
            )
            self._child.call("open", file, runtime, path, keep)
            self._stack = stack.pop_all()

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self, subgraph: int, given: Mapping[int, np.ndarray], wanted: Sequence[int] | None = None
    ) -> dict[int, np.ndarray]:
        """Tensor -> values after one invocation with these inputs, as the model stores them.

        wanted: None for every tensor of the subgraph that has memory. Raises RuntimeFailed.
        """
        found: dict[int, np.ndarray] = self._child.call("run", subgraph, dict(given), wanted)
        return found

    def close(self) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Timing:
    """ms: median of `runs` invocations, one thread.  delegated: operators of the subgraph that
    XNNPACK computes, None on other paths and where it is not subgraph 0."""

    ms: float
    runs: int
    delegated: int | None


class Timer:
    """Times models in an interpreter in a child process; one process, until one is crashed by a
    model. Close it, or use it in a `with` statement."""

    def __init__(self, runtime: str = "litert", *, time_limit: float | None = 120.0) -> None:
        check_choice(runtime, "reference")
        self.runtime, self.time_limit = runtime, time_limit
        self._child: Any = None

    def __enter__(self) -> Timer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def time(
        self, file: str, subgraph: int, given: Mapping[int, np.ndarray], path: str = "xnnpack",
        *, seconds: float = 0.3, most: int = 50,
    ) -> Timing:  # fmt: skip
        """How long one sample takes. file: the .tflite.  given: inputs as it stores them.
        seconds, most: runs until one of the two is reached, 3 at least.

        Raises RuntimeFailed where the interpreter refuses or crashes, MissingExtra.
        """
        from qcore.peers.child import Child

        check_choice(self.runtime, path)
        if self._child is None or not self._child.alive:
            self._child = Child(
                "qcore.peers.steps:_time", what=f"{self.runtime} ({path})",
                time_limit=self.time_limit,
            )  # fmt: skip
        work = file, subgraph, dict(given), self.runtime, path, seconds, most
        return Timing(*self._child.call(*work))


# --- in the child ---------------------------------------------------------------------------------

_open: dict[str, Session] = {}  # between the calls


def _command(what: str, *arguments: Any) -> Any:
    if what == "open":
        file, runtime, path, keep = arguments
        _open["session"] = Session(file, runtime, path, 1, keep)
        return None
    subgraph, given, wanted = arguments
    session = _open["session"]
    _invoke(session, subgraph, given)
    if wanted is None:
        return session.tensors(subgraph)
    try:
        return {t: session.copy(subgraph, t) for t in wanted}
    except (RuntimeError, ValueError) as error:
        raise RuntimeFailed(f"the interpreter shows no values: {error}") from None


def _invoke(session: Session, subgraph: int, given: Mapping[int, np.ndarray]) -> None:
    tensors, arrays = list(given), list(given.values())
    try:
        session.prepare(subgraph, tensors, arrays)
        session.feed(subgraph, tensors, arrays)
        session.invoke(subgraph)
    except (RuntimeError, ValueError) as error:
        raise RuntimeFailed(f"the interpreter refused: {' '.join(str(error).split())}") from None


def _time(
    file: str, subgraph: int, given: Mapping[int, np.ndarray], runtime: str, path: str,
    seconds: float, most: int,
) -> tuple[float, int, int | None]:  # fmt: skip
    session = Session(file, runtime, path, 1, keep=False)
    for _ in range(WARM):
        _invoke(session, subgraph, given)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < 3 or (len(taken) < most and time.perf_counter() < until):
        start = time.perf_counter()
        session.invoke(subgraph)
        taken.append(time.perf_counter() - start)
    delegated = None
    if subgraph == 0 and path == "xnnpack":
        del session
        # What a node of the delegate holds is not all told; where tensors are kept, it is one.
        try:
            shown = Session(file, runtime, path, 1, keep=True)
            shown.prepare(subgraph, list(given), list(given.values()))
            delegated = len(shown.delegated())
        except (RuntimeError, ValueError):
            pass  # it did run: only this is not known
    return 1e3 * statistics.median(taken), len(taken), delegated
