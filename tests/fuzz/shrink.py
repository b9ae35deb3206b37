"""An input made small: runs of bytes are cut out, then set to zero, while it still fails alike."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("tflite_schema", "kernels", "qcore", "tests"))


def kind(error: BaseException) -> str:
    """What failed and where: the class of an error, the last line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(OURS)]
    place = f" at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}"


def smaller(data: bytes, fails: Callable[[bytes], bool], seconds: float = 60) -> bytes:
    """The smallest input that is found in the time; `fails` holds for data itself."""
    end = time.monotonic() + seconds
    before = None
    while before != data and time.monotonic() < end:
        before = data
        for fill in (False, True):
            size = max(1, len(data) // 2)
            while size:
                data = _pass(data, size, fill, fails, end)
                size //= 2
    return data


def _pass(data: bytes, size: int, fill: bool, fails: Callable[[bytes], bool], end: float) -> bytes:
    """Try every run of `size` bytes, from the last to the first."""
    at = (len(data) - 1) // size * size if data else -1
    while at >= 0 and time.monotonic() < end:
        run = data[at : at + size]
        tried = data[:at] + (bytes(len(run)) if fill else b"") + data[at + size :]
        if tried != data and fails(tried):
            data = tried
        at -= size
    return data
