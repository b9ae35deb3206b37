from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kernels import ranges
from kernels.errors import BadRange
from kernels.ranges import IntRange


def test_named_ranges():
    got = {name: (q.qmin, q.qmax, q.dtype.name, q.bits) for name, q in ranges.NAMED.items()}
    assert got == {
        "int2": (-2, 1, "int8", 2),
        "int2_narrow": (-1, 1, "int8", 2),
        "int4": (-8, 7, "int8", 4),
        "int4_narrow": (-7, 7, "int8", 4),
        "int8": (-128, 127, "int8", 8),
        "int8_narrow": (-127, 127, "int8", 8),
        "uint8": (0, 255, "uint8", 8),
        "int16": (-32768, 32767, "int16", 16),
        "int16_narrow": (-32767, 32767, "int16", 16),
        "int32": (-(2**31) + 1, 2**31 - 1, "int32", 32),
        "int64": (-(2**63) + 1, 2**63 - 1, "int64", 64),
    }


def test_derived_facts():
    assert ranges.INT8.steps == 255 and not ranges.INT8.narrow
    assert ranges.INT8_NARROW.steps == 254 and ranges.INT8_NARROW.narrow
    assert str(ranges.INT4) == "[-8, 7] int8"


def test_frozen_hashable_and_equal_by_value():
    assert IntRange(-8, 7, np.int8) == ranges.INT4
    assert {ranges.INT4: 1}[IntRange(-8, 7, np.dtype("int8"))] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranges.INT8.qmin = 0


@pytest.mark.parametrize(
    ("qmin", "qmax", "dtype"),
    [
        (0, 0, np.int8),
        (1, 0, np.int8),
        (-129, 127, np.int8),
        (0, 256, np.uint8),
        (0, 1, np.float32),
    ],
)
def test_refused(qmin, qmax, dtype):
    with pytest.raises(BadRange, match="IntRange"):
        IntRange(qmin, qmax, dtype)
