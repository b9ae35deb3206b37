"""int4 and int2 values packed into bytes, first value in the lowest bits (E20).

Sources: LiteRT kernels/internal/portable_tensor_utils.h and its reference implementation
(UnpackPackedIntToInt8 and its inverse); tensor types INT4, UINT4 and INT2 of schema.fbs.
"""

from __future__ import annotations

import numpy as np

from kernels import streaming
from kernels.errors import BadArray, BadRange


def pack4(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """int8 in [-8, 7] (or uint8 in [0, 15]), any shape -> uint8 (ceil(n / 2),), low nibble first.

    An odd count leaves the last high nibble 0. Raises BadRange if a value does not fit.
    """
    return _pack(values, 4, out)


def unpack4(
    packed: np.ndarray, count: int, signed: bool = True, out: np.ndarray | None = None
) -> np.ndarray:
    """uint8 (ceil(count / 2),) -> int8 (count,) in [-8, 7], or uint8 in [0, 15] if not signed.

    Bits after the last value are ignored. Raises BadArray if `packed` has another length.
    """
    return _unpack(packed, count, 4, signed, out)


def pack2(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """int8 in [-2, 1] (or uint8 in [0, 3]), any shape -> uint8 (ceil(n / 4),), low bits first.

    Missing values of the last byte are 0. Raises BadRange if a value does not fit.
    """
    return _pack(values, 2, out)


def unpack2(
    packed: np.ndarray, count: int, signed: bool = True, out: np.ndarray | None = None
) -> np.ndarray:
    """uint8 (ceil(count / 4),) -> int8 (count,) in [-2, 1], or uint8 in [0, 3] if not signed.

    Bits after the last value are ignored. Raises BadArray if `packed` has another length.
    """
    return _unpack(packed, count, 2, signed, out)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` values of 2 or 4 bits take."""
    return -(-count * bits // 8)


def _pack(values: np.ndarray, bits: int, out: np.ndarray | None) -> np.ndarray:
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype not in (np.int8, np.uint8):
        raise BadArray(f"pack{bits}: needs int8 or uint8, got {flat.dtype}; convert it first")
    half = 1 << (bits - 1)
    low, high = (0, 2 * half - 1) if flat.dtype == np.uint8 else (-half, half - 1)
    lowest, highest = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    if lowest < low or highest > high:
        raise BadRange(
            f"pack{bits}: values {lowest}..{highest} do not fit {low}..{high}; clip them first"
        )
    each = 8 // bits
    size = packed_size(flat.size, bits)
    out = _output(out, size, np.dtype(np.uint8), f"pack{bits}")
    # The values that share a byte are a word of two or four bytes, first value lowest; the shifts
    # that gather them work on whole words, which NumPy vectorizes, and the cast keeps a byte.
    whole = flat.size // each * each
    if bits == 4 and whole == flat.size and out.flags.c_contiguous and streaming.nibbles(flat, out):
        return out
    words = flat[:whole].view(f"<u{each}")
    word = words.dtype.type
    packed = words & word(2 * half - 1)
    shifted = np.empty_like(packed)
    for lane in range(1, each):
        np.right_shift(words, word((8 - bits) * lane), out=shifted)
        np.bitwise_and(shifted, word((2 * half - 1) << (bits * lane)), out=shifted)
        np.bitwise_or(packed, shifted, out=packed)
    np.copyto(out[: words.size], packed, casting="unsafe")
    if whole < flat.size:
        rest = flat[whole:].view(np.uint8) & np.uint8(2 * half - 1)
        out[-1] = sum(int(v) << (bits * lane) for lane, v in enumerate(rest))
    return out


def _unpack(
    packed: np.ndarray, count: int, bits: int, signed: bool, out: np.ndarray | None
) -> np.ndarray:
    packed = np.asarray(packed).reshape(-1)
    if packed.dtype == np.int8:
        packed = packed.view(np.uint8)
    if packed.dtype != np.uint8 or packed.size != packed_size(count, bits):
        raise BadArray(
            f"unpack{bits}: {count} values take {packed_size(count, bits)} bytes of uint8, "
            f"got {packed.size} of {packed.dtype}"
        )
    out = _output(out, count, np.dtype(np.int8 if signed else np.uint8), f"unpack{bits}")
    each = 8 // bits
    for lane in range(each):
        part = out[lane::each]
        # Up to the top of the byte, then down: the arithmetic shift of int8 extends the sign.
        top = packed[: part.size] << np.uint8(8 - bits * (lane + 1))
        np.right_shift(top.view(out.dtype), out.dtype.type(8 - bits), out=part)
    return out


def _output(out: np.ndarray | None, size: int, dtype: np.dtype, where: str) -> np.ndarray:
    if out is None:
        return np.empty(size, dtype)
    if out.shape != (size,) or out.dtype != dtype:
        raise BadArray(f"{where}: out must be {dtype} ({size},), got {out.dtype} {out.shape}")
    return out
