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
from contextlib import ExitStack
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


class CompilerFailed(KernelError):
    """The compiler crashed, hung or refused a kernel; its operator is computed in another way."""


@cache
def _source() -> str:
    """Digest of this package's own source."""
    sha = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
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
            files = {n: folder / f"{n}.o" for n in missing}
            absent = [n for n, file in files.items() if not file.is_file()]
            with ExitStack() as stack:
                if absent:
                    made = _writable(folder, stack)
                    _compile(absent, target, made, progress or partial(notice.tell, "kernels"))
                    files.update((n, made / f"{n}.o") for n in absent)
                _load(files, target)
        return {n: _loaded[target.name, n] for n in names}


def _writable(folder: Path, stack: ExitStack) -> Path:
    """The folder, made if need be; one for this process alone where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qcore-simd-")))


def _load(files: Mapping[str, Path], target: Target) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for file in files.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(file.read_bytes()))
    engine.finalize_object()
    _engines.append(engine)  # the code lives as long as its engine
    for name, file in files.items():
        found = engine.get_function_address(name)
        if not found:
            raise CompilerFailed(f"the compiled file of {name} does not hold it; delete {file}")
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
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "kernels.simd.compiler", str(folder), target.name, *share],
                stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )
            for share, to in zip(shares, printed)
        ]  # fmt: skip
        stack.callback(_end, children)
        stack.callback(progress, len(names), len(names))
        _wait(children, names, folder, progress)
        for child, share, said in zip(children, shares, printed):
            if child.returncode:
                said.seek(0)
                absent = [n for n in share if not (folder / f"{n}.o").is_file()]
                last = said.read().strip().splitlines()[-1:] or [f"signal {-child.returncode}"]
                raise CompilerFailed(f"compiling {absent[0] if absent else share[0]}: {last[0]}")


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
