"""The kernels by name: `gemm_7x3_fixed` is made by kernels/simd/gemm.py with those numbers."""

from __future__ import annotations

from importlib import import_module

from kernels.simd.target import Target


def write(name: str, target: Target) -> str:
    """LLVM IR of a kernel. Its name starts with its module: module_what."""
    family, _, rest = name.partition("_")
    return import_module(f"kernels.simd.{family}").write(name, rest, target)
