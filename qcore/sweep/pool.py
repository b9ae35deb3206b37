"""Trials over executors: processes here, a Dask cluster, or any `concurrent.futures.Executor`.

Only as many trials are handed out as keep everybody busy, so that an interrupt, or another process
on the same folder, finds little under way.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import Any

from kernels.threads import cores
from qcore.calibrate.shards import workers
from qcore.errors import BadInput, MissingExtra, QcoreError, RuntimeFailed
from qcore.sweep.trial import Trial, run

AHEAD = 2  # trials a worker that are handed out: one under way, one waiting
GRACE_SECONDS = 3.0  # from asking a worker to end to ending it
ALONE = "its process died ({0}), also when it ran alone; a trial that takes too much memory does so"

Result = tuple[Trial, "dict[str, Any] | None", str]


class Processes:
    """A pool of fresh processes (spawned) that end with us, however we end.

    An executor that can be made anew when one of its processes died. Ctrl-C reaches us alone.
    """

    def __init__(self, jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise BadInput(f"jobs is {jobs}; give at least 1")
        self.jobs = jobs or cores()
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, trial: Trial) -> Future[Any]:
        """Start a trial."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.jobs, context, _begin)
        # Processes start in here; they inherit what is blocked, and the terminal's Ctrl-C is ours.
        with _blocked(signal.SIGINT, signal.SIGHUP):
            return self._pool.submit(_guarded, trial)

    def renew(self) -> None:
        """Forget the pool after one of its processes died."""
        self.close()

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())
        for process in processes:
            process.terminate()
        until = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        # Its thread ends as they have, and lets go of semaphores, which are told of when they leak.
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _blocked(*signals: signal.Signals) -> Iterator[None]:
    """Signals that come meanwhile are delivered afterwards. Only the main thread gets any."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_busy = False


def _begin() -> None:
    """In a new process: end when asked to, and when the parent is gone."""
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch, daemon=True).start()


def _stop(*_: Any) -> None:
    if not _busy:
        os._exit(130)
    raise KeyboardInterrupt  # children and temporary files of the trial are cleaned up on the way


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(130)


def _guarded(trial: Trial) -> dict[str, Any]:
    """A trial in a process of ours."""
    global _busy
    try:
        _busy = True
        return run(trial)
    except KeyboardInterrupt:
        gc.collect()
        os._exit(130)
    finally:
        _busy = False


def over(
    trials: Sequence[Trial], pool: Processes | Executor, done: Callable[[Trial], bool]
) -> Iterator[Result]:
    """(trial, comparison as JSON, "") or (trial, None, error), as they finish.

    done: asked again before a trial is handed out; what another process did meanwhile is left out.
    Raises RuntimeFailed when an executor that is not ours breaks.
    """
    waiting, alone = deque(trials), deque[Trial]()
    open_: dict[Future[Any], Trial] = {}
    width = AHEAD * _workers(pool)
    try:
        while waiting or alone or open_:
            # Who was under way when a process died runs alone, so that the guilty one is known.
            queue, most = (alone, 1) if alone else (waiting, width)
            while queue and len(open_) < most:
                trial = queue.popleft()
                if done(trial):
                    yield trial, None, ""
                    continue
                try:
                    open_[_submit(pool, trial)] = trial
                except BrokenExecutor as error:
                    queue.appendleft(trial)
                    _renew(pool, error)
            if not open_:
                continue
            finished, _ = wait(open_, return_when=FIRST_COMPLETED)
            broken: BaseException | None = None
            for future in finished:
                trial = open_.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError) as error:
                    if isinstance(pool, Processes) and most == 1:
                        yield trial, None, ALONE.format(_said(error))
                    else:
                        alone.append(trial)
                    broken = error
                except QcoreError as error:
                    yield trial, None, str(error)
                except Exception as error:
                    yield trial, None, _said(error)
                else:
                    yield trial, result, ""
            if broken is not None:
                alone.extend(open_.values())
                open_.clear()
                _renew(pool, broken)
    finally:
        for future in open_:
            future.cancel()


def _submit(pool: Processes | Executor, trial: Trial) -> Future[Any]:
    return pool.submit(trial) if isinstance(pool, Processes) else pool.submit(run, trial)


def _renew(pool: Processes | Executor, error: BaseException) -> None:
    if not isinstance(pool, Processes):
        raise RuntimeFailed(
            f"the executor gave up ({_said(error)}); start it again and run the same sweep, which "
            "goes on where it was"
        ) from error
    pool.renew()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _workers(pool: Processes | Executor) -> int:
    return pool.jobs if isinstance(pool, Processes) else workers(pool)


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The executor of a Dask cluster. Raises MissingExtra, and BadInput where nobody answers."""
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtra(
            "a Dask scheduler needs the package distributed; install it with: "
            "pip install 'tflite-qcore[dask]'"
        ) from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no Dask scheduler answers at {address} ({_said(error)}); check the address"
        ) from None
    with client:
        # A trial that is lost with its worker goes to another by itself; retries are of errors.
        executor = client.get_executor(pure=False, retries=0)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)
