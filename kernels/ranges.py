"""Integer ranges: which integers a quantized tensor may hold, and in which NumPy type (E1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.errors import BadRange


@dataclass(frozen=True)
class IntRange:
    """The integers qmin..qmax (both included), held in `dtype`.

    `dtype` is the type of the unpacked array: int4 and int2 values live in int8 until they are
    packed (`kernels.packing`). Raises BadRange if qmin >= qmax or if an end does not fit `dtype`.
    """

    qmin: int
    qmax: int
    dtype: np.dtype

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if self.dtype.kind not in "iu":
            raise BadRange(f"IntRange: dtype {self.dtype} is not an integer type; use np.int8 etc.")
        info = np.iinfo(self.dtype)
        if not info.min <= self.qmin < self.qmax <= info.max:
            raise BadRange(
                f"IntRange: [{self.qmin}, {self.qmax}] is empty or does not fit {self.dtype}; "
                f"choose qmin < qmax within [{info.min}, {info.max}]"
            )

    @property
    def steps(self) -> int:
        """qmax - qmin, the number of scale steps from end to end."""
        return self.qmax - self.qmin

    @property
    def bits(self) -> int:
        """Smallest two's complement (or unsigned) width that holds the range: 8 for [-127, 127]."""
        if self.qmin >= 0:
            return self.qmax.bit_length()
        return 1 + max(self.qmax.bit_length(), (-self.qmin - 1).bit_length())

    @property
    def narrow(self) -> bool:
        """True when the range is symmetric around 0, as [-127, 127]."""
        return self.qmin == -self.qmax

    def __str__(self) -> str:
        return f"[{self.qmin}, {self.qmax}] {self.dtype}"


INT2 = IntRange(-2, 1, np.dtype(np.int8))
INT2_NARROW = IntRange(-1, 1, np.dtype(np.int8))
INT4 = IntRange(-8, 7, np.dtype(np.int8))
INT4_NARROW = IntRange(-7, 7, np.dtype(np.int8))
INT8 = IntRange(-128, 127, np.dtype(np.int8))
INT8_NARROW = IntRange(-127, 127, np.dtype(np.int8))
UINT8 = IntRange(0, 255, np.dtype(np.uint8))
INT16 = IntRange(-32768, 32767, np.dtype(np.int16))
INT16_NARROW = IntRange(-32767, 32767, np.dtype(np.int16))
# Biases saturate symmetrically: the converter never writes -2^31 or -2^63 (E15).
INT32 = IntRange(-(2**31 - 1), 2**31 - 1, np.dtype(np.int32))
INT64 = IntRange(-(2**63 - 1), 2**63 - 1, np.dtype(np.int64))

NAMED: dict[str, IntRange] = {
    "int2": INT2,
    "int2_narrow": INT2_NARROW,
    "int4": INT4,
    "int4_narrow": INT4_NARROW,
    "int8": INT8,
    "int8_narrow": INT8_NARROW,
    "uint8": UINT8,
    "int16": INT16,
    "int16_narrow": INT16_NARROW,
    "int32": INT32,
    "int64": INT64,
}
