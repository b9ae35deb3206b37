"""Compiled when first called: `@jit` on the loops of a `fast` kernel.

    @jit
    def _rows(x, w, out): ...

Importing an operator's file stays cheap: numba is loaded by the first call. A jitted function may
call other jitted functions that its module imports by name (`from kernels.scalar import dbl`, not
`scalar.dbl`). Machine code is kept on disk, in a folder named after the function's own code and
that of everything it calls, so that a changed helper is never taken from an old cache.
"""

from __future__ import annotations

import dis
import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakSet

from kernels import notice

try:
    import fcntl
except ImportError:  # no locks: the last writer wins
    fcntl = None  # type: ignore[assignment]

MARK = b"qcore"  # between machine code and its digest
FLAGS = {"nogil": True, "error_model": "numpy"}


def cache_folder() -> Path:
    """Where machine code is kept: $QCORE_CACHE, else tflite-qcore in the user's cache folder."""
    given = os.environ.get("QCORE_CACHE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tflite-qcore"


class Jitted:
    """A function that numba compiles for the types of its arguments, on the first call."""

    def __init__(self, function: FunctionType, **flags: Any):
        self.function = function
        self.flags = {**FLAGS, **flags}
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return self.dispatcher(*args)

    @cached_property
    def calls(self) -> dict[str, Any]:
        """The globals that the code names, in order of name."""
        scope = self.function.__globals__
        used = {
            step.argval
            for code in _codes(self.function.__code__)
            for step in dis.get_instructions(code)
            if step.opname == "LOAD_GLOBAL"
        }
        return {name: scope[name] for name in sorted(used) if name in scope}

    @cached_property
    def digest(self) -> str:
        """Of this code, its flags, its constants, and all jitted code that it calls."""
        sha = hashlib.sha256(repr(sorted(self.flags.items())).encode())
        for code in _codes(self.function.__code__):
            sha.update(code.co_code)
            sha.update(repr([c for c in code.co_consts if not isinstance(c, CodeType)]).encode())
            sha.update(repr((code.co_names, code.co_varnames)).encode())
        for name, value in self.calls.items():
            if isinstance(value, Jitted):
                sha.update(value.digest.encode())
            elif isinstance(value, (int, float, str, tuple, bool)):
                sha.update(f"{name}={value!r}".encode())
        return sha.hexdigest()[:24]

    @cached_property
    def dispatcher(self) -> Callable[..., Any]:
        import numba
        from numba.core.caching import FunctionCache

        _watch()
        scope = {
            **self.function.__globals__,
            **{k: v.dispatcher for k, v in self.calls.items() if isinstance(v, Jitted)},
        }
        plain = FunctionType(
            self.function.__code__, scope, self.function.__name__,
            self.function.__defaults__, self.function.__closure__,
        )  # fmt: skip
        plain.__module__ = self.function.__module__
        plain.__qualname__ = self.function.__qualname__
        made = numba.njit(**self.flags)(plain)
        _made.add(made)
        folder = cache_folder() / f"numba-{numba.__version__}-py{sys.version_info.minor}"
        try:
            made._cache = _cache(FunctionCache, folder / self.digest)(plain)
        except (OSError, RuntimeError):
            pass  # a folder that cannot be written: compile in each process
        return made


def jit(function: Callable[..., Any] | None = None, **flags: Any) -> Any:
    """Decorator: `@jit`, or `@jit(parallel=True)` with flags of numba.njit."""
    if function is None:
        return lambda f: Jitted(f, **flags)
    return Jitted(function, **flags)  # type: ignore[arg-type]


_made: WeakSet[Any] = WeakSet()  # dispatchers


@cache
def _watch() -> None:
    """Have numba tell `kernels.notice` when it compiles a function of ours."""
    from numba.core import event

    class Compiling(event.Listener):
        """Tells of the function that was called, not of those it calls: numba compiles them inside
        it, one at a time."""

        outermost: Any = None

        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            if self.outermost is None and dispatcher in _made:
                self.outermost = dispatcher
                notice.tell(dispatcher.py_func.__name__.lstrip("_"), 0, 1)

        def on_end(self, event: Any) -> None:
            if event.data["dispatcher"] is self.outermost:
                self.outermost = None
                notice.tell(event.data["dispatcher"].py_func.__name__.lstrip("_"), 1, 1)

    event.register("numba:compile", Compiling())


def _codes(code: CodeType) -> list[CodeType]:
    """The code object and those nested in it."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return [code, *(c for i in inner for c in _codes(i))]


def _cache(base: Any, folder: Path) -> Any:
    """numba's cache, kept in `folder`, which changes with the code and so needs no stamp.

    One process writes at a time: numba numbers the files of a function, and two writers could take
    the same number for different types. Machine code stands before its SHA-256; what is damaged is
    compiled again, and what cannot be kept is compiled in each process.
    """
    import pickle

    from numba.core.caching import IndexDataCacheFile

    class Checked(IndexDataCacheFile):
        def _load_index(self) -> dict[Any, str]:
            try:
                return dict(super()._load_index())
            except Exception:  # pickle raises whatever comes, of damaged files
                return {}

        def _save_data(self, name: str, data: Any) -> None:
            whole = self._dump(data)
            with self._open_for_write(self._data_path(name)) as stream:
                stream.write(whole + MARK + hashlib.sha256(whole).digest())

        def _load_data(self, name: str) -> Any:
            whole = Path(self._data_path(name)).read_bytes()
            end = -32 - len(MARK)
            # One without the mark was cut, which pickle notices, or is of before there was one.
            if whole[end:-32] == MARK and hashlib.sha256(whole[:end]).digest() != whole[-32:]:
                raise OSError("damaged")
            try:
                return pickle.loads(whole)
            except Exception as error:
                raise OSError("damaged") from error

    class Place:
        def get_cache_path(self) -> str:
            return str(folder)

        def ensure_cache_path(self) -> None:
            folder.mkdir(parents=True, exist_ok=True)

        def get_source_stamp(self) -> str:
            return folder.name

        def get_disambiguator(self) -> str:
            return ""

    class Implementation(base._impl_class):
        def __init__(self, function: Any):
            self._locator = Place()
            self._locator.ensure_cache_path()
            self._filename_base = self.get_filename_base(function.__name__, "")

    class Cache(base):
        _impl_class = Implementation

        def __init__(self, function: Any):
            super().__init__(function)
            self._cache_file.__class__ = Checked

        def save_overload(self, signature: Any, data: Any) -> None:
            with suppress(OSError):  # full, or gone: the code is compiled and runs all the same
                folder.mkdir(parents=True, exist_ok=True)
                with open(folder / "lock", "wb") as lock:
                    if fcntl is not None:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    super().save_overload(signature, data)

    return Cache
