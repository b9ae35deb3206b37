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
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kernels.errors import KernelError
from kernels.jit import cache_folder
from kernels.simd.target import Target, host

TIME_LIMIT = 120.0  # seconds for one child; a kernel takes a fraction of one


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
    compiling. Raises CompilerFailed."""
    target = host()
    with _lock:
        missing = [n for n in dict.fromkeys(names) if (target.name, n) not in _loaded]
        if missing:
            folder = _folder(target)
            absent = [n for n in missing if not (folder / f"{n}.o").is_file()]
            if absent:
                _compile(absent, target, folder, progress)
            _load(missing, target, folder)
        return {n: _loaded[target.name, n] for n in names}


def _load(names: Sequence[str], target: Target, folder: Path) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for name in names:
        engine.add_object_file(llvm.ObjectFileRef.from_data((folder / f"{name}.o").read_bytes()))
    engine.finalize_object()
    _engines.append(engine)  # the code lives as long as its engine
    for name in names:
        found = engine.get_function_address(name)
        if not found:
            raise CompilerFailed(f"the compiled file of {name} does not hold it; delete {folder}")
        _loaded[target.name, name] = found


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _compile(
    names: Sequence[str], target: Target, folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:  # fmt: skip
    """Compile in as many children as there are cores; each writes object files to `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="qcore-simd-"))
    count = cores()
    shares = [s for i in range(count) if (s := list(names)[i::count])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "kernels.simd.compiler", str(folder), target.name, *share],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment, start_new_session=True,
        )
        for share in shares
    ]  # fmt: skip
    done = 0
    if progress:
        progress(0, len(names))
    try:
        for child, share in zip(children, shares):
            said, _ = child.communicate(timeout=TIME_LIMIT)
            done += len(share)
            if progress:
                progress(done, len(names))
            if child.returncode:
                absent = [n for n in share if not (folder / f"{n}.o").is_file()]
                last = said.strip().splitlines()[-1:] or [f"signal {-child.returncode}"]
                raise CompilerFailed(f"compiling {absent[0] if absent else share[0]}: {last[0]}")
    except subprocess.TimeoutExpired:
        raise CompilerFailed(
            f"compiling {', '.join(share)} took more than {TIME_LIMIT:.0f} s; the compiler hangs"
        ) from None
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
