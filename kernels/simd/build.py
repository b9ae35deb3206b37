"""From kernels by name to machine code: compiled once in a child process, kept on disk, loaded.

    entry = addresses(["gemm_7x3_float", "add_float"])

The child may crash or hang in the compiler; then `CompilerFailed` names the kernel and nothing else
happens to this process. Object files are kept in a folder named after the source of this package,
so a change of any file here never meets old code. Loading takes neither numba nor a compiler.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from kernels import notice
from kernels.errors import KernelError
from kernels.jit import cache_folder
from kernels.simd.target import Target, host
from kernels.threads import cores

TIME_LIMIT = 120.0  # seconds for all children; a kernel takes a fraction of one
WATCH_SECONDS = 0.02
# As `python -m` would, but without the working folder, whose files are not for us to import.
COMPILER = (
    "import sys; sys.path.remove(''); from kernels.simd import compiler; "
    "compiler.main(*sys.argv[1:])"
)
DIGEST = 32  # bytes of SHA-256 behind an object file
LOST = 3  # exit code of a child that could not write one


class CompilerFailed(KernelError):
    """The compiler crashed, hung or refused a kernel; its operator is computed in another way."""


class _Lost(CompilerFailed):
    """An object file could not be written."""


CONSTANTS = ("gemmlowp.py", "ops/_softmax.py")  # files of kernels/ whose numbers are in kernels


@cache
def _source() -> str:
    """Digest of this package's own source, and of what its kernels take from elsewhere."""
    here = Path(__file__).parent
    sha = hashlib.sha256()
    for file in (*sorted(here.glob("*.py")), *(here.parent / name for name in CONSTANTS)):
        sha.update(file.name.encode() + file.read_bytes())
    return sha.hexdigest()[:16]


def _folder(target: Target) -> Path:
    import llvmlite

    host_name = ""
    if not target.cpu:
        import llvmlite.binding as llvm

        host_name = f"-{llvm.get_host_cpu_name()}"
    return cache_folder() / f"simd-{llvmlite.__version__}-{target.name}{host_name}-{_source()}"


_loaded: dict[tuple[str, str], int] = {}
_engines: list[Any] = []
_lock = threading.Lock()


def addresses(
    names: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Address of each kernel for the target in use. progress: called with (done, of) while
    compiling; without it `kernels.notice` is. Raises CompilerFailed."""
    target = host()
    with _lock:
        missing = [n for n in dict.fromkeys(names) if (target.name, n) not in _loaded]
        if missing:
            folder = _folder(target)
            objects = {n: _kept(folder / f"{n}.o") for n in missing}
            if absent := [n for n, data in objects.items() if data is None]:
                tell = progress or partial(notice.tell, "kernels")
                objects.update(_made(absent, target, folder, tell))
            _load(objects, target)
        return {n: _loaded[target.name, n] for n in names}


def _kept(file: Path) -> bytes | None:
    """What the compiler wrote: an object file and its SHA-256. None where it is not there, or is
    not that: LLVM ends the process for an object file that is damaged."""
    try:
        whole = file.read_bytes()
    except OSError:
        return None
    data, digest = whole[:-DIGEST], whole[-DIGEST:]
    if hashlib.sha256(data).digest() == digest:
        return data
    with suppress(OSError):
        file.unlink()
    return None


def _made(
    names: Sequence[str], target: Target, folder: Path, progress: Callable[[int, int], None]
) -> dict[str, bytes | None]:
    """Object files compiled now: kept in `folder`, or in one for this process alone where that
    cannot be written to, is full, or is gone when they are read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _compile(names, target, folder, progress)
        objects = {n: _kept(folder / f"{n}.o") for n in names}
        if None not in objects.values():
            return objects
    except (OSError, _Lost):
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="qcore-simd-") as own:
            _compile(names, target, Path(own), progress)
            return {n: _kept(Path(own) / f"{n}.o") for n in names}
    except OSError as error:
        raise CompilerFailed(f"compiling {names[0]}: {error}") from None


def _load(objects: Mapping[str, bytes | None], target: Target) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for data in objects.values():
        if data is not None:
            engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    _engines.append(engine)  # the code lives as long as its engine
    for name, data in objects.items():
        found = engine.get_function_address(name) if data is not None else 0
        if not found:
            raise CompilerFailed(f"compiling {name}: its object file is not whole")
        _loaded[target.name, name] = found


def _compile(
    names: Sequence[str], target: Target, folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Compile in as many children as there are cores; each writes object files to `folder`."""
    count = cores()
    shares = [s for i in range(count) if (s := list(names)[i::count])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with ExitStack() as stack:
        printed = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in shares]
        life = _pipe(stack)
        children: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, children)
        for share, to in zip(shares, printed):
            children.append(
                subprocess.Popen(
                    [sys.executable, "-c", COMPILER, str(folder), target.name, *share],
                    stdin=life, stdout=to, stderr=subprocess.STDOUT,
                    env=environment, start_new_session=True,
                )
            )  # fmt: skip
        stack.callback(progress, len(names), len(names))
        _wait(children, names, folder, progress)
        for child, share, said in zip(children, shares, printed):
            if child.returncode:
                said.seek(0)
                absent = [n for n in share if not (folder / f"{n}.o").is_file()]
                last = said.read().strip().splitlines()[-1:] or [f"signal {-child.returncode}"]
                kind = _Lost if child.returncode == LOST else CompilerFailed
                raise kind(f"compiling {absent[0] if absent else share[0]}: {last[0]}")


def _pipe(stack: ExitStack) -> int:
    """The reading end of a pipe that ends with the stack, or with this process: children wait for
    it, so that none outlives an interrupt, be it while they are started."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends[0]


def _wait(
    children: Sequence[subprocess.Popen[bytes]], names: Sequence[str], folder: Path,
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Until all children have ended; progress is told of the files as they appear."""
    until = time.monotonic() + TIME_LIMIT
    progress(0, len(names))
    told = 0
    while any(child.poll() is None for child in children):
        absent = [n for n in names if not (folder / f"{n}.o").is_file()]
        if time.monotonic() > until:
            raise CompilerFailed(
                f"compiling {', '.join(absent)} took more than {TIME_LIMIT:.0f} s; the compiler"
                " hangs"
            )
        done = len(names) - len(absent)
        if told < done < len(names):
            progress(told := done, len(names))
        time.sleep(WATCH_SECONDS)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()
