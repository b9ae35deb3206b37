"""A function run in a child process that may crash, hang or fill the memory without harm to us.

    with Child("qcore.peers.tflite:convert", what="TFLite's converter") as child:
        data = child.call(model_bytes)
        for outputs in child.stream(model_bytes, Items(), items=samples): ...

The process is a fresh interpreter (no fork, no multiprocessing), so a user's script needs no
`if __name__ == "__main__"` guard and no state of ours leaks into it. One process answers any number
of calls, one at a time. Whatever ends it early is a `RuntimeFailed` with the signal and the last
lines that it printed; the process is killed when a call is interrupted (Ctrl-C included), when the
`Child` is closed or forgotten, and when the parent dies. POSIX only.
"""

from __future__ import annotations

import importlib
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qcore.errors import QcoreError, RuntimeFailed
from qcore.peers.worker import Items, enlarge, read_frame, write_frame

__all__ = ["Child", "Items", "call"]

TAIL_BYTES = 1 << 16  # how much of what the child printed is kept
WATCH_SECONDS = 0.05
GRACE_SECONDS = 5.0  # from the end of the pipe to the end of the process
# As `python -m` would, but without the working folder, whose files are not for us to import.
WORKER = "import sys; sys.path.remove(''); from qcore.peers import worker; worker.main()"
# What TensorFlow logs of its start, which says nothing about its end.
_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages|INFO: ")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _resident(pid: int) -> int | None:
    """Resident bytes of a process, None where /proc does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return None


class _Raised(Exception):
    """The traceback, as text, of what was raised in the child; the cause of what is raised here."""


class _Tail:
    """The last TAIL_BYTES that a process printed, read by a thread of its own."""

    def __init__(self, fd: int):
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._thread = threading.Thread(target=self._read, args=(fd,), daemon=True)
        self._thread.start()

    def _read(self, fd: int) -> None:
        with open(fd, "rb", buffering=0) as stream:
            while chunk := stream.read(1 << 13):
                self._chunks.append(chunk)
                self._size += len(chunk)
                while self._size - len(self._chunks[0]) > TAIL_BYTES:
                    self._size -= len(self._chunks.popleft())

    def text(self, wait: float = 0.0) -> str:
        self._thread.join(wait)
        return b"".join(list(self._chunks)).decode(errors="replace")


def last_words(text: str) -> str:
    """The last line of `text` that a runtime, not Python's crash handler, printed."""
    before = text.split("Fatal Python error:")[0]
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    lines = [line for line in lines if not _CHATTER.match(line)]
    return lines[-1][-400:] if lines else ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes], fds: list[int]) -> None:
    """Close our ends of the pipes and make sure that the process is gone. Safe to call twice."""
    while fds:
        os.close(fds.pop())
    if process.poll() is None:
        process.kill()
    process.wait()


