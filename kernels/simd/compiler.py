"""In a child process that `build` starts: kernels by name to object files."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import llvmlite.binding as llvm

from kernels.simd import library
from kernels.simd.build import LOST
from kernels.simd.target import TARGETS, Target


def machine(target: Target) -> llvm.TargetMachine:
    cpu = target.cpu or llvm.get_host_cpu_name()
    features = target.features if target.cpu else llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu="" if cpu == "generic" else cpu,
        features=features,
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


def module(name: str, target: Target, tm: llvm.TargetMachine) -> llvm.ModuleRef:
    """The kernel, optimized."""
    made = llvm.parse_assembly(library.write(name, target))
    made.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(tm, options).getModulePassManager().run(
        made, llvm.create_pass_builder(tm, options)
    )
    return made


def end_with_parent(part: str) -> None:
    """Wait for the end of standard input, which the parent never writes to, and be gone then, with
    files whose names begin with `part`."""
    while os.read(0, 1):
        pass
    folder, name = os.path.split(part)
    try:
        for left in os.listdir(folder):
            if left.startswith(name):
                os.unlink(os.path.join(folder, left))
    finally:
        os._exit(1)


def main(folder: str, target: str, *names: str) -> None:
    part = os.path.join(folder, f".{os.getpid()}.")
    threading.Thread(target=end_with_parent, args=(part,), daemon=True).start()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = TARGETS[target]
    tm = machine(chosen)
    for name in names:
        data = tm.emit_object(module(name, chosen, tm))
        made = Path(part + name)
        try:
            made.write_bytes(data + hashlib.sha256(data).digest())
            made.replace(Path(folder) / f"{name}.o")
        except OSError as error:
            made.unlink(missing_ok=True)
            print(error)
            sys.exit(LOST)
