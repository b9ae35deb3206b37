"""E20: int4 and int2 in bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import BadArray, BadRange
from kernels.packing import pack2, pack4, packed_size, unpack2, unpack4
from tests import oracle
from tests.kernels.same import assert_identical, assert_same

WIDTHS = {4: (pack4, unpack4), 2: (pack2, unpack2)}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("signed", [True, False])
@given(data=st.data())
def test_is_the_oracle_and_comes_back(bits, signed, data):
    pack, unpack = WIDTHS[bits]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=21))
    array = np.array(values, np.int8 if signed else np.uint8)
    packed = pack(array)
    assert packed.dtype == np.uint8
    assert_same(packed, oracle.pack(values, bits))
    assert_identical(unpack(packed, len(values), signed), array)


def test_by_hand():
    assert pack4(np.array([1, -2, 7], np.int8)).tolist() == [0xE1, 0x07]
    assert pack2(np.array([1, -2, -1, 0, 1], np.int8)).tolist() == [0b00111001, 0b01]
    assert unpack4(np.array([0xE1, 0xF7], np.uint8), 3).tolist() == [1, -2, 7]  # high bits ignored
    assert unpack4(np.array([0xE1], np.int32).astype(np.uint8).view(np.int8), 2).tolist() == [1, -2]


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_byte(bits):
    pack, unpack = WIDTHS[bits]
    every = np.arange(256, dtype=np.uint8)
    for signed in (True, False):
        assert_identical(pack(unpack(every, 256 * 8 // bits, signed)), every)


def test_shapes_sizes_and_out():
    assert pack4(np.zeros((3, 5), np.int8)).shape == (8,)
    assert pack4(np.zeros(0, np.int8)).size == unpack4(np.zeros(0, np.uint8), 0).size == 0
    assert [packed_size(n, 2) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    out = np.empty(2, np.uint8)
    assert pack4(np.array([1, 2, 3], np.int8), out=out) is out
    back = np.empty(3, np.int8)
    assert unpack4(out, 3, out=back) is back and back.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: pack4(np.array([8], np.int8)), BadRange),
        (lambda: pack4(np.array([-9], np.int8)), BadRange),
        (lambda: pack2(np.array([2], np.int8)), BadRange),
        (lambda: pack4(np.array([16], np.uint8)), BadRange),
        (lambda: pack4(np.array([1], np.int32)), BadArray),
        (lambda: unpack4(np.zeros(2, np.uint8), 5), BadArray),
        (lambda: unpack4(np.zeros(2, np.uint8), 2), BadArray),
        (lambda: unpack2(np.zeros(2, np.uint16), 8), BadArray),
        (lambda: pack4(np.zeros(3, np.int8), out=np.empty(3, np.uint8)), BadArray),
    ],
)
def test_refused(call, error):
    with pytest.raises(error, match="pack"):
        call()
