"""docs/tuning.md: its program writes a file with other integers at the same scales."""

from __future__ import annotations

import numpy as np

import qcore
import tflite_schema as ts
from tests import pages


def test_the_program_of_the_page(tmp_path, monkeypatch):
    pages.run_program("tuning.md", tmp_path, monkeypatch)
    made = ts.read("small.tflite")
    plain = ts.read(qcore.quantize("examples/symbols.tflite", "int4").to_bytes())
    other = same = 0
    for number, (a, b) in enumerate(
        zip(made.subgraphs[0].tensors, plain.subgraphs[0].tensors, strict=True)
    ):
        assert a.name == b.name and a.type == b.type
        if a.quantization is not None and a.quantization.scale is not None:
            assert (a.quantization.scale == b.quantization.scale).all()
            one, two = (ts.array(m, 0, number) for m in (made, plain))
            other, same = other + int(np.sum(one != two)), same + int(np.sum(one == two))
    assert other > 1000 and same > other
