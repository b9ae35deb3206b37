"""What runs in a child process: frames in, one function call at a time, frames out.

Started by `qcore.peers.child`, which calls `main` with READ, WRITE and LIFE, three inherited file
descriptors. A frame is

    uint64 pickle length | uint64 number of buffers | uint64 length of each buffer | the bytes

in little-endian order; the pickle is protocol 5 and the buffers are its out-of-band data, so that
arrays travel without being copied into the pickle. Standard output and error stay free for what
the runtimes print. LIFE is never written to: it closes when the parent is gone, whatever ended it.
"""

from __future__ import annotations

import fcntl
import importlib
import inspect
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

WORD = struct.Struct("<Q")
PIPE_BYTES = 1 << 20  # a whole 224 x 224 x 3 float32 sample fits, so that preparing it overlaps
IOV_MAX = 512  # POSIX promises 16, Linux and macOS allow 1024


class Items:
    """Stands, among the arguments of a call, for the iterator over what the parent sends."""


def encode(message: Any) -> list[memoryview]:
    """A frame as the pieces to write, the arrays' own memory among them."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    raws = [b.raw() for b in buffers]
    head = [len(body), len(raws), *(r.nbytes for r in raws)]
    pieces = [memoryview(b"".join(WORD.pack(n) for n in head)), memoryview(body), *raws]
    return [p for p in pieces if p.nbytes]


def write_frame(fd: int, message: Any, wait: Callable[[], None] | None = None) -> None:
    """Write one frame; `wait` is called when a non-blocking `fd` takes no more just now."""
    pieces = encode(message)
    while pieces:
        try:
            sent = os.writev(fd, pieces[:IOV_MAX])
        except BlockingIOError:
            if wait is None:
                raise
            wait()
            continue
        while pieces and sent >= pieces[0].nbytes:
            sent -= pieces.pop(0).nbytes
        if sent:
            pieces[0] = pieces[0][sent:]


def _exactly(fd: int, size: int) -> bytearray:
    """`size` bytes; EOFError when the other end closed before that."""
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        got = os.readv(fd, [view[done:]])
        if not got:
            raise EOFError
        done += got
    return data


def read_frame(fd: int) -> Any:
    """The next message. Raises EOFError when the other end closed."""
    body_size, count = struct.unpack("<QQ", _exactly(fd, 16))
    sizes = struct.unpack(f"<{count}Q", _exactly(fd, 8 * count))
    body = _exactly(fd, body_size)
    return pickle.loads(body, buffers=[_exactly(fd, n) for n in sizes])


def enlarge(fd: int) -> None:
    """Ask for a pipe of PIPE_BYTES where the system has the call; the default serves too."""
    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE_BYTES)
    except OSError:
        pass


def resolve(target: str) -> Callable[..., Any]:
    """The function that "package.module:function" names."""
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _die_with_parent(life: int) -> None:
    """End this process, even inside native code that holds the interpreter lock, with the parent.

    The kernel is asked to send SIGKILL when `life` changes state (F_SETSIG, Linux); a thread that
    waits for its end does the same elsewhere.
    """
    try:
        fcntl.fcntl(life, 10, signal.SIGKILL)  # F_SETSIG
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    except (OSError, AttributeError, ValueError):
        pass

    def wait() -> None:
        try:
            os.read(life, 1)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="life", daemon=True).start()


def _limit_memory(size: int | None) -> None:
    """Address-space limit in bytes; only where the parent cannot watch the resident size."""
    if size is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain values: what it was, what it said, where."""
    kind = type(error)
    return {
        "module": kind.__module__,
        "name": kind.__qualname__,
        "text": str(error),
        "trace": "".join(traceback.format_exception(kind, error, error.__traceback__)),
    }


def _items(fd: int) -> Iterator[Any]:
    while True:
        kind, value = read_frame(fd)
        if kind == "end":
            return
        yield value


def _drain(items: Iterator[Any]) -> None:
    """Read what is left of the samples, so that the next frame is a call again."""
    for _ in items:
        pass


def serve(read_fd: int, write_fd: int) -> None:
    """Answer calls until the parent closes its end."""
    while True:
        try:
            _, target, args, kwargs = read_frame(read_fd)
        except EOFError:
            return
        items = None
        if any(isinstance(a, Items) for a in (*args, *kwargs.values())):
            items = _items(read_fd)
            args = [items if isinstance(a, Items) else a for a in args]
            kwargs = {k: items if isinstance(v, Items) else v for k, v in kwargs.items()}
        try:
            result = resolve(target)(*args, **kwargs)
            if inspect.isgenerator(result):
                result = _send_all(result, write_fd)
            answer = ("return", result)
        except EOFError:
            return
        except Exception as error:
            answer = ("error", describe(error))
        sys.stdout.flush()
        try:
            write_frame(write_fd, answer)
            if items is not None:
                _drain(items)
        except (BrokenPipeError, EOFError):
            return


def _send_all(generator: Any, write_fd: int) -> Any:
    """Send each value as it comes; the generator's return value is the call's."""
    while True:
        try:
            value = next(generator)
        except StopIteration as stop:
            return stop.value
        write_frame(write_fd, ("yield", value))


def main(argv: Sequence[str] | None = None) -> None:
    """Entry of the child process."""
    import faulthandler

    read_fd, write_fd, life = (int(a) for a in (argv or sys.argv[1:4]))
    for fd in (read_fd, write_fd, life):
        os.set_inheritable(fd, False)  # what we start ourselves must not keep the pipes open
    _die_with_parent(life)
    faulthandler.enable()
    enlarge(write_fd)
    hello = read_frame(read_fd)
    sys.path[:] = hello["path"]
    _limit_memory(hello["address_space"])
    serve(read_fd, write_fd)
    # Runtimes that crash while they are torn down have given their answer already.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
