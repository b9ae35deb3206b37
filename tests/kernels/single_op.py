"""One-operator models, made from an operator's SPEC and a line of shapes, for asking a runtime.

`CASES` says for each operator which shapes, constants and options make a valid call. `build` turns
a case into .tflite bytes for one activation dtype: data operands get that dtype and a plausible
scale and zero point, weights are int8 per tensor, biases int32 (int64 beside int16), states and
index operands what they must be. With dtype "float32" everything is float and carries min and max;
with "hybrid" the operands that the dynamic-range mode quantizes are int8 and the rest is float.

The bytes are written with the bindings that ai-edge-litert ships, not with tflite_schema, so that
a fault in our writer cannot hide in here. Import this module in a child process or lazily.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from kernels import ops
from kernels.opspec import Operand, Role, Tie
from kernels.opversion import Use

ARRAY = np.ndarray
IMG = (1, 4, 4, 8)
VEC = (2, 8)


def ints(*values: Any, dtype: str = "int32") -> ARRAY:
    return np.array(values[0] if len(values) == 1 else values, dtype)


@dataclass(frozen=True)
class Case:
    """inputs: for each position a shape (data, weight, bias, state), an integer array (constant
    index operand), "bool:2,8" (computed operand of that dtype and shape) or None (absent).
    outputs: shapes; a pair (dtype, shape) where the output is not data.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...] = (VEC,)
    options: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    intermediates: int = 0


def unary(shape: tuple[int, ...] = IMG, options: str | None = None, **fields: Any) -> Case:
    return Case((shape,), (shape,), options, fields)


def binary(options: str | None = None, output: Any = IMG, **fields: Any) -> Case:
    return Case((IMG, IMG), (output,), options, fields)


POOL = {"strideW": 1, "strideH": 1, "filterWidth": 2, "filterHeight": 2, "padding": 1}
_LSTM = (
    ((2, 3, 5), *[(4, 5)] * 4, *[(4, 4)] * 4, None, None, None, *[(4,)] * 4, None, None)
    + ((2, 4), (2, 4))
    + (None,) * 4
)

