"""Small .tflite models written from Python, for the tests of everything.

    b = Builder()
    x = b.input((1, 8, 8, 3), range=(-1, 1))
    y = b.op("CONV_2D", [x, weights, bias], (1, 8, 8, 4), padding="SAME", range=(0, 6))
    model = b.model(outputs=[y])            # a tflite_schema Model; ts.to_bytes(model) is the file

A NumPy array in an operand's place becomes a constant, None an absent operand. Shapes are the
caller's to give: nothing here infers or checks them, so that wrong models can be built as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tflite_schema as ts

Range = tuple[Any, Any] | None

# Table of options of each operator; an operator that is absent is written without options.
_SAME_NAME = """
    ABS Abs|ADD Add|ADD_N AddN|ARG_MAX ArgMax|ARG_MIN ArgMin|BATCH_MATMUL BatchMatMul
    BATCH_TO_SPACE_ND BatchToSpaceND|BROADCAST_TO BroadcastTo|CALL Call|CAST Cast
    CONCATENATION Concatenation|CONV_2D Conv2D|CONV_3D Conv3D|COS Cos|CUMSUM Cumsum
    DEPTHWISE_CONV_2D DepthwiseConv2D|DEPTH_TO_SPACE DepthToSpace|DEQUANTIZE Dequantize|DIV Div
    DYNAMIC_UPDATE_SLICE DynamicUpdateSlice|EQUAL Equal|EXP Exp
    EXPAND_DIMS ExpandDims|FILL Fill|FLOOR_DIV FloorDiv|FLOOR_MOD FloorMod
    FULLY_CONNECTED FullyConnected|GATHER Gather|GATHER_ND GatherNd|GELU Gelu|GREATER Greater
    GREATER_EQUAL GreaterEqual|HARD_SWISH HardSwish|IF If|L2_NORMALIZATION L2Norm
    LEAKY_RELU LeakyRelu|LESS Less|LESS_EQUAL LessEqual|LOGICAL_AND LogicalAnd
    LOGICAL_NOT LogicalNot|LOGICAL_OR LogicalOr|LOG_SOFTMAX LogSoftmax
    LOCAL_RESPONSE_NORMALIZATION LocalResponseNormalization|LSTM LSTM|MIRROR_PAD MirrorPad|MUL Mul
    NEG Neg|NOT_EQUAL NotEqual|ONE_HOT OneHot|PACK Pack|PAD Pad|PADV2 PadV2|POW Pow
    QUANTIZE Quantize|RANGE Range|RANK Rank|RESHAPE Reshape|RESIZE_BILINEAR ResizeBilinear
    RESIZE_NEAREST_NEIGHBOR ResizeNearestNeighbor|REVERSE_SEQUENCE ReverseSequence
    REVERSE_V2 ReverseV2|MATRIX_DIAG MatrixDiag|MATRIX_SET_DIAG MatrixSetDiag
    SPARSE_TO_DENSE SparseToDense|UNIQUE Unique|SCATTER_ND ScatterNd
    SELECT Select|SELECT_V2 SelectV2|SHAPE Shape|SLICE Slice|SOFTMAX Softmax
    SPACE_TO_BATCH_ND SpaceToBatchND|SPACE_TO_DEPTH SpaceToDepth|SPLIT Split|SPLIT_V SplitV
    SQUARE Square|SQUARED_DIFFERENCE SquaredDifference|SQUEEZE Squeeze|STRIDED_SLICE StridedSlice
    SUB Sub|SVDF SVDF|TILE Tile|TOPK_V2 TopKV2|TRANSPOSE Transpose|TRANSPOSE_CONV TransposeConv
    UNIDIRECTIONAL_SEQUENCE_LSTM UnidirectionalSequenceLSTM|UNPACK Unpack|WHERE Where|WHILE While
    FAKE_QUANT FakeQuant
    ZEROS_LIKE ZerosLike|SIGN Sign|READ_VARIABLE ReadVariable|ASSIGN_VARIABLE AssignVariable
    VAR_HANDLE VarHandle|CALL_ONCE CallOnce
