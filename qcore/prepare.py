"""What a model needs before it is planned: every weight float32, every LSTM complete.

Files reach us with float16 weights behind DEQUANTIZE, with sparse weights behind DENSIFY, with int8
weights of hybrid operators. A scheme should see real values whatever the file stores them as, so
these become float32 constants here, produced a block at a time when somebody reads them. Tensors
keep their indices; what is no longer used goes when the file is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import tflite_schema as ts
from kernels import affine, packing
from kernels.opspec import Role
from qcore.errors import CannotQuantize
from qcore.graph import Graph, graphs
from qcore.recipe import Recipe
from qcore.sparse import densify
from qcore.tune.biases import with_own_biases

BLOCK = 1 << 20  # values dequantized at a time

INTEGERS = {
    ts.TensorType.INT8,
    ts.TensorType.UINT8,
    ts.TensorType.INT16,
    ts.TensorType.INT4,
    ts.TensorType.INT2,
}
_UNPACK = {ts.TensorType.INT4: packing.unpack4, ts.TensorType.INT2: packing.unpack2}
_PASS = {"DEQUANTIZE", "DENSIFY"}
_BORDER = {"QUANTIZE", "DEQUANTIZE", "DENSIFY"}
LSTM = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"}
LSTM_FULL_INPUTS = 20  # the basic LSTM has five, and no integer form
LSTM_INTERMEDIATES = 5


def prepare(model: ts.Model, recipe: Recipe) -> ts.Model:
    """`model` with constants folded, LSTMs completed, biases unshared as far as `recipe` needs it.

    A constant is folded when an operator that the recipe does not leave float reads it. Which
    folds are made is decided by the recipe's deviations (`qcore.deviations`): fold_float16,
    fold_integer, fold_sparse, fold_hybrid, lstm_intermediates. Returns `model` itself if nothing
    is to be done.

    Raises CannotQuantize if no operator computes in float any more, if a float16 recipe meets
    float16 weights, if an input is a constant, or if a sparse constant contradicts itself.
    """
    views = graphs(model)
    modes = [
        [recipe.mode(op.name, graph.output_names(i)) for i, op in enumerate(graph.operators)]
        for graph in views
    ]
    _refuse(views, modes, recipe)
    editor = ts.Editor(model)
    buffers: dict[object, int] = {}
    for graph, mode in zip(views, modes, strict=True):
        _Fold(graph, mode, recipe, editor, buffers).apply()
    made = ts.apply(model, editor.edits) if editor.edits else model
    return with_own_biases(made, recipe)


def _refuse(views: tuple[Graph, ...], modes: list[list[str]], recipe: Recipe) -> None:
    """Raises CannotQuantize for models that the recipe can do nothing for."""
    computing = quantized = 0
    for graph in views:
        for t in graph.inputs:
            if graph.is_constant(t):
                raise CannotQuantize(
                    f"input {graph.name(t)!r} of subgraph {graph.subgraph} has a value in the "
                    "file, and runtimes crash when it is given another; take it out of the inputs, "
                    "or its value out of the file"
                )
        for op in graph.operators:
            touched = [t for t in (*op.inputs, *op.outputs) if t >= 0]
            quantized += any(_is_quantized(graph.tensors[t]) for t in touched)
            computing += op.name not in _BORDER and any(map(graph.is_float, touched))
    if not computing:
        raise CannotQuantize(
            "the model is quantized already: none of its operators computes in float; give the "
            "float model that it was made from"
            if quantized
            else "no operator of the model reads or writes float32 values, so there is nothing to "
            "quantize; use the model as it is"
        )
    wanted = {mode for row in modes for mode in row} - {"float"}
    if wanted == {"float16"}:
        half, single = _float_constants(views, modes)
        if half and not single:
            raise CannotQuantize(
                f"recipe {recipe.name!r} has nothing to do: the {half} float constants of the "
                "model are float16 already"
            )


def _float_constants(views: tuple[Graph, ...], modes: list[list[str]]) -> tuple[int, int]:
    """How many float16 constants stand behind DEQUANTIZE, and how many float32 ones are read."""
    half, single = 0, 0
    for graph, mode in zip(views, modes, strict=True):
        for i, op in enumerate(graph.operators):
            for t in op.inputs:
                if not graph.is_constant(t):
                    continue
                if op.name in _PASS:
                    half += graph.tensors[t].type == ts.TensorType.FLOAT16
                elif graph.is_float(t) and mode[i] == "float16":
                    single += 1
    return half, single


def _is_quantized(tensor: ts.Tensor) -> bool:
    q = tensor.quantization
    scaled = q is not None and ((q.scale is not None and q.scale.size > 0) or q.details is not None)
    return scaled and tensor.type in INTEGERS


@dataclass(frozen=True, eq=False)
class Folded:
    """The float32 values of constant `tensor` of `graph`: unpacked, densified and dequantized."""

    graph: Graph
    tensor: int

    @property
    def nbytes(self) -> int:
        return 4 * int(np.prod(self.graph.tensors[self.tensor].shape or (), dtype=np.int64))

    def chunks(self) -> Iterator[np.ndarray]:
        """Blocks of float32 in C order; may be called again.

        float16 is widened exactly; integers are scale * (q - zero_point) rounded once (E3).
        """
        stored = self.graph.tensors[self.tensor]
        values = self._integers()
        if stored.type in (ts.TensorType.FLOAT16, ts.TensorType.FLOAT32):
            flat = values.reshape(-1)
            for start in range(0, flat.size, BLOCK):
                part = flat[start : start + BLOCK]
                yield part.astype(np.float32)
                ts.release(part)
            return
        scale, zero_point = self._parameters(values.shape)
        rows = values.shape[0] if values.ndim else 1
        step = max(1, BLOCK // max(1, values.size // max(1, rows)))
        for start in range(0, rows, step):
            span = slice(start, start + step)
            part = values[span] if values.ndim else values
            yield affine.dequantize(part, _cut(scale, span), _cut(zero_point, span))
            ts.release(part)

    def _integers(self) -> np.ndarray:
        """The stored values, dense and one in an element, in the tensor's shape."""
        stored = self.graph.tensors[self.tensor]
        values = self.graph.constant(self.tensor)
        assert values is not None
        if stored.type in _UNPACK and stored.sparsity is None:
            count = int(np.prod(stored.shape or (), dtype=np.int64))
            values = _UNPACK[stored.type](values, count).reshape(stored.shape or ())
        if stored.sparsity is not None:
            values = densify(values, stored, repr(self.graph.name(self.tensor)))
        return values

    def _parameters(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """scale and zero point, of as many dimensions as `shape` and broadcasting against it."""
        quantization = self.graph.tensors[self.tensor].quantization
        assert quantization is not None
        if quantization.details is not None:
            return self._blockwise(quantization.details, shape)
        scale = quantization.scale
        assert scale is not None
        zero_point = quantization.zero_point
        if zero_point is None or zero_point.size == 0:
            zero_point = np.zeros(scale.size, np.int64)
        zero_point = np.broadcast_to(zero_point, scale.shape)
        if scale.size == 1:
            ones = (1,) * len(shape)
            return scale.reshape(ones), zero_point.reshape(ones)
        axis = quantization.quantized_dimension
        if not 0 <= axis < len(shape) or scale.size != shape[axis]:
            raise CannotQuantize(
                f"constant {self.graph.name(self.tensor)!r} of shape {list(shape)} has "
                f"{scale.size} scales along axis {axis}; the file contradicts itself, convert the "
                "model again"
            )
        return affine.along(scale, axis, len(shape)), affine.along(zero_point, axis, len(shape))

    def _blockwise(
        self, details: ts.Options, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scales of blocks along the last axis, one for each value."""
        what = f"constant {self.graph.name(self.tensor)!r}"
        if details.table != "BlockwiseQuantization" or not details.block_size:
            raise CannotQuantize(
                f"{what} is quantized by {details.table}, which is not understood; give the float "
                "model"
            )
        scale = self.graph.constant(details.scales)
        assert scale is not None
        zero = self.graph.constant(details.zero_points) if details.zero_points > 0 else None
        size = details.block_size
        wide = np.repeat(scale.astype(np.float32).reshape(*shape[:-1], -1), size, axis=-1)
        none = np.zeros((1,) * len(shape), np.int64)
        if zero is not None:
            none = np.repeat(zero.astype(np.int64).reshape(*shape[:-1], -1), size, axis=-1)
        return wide, none


def _cut(parameter: np.ndarray, span: slice) -> np.ndarray:
    """The parameters of rows `span`; all of them where they do not vary along the rows."""
    return parameter[span] if parameter.ndim and parameter.shape[0] != 1 else parameter


class _Fold:
    """The edits of one subgraph."""

    def __init__(
        self,
        graph: Graph,
        modes: list[str],
        recipe: Recipe,
        editor: ts.Editor,
        buffers: dict[object, int],
    ):
        self.graph, self.modes, self.recipe = graph, modes, recipe
        self.editor, self.buffers = editor, buffers
        self.operators: list[ts.Operator | None] = list(graph.operators)
        # A tensor -> the stored constant that it is once DEQUANTIZE and DENSIFY are undone.
        self.root: dict[int, int] = {}

    def apply(self) -> None:
        self._trace()
        self._fold_behind()
        self._fold_direct()
        self._complete_lstms()
        made = tuple(op for op in self.operators if op is not None)
        if made != tuple(self.graph.operators):
            self.editor.set_graph(self.graph.subgraph, operators=made)

    def _trace(self) -> None:
        graph = self.graph
        for op in graph.operators:
            if op.name not in _PASS or len(op.inputs) != 1 or len(op.outputs) != 1:
                continue
            source = op.inputs[0]
            root = source if graph.is_constant(source) else self.root.get(source)
            if root is not None and self._may_fold(root, op.name):
                self.root[op.outputs[0]] = root

    def _may_fold(self, root: int, by: str) -> bool:
        """Whether the recipe wants this stored constant folded through an operator `by`."""
        tensor, deviates = self.graph.tensors[root], self.recipe.deviates
        if by == "DENSIFY" or tensor.sparsity is not None:
            return deviates("fold_sparse")
        if tensor.type == ts.TensorType.FLOAT16:
            return deviates("fold_float16")
        return deviates("fold_integer") and _is_quantized(tensor)

    def _wanted(self, tensor: int) -> bool:
        """Whether an operator that is not left float reads the tensor, a pass between or not."""
        for reader, _ in self.graph.readers.get(tensor, ()):
            op = self.graph.operators[reader]
            if op.name in _PASS:
                if any(map(self._wanted, op.outputs)):
                    return True
            elif self.modes[reader] != "float":
                return True
        return False

    def _fold_behind(self) -> None:
        """DEQUANTIZE and DENSIFY of a constant: their output becomes the constant, they go."""
        graph = self.graph
        for i, op in enumerate(graph.operators):
            out = op.outputs[0] if op.name in _PASS and op.outputs else -1
            if out not in self.root or not self._wanted(out):
                continue
            if graph.is_float(out):
                self._store(out, self.root[out])
                self.operators[i] = None
        # A DENSIFY that only folded operators read, or that hybrid operators are about to lose.
        for i in reversed(range(len(self.operators))):
            left = self.operators[i]
            if left is not None and left.name == "DENSIFY" and left.outputs[0] in self.root:
                out = left.outputs[0]
                if not graph.is_float(out) and not self._read(out, but=()):
                    self.operators[i] = None

    def _read(self, tensor: int, but: tuple[int, ...]) -> bool:
        """Whether an operator that still stands, or the graph's outputs, use the tensor."""
        return tensor in self.graph.outputs or any(
            self.operators[reader] is not None and reader not in but
            for reader, _ in self.graph.readers.get(tensor, ())
        )

    def _fold_direct(self) -> None:
        """Constants that an operator computing in float reads as they are stored."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for i, op in enumerate(self.graph.operators):
            if self.operators[i] is None or self.modes[i] == "float" or op.name in _BORDER:
                continue
            for position, t in enumerate(op.inputs):
                if self._direct(i, position, t):
                    wanted.setdefault(t, []).append((i, position))
        for t, reads in wanted.items():
            root = self.root.get(t, t)
            readers = tuple(i for i, _ in reads)
            if self._read(t, but=readers):
                target = self._add(t, root)
                for i, position in reads:
                    self._change(i, position, target)
            else:
                self._store(t, root)
                made_by = self.graph.producer.get(t)
                if made_by is not None:
                    self.operators[made_by] = None
            for i in readers:
                self._unhybrid(i)

    def _direct(self, i: int, position: int, t: int) -> bool:
        """Whether operand `position` is an integer or sparse weight of a float computation."""
        graph, op = self.graph, self.graph.operators[i]
        if t in self.root:
            if graph.is_float(t):
                return False  # folded, or left, with the operator that made it
        elif not graph.is_constant(t):
            return False
        root = graph.tensors[self.root.get(t, t)]
        if root.type == ts.TensorType.FLOAT32:
            return root.sparsity is not None and self.recipe.deviates("fold_sparse")
        if not (_is_quantized(root) and self.recipe.deviates("fold_hybrid")):
            return False
        if not op.outputs or not all(graph.is_float(o) for o in op.outputs if o >= 0):
            return False
        if op.options is not None and op.options.table == "FullyConnectedOptions":
            if op.options.weights_format != ts.FullyConnectedOptionsWeightsFormat.DEFAULT:
                return False
        spec = graph.spec(i)
        if spec is None:
            return False
        operand = spec.operand(position)
        dynamic = spec.dynamic is not None and spec.dynamic.operand == position
        return dynamic or (operand is not None and operand.role is Role.WEIGHT)

    def _unhybrid(self, i: int) -> None:
        """Operator i as its float form: no run-time quantization, the version reset."""
        op = self.operators[i]
        assert op is not None
        options = op.options
        if options is not None and "asymmetric_quantize_inputs" in options.fields:
            options = options.replace(asymmetric_quantize_inputs=False)
        code = op.code.replace(version=float_version(op, len(op.inputs)))
        self.operators[i] = op.replace(code=code, options=options)

    def _change(self, i: int, position: int, tensor: int) -> None:
        op = self.operators[i]
        assert op is not None
        inputs = list(op.inputs)
        inputs[position] = tensor
        self.operators[i] = op.replace(inputs=tuple(inputs))

    def _record(self, t: int, root: int) -> ts.Tensor:
        """Tensor t as a float32 constant that holds what constant `root` stands for."""
        stored = self.graph.tensors[root]
        quantization = stored.quantization
        parameters: object = None
        if quantization is not None and stored.type in INTEGERS:
            arrays = (quantization.scale, quantization.zero_point)
            parameters = (
                *(None if a is None else a.tobytes() for a in arrays),
                quantization.quantized_dimension,
                None if quantization.details is None else (self.graph.subgraph, root),
            )
        own = None if stored.sparsity is None else (self.graph.subgraph, root)
        key = (stored.buffer, stored.shape, int(stored.type), parameters, own)
        if key not in self.buffers:
            folded = Folded(self.graph, root)
            self.buffers[key] = self.editor.add_buffer(ts.Deferred(folded.nbytes, folded.chunks))
        return self.graph.tensors[t].replace(
            shape=stored.shape,
            type=ts.TensorType.FLOAT32,
            buffer=self.buffers[key],
            quantization=None,
            sparsity=None,
        )

    def _store(self, t: int, root: int) -> None:
        self.editor.set_tensor(self.graph.subgraph, t, self._record(t, root))

    def _add(self, t: int, root: int) -> int:
        record = self._record(t, root)
        record = record.replace(name=f"{self.graph.name(t)}_float32")
        return self.editor.add_tensor(self.graph.subgraph, record)

    def _complete_lstms(self) -> None:
        """Five empty float32 tensors for each LSTM that has none, for calibration to fill in."""
        for i, op in enumerate(self.operators):
            if (
                op is None
                or op.name not in LSTM
                or op.intermediates
                or len(op.inputs) < LSTM_FULL_INPUTS
                or self.modes[i] != "static"
                or not self.recipe.deviates("lstm_intermediates")
            ):
                continue
            name = self.graph.name(op.outputs[0])
            made = tuple(
                self.editor.add_tensor(
                    self.graph.subgraph,
                    ts.Tensor(
                        shape=(),
                        type=ts.TensorType.FLOAT32,
                        name=f"{name}_intermediate_{k}",
                    ),
                )
                for k in range(LSTM_INTERMEDIATES)
            )
            self.operators[i] = op.replace(intermediates=made)


def float_version(op: ts.Operator, inputs: int) -> int:
    """The operator version that the float form of a hybrid operator needs.

    Source: LiteRT tools/versioning/op_version.cc, the rows of float32 signatures.
    """
    options = op.options
    if op.name == "FULLY_CONNECTED":
        if inputs == 2:
            return 6
        return 5 if options is not None and options.keep_num_dims else 1
    if op.name == "DEPTHWISE_CONV_2D":
        dilated = options is not None and (
            options.dilation_w_factor != 1 or options.dilation_h_factor != 1
        )
        return 2 if dilated else 1
    if op.name == "TRANSPOSE_CONV":
        if options is not None and options.fused_activation_function:
            return 4
        return 3 if inputs == 4 and op.inputs[3] >= 0 else 1
    if op.name == "CONV_2D":
        return 6 if op.code.version == 6 else 1  # 6 marks grouped convolution
    return 1