CASES: dict[str, Case] = {
    "ABS": unary(options="AbsOptions"),
    "ADD": binary("AddOptions", potScaleInt16=False),
    "ADD_N": binary("AddNOptions"),
    "ARG_MAX": Case((VEC, ints(1)), (("int64", (2,)),), "ArgMaxOptions", {"outputType": 4}),
    "ARG_MIN": Case((VEC, ints(1)), (("int64", (2,)),), "ArgMinOptions", {"outputType": 4}),
    "ATAN2": binary("ATan2Options"),
    "AVERAGE_POOL_2D": Case((IMG,), ((1, 3, 3, 8),), "Pool2DOptions", POOL),
    "BATCH_MATMUL": Case(((2, 3, 4), (2, 4, 5)), ((2, 3, 5),), "BatchMatMulOptions"),
    "BATCH_TO_SPACE_ND": Case(
        ((4, 2, 2, 8), ints(2, 2), ints([[0, 0], [0, 0]])), (IMG,), "BatchToSpaceNDOptions"
    ),
    "BROADCAST_TO": Case(((1, 8), ints(2, 8)), (VEC,), "BroadcastToOptions"),
    "CAST": unary(options="CastOptions"),
    "CEIL": unary(),
    "CONCATENATION": Case((VEC, VEC), ((2, 16),), "ConcatenationOptions", {"axis": 1}),
    "CONV_2D": Case(
        (IMG, (6, 3, 3, 8), (6,)),
        ((1, 4, 4, 6),),
        "Conv2DOptions",
        {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1},
    ),
    "CONV_3D": Case(
        ((1, 3, 4, 4, 2), (2, 2, 2, 2, 3), (3,)),
        ((1, 2, 3, 3, 3),),
        "Conv3DOptions",
        {"strideD": 1, "strideW": 1, "strideH": 1, "padding": 1},
    ),
    "COS": unary(options="CosOptions"),
    "CUMSUM": Case((VEC, ints(1)), (VEC,), "CumsumOptions"),
    "DEPTHWISE_CONV_2D": Case(
        (IMG, (1, 3, 3, 8), (8,)),
        (IMG,),
        "DepthwiseConv2DOptions",
        {
            "strideW": 1,
            "strideH": 1,
            "depthMultiplier": 1,
            "dilationWFactor": 1,
            "dilationHFactor": 1,
        },
    ),
    "DEPTH_TO_SPACE": Case((IMG,), ((1, 8, 8, 2),), "DepthToSpaceOptions", {"blockSize": 2}),
    "DEQUANTIZE": Case((IMG,), (("float32", IMG),), "DequantizeOptions"),
    "DIV": binary("DivOptions"),
    "DYNAMIC_UPDATE_SLICE": Case((VEC, (1, 4), ints(0, 1)), (VEC,), "DynamicUpdateSliceOptions"),
    "ELU": unary(),
    "EMBEDDING_LOOKUP": Case(("int32:2", (4, 8)), (VEC,)),
    "EQUAL": binary("EqualOptions", ("bool", IMG)),
    "EXP": unary(options="ExpOptions"),
    "EXPAND_DIMS": Case((VEC, ints(0)), ((1, 2, 8),), "ExpandDimsOptions"),
    "FILL": Case((ints(2, 8), ()), (VEC,), "FillOptions"),
    "FLOOR": unary(),
    "FLOOR_DIV": binary("FloorDivOptions"),
    "FLOOR_MOD": binary("FloorModOptions"),
    "FULLY_CONNECTED": Case((VEC, (6, 8), (6,)), ((2, 6),), "FullyConnectedOptions"),
    "GATHER": Case(((4, 8), ints(1, 0)), (VEC,), "GatherOptions"),
    "GATHER_ND": Case(((4, 8), ints([[1], [0]])), (VEC,), "GatherNdOptions"),
    "GELU": unary(options="GeluOptions"),
    "GREATER": binary("GreaterOptions", ("bool", IMG)),
    "GREATER_EQUAL": binary("GreaterEqualOptions", ("bool", IMG)),
    "HARD_SWISH": unary(options="HardSwishOptions"),
    "L2_NORMALIZATION": unary(options="L2NormOptions"),
    "L2_POOL_2D": Case((IMG,), ((1, 3, 3, 8),), "Pool2DOptions", POOL),
    "LEAKY_RELU": unary(options="LeakyReluOptions", alpha=0.125),
    "LESS": binary("LessOptions", ("bool", IMG)),
    "LESS_EQUAL": binary("LessEqualOptions", ("bool", IMG)),
    "LOCAL_RESPONSE_NORMALIZATION": unary(
        options="LocalResponseNormalizationOptions", radius=1, bias=1.0, alpha=1.0, beta=0.5
    ),
    "LOG": unary(),
    "LOGISTIC": unary(),
    "LOG_SOFTMAX": unary(VEC, "LogSoftmaxOptions"),
    "LSTM": Case(
        ((2, 5), *_LSTM[1:]),
        ((2, 4),),
        "LSTMOptions",
        {"fusedActivationFunction": 4},
        intermediates=5,
    ),
    "MATRIX_DIAG": Case((VEC,), ((2, 8, 8),), "MatrixDiagOptions"),
    "MATRIX_SET_DIAG": Case(((2, 8, 8), VEC), ((2, 8, 8),), "MatrixSetDiagOptions"),
    "MAXIMUM": binary("MaximumMinimumOptions"),
    "MAX_POOL_2D": Case((IMG,), ((1, 3, 3, 8),), "Pool2DOptions", POOL),
    "MEAN": Case((IMG, ints(1, 2)), ((1, 8),), "ReducerOptions"),
    "MINIMUM": binary("MaximumMinimumOptions"),
    "MIRROR_PAD": Case((VEC, ints([[1, 1], [1, 1]])), ((4, 10),), "MirrorPadOptions"),
    "MUL": binary("MulOptions"),
    "NEG": unary(options="NegOptions"),
    "NOT_EQUAL": binary("NotEqualOptions", ("bool", IMG)),
    "ONE_HOT": Case((ints(1, 0), ints(8), (), ()), (VEC,), "OneHotOptions", {"axis": -1}),
    "PACK": Case((VEC, VEC), ((2, 2, 8),), "PackOptions", {"valuesCount": 2}),
    "PAD": Case((VEC, ints([[1, 1], [1, 1]])), ((4, 10),), "PadOptions"),
    "PADV2": Case((VEC, ints([[1, 1], [1, 1]]), ()), ((4, 10),), "PadV2Options"),
    "POW": binary("PowOptions"),
    "PRELU": Case((IMG, (1, 1, 8)), (IMG,)),
    "QUANTIZE": unary(options="QuantizeOptions"),  # integer to integer
    "RANK": Case((IMG,), (("int32", ()),), "RankOptions"),
    "REDUCE_MAX": Case((IMG, ints(1, 2)), ((1, 8),), "ReducerOptions"),
    "REDUCE_MIN": Case((IMG, ints(1, 2)), ((1, 8),), "ReducerOptions"),
    "REDUCE_PROD": Case(((4, 3), ints([1])), ((4,),), "ReducerOptions"),
    "RELU": unary(),
    "RELU6": unary(),
    "RELU_0_TO_1": unary(),
    "RELU_N1_TO_1": unary(),
    "RESHAPE": Case((VEC, ints(4, 4)), ((4, 4),), "ReshapeOptions", {"newShape": [4, 4]}),
    "RESIZE_BILINEAR": Case((IMG, ints(8, 8)), ((1, 8, 8, 8),), "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": Case(
        (IMG, ints(8, 8)), ((1, 8, 8, 8),), "ResizeNearestNeighborOptions"
    ),
    "REVERSE_SEQUENCE": Case(
        (VEC, ints(3, 4)), (VEC,), "ReverseSequenceOptions", {"seqDim": 1, "batchDim": 0}
    ),
    "REVERSE_V2": Case((VEC, ints([1])), (VEC,), "ReverseV2Options"),
    "RNN": Case(
        ((2, 5), (4, 5), (4, 4), (4,), (2, 4)),
        ((2, 4),),
        "RNNOptions",
        {"fusedActivationFunction": 4},
    ),
    "ROUND": unary(),
    "RSQRT": unary(),
    "SCATTER_ND": Case((ints([[1], [0]]), VEC, ints(4, 8)), ((4, 8),), "ScatterNdOptions"),
    "SELECT": Case(("bool:2,8", VEC, VEC), (VEC,), "SelectOptions"),
    "SELECT_V2": Case(("bool:2,8", VEC, VEC), (VEC,), "SelectV2Options"),
    "SHAPE": Case((IMG,), (("int32", (4,)),), "ShapeOptions", {"outType": 2}),
    "SIGN": unary(options="SignOptions"),
    "SIN": unary(),
    "SLICE": Case((VEC, ints(0, 1), ints(2, 4)), ((2, 4),), "SliceOptions"),
    "SOFTMAX": unary(VEC, "SoftmaxOptions", beta=1.0),
    "SPACE_TO_BATCH_ND": Case(
        (IMG, ints(2, 2), ints([[0, 0], [0, 0]])), ((4, 2, 2, 8),), "SpaceToBatchNDOptions"
    ),
    "SPACE_TO_DEPTH": Case((IMG,), ((1, 2, 2, 32),), "SpaceToDepthOptions", {"blockSize": 2}),
    "SPARSE_TO_DENSE": Case(
        (ints([[1], [0]]), ints([8]), (2,), ()), ((8,),), "SparseToDenseOptions"
    ),
    "SPLIT": Case((ints(1), VEC), ((2, 4), (2, 4)), "SplitOptions", {"numSplits": 2}),
    "SPLIT_V": Case(
        (VEC, ints(3, 5), ints(1)), ((2, 3), (2, 5)), "SplitVOptions", {"numSplits": 2}
    ),
    "SQRT": unary(),
    "SQUARE": unary(options="SquareOptions"),
    "SQUARED_DIFFERENCE": binary("SquaredDifferenceOptions"),
    "SQUEEZE": Case(((1, 2, 8),), (VEC,), "SqueezeOptions", {"squeezeDims": [0]}),
    "STRIDED_SLICE": Case(
        (VEC, ints(0, 0), ints(2, 8), ints(1, 2)), ((2, 4),), "StridedSliceOptions"
    ),
    "SUB": binary("SubOptions", potScaleInt16=False),
    "SUM": Case((IMG, ints(1, 2)), ((1, 8),), "ReducerOptions"),
    "SVDF": Case(
        ((2, 5), (8, 5), (8, 3), (4,), (2, 24)),
        ((2, 4),),
        "SVDFOptions",
        {"rank": 2, "fusedActivationFunction": 1},
    ),
    "TANH": unary(),
    "TILE": Case(((1, 8), ints(2, 1)), (VEC,), "TileOptions"),
    "TOPK_V2": Case((VEC, ints(3)), ((2, 3), ("int32", (2, 3))), "TopKV2Options"),
    "TRANSPOSE": Case((VEC, ints(1, 0)), ((8, 2),), "TransposeOptions"),
    "TRANSPOSE_CONV": Case(
        (ints(1, 8, 8, 6), (6, 2, 2, 8), IMG, (6,)),
        ((1, 8, 8, 6),),
        "TransposeConvOptions",
        {"strideW": 2, "strideH": 2},
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Case(
        _LSTM,
        ((2, 3, 4),),
        "UnidirectionalSequenceLSTMOptions",
        {"fusedActivationFunction": 4},
        intermediates=5,
    ),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Case(
        ((2, 3, 5), (4, 5), (4, 4), (4,), (2, 4)),
        ((2, 3, 4),),
        "SequenceRNNOptions",
        {"fusedActivationFunction": 4},
    ),
    "UNIQUE": Case(((8,),), ((8,), ("int32", (8,))), "UniqueOptions", {"idxOutType": 2}),
    "UNPACK": Case((VEC,), ((8,), (8,)), "UnpackOptions", {"num": 2}),
    "WHERE": Case((VEC,), (("int64", (16, 2)),), "WhereOptions"),
    "ZEROS_LIKE": unary(options="ZerosLikeOptions"),
}

# Inputs are kept well above real 0: what these make of the rest is no question of scales.
POSITIVE_ONLY = frozenset({"DIV", "LOG", "RSQRT", "SQRT"})

_CODES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
SCALES = {"int8": (1 / 32, -7), "uint8": (1 / 32, 121), "int16": (1 / 8192, 0)}


def stored(operand: Operand, activation: str) -> str:
    """dtype of an operand in an operator with `activation` data."""
    if activation == "float32" or operand.role is Role.INDEX:
        return activation
    if operand.dtype:
        return operand.dtype
    if operand.role is Role.WEIGHT:
        return "uint8" if activation == "uint8" else "int8"
    if operand.role is Role.BIAS:
        return "int64" if activation == "int16" else "int32"
    return activation


class Builder:
    """Collects the parts of one model."""

    def __init__(self, name: str, dtype: str, real: bool = False, seed: int = 1) -> None:
        from ai_edge_litert import schema_py_generated as fb

        self.fb, self.name, self.dtype, self.real = fb, name, dtype, real
        self.spec, self.case = ops.all()[name], CASES[name]
        self.int8: frozenset[str] = frozenset()  # weights beside float data
        if dtype == "hybrid":
            assert self.spec.dynamic is not None, name
            self.dtype = "float32"
            self.int8 = frozenset(self.spec.inputs[p].name for p in self.spec.dynamic.operands)
        self.chosen = self.choose()
        self.random = np.random.RandomState(seed)
        self.tensors: list[Any] = []
        self.buffers = [fb.BufferT()]

    def tensor(self, name: str, dtype: str, shape: Any, data: ARRAY | None = None) -> int:
        fb, t = self.fb, self.fb.TensorT()
        t.name, t.type, t.shape = name, _CODES[dtype], list(shape)
        t.buffer = 0
        if data is not None:
            buffer = fb.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            t.buffer = len(self.buffers) - 1
        self.tensors.append(t)
        return len(self.tensors) - 1

    def quantize(self, index: int, scale: Any, zero_point: Any = 0) -> None:
        q = self.fb.QuantizationParametersT()
        q.scale = np.atleast_1d(np.array(scale, np.float32))
        q.zeroPoint = np.broadcast_to(np.array(zero_point, np.int64), q.scale.shape).copy()
        self.tensors[index].quantization = q

    def span(self, index: int, lo: float, hi: float) -> None:
        q = self.fb.QuantizationParametersT()
        q.min, q.max = np.array([lo], np.float32), np.array([hi], np.float32)
        self.tensors[index].quantization = q

    def choose(self) -> dict[str, tuple[float, int]]:
        """Scale and zero point of every operand: one pair for all where the operator ties them,
        otherwise all different, so that a kernel that ignores a scale is caught."""
        spec, chosen = self.spec, {}
        if self.dtype == "float32":
            return {}
        scale, zero_point = SCALES[self.dtype]
        for step, operand in enumerate((*spec.inputs, *spec.intermediates, *spec.outputs)):
            dtype = stored(operand, self.dtype)
            output = operand in spec.outputs
            if self.dtype in operand.fixed:
                fixed = operand.fixed[self.dtype]
                pair = fixed.scale, fixed.zero_point
            elif operand.role is Role.WEIGHT and not operand.dtype:
                pair = 1 / 64, 128 if dtype == "uint8" else 0
            elif operand.dtype:
                pair = 2.0**-11, 0
            elif spec.tie is Tie.SAME or (spec.shared and step):  # LSTM: all but the input
                pair = scale, zero_point
            else:
                factor = 4 if output else 1 + step / 4
                pair = scale * factor, zero_point + (3 * step if zero_point else 0)
            chosen[operand.name] = pair
        for operand in spec.inputs:  # biases follow from the others
            if operand.role is Role.BIAS:
                product = next(p for p in operand.scale if not p.given)
                made = [chosen[name][0] for name in product.operands]
                chosen[operand.name] = float(np.prod(made)) * product.factor, 0
        return chosen

    def data(self, operand: Operand, shape: Any, suffix: str = "") -> int:
        """A data, weight, bias or state tensor."""
        role, dtype, name = operand.role, stored(operand, self.dtype), operand.name + suffix
        constant = role in (Role.WEIGHT, Role.BIAS)
        values: ARRAY | None = None
        if operand.name in self.int8:
            index = self.hybrid_weight(operand, shape)
        elif dtype == "float32":
            if constant:
                values = self.random.uniform(-1, 1, shape).astype(np.float32)
            index = self.tensor(name, dtype, shape, values)
            if not constant:
                self.span(index, -1.0 - index / 8, 3.0 + index)  # different for every tensor
        else:
            scale, zero_point = self.chosen[operand.name]
            if constant:
                low, high = (1, 255) if dtype == "uint8" else (-100, 100)
                values = self.random.randint(low, high, shape)
            if self.real:
                if values is not None:
                    values = ((values - zero_point) * np.float32(scale)).astype(np.float32)
                index = self.tensor(name, "float32", shape, values)
            else:
                bare = None if values is None else values.astype(dtype)
                index = self.tensor(name, dtype, shape, bare)
                self.quantize(index, scale, zero_point)
        if role is Role.STATE:
            self.tensors[index].isVariable = True
        return index

    def hybrid_weight(self, operand: Operand, shape: tuple[int, ...]) -> int:
        """int8 values, with a scale a channel where the spec has that; real: their float values."""
        dynamic = self.spec.dynamic
        assert dynamic is not None
        axis = operand.axis if dynamic.per_channel else None
        scale = np.array(1 / 64) if axis is None else (1 + np.arange(shape[axis]) / 8) / 64
        values = self.random.randint(-127, 128, shape)
        if self.real:
            along = np.ones(len(shape), int)
            if axis is not None:
                along[axis] = -1
            floats = (values * scale.reshape(along)).astype(np.float32)
            return self.tensor(operand.name, "float32", shape, floats)
        index = self.tensor(operand.name, "int8", shape, values.astype(np.int8))
        self.quantize(index, scale)
        self.tensors[index].quantization.quantizedDimension = axis or 0
        return index

    def use(self, op: Any) -> Use:
        dtypes = {code: dtype for dtype, code in _CODES.items()}

        def dtype(i: int) -> str | None:
            return dtypes[self.tensors[i].type] if i >= 0 else None

        def scale(i: int) -> float | None:
            q = self.tensors[i].quantization if i >= 0 else None
            return float(q.scale[0]) if q is not None and q.scale is not None else None

        return Use(
            inputs=tuple(map(dtype, op.inputs)),
            outputs=tuple(map(dtype, op.outputs)),
            shapes=tuple(tuple(self.tensors[i].shape) if i >= 0 else None for i in op.inputs),
            scales=tuple(map(scale, [*op.inputs, *op.outputs])),
            options=SimpleNamespace(asymmetric_quantize_inputs=self.asymmetric),
            per_channel=any(
                len(t.quantization.scale) > 1
                for t in self.tensors
                if t.quantization is not None and t.quantization.scale is not None
            ),
        )

    @property
    def asymmetric(self) -> bool:
        dynamic = self.spec.dynamic
        return bool(self.int8) and dynamic is not None and dynamic.asymmetric_inputs

    def bytes(self) -> bytes:
        import flatbuffers

        fb, spec, case = self.fb, self.spec, self.case
        op, graph, code, model = fb.OperatorT(), fb.SubGraphT(), fb.OperatorCodeT(), fb.ModelT()
        op.inputs, op.outputs, feeds = [], [], []
        for position, given in enumerate(case.inputs):
            operand = spec.operand(position)
            assert operand is not None, (self.name, position)
            if given is None:
                index = -1
            elif isinstance(given, np.ndarray):
                index = self.tensor(operand.name, str(given.dtype), given.shape, given)
            elif isinstance(given, str):
                dtype, shape = given.split(":")
                index = self.tensor(operand.name, dtype, [int(n) for n in shape.split(",")])
                feeds.append(index)
            else:
                index = self.data(operand, given)
                if operand.role is Role.ACTIVATION and operand.name not in self.int8:
                    feeds.append(index)
            op.inputs.append(index)
        for position, out in enumerate(case.outputs):
            operand = spec.output(position)
            assert operand is not None, (self.name, position)
            if out and isinstance(out[0], str):
                index = self.tensor(f"{operand.name}{position}", out[0], out[1])
            else:
                index = self.data(operand, out, str(position))
            op.outputs.append(index)
        op.intermediates = []
        for i in range(case.intermediates):
            operand = spec.intermediates[i]
            if self.dtype == "float32":
                index = self.tensor(operand.name, "float32", ())
                self.span(index, -1.0, 3.0)
            else:
                index = self.data(operand, ())
            op.intermediates.append(index)
        if case.options:
            op.builtinOptions = getattr(fb, case.options + "T")()
            op.builtinOptionsType = getattr(fb.BuiltinOptions, case.options, 0)
            if not op.builtinOptionsType:
                op.builtinOptions2, op.builtinOptions = op.builtinOptions, None
                op.builtinOptions2Type = getattr(fb.BuiltinOptions2, case.options)
            for key, value in case.fields.items():
                target = op.builtinOptions or op.builtinOptions2
                assert hasattr(target, key), (self.name, key)
                setattr(target, key, value)
        if self.asymmetric and not self.real:
            op.builtinOptions.asymmetricQuantizeInputs = True
        code.builtinCode = getattr(fb.BuiltinOperator, self.name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = self.written = spec.version(self.use(op))
        graph.tensors, graph.operators = self.tensors, [op]
        graph.inputs, graph.outputs, graph.name = feeds, list(op.outputs), "main"
        model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
        model.buffers, model.description = self.buffers, "one operator"
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def build(name: str, dtype: str, real: bool = False, seed: int = 1) -> bytes:
    """A model with one operator whose data is `dtype`; real: the float model of the same numbers,
    every constant dequantized."""
    return Builder(name, dtype, real, seed).bytes()
