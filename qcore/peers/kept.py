"""Samples that a quantizer reads more than once, kept in a temporary file; for a child process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

ALIGN = 64


class Kept:
    """Samples read once and given again as often as asked, one at a time or all at once.

    items: pairs of a signature and a dict of name -> array. Arrays of numbers come back as views of
    the mapped file, so that memory does not grow with their number; strings stay in memory.
    """

    def __init__(self, items: Iterable[tuple[str | None, dict[str, np.ndarray]]]):
        self._samples: list[tuple[str | None, dict[str, Any]]] = []
        self._file = tempfile.TemporaryFile(prefix="qcore-")
        for signature, arrays in items:
            self._samples.append((signature, {n: self._store(a) for n, a in arrays.items()}))
        self._file.flush()
        self._bytes: np.ndarray = np.zeros(0, np.uint8)
        if self._file.tell():
            self._bytes = np.memmap(self._file, np.uint8, "r")

    def _store(self, array: np.ndarray) -> Any:
        if array.dtype.hasobject or not array.size:
            return array
        start = -(-self._file.tell() // ALIGN) * ALIGN
        self._file.seek(start)
        self._file.write(np.ascontiguousarray(array).data)
        return start, array.dtype, array.shape

    def _view(self, stored: Any) -> np.ndarray:
        if isinstance(stored, np.ndarray):
            return stored
        start, dtype, shape = stored
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._bytes[start : start + size].view(dtype).reshape(shape)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[tuple[str | None, dict[str, np.ndarray]]]:
        for signature, arrays in self._samples:
            yield signature, {name: self._view(stored) for name, stored in arrays.items()}

    def of(self, signature: str | None) -> list[dict[str, np.ndarray]]:
        """The samples of one signature, as views."""
        return [arrays for name, arrays in self if name == signature]

    def signatures(self) -> list[str | None]:
        """Signatures that have samples, in the order of their first."""
        return list(dict.fromkeys(name for name, _ in self._samples))