class Child:
    """A process that runs `target` ("package.module:function") for `call` and `stream`.

    what: the name used in messages.  time_limit: seconds for each answer (a value of a stream, or
    the end of a call).  memory_limit: resident bytes (address space where /proc is missing).
    env: environment variables to add.
    """

    def __init__(
        self,
        target: str,
        *,
        what: str | None = None,
        time_limit: float | None = None,
        memory_limit: int | None = None,
        env: dict[str, str] | None = None,
    ):
        self.target = target
        self.what = what or target
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self.peak_memory = 0  # largest resident size seen, bytes; only watched under a limit
        self._killed_for: str | None = None
        self._busy = False

        ends: list[int] = []  # of the pipes, until somebody else sees to their being closed
        try:
            self._start(ends, env or {}, memory_limit)
        except BaseException:
            # An interrupt may come before the process is known; it ends when its pipes do.
            for fd in ends:
                os.close(fd)
            if hasattr(self, "_finish"):
                self.close()
            raise

    def _start(self, ends: list[int], env: dict[str, str], memory_limit: int | None) -> None:
        def pipe() -> tuple[int, int]:
            made = os.pipe()
            ends.extend(made)
            return made

        request_read, request_write = pipe()
        answer_read, answer_write = pipe()
        life_read, life_write = pipe()
        printed_read, printed_write = pipe()
        enlarge(request_write)
        root = str(Path(__file__).resolve().parents[2])
        old = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "PYTHONPATH": root + (os.pathsep + old if old else ""),
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        fds = (request_read, answer_write, life_read)
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, fds)],
            stdin=subprocess.DEVNULL,
            stdout=printed_write,
            stderr=printed_write,
            pass_fds=fds,
            env=environment,
            # Ctrl-C on the terminal reaches us alone; we then end the child.
            start_new_session=True,
        )
        self._finish = weakref.finalize(self, _end, self._process, [request_write, life_write])
        for fd in (request_write, life_write):
            ends.remove(fd)
        for fd in (*fds, printed_write):
            ends.remove(fd)
            os.close(fd)
        os.set_blocking(request_write, False)
        self._write_fd = request_write
        ends.remove(printed_read)
        self._tail = _Tail(printed_read)
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        ends.remove(answer_read)
        reader = threading.Thread(
            target=_receive, args=(answer_read, self._answers), name="answers", daemon=True
        )
        reader.start()
        watchable = _resident(self._process.pid) is not None
        if memory_limit is not None and watchable:
            threading.Thread(target=_watch, args=(weakref.ref(self),), daemon=True).start()
        hello = {"path": sys.path, "address_space": None if watchable else memory_limit}
        self._send(hello, None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._finish()

    def printed(self) -> str:
        """The last of what it wrote to standard output and error."""
        return self._tail.text()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the target returns. A generator's values are read and dropped."""
        stream = self.stream(*args, **kwargs)
        while True:
            try:
                next(stream)
            except StopIteration as stop:
                return stop.value

    def stream(
        self,
        *args: Any,
        items: Iterable[Any] | None = None,
        ahead: int | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """The values that the target, a generator, yields; its return value is the iterator's.

        items: sent one after another, each once, while the child works; an argument `Items()`
        stands for them. The pipe holds about a megabyte, and the sender then waits for the child.
        ahead: at most so many items are sent more than values were received (for targets that
        yield one value for each item); None leaves it to the pipe.
        """
        if self._busy:
            raise RuntimeError(f"{self.what} is busy with another call")
        self._busy = True
        done = False
        try:
            self._send(("call", self.target, args, kwargs))
            sent = received = 0
            for item in () if items is None else items:
                while ahead is not None and sent - received >= ahead:
                    kind, value = self._answer()
                    if kind != "yield":
                        done = True
                        return self._result(kind, value)
                    received += 1
                    yield value
                self._send(("item", item))
                sent += 1
                while not self._answers.empty():
                    kind, value = self._answer()
                    if kind != "yield":
                        # It needs no more: a result, or an error that makes the rest pointless.
                        self._send(("end", None))
                        done = True
                        return self._result(kind, value)
                    received += 1
                    yield value
            if items is not None:
                self._send(("end", None))
            while True:
                kind, value = self._answer()
                if kind != "yield":
                    done = True
                    return self._result(kind, value)
                yield value
        finally:
            self._busy = False
            if not done:
                self.close()

    def _result(self, kind: str, value: Any) -> Any:
        if kind == "return":
            return value
        found = None
        if value["module"].startswith("qcore."):
            found = getattr(importlib.import_module(value["module"]), value["name"], None)
        if isinstance(found, type) and issubclass(found, QcoreError):
            error: QcoreError = found(value["text"])
        else:
            text = value["text"].strip() or value["name"]
            error = RuntimeFailed(f"{self.what} refused: {text}")
        if isinstance(error, RuntimeFailed):
            error.printed = self._tail.text()
        raise error from _Raised(value["trace"])

    def _send(self, message: Any, limit: float | None = -1.0) -> None:
        """Write a frame, noticing a child that has died or takes too long to read it."""
        limit = self.time_limit if limit is not None and limit < 0 else limit
        until = None if limit is None else time.monotonic() + limit
        if not self._finish.alive:
            raise self._failure()

        def wait() -> None:
            select.select([], [self._write_fd], [], WATCH_SECONDS)
            if self._process.poll() is not None:
                raise BrokenPipeError
            # Answers that came in the meantime show that it is alive.
            if until is not None and time.monotonic() > until and self._answers.empty():
                raise self._too_slow(limit)

        try:
            write_frame(self._write_fd, message, wait)
        except BrokenPipeError:
            raise self._failure() from None

    def _answer(self) -> tuple[str, Any]:
        """The next message of the child."""
        try:
            kind, value = self._answers.get(timeout=self.time_limit)
        except queue.Empty:
            raise self._too_slow(self.time_limit) from None
        if kind == "gone":
            raise self._failure()
        return kind, value

    def _too_slow(self, limit: float | None) -> RuntimeFailed:
        self._process.kill()
        self._process.wait()
        printed = self._tail.text(1.0)
        said = last_words(printed)
        return RuntimeFailed(
            f"{self.what} gave no answer within {limit:g} s and was ended"
            + (f" (it last said: {said})" if said else "")
            + "; raise the time limit or give it less to do",
            printed=printed,
            signal=signal.SIGKILL,
        )

    def _failure(self) -> RuntimeFailed:
        """Why the process is gone."""
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        printed = self._tail.text(1.0)
        said = last_words(printed)
        if self._killed_for:
            message = self._killed_for
        elif code < 0:
            message = f"{self.what} crashed ({_name(-code)})"
        else:
            message = f"{self.what} ended early (exit code {code})"
        if said:
            message += f"; it last said: {said}"
        self._finish()
        return RuntimeFailed(
            message, printed=printed, signal=signal.Signals(-code) if code < 0 else None
        )


def _receive(fd: int, answers: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Move answers from the pipe to the queue, so that the child never waits for us to read."""
    try:
        while True:
            answers.put(read_frame(fd))
    except (EOFError, OSError):
        answers.put(("gone", None))
    finally:
        os.close(fd)


def _watch(child_ref: weakref.ref[Child]) -> None:
    """Kill the process when it grows beyond the limit."""
    while True:
        child = child_ref()
        if child is None or not child.alive:
            return
        size = _resident(child.pid) or 0
        child.peak_memory = max(child.peak_memory, size)
        if child.memory_limit is not None and size > child.memory_limit:
            child._killed_for = (
                f"{child.what} needed more than the {child.memory_limit / 1e6:.0f} MB it may use"
            )
            child._process.kill()
            return
        del child
        time.sleep(WATCH_SECONDS)


def call(
    target: str,
    *args: Any,
    what: str | None = None,
    time_limit: float | None = None,
    memory_limit: int | None = None,
    env: dict[str, str] | None = None,
    **kwargs: Any,
) -> Any:
    """One call in a process of its own: what `target` returns, or what it raised."""
    with Child(
        target, what=what, time_limit=time_limit, memory_limit=memory_limit, env=env
    ) as child:
        return child.call(*args, **kwargs)
