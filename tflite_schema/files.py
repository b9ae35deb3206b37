"""Writing a file so that a reader finds the old one or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable


def replace(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> None:
    """Replace the file at `path` (where a link leads, if it is one) by the bytes of `pieces`.

    They are produced while they are written, to a file beside it that is then moved there; a file
    that was there keeps its permissions. A device or pipe is written to. Raises OSError, with
    `path` as its filename, if the system refuses, and whatever `pieces` raises; the old file is
    unchanged then.
    """
    place = os.path.realpath(path)
    try:
        _replace(place, pieces)
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)  # the one that means something to whoever gave it
        raise


def _replace(path: str, pieces: Iterable[bytes | memoryview]) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):  # a device or pipe cannot be replaced
        with open(path, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
        return
    folder, name = os.path.split(path)
    # O_EXCL and 0o666: a new file, with the permissions that the process's umask asks for.
    temporary = os.path.join(folder, f".{name[:40]}.{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with open(descriptor, "wb", buffering=0) as raw:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[raw.write(view) :]
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(raw.fileno(), stat.S_IMODE(mode))
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