"""
OPTIONS = {
    name: f"{table}Options"
    for name, table in (p.split() for p in _SAME_NAME.replace("\n", "|").split("|") if p.strip())
}
OPTIONS |= {
    "RNN": "RNNOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "BIDIRECTIONAL_SEQUENCE_RNN": "BidirectionalSequenceRNNOptions",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
}
OPTIONS |= dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions")
OPTIONS["CONV_3D_TRANSPOSE"] = "Conv3DOptions"
OPTIONS |= dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions")
OPTIONS |= dict.fromkeys(
    ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"),
    "ReducerOptions",
)

_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "mode": "MirrorPadMode",
    "in_data_type": "TensorType",
    "out_data_type": "TensorType",
    "out_type": "TensorType",
    "output_type": "TensorType",
}

# The oldest versions that the official runtimes take; the rest is version 1.
VERSIONS = {"RESIZE_BILINEAR": 1, "TRANSPOSE_CONV": 1}


def options(operator: str, **fields: Any) -> ts.Options | None:
    """The options of `operator`; enum fields also by name ("SAME", "RELU", "INT32")."""
    table = OPTIONS.get(operator)
    if table is None:
        assert not fields, f"{operator} has no options, got {sorted(fields)}"
        return None
    for key, enum in _ENUMS.items():
        if isinstance(fields.get(key), str):
            fields[key] = getattr(ts, enum)[fields[key]]
    return ts.Options(table, **fields)


def quantization(
    range: Range = None, scale: Any = None, zero_point: Any = None, axis: int = 0
) -> ts.Quantization | None:
    """min/max and scale/zero_point as a tensor stores them; None where nothing is given."""
    if range is None and scale is None:
        return None

    def values(x: Any, dtype: Any) -> np.ndarray | None:
        return None if x is None else np.array(x, dtype, ndmin=1)

    low, high = range if range is not None else (None, None)
    if scale is not None and zero_point is None:
        zero_point = np.zeros(np.size(scale), np.int64)
    return ts.Quantization(
        min=values(low, np.float32),
        max=values(high, np.float32),
        scale=values(scale, np.float32),
        zero_point=values(zero_point, np.int64),
        quantized_dimension=axis,
    )


class Builder:
    """Collects one subgraph; tensors are referred to by the index that the methods return."""

    def __init__(self) -> None:
        self.tensors: list[ts.Tensor] = []
        self.operators: list[ts.Operator] = []
        self.buffers: list[ts.Buffer] = [ts.Buffer(data=None)]
        self.inputs: list[int] = []

    def tensor(
        self,
        shape: Sequence[int],
        name: str | None = None,
        dtype: str = "FLOAT32",
        data: Any = None,
        range: Range = None,
        scale: Any = None,
        zero_point: Any = None,
        axis: int = 0,
        buffer: int | None = None,
        is_variable: bool = False,
        signature: Sequence[int] | None = None,
    ) -> int:
        """A tensor; data: an array or bytes makes it constant, buffer: shares one that exists."""
        index = len(self.tensors)
        if buffer is None:
            buffer = 0
            if data is not None:
                raw = data if isinstance(data, (bytes, bytearray)) else np.asarray(data).tobytes()
                self.buffers.append(ts.Buffer(data=np.frombuffer(bytes(raw), np.uint8)))
                buffer = len(self.buffers) - 1
        self.tensors.append(
            ts.Tensor(
                shape=tuple(int(n) for n in shape),
                type=ts.TensorType[dtype],
                buffer=buffer,
                name=f"t{index}" if name is None else name,
                quantization=quantization(range, scale, zero_point, axis),
                is_variable=is_variable,
                shape_signature=None if signature is None else tuple(signature),
            )
        )
        return index

    def input(self, shape: Sequence[int], name: str | None = None, **fields: Any) -> int:
        """A graph input."""
        index = self.tensor(shape, name, **fields)
        self.inputs.append(index)
        return index

    def const(self, array: Any, name: str | None = None, **fields: Any) -> int:
        """A constant of the array's own shape and type."""
        array = np.asarray(array)  # not ascontiguousarray, which makes a scalar 1-D
        shape = array.shape
        fields.setdefault("dtype", str(array.dtype).upper())
        return self.tensor(shape, name, data=array, **fields)

    def op(
        self,
        operator: str,
        operands: Sequence[int | np.ndarray | None],
        *shapes: Sequence[int],
        range: Any = None,
        dtype: str | Sequence[str] = "FLOAT32",
        names: Sequence[str] | None = None,
        version: int | None = None,
        intermediates: Sequence[int] = (),
        **fields: Any,
    ) -> Any:
        """An operator; returns its output's index, or a tuple of them for several `shapes`.

        range, dtype: for the output, or a list with one for each output. fields: its options.
        """
        inputs = tuple(
            -1 if x is None else int(x) if isinstance(x, (int, np.integer)) else self.const(x)
            for x in operands
        )
        ranges = range if isinstance(range, list) else [range] * len(shapes)
        dtypes = [dtype] * len(shapes) if isinstance(dtype, str) else list(dtype)
        outputs = tuple(
            self.tensor(s, names[i] if names else None, dtype=dtypes[i], range=ranges[i])
            for i, s in enumerate(shapes)
        )
        code = ts.OperatorCode.of(operator, version=version or VERSIONS.get(operator, 1))
        self.operators.append(
            ts.Operator(
                code=code,
                inputs=inputs,
                outputs=outputs,
                options=options(operator, **fields),
                intermediates=tuple(intermediates),
            )
        )
        return outputs[0] if len(outputs) == 1 else outputs

    def model(self, outputs: Sequence[int], inputs: Sequence[int] | None = None) -> ts.Model:
        """The model with this one subgraph."""
        graph = ts.SubGraph(
            tensors=tuple(self.tensors),
            inputs=tuple(self.inputs if inputs is None else inputs),
            outputs=tuple(outputs),
            operators=tuple(self.operators),
            name="main",
        )
        return ts.Model(version=3, subgraphs=(graph,), buffers=tuple(self.buffers))
