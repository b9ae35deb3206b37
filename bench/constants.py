"""How fast constants are reduced, encoded, decoded and packed: `python -m bench.constants`.

One core, 64 MB of float32 (or what stands for it), several layouts of the groups; GB/s of float32
read (for dequantize: written), best of several runs. Below it the cost of memory itself: a copy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.results import save, show
from kernels import affine, packing, reductions, scales
from kernels.ranges import INT8_NARROW

LAYOUTS = {
    "tensor": ((1 << 24,), None),
    "FC 4096x4096, axis 0": ((4096, 4096), 0),
    "conv 1792x3x3x1024, axis 0": ((1792, 3, 3, 1024), 0),
    "rows of 64, axis 0": ((1 << 18, 64), 0),
    "rows of 27, axis 0": ((1 << 19, 27), 0),
    "depthwise 3x3x1152, axis 3": ((1618, 3, 3, 1152), 3),
    "last axis of 32": ((1 << 19, 32), 1),
    "middle axis": ((64, 512, 512), 1),
}


def best(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls, after one to warm up."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def row(name: str, shape: tuple[int, ...], axis: int | None, repeats: int) -> dict[str, Any]:
    """GB/s of each function on one layout."""
    w = np.random.default_rng(0).standard_normal(shape, np.float32)
    m = reductions.max_abs(w, axis)
    along = affine.along(m, axis, w.ndim)
    scale = affine.along(scales.symmetric_mlir(m, INT8_NARROW), axis, w.ndim)
    exact = affine.along(scales.symmetric_double(m, INT8_NARROW), axis, w.ndim)
    out, real = np.empty(shape, np.int8), np.empty(shape, np.float32)
    half = np.empty(shape, np.float16)
    calls = {
        "copy": lambda: np.copyto(real, w),
        "max_abs": lambda: reductions.max_abs(w, axis),
        "min_max": lambda: reductions.min_max(w, axis),
        "encode_inverse32": lambda: affine.encode_inverse32(w, scale, INT8_NARROW, out=out),
        "encode_max32": lambda: affine.encode_max32(w, along, INT8_NARROW, out=out),
        "encode_double": lambda: affine.encode_double(w, exact, 0, INT8_NARROW, out=out),
        "encode_float16": lambda: affine.encode_float16(w, out=half),
        "dequantize": lambda: affine.dequantize(out, scale, 0, out=real),
        "pack4": lambda: packing.pack4(np.right_shift(out, 4)),
    }
    return {"layout": name} | {k: w.nbytes / best(f, repeats) / 1e9 for k, f in calls.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args(argv)
    rows = [row(name, *layout, options.repeats) for name, layout in LAYOUTS.items()]
    title = "constants, GB/s of float32"
    show(title, rows)
    save(options.json, title, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
