"""In a child process: python -m kernels.simd.compiler FOLDER TARGET KERNEL ..."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import llvmlite.binding as llvm

from kernels.simd import library
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


def main(folder: str, target: str, *names: str) -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = TARGETS[target]
    tm = machine(chosen)
    for name in names:
        data = tm.emit_object(module(name, chosen, tm))
        part = Path(folder) / f".{name}.{os.getpid()}"
        part.write_bytes(data)
        part.replace(Path(folder) / f"{name}.o")


if __name__ == "__main__":
    main(*sys.argv[1:])
