"""EMBEDDING_LOOKUP: y[i,...] = value[lookup[i],...]; a quantized table gives float rows, q * scale.

Rules A make a constant table asymmetric and give the output a range of its own, although an int8
output is a bare copy. In dynamic range the kernel reads an int8 or int4 table, also with a scale a
row, beside a float output (run; LiteRT's quantizer writes that). What the converter would write is
not measured, since `tf.gather` and Keras' Embedding become GATHER.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/embedding_lookup.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import DynamicRange, Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="EMBEDDING_LOOKUP",
    inputs=(Operand("lookup", Role.INDEX), Operand("value", axis=0)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(
        Special(
            4,
            "int4 or per-channel table",
            lambda use: use.inputs[1] == "int4" or use.per_channel,
        ),
        Special(5, "int2 table", lambda use: use.inputs[1] == "int2"),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=4,
    ),
)

_FLOAT = "f32(q * s), s of the row where there are several (E39)"
_SOURCE = "kernels/embedding_lookup.cc"

NUMERICS = (
    Row("int8", _FLOAT, "as reference", "", _SOURCE),
    Row("uint8", _FLOAT, "as reference", "", _SOURCE, "The bytes are read as int8."),
    Row(
        "int4",
        _FLOAT,
        "as reference",
        "",
        _SOURCE,
        "With an odd row length, rows that begin in the middle of a byte are read from its start.",
    ),
    Row("int2", _FLOAT, "as reference", "", _SOURCE, "As int4, with a length that 4 divides."),
    Row("int4 blocks", "f32(q * s of the block) (E39)", "as reference", "", _SOURCE),
    Row(
        "int2 blocks",
        "f32(q * s of the block) (E39)",
        "as reference",
        "",
        _SOURCE,
        "Not in tensorflow 2.21.",
    ),
    Row("int8 to int8", "copy", "copy", "", _SOURCE, "Scales are not looked at."),
    Row("int16 to int16", "copy", "copy", "", _SOURCE),
)

PER_BYTE = {"int4": 2, "int2": 4}


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Rows of the table, in real units where it is quantized."""
    return (call[1].real()[_lookup(call)],)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Rows of the table, dequantized where the output is float (E39)."""
    table, lookup, y = call[1], _lookup(call), call.output
    if y.dtype == table.dtype:
        if table.per_channel:
            raise RuntimeRefuses(f"{call.name}: a table with scales of rows needs a float output")
        if table.dtype in PER_BYTE:
            raise call.refuse("packed rows are copied by whole bytes; use a float32 output")
        return (table.x[lookup],)
    if y.dtype != "float32" or table.dtype not in ("int8", "uint8", "int4", "int2"):
        raise call.refuse(f"no kernel from a {table.dtype} table to {y.dtype}")
    assert table.scale is not None
    if table.scale.ndim == 1 and table.z:
        raise RuntimeRefuses(f"{call.name}: the table must have zero point 0")
    if table.scale.ndim > 1 and table.dtype == "int2" and not call.profile.litert:
        raise RuntimeRefuses(f"{call.name}: tensorflow 2.21 takes blocks of int4 only")
    if table.per_channel and table.scale.ndim == 1 and table.axis != 0:
        raise RuntimeRefuses(f"{call.name}: the table has scales of rows only")
    q, scale = _packed_rows(table.x, lookup, table.dtype), table.scale
    unit = np.float32({"int4": 16, "int2": 64}.get(table.dtype, 1))
    scale = scale / unit  # as the kernel has it: it leaves narrow values at the top of a byte
    if scale.ndim > 1:
        blocks = q.reshape(len(lookup), scale.shape[1], -1)
        values = blocks * unit * scale[lookup][:, :, None]
    else:
        row_scale = scale[lookup] if table.per_channel else scale[0]
        values = q.reshape(len(lookup), -1) * unit * np.reshape(row_scale, (-1, 1))
    return (values.reshape(len(lookup), *table.shape[1:]),)


fast = reference  # rows are moved and multiplied by NumPy at memory speed


def _lookup(call: Call) -> np.ndarray:
    found = call.x(0)
    if found.dtype != np.int32 or found.ndim != 1 or call.x(1).ndim < 2:
        raise RuntimeRefuses(f"{call.name}: needs int32 indices and a table of rank 2 or more")
    count = call[1].shape[0]
    if found.size and not (0 <= found.min() and found.max() < count):
        raise RuntimeRefuses(f"{call.name}: an index is outside of the table's {count} rows")
    return found


def _packed_rows(table: np.ndarray, lookup: np.ndarray, dtype: str) -> np.ndarray:
    """float32 (rows, values) as the kernel finds them: narrow rows begin at a whole byte."""
    if dtype == "uint8":
        table = table.view(np.int8)
    values = table.reshape(len(table), -1)
    per_byte, length = PER_BYTE.get(dtype, 1), values.shape[1]
    if length % per_byte == 0:
        return values[lookup].astype(np.float32)
    start = lookup.astype(np.int64) * length // per_byte * per_byte
    return values.reshape(-1)[start[:, None] + np.arange(length)].astype(np.float32)
