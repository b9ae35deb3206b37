"""The operator specs: against recorded facts, against themselves, and against the runtimes.

The tables below hold, in our words, what TensorFlow Lite documents (`quantization_spec.md`), what
its older quantizer has in its table (`operator_property.cc`) and what tensorflow 2.21 was seen to
do. Each check is a function that lists problems, so that a test can show that it finds one.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kernels import ops
from kernels.opspec import Fixed, Operand, OpSpec, Role, Tie
from kernels.opversion import Special, Use, hybrid
from tests.kernels.single_op import CASES, POSITIVE_ONLY, Builder

ROOT = Path(__file__).resolve().parents[2]
_maker = importlib.util.spec_from_file_location("operators", ROOT / "docs" / "make_operators.py")
assert _maker is not None and _maker.loader is not None
make_operators = importlib.util.module_from_spec(_maker)
_maker.loader.exec_module(make_operators)
Specs = Mapping[str, OpSpec]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# quantization_spec.md: the input and the output of these share scale and zero point ...
DOCUMENTED_SAME = words(
    """AVERAGE_POOL_2D BATCH_TO_SPACE_ND CONCATENATION GATHER MAXIMUM MAX_POOL_2D MINIMUM PAD PADV2
    RESHAPE RESIZE_BILINEAR SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SQUEEZE TRANSPOSE"""
)
# ... of these they need not ...
DOCUMENTED_FREE = words("ADD CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MEAN MUL QUANTIZE SUB")
# ... these have only quantized inputs ...
DOCUMENTED_INPUTS = words("ARG_MAX EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL SHAPE")
# ... and the int8 output of these is given; int16 and uint8 are in the kernels.
FIXED = {
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("L2_NORMALIZATION", "uint8"): (1 / 128, 128),
    ("LOGISTIC", "uint8"): (1 / 256, 0),
    ("LOG_SOFTMAX", "uint8"): (16 / 256, 255),
    ("SOFTMAX", "uint8"): (1 / 256, 0),
    ("TANH", "uint8"): (1 / 128, 128),
}
# (operator, operand): axis of the scales. FULLY_CONNECTED became per channel in 2024.
CHANNELS = {
    ("CONV_2D", "filter"): 0,
    ("DEPTHWISE_CONV_2D", "filter"): 3,
    ("FULLY_CONNECTED", "weights"): 0,
    ("TRANSPOSE_CONV", "filter"): 0,
}

# Rules A, tensorflow 2.21: same scale, as measured; two more have the trait but stay float.
MLIR_SAME = words(
    """AVERAGE_POOL_2D BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION DEPTH_TO_SPACE EXPAND_DIMS FILL
    GATHER GATHER_ND MAXIMUM MAX_POOL_2D MINIMUM MIRROR_PAD PACK PAD PADV2 REDUCE_MAX REDUCE_MIN
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SCATTER_ND SELECT SELECT_V2 SLICE
    SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE TOPK_V2 TRANSPOSE
    UNPACK"""
)
MLIR_SAME_FLOAT = words("ADD_N DYNAMIC_UPDATE_SLICE")
MLIR_FLOAT = words(
    """ADD_N ATAN2 CEIL CONV_3D COS CUMSUM DYNAMIC_UPDATE_SLICE ELU FLOOR FLOOR_DIV FLOOR_MOD
    LOCAL_RESPONSE_NORMALIZATION NEG NOT_EQUAL POW ROUND SIGN SIN SQUARE ZEROS_LIKE"""
)
# Rules B, the same list less and more.
LEGACY_SAME = (MLIR_SAME | words("REVERSE_V2 SUM")) - words(
    "SELECT SELECT_V2 TOPK_V2 PADV2 CONCATENATION MAXIMUM MINIMUM PACK"
)
LEGACY_OUTPUT = words("CONCATENATION MAXIMUM MINIMUM PACK")
LEGACY_FIRST = words("SELECT PADV2")

# operator_property.cc: version that rules B ask for, by operator ...
LEGACY_VERSION: dict[str, int] = {
    **dict.fromkeys(
        words(
            """ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION
            DEPTH_TO_SPACE EQUAL EXP GATHER GELU GREATER GREATER_EQUAL L2_NORMALIZATION LEAKY_RELU
            LESS LESS_EQUAL LOG LOGISTIC LOG_SOFTMAX LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM
            MIRROR_PAD MUL NOT_EQUAL PACK PAD PADV2 QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU
            RELU6 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_BATCH_ND
            SPACE_TO_DEPTH SPLIT SPLIT_V SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TRANSPOSE
            UNIDIRECTIONAL_SEQUENCE_LSTM"""
        ),
        2,
    ),
    **dict.fromkeys(
        words(
            """ASSIGN_VARIABLE EXPAND_DIMS HARD_SWISH PRELU READ_VARIABLE RELU_N1_TO_1 RESHAPE
            SCATTER_ND SELECT SHAPE SQUEEZE UNPACK VAR_HANDLE WHERE"""
        ),
        1,
    ),
    **dict.fromkeys(
        words(
            """BROADCAST_TO CONV_2D DEPTHWISE_CONV_2D FILL GATHER_ND REVERSE_V2 SVDF TILE
            TRANSPOSE_CONV"""
        ),
        3,
    ),
    "FULLY_CONNECTED": 4,
}
# ... these without a 16x8 form ...
LEGACY_INT8_ONLY = words(
    """ARG_MAX DEPTH_TO_SPACE EQUAL GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LESS
    LESS_EQUAL LOG_SOFTMAX LSTM NOT_EQUAL PRELU RELU_N1_TO_1 SPACE_TO_DEPTH SVDF
    UNIDIRECTIONAL_SEQUENCE_LSTM"""
)
# ... and these quantize nothing of their own (no data) or stop the quantizer.
LEGACY_NOTHING = words("VAR_HANDLE WHERE")

# What LiteRT's quantizer 0.11 works on (its TRANSPOSE_CONV is called CONV_2D_TRANSPOSE).
LITERT_QUANTIZER = words(
    """FULLY_CONNECTED BATCH_MATMUL DEPTHWISE_CONV_2D CONV_2D TRANSPOSE_CONV AVERAGE_POOL_2D RESHAPE
    EMBEDDING_LOOKUP SOFTMAX TANH TRANSPOSE GELU ADD SUB MUL MEAN RSQRT CONCATENATION STRIDED_SLICE
    SPLIT LOGISTIC SLICE SUM SELECT SELECT_V2 DYNAMIC_UPDATE_SLICE STABLEHLO_COMPOSITE PAD
    SQUARED_DIFFERENCE MAX_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR GATHER_ND PACK UNPACK DIV
    BROADCAST_TO SQRT GATHER HARD_SWISH MAXIMUM PADV2 REDUCE_MIN EQUAL NOT_EQUAL MIRROR_PAD
    SPACE_TO_DEPTH RELU"""
)
# prepare_quantize_dynamic_range.cc and tfl_ops.td: positions of the constants it looks at.
DYNAMIC = {
    "BATCH_MATMUL": (1,),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (
        *range(1, 12), 16, *range(18, 29), 33, *range(40, 48),
    ),
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "EMBEDDING_LOOKUP": (1,),
    "FULLY_CONNECTED": (1,),
    "GATHER": (0,),
    "LSTM": (*range(1, 12), 16),
    "SVDF": (1, 2),
    "TRANSPOSE_CONV": (1,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 12), 16),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
}  # fmt: skip
FLOW = words("IF WHILE CALL_ONCE VAR_HANDLE ASSIGN_VARIABLE READ_VARIABLE DEQUANTIZE QUANTIZE")
NEEDED = (
    DOCUMENTED_SAME | DOCUMENTED_FREE | DOCUMENTED_INPUTS | MLIR_SAME | MLIR_FLOAT | LEGACY_SAME
    | frozenset(LEGACY_VERSION) | LITERT_QUANTIZER | frozenset(DYNAMIC) | FLOW
    | frozenset(name for name, _ in FIXED)
)  # fmt: skip


# checks: each lists problems in words


def absent(specs: Specs) -> list[str]:
    return sorted(f"{name} has no file" for name in NEEDED - set(specs))


def ill_formed(specs: Specs) -> list[str]:
    """What cannot be meant in any spec."""
    found = []
    for name, spec in specs.items():
        named = [o.name for o in (*spec.inputs, *spec.intermediates)]
        all_operands = (*spec.inputs, *spec.outputs, *spec.intermediates)
        say = found.append
        if spec.name != name:
            say(f"{name}: the spec calls itself {spec.name}")
        if len(set(named)) != len(named):
            say(f"{name}: two inputs of one name")
        for operands in (spec.inputs, spec.outputs):
            if any(o.variadic for o in operands[:-1]):
                say(f"{name}: a variadic operand before the last")
        for o in all_operands:
            if o.role is Role.BIAS and spec.kernels and not o.scale:
                say(f"{name}.{o.name}: a bias without scale")
            if o.role is not Role.BIAS and o.scale:
                say(f"{name}.{o.name}: a derived scale, but no bias")
            for product in o.scale:
                unknown = {*product.operands, product.given} - {*named, None}
                if unknown and spec.kernels:
                    say(f"{name}.{o.name}: scale of unknown {sorted(map(str, unknown))}")
            if o.axis is not None and o.role in (Role.INDEX, Role.STATE, Role.BIAS):
                say(f"{name}.{o.name}: channels in a {o.role.value}")
            for dtype, fixed in o.fixed.items():
                if dtype not in spec.kernels:
                    say(f"{name}.{o.name}: fixed for {dtype}, which has no kernel")
                if float(np.float32(fixed.scale)) != fixed.scale:
                    say(f"{name}.{o.name}: scale {fixed.scale} is no float32")
                info = np.iinfo(dtype)
                if not info.min <= fixed.zero_point <= info.max:
                    say(f"{name}.{o.name}: zero point {fixed.zero_point} is no {dtype}")
        for dtype in spec.kernels | {"float32"}:
            if dtype not in spec.versions:
                say(f"{name}: no version for {dtype}")
        for position in spec.dynamic.operands if spec.dynamic else ():
            operand = spec.operand(position)
            if operand is None or operand.role not in (Role.WEIGHT, Role.ACTIVATION):
                say(f"{name}: dynamic range of operand {position}, which holds no numbers")
        if spec.dynamic and spec.dynamic.per_channel:
            operand = spec.operand(spec.dynamic.operand)
            if operand is None or operand.axis is None:
                say(f"{name}: per channel without an axis")
        tied = sum(o.role is Role.ACTIVATION for o in (*spec.inputs, *spec.outputs))
        if spec.tie is not Tie.NONE and tied < 2:
            say(f"{name}: a tie of one operand")
    return found


def undocumented(specs: Specs) -> list[str]:
    """Where the specs differ from what TensorFlow Lite documents."""
    found = []
    for name in DOCUMENTED_SAME:
        if specs[name].tie is not Tie.SAME:
            found.append(f"{name}: documented to keep scale and zero point")
    for name in DOCUMENTED_FREE:
        if specs[name].tie is not Tie.NONE:
            found.append(f"{name}: documented without restriction")
    for name in DOCUMENTED_INPUTS:
        spec = specs[name]
        if any(o.role is not Role.INDEX for o in spec.outputs):
            found.append(f"{name}: its output is not quantized")
        if spec.inputs[0].role is not Role.ACTIVATION:
            found.append(f"{name}: its input is data")
    fixed = {
        (name, dtype): (f.scale, f.zero_point)
        for name, spec in specs.items()
        for output in spec.outputs
        for dtype, f in output.fixed.items()
    }
    for key in FIXED.keys() | fixed.keys():
        if FIXED.get(key) != fixed.get(key):
            found.append(f"{key}: output {fixed.get(key)}, documented {FIXED.get(key)}")
    axes = {
        (name, o.name): o.axis
        for name, spec in specs.items()
        for o in spec.inputs
        if o.role is Role.WEIGHT and o.axis is not None and spec.kernels
    }
    if axes != CHANNELS:
        found.append(f"channels {sorted(set(axes.items()) ^ set(CHANNELS.items()))}")
    return sorted(found)


def untied(specs: Specs) -> list[str]:
    """Where ties differ from what the two quantizers do."""
    found = []
    for name, spec in specs.items():
        if spec.mlir:
            want = Tie.SAME if name in MLIR_SAME else Tie.NONE
            if spec.tie_under("mlir") is not want:
                found.append(f"{name}: rules A tie {want.value}")
        if name in MLIR_SAME_FLOAT and spec.tie is not Tie.SAME:
            found.append(f"{name}: has the same-scale trait")
        if spec.legacy:
            want = (
                Tie.SAME if name in LEGACY_SAME
                else Tie.OUTPUT if name in LEGACY_OUTPUT
                else Tie.FIRST if name in LEGACY_FIRST
                else Tie.NONE
            )  # fmt: skip
            if spec.tie_under("legacy") is not want:
                found.append(f"{name}: rules B tie {want.value}")
    return found


def unlike_quantizers(specs: Specs) -> list[str]:
    """Where `mlir`, `legacy`, `legacy_version`, `dynamic` differ from the quantizers' tables."""
    found = [f"{name}: rules A leave it float" for name in MLIR_FLOAT if specs[name].mlir]
    found += [f"{name}: rules A quantize it" for name in MLIR_SAME if not specs[name].mlir]
    for name, spec in specs.items():
        both = name in LEGACY_VERSION and name not in LEGACY_NOTHING
        want = {"int8"} if both else set()
        if both and name not in LEGACY_INT8_ONLY:
            want.add("int16")
        if spec.legacy != want:
            found.append(f"{name}: rules B quantize {sorted(want)}")
        if spec.legacy_version != LEGACY_VERSION.get(name):
            found.append(f"{name}: rules B write version {LEGACY_VERSION.get(name)}")
        positions = spec.dynamic.operands if spec.dynamic else None
        if positions != DYNAMIC.get(name):
            found.append(f"{name}: dynamic range looks at {DYNAMIC.get(name)}")
    return sorted(found)


def undescribed(name: str, source: str) -> list[str]:
    """What the docstring of an operator's file lacks."""
    text = ast.get_docstring(ast.parse(source)) or ""
    found = []
    if not text.startswith(f"{name}: "):
        found.append(f"{name}: the docstring does not start with its name")
    if "Sources: " not in text:
        found.append(f"{name}: no sources named")
    return found


def planned(spec: OpSpec, source: str) -> list[str]:
    """Static operators whose kernels reach beyond their operands."""
    used = [word for word in ("call.run", "call.resources", "shared_name") if word in source]
    return [f"{spec.name}: static, but uses {word}" for word in used if spec.static]


CHECKS = (absent, ill_formed, undocumented, untied, unlike_quantizers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_specs(check: Callable[[Specs], list[str]]) -> None:
    assert check(ops.all()) == []


def changed(operator: str, /, **changes: object) -> Specs:
    return {**ops.all(), operator: replace(ops.all()[operator], **changes)}  # type: ignore[arg-type]


CONV, SOFTMAX, PAD = (ops.all()[n] for n in ("CONV_2D", "SOFTMAX", "PAD"))
FAULTS = [
    (absent, {n: s for n, s in ops.all().items() if n != "TANH"}, "TANH has no file"),
    (ill_formed, changed("CONV_2D", name="CONV"), "calls itself CONV"),
    (ill_formed, changed("CONV_2D", inputs=(CONV.inputs[0],) * 3), "two inputs"),
    (
        ill_formed,
        changed("CONV_2D", inputs=(*CONV.inputs[:2], Operand("bias", Role.BIAS))),
        "without scale",
    ),
    (
        ill_formed,
        changed("CONV_2D", inputs=(CONV.inputs[0], Operand("w", Role.WEIGHT), CONV.inputs[2])),
        "unknown ['filter']",
    ),
    (ill_formed, changed("CONV_2D", versions={"float32": 1}), "no version for int8"),
    (ill_formed, changed("PAD", inputs=(Operand("x", variadic=True), *PAD.inputs)), "variadic"),
    (
        ill_formed,
        changed("SOFTMAX", outputs=(Operand("y", fixed={"int8": Fixed(0.1, 0)}),)),
        "no float32",
    ),
    (
        ill_formed,
        changed("SOFTMAX", outputs=(Operand("y", fixed={"int8": Fixed(0.5, 128)}),)),
        "is no int8",
    ),
    (ill_formed, changed("SHAPE", tie=Tie.SAME), "a tie of one operand"),
    (ill_formed, changed("RELU", dynamic=CONV.dynamic), "holds no numbers"),
    (ill_formed, changed("PRELU", dynamic=CONV.dynamic), "without an axis"),
    (undocumented, changed("PAD", tie=Tie.NONE), "PAD: documented to keep"),
    (undocumented, changed("ADD", tie=Tie.SAME), "ADD: documented without"),
    (undocumented, changed("LESS", outputs=(Operand("output"),)), "LESS: its output"),
    (undocumented, changed("SOFTMAX", outputs=(Operand("output"),)), "SOFTMAX"),
    (undocumented, changed("CONV_2D", inputs=CONV.inputs[:1]), "channels"),
    (untied, changed("PAD", mlir_tie=Tie.NONE), "PAD: rules A tie same"),
    (untied, changed("RELU", tie=Tie.SAME), "RELU: rules A tie none"),
    (untied, changed("PACK", legacy_tie=None), "PACK: rules B tie output"),
    (untied, changed("ADD_N", tie=Tie.NONE), "ADD_N"),
    (unlike_quantizers, changed("NEG", mlir=True), "NEG: rules A leave"),
    (unlike_quantizers, changed("PAD", mlir=False), "PAD: rules A quantize"),
    (unlike_quantizers, changed("PAD", legacy=frozenset({"int8"})), "PAD: rules B quantize"),
    (unlike_quantizers, changed("PAD", legacy_version=3), "PAD: rules B write version 2"),
    (unlike_quantizers, changed("SVDF", dynamic=None), "SVDF: dynamic range"),
]


@pytest.mark.parametrize(
    "check, specs, said",
    FAULTS,
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_checks_find_faults(check: Callable[[Specs], list[str]], specs: Specs, said: str) -> None:
    assert any(said in problem for problem in check(specs)), check(specs)


def test_docstrings() -> None:
    files = {name: ops.module(name).__file__ for name in ops.names()}
    problems = [p for n, f in files.items() for p in undescribed(n, Path(f).read_text("utf-8"))]
    assert problems == []
    assert undescribed("ABS", '"""Takes x."""') == [
        "ABS: the docstring does not start with its name", "ABS: no sources named",
    ]  # fmt: skip


def test_static() -> None:
    files = {name: ops.module(name).__file__ for name in ops.names()}
    problems = [
        p for n, f in files.items() for p in planned(ops.find(n), Path(f).read_text("utf-8"))
    ]
    assert problems == []
    other = replace(ops.all()["IF"], static=True)
    assert planned(other, "call.run(0)") == ["IF: static, but uses call.run"]
    assert not ops.all()["WHERE"].static


def named_in(source: str) -> frozenset[str]:
    """Operator names in the enum of LiteRT's quantizer, in the schema's spelling."""
    body = next(
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "TFLOperationName"
    )
    found = {node.value.value for node in body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    other = {"*", "INPUT", "OUTPUT", "CUSTOM_OP", "CONV_2D_TRANSPOSE"}
    return frozenset(found - other | {"TRANSPOSE_CONV"})


def test_litert_quantizer_table() -> None:
    package = importlib.util.find_spec("litert_quantizer")
    if package is None or not package.origin:
        pytest.skip("needs the peers extra")
    source = Path(package.origin).with_name("qtyping.py").read_text("utf-8")
    assert named_in(source) == LITERT_QUANTIZER
    assert named_in("class TFLOperationName:\n    A = 'A'") == {"A", "TRANSPOSE_CONV"}


# finding operators


def test_find() -> None:
    assert ops.find("CONV_2D") is ops.all()["CONV_2D"]
    assert ops.find("WHILE").name == "WHILE"  # lives in while_.py
    for name in ("conv_2d", "add", "_LSTM", "", "MyCustomOp", "opspec", "__INIT__"):
        assert ops.find(name) is None


def test_find_imports_only_what_is_asked() -> None:
    code = (
        "import sys; from kernels import ops; ops.find('ADD'); ops.find('Custom'); "
        "print([m for m in sys.modules if m.startswith('kernels.ops.') and '._' not in m])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout.strip() == "['kernels.ops.add']", told.stderr


def test_specs_are_frozen() -> None:
    spec = ops.find("SOFTMAX")
    with pytest.raises(FrozenInstanceError):
        spec.mlir = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.versions["int8"] = 9  # type: ignore[index]
    with pytest.raises(TypeError):
        spec.outputs[0].fixed["int8"] = Fixed(1.0, 0)  # type: ignore[index]
    with pytest.raises(TypeError):
        ops.all()["NEW"] = spec  # type: ignore[index]


def test_positions() -> None:
    concat, conv = ops.find("CONCATENATION"), ops.find("CONV_2D")
    assert concat.operand(17) is concat.inputs[0]
    assert conv.operand(3) is None and conv.output(1) is None
    assert ops.find("SPLIT").output(5).name == "output"
    assert ops.find("TRANSPOSE_CONV").data == 2 and ops.find("CALL_ONCE").data is None
    assert conv.position("bias") == 2
    with pytest.raises(KeyError, match="CONV_2D has no input 'alpha'"):
        conv.position("alpha")


def test_lstm_operands() -> None:
    """Positions that LiteRT's lstm_shared.h numbers."""
    for name in ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
        spec = ops.find(name)
        assert len(spec.inputs) == 24 and len(spec.intermediates) == 5
        assert [spec.position(n) for n in ("input_to_output_weights", "recurrent_to_input_weights",
                "cell_to_input_weights", "input_gate_bias", "output_gate_bias", "projection_bias",
                "output_state", "cell_state", "output_layer_norm")] == [
                4, 5, 9, 12, 15, 17, 18, 19, 23]  # fmt: skip
        roles = "".join(operand.role.value[0] for operand in spec.inputs)
        assert roles == "a" + "w" * 11 + "bbbb" + "wb" + "ss" + "wwww"
        assert spec.inputs[19].power_of_two and spec.inputs[19].dtype == "int16"
        assert spec.shared == ((18, 0),)
        norm, plain = spec.inputs[13].scale
        assert norm.operands == ("forget_layer_norm",) and norm.factor == 2**-10
        assert plain.operands == ("input", "input_to_forget_weights")
    both = ops.find("BIDIRECTIONAL_SEQUENCE_LSTM").inputs
    assert len(both) == 48 and both[33].name == "bw_projection_weights"
    assert [o.role for o in both[35:39]] == [Role.STATE] * 4 and both[39].name == "aux_input"


# versions

I8, I16, F32 = ("int8",) * 3, ("int16",) * 3, ("float32",) * 3


def use(inputs: tuple[str | None, ...], output: str, **given: object) -> Use:
    options = given.pop("options", {})
    return Use(inputs, (output,), options=SimpleNamespace(**options), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name, call, version",
    [
        ("ADD", use(I16[:2], "int16", options={"pot_scale_int16": False}), 3),
        ("ADD", use(I16[:2], "int16", options={"pot_scale_int16": True}), 1),
        ("ADD", use(I16[:2], "int16"), 1),
        ("ADD", use(I16[:2], "int16", scales=(None,) * 3), 5),
        ("ADD", use(I8[:2], "int8", options={"pot_scale_int16": False}), 2),
        ("ADD", use(("uint8", "uint8"), "uint8", options={"pot_scale_int16": False}), 1),
        ("ADD", use(F32[:2], "float32", options={"pot_scale_int16": False}), 1),
        ("CONV_2D", use(("int8", "int8", "int32"), "int8"), 3),
        ("CONV_2D", use(F32, "float32"), 1),
        ("CONV_2D", use(("float32", "int8", "float32"), "float32", per_channel=True), 5),
        ("CONV_2D", use(("float32", "int8", "float32"), "float32"), 2),
        ("CONV_2D", use(("int8", "int8"), "int8", shapes=((1, 4, 4, 8), (6, 1, 1, 4))), 6),
        ("CONV_2D", use(("int8", "int4"), "int8", shapes=((1, 4, 4, 8), (6, 1, 1, 8))), 7),
        ("CONV_2D", use(("int16", "int8", "int64"), "int16",
                        options={"quantized_bias_type": 4}), 8),
        ("DEPTHWISE_CONV_2D", use(F32, "float32", options={"dilation_w_factor": 2,
                                                           "dilation_h_factor": 1}), 2),
        ("DEPTHWISE_CONV_2D", use(("int8", "int8"), "int8", options={"dilation_w_factor": 2}), 3),
        ("FULLY_CONNECTED", use(("int8", "int2", "int32"), "int8"), 14),
        ("FULLY_CONNECTED", use(("int16", "int4", "int64"), "int16"), 13),
        ("FULLY_CONNECTED", use(("int16", "int8", "int64"), "int16",
                                options={"quantized_bias_type": 4}), 11),
        ("FULLY_CONNECTED", use(("int16", "int8", "int64"), "int16"), 1),
        ("FULLY_CONNECTED", use(("int16", "int16", "int64"), "int16"), 7),
        ("FULLY_CONNECTED", use(("int8", "int4", "int32"), "int8"), 10),
        ("FULLY_CONNECTED", use(("float32", "int8", None), "float32"), 3),
        ("FULLY_CONNECTED", use(("uint8", "uint8", "int32"), "uint8",
                                options={"weights_format": 1}), 2),
        ("FULLY_CONNECTED", use(F32, "float32", options={"weights_format": 0}), 1),
        ("FULLY_CONNECTED", use(F32[:2], "float32"), 6),
        ("FULLY_CONNECTED", use(("int8", "int8", "int32"), "int8"), 4),
        ("FULLY_CONNECTED", use(("int8", "int8", None), "int8"), 4),
        ("FULLY_CONNECTED", use(("int8", "int8"), "int8"), 6),
        ("FULLY_CONNECTED", use(I8, "int8", options={"keep_num_dims": True}), 5),
        ("FULLY_CONNECTED", use(("float32", "int8", None), "float32", per_channel=True), 12),
        ("FULLY_CONNECTED", use(("float32", "int8", None), "float32",
                                options={"asymmetric_quantize_inputs": True}), 9),
        ("MUL", use(I8[:2], "int8", scales=(1.0, 1.0, 0.5)), 3),
        ("MUL", use(I8[:2], "int8", scales=(1.0, 1.0, 1.5)), 2),
        ("MUL", use(I16[:2], "int16", scales=(1.0, 1.0, 0.5)), 4),
        ("TRANSPOSE_CONV", use(("int32", "int8", "int8", "int32"), "int8"), 3),
        ("TRANSPOSE_CONV", use(("int32", "int8", "int8"), "int8"), 2),
        ("TRANSPOSE", use(("int8", "int32"), "int8", shapes=((1,) * 5,)), 4),
        ("TRANSPOSE", use(("int8", "int32"), "int8", shapes=((1,) * 4,)), 2),
        ("SELECT", use(("bool", "int8", "int8"), "int8"), 1),
        ("SPLIT", use(("int32", "int8"), "int8"), 2),
        ("SUB", use(I8[:2], "int8", shapes=((1,) * 5, (1,))), 3),
        ("SUB", use(I8[:2], "int8", shapes=((2,) * 5, (2,) * 5)), 2),
        ("QUANTIZE", use(("float32",), "int8"), 1),
        ("QUANTIZE", use(("float32",), "int16"), 2),
        ("DEQUANTIZE", use(("int8",), "float32", per_channel=True), 5),
        ("DEQUANTIZE", use(("float16",), "float32"), 3),
        ("RESIZE_BILINEAR", use(("int8", "int32"), "int8",
                                options={"half_pixel_centers": True}), 3),
        ("READ_VARIABLE", use(("resource",), "int8"), 1),
        ("LSTM", use(("float32", None, "int8"), "float32",
                     options={"asymmetric_quantize_inputs": True, "kernel_type": 0}), 4),
    ],
)  # fmt: skip
def test_version(name: str, call: Use, version: int) -> None:
    assert ops.find(name).version(call) == version


@pytest.mark.parametrize(
    ("inputs", "scales", "version"),
    [
        (I8[:2], (0.5, 0.5, 0.25), 3),  # just 1
        (I8[:2], (0.5, 0.5, 0.251), 2),
        (I8[:2], (0.5, 0.5, 0.2), 3),  # below 2
        (I8[:2], (4.0, 0.5, 2.5), 2),  # neither quotient nor power of the first two
        (I8[:2], (0.5, 4.0, 1.5), 3),
        (I8[:2], (0.5, 4.0), 2),  # one is missing
        (I8[:2], (0.0, 4.0, 1.0), 2),
        (I8[:2], (None, 4.0, 1.0), 2),
        (I8[:2], (2.0, 4.0, 1.0, 0.5), 3),
        (I16[:2], (2.0, 4.0, 1.0), 4),
        (("uint8", "uint8"), (2.0, 4.0, 1.0), 3),
        (("float32", "float32"), (), 1),
    ],
)  # fmt: skip
def test_version_of_mul_by_its_scales(inputs, scales, version) -> None:
    """Version 3 where the inputs' scales make at least the output's, but not of int16."""
    assert ops.find("MUL").version(use(inputs, inputs[0], scales=scales)) == version


def test_first_special_wins() -> None:
    spec = replace(
        ops.find("ADD"), special=(Special(7, "hybrid", hybrid), Special(9, "any", lambda use: True))
    )
    assert spec.version(use(("float32", "int8"), "float32")) == 7
    assert spec.version(use(I8[:2], "int8")) == 9


# the document


def test_document_is_current() -> None:
    problem = make_operators.DOCUMENT.problem
    assert problem() is None, problem()


def test_stale_document_is_found(tmp_path: Path) -> None:
    stale = tmp_path / "operators.md"
    stale.write_text(make_operators.document().replace("CONV_2D", "CONV"), encoding="utf-8")
    problem = make_operators.DOCUMENT.problem
    said = problem(stale)
    assert said and said.endswith("run: python docs/make_operators.py")
    assert problem(tmp_path / "absent.md") == said.replace(stale.name, "absent.md")


# the runtimes, in a child process

DTYPES = ("int8", "int16", "uint8")
NOT_ASKED = {
    **dict.fromkeys(("ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE"), "work only together"),
    **dict.fromkeys(("IF", "WHILE", "CALL_ONCE", "STABLEHLO_COMPOSITE"), "need more subgraphs"),
    **dict.fromkeys(("RANGE", "BROADCAST_ARGS", "SEGMENT_SUM"), "take no quantized data"),
    **dict.fromkeys(("REDUCE_ANY", "REDUCE_ALL"), "take bool only"),
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT"), "take bool only"),
    **dict.fromkeys(("BITWISE_XOR", "RIGHT_SHIFT"), "take integers without scales"),
    "BIDIRECTIONAL_SEQUENCE_LSTM": "takes float data only",
    "BIDIRECTIONAL_SEQUENCE_RNN": "takes float data only",
    "CONV_3D_TRANSPOSE": "takes float data only",
    "FAKE_QUANT": "is a training operator",
}
# An 8-bit kernel rounds a few times; int16 tables are interpolated, worst where the function is
# steep. A kernel that ignores a scale or a zero point is off by far more.
STEPS = {"int8": 2.0, "uint8": 2.0, "int16": 16.0}


def ask(command: str, *questions: str) -> dict[str, dict]:
    told = subprocess.run(
        [sys.executable, "-m", "tests.kernels.runtime_worker", command, *questions],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert "ANSWERS " in told.stdout, told.stderr[-2000:]
    answers = json.loads(told.stdout.partition("ANSWERS ")[2])
    assert set(answers) == set(questions)
    return answers


def dishonest(specs: Specs, answers: Mapping[str, dict]) -> list[str]:
    """Claims in `kernels` that the runtime's answers do not bear out, and kernels not claimed."""
    found = []
    for question, told in answers.items():
        name, dtype = question.split(":")
        claim = dtype in specs[name].kernels
        if "error" in told:
            if claim:
                found.append(f"{question} is claimed: {told['error']}")
            continue
        if not told["compared"]:
            found.append(f"{question}: nothing was compared")
        good = told["steps"] <= STEPS[dtype] and told["equal"] == 1.0
        if good != claim:
            found.append(f"{question} is {'' if claim else 'not '}claimed: {told}")
    return found


def test_dishonest() -> None:
    good = {"steps": 1.0, "equal": 1.0, "compared": 9}
    assert dishonest(ops.all(), {"ADD:int8": good, "NEG:int8": {**good, "steps": 40.0}}) == []
    for question, told, said in (
        ("ADD:int8", {"error": "SIGABRT"}, "is claimed: SIGABRT"),
        ("ADD:int8", {**good, "steps": 2.5}, "is claimed"),
        ("LESS:int8", {**good, "equal": 0.99}, "is claimed"),
        ("NEG:int8", good, "is not claimed"),
        ("ADD:int8", {**good, "compared": 0}, "nothing was compared"),
    ):
        assert any(said in problem for problem in dishonest(ops.all(), {question: told}))


def test_every_operator_is_asked_or_has_a_reason() -> None:
    assert set(CASES) | set(NOT_ASKED) == set(ops.names())
    assert not set(CASES) & set(NOT_ASKED)


def test_tied_operands_share_parameters_in_the_models() -> None:
    """The one-operator models would not notice an ignored scale if all their scales were equal."""
    free, tied = Builder("ADD", "int8").chosen, Builder("MAXIMUM", "int8").chosen
    assert len(set(free.values())) == 3 and len(set(tied.values())) == 1
    conv = Builder("CONV_2D", "int8").chosen
    assert conv["bias"] == (conv["input"][0] * conv["filter"][0], 0)
    assert POSITIVE_ONLY <= set(CASES)


@pytest.mark.slow
def test_kernels_in_the_runtime() -> None:
    """Each integer kernel against the float kernel on the same numbers, ai-edge-litert."""
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    answers = ask("invoke", *(f"{name}:{dtype}" for name in CASES for dtype in DTYPES))
    assert len(answers) == 3 * len(CASES)
    assert dishonest(ops.all(), answers) == []


HYBRID = tuple(n for n, s in ops.all().items() if s.dynamic and s.dynamic.hybrid and n in CASES)


def not_hybrid(answers: Mapping[str, dict]) -> list[str]:
    """Hybrid operators that fail, or whose outputs are not what 8 bits of the input would give."""
    return [
        f"{question}: {told}"
        for question, told in answers.items()
        if "error" in told or not told["compared"] or not told["relative"] < 0.03
    ]


def test_not_hybrid() -> None:
    good = {"relative": 0.01, "compared": 9}
    bad = [{"error": "x"}, {**good, "relative": float("nan")}, {**good, "relative": 0.5}]
    assert not_hybrid({"A": good}) == [] and not_hybrid({"A": {**good, "compared": 0}})
    assert len(not_hybrid(dict(zip("ABC", bad, strict=True)))) == 3


def test_hybrid_kernels_in_the_runtime() -> None:
    """Float data beside int8 weights, against the float operator, ai-edge-litert."""
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    answers = ask("invoke", *(f"{name}:hybrid" for name in HYBRID))
    assert len(answers) == len(HYBRID) >= 9
    assert not_hybrid(answers) == []
    assert not_hybrid(ask("invoke", "GATHER:hybrid"))  # the output becomes int8 as well


@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_version(name: str) -> None:
    """DynamicRange.version is what version() says of the hybrid operator."""
    builder = Builder(name, "hybrid")
    builder.bytes()
    bias = name == "TRANSPOSE_CONV"  # the one whose version counts the bias
    assert builder.written == ops.find(name).dynamic.version + bias


# Rules A and B on one float operator: (operator, rules) -> part of what becomes of it instead.
OTHERWISE = {
    ("CAST", "mlir"): [],  # float32 to float32 is nothing
    ("SHAPE", "mlir"): [],  # known when converting
    ("EXPAND_DIMS", "mlir"): ["RESHAPE 1"],
    ("SQUEEZE", "mlir"): ["RESHAPE 1"],
}
FAILS = {("L2_POOL_2D", "mlir"), ("RANK", "mlir"), ("RNN", "mlir")} | {
    (name, rules)
    for name in ("CEIL", "ELU", "ROUND", "WHERE")  # the calibrator's resolver lacks them, or ranges
    for rules in ("int8", "int16")
}


def contradicted(specs: Specs, answers: Mapping[str, dict]) -> list[str]:
    """Claims about dtypes, ties, fixed outputs and versions that a quantizer's output denies."""
    found = []
    for question, told in answers.items():
        name, rules = question.split(":")
        spec, dtype = specs[name], "int8" if rules == "mlir" else rules
        claim = spec.mlir if rules == "mlir" else dtype in spec.legacy
        if (name, rules) in FAILS or "error" in told:
            if ((name, rules) in FAILS) != ("error" in told) or claim:
                found.append(f"{question}: {told}")
            continue
        if (name, rules) in OTHERWISE:
            kept = [o for o in told["operators"] if "QUANTIZE" not in o]
            if kept != OTHERWISE[name, rules]:
                found.append(f"{question}: became {kept}")
            continue
        n, params = told["inputs"], told["params"]
        inputs, outputs = tuple(told["dtypes"][:n]), tuple(told["dtypes"][n:])
        if (inputs[spec.data] == dtype) != claim:
            found.append(f"{question}: claimed {claim}, but inputs are {inputs}")
        call = Use(
            inputs, outputs,
            shapes=tuple(None if s is None else tuple(s) for s in told["shapes"][:n]),
            scales=tuple(p[0] if p else None for p in params),
            options=SimpleNamespace(pot_scale_int16=False),
            per_channel=any(p and p[2] > 1 for p in params),
        )  # fmt: skip
        floats = Use(("float32",) * n, ("float32",) * len(outputs))
        want = (
            spec.version(call) if rules == "mlir"
            else max(spec.versions["float32"], spec.legacy_version or 0,
                     spec.version(floats) if name == "TRANSPOSE_CONV" else 0)
        )  # fmt: skip
        if told["version"] != want:
            found.append(f"{question}: version {told['version']}, spec says {want}")
        if not claim:
            continue
        out = [(spec.output(i), p) for i, p in enumerate(params[n:])]
        for operand, p in out:
            fixed = operand.fixed.get(dtype)
            if fixed and p[:2] != [fixed.scale, fixed.zero_point]:
                found.append(f"{question}: output {p}, spec says {fixed}")
        data = [p for i, p in enumerate(params[:n])
                if p and spec.operand(i).role is Role.ACTIVATION]  # fmt: skip
        made = [p for operand, p in out if operand.role is Role.ACTIVATION]
        tie = spec.tie_under("mlir" if rules == "mlir" else "legacy")
        if not made:
            continue
        first = all(p == data[0] for p in made)
        if tie in (Tie.SAME, Tie.OUTPUT) and not (first and all(p == data[0] for p in data)):
            found.append(f"{question}: not tied, {data} -> {made}")
        if tie is Tie.FIRST and not first:
            found.append(f"{question}: output not as the first operand, {data} -> {made}")
        # The model's ranges all differ, so equality under rules A is a tie; rules B see real data,
        # where RELU and the like may well keep the range.
        if tie is Tie.NONE and rules == "mlir" and first:
            found.append(f"{question}: tied, {data} -> {made}")
    return found


def test_contradicted() -> None:
    told = {
        "operators": ["PAD 2"], "inputs": 2, "dtypes": ["int8", "int32", "int8"],
        "shapes": [[2, 8], [2, 2], [4, 10]], "params": [[0.5, 3, 1], None, [0.5, 3, 1]],
        "version": 2,
    }  # fmt: skip
    assert contradicted(ops.all(), {"PAD:mlir": told, "PAD:int8": told}) == []
    faults = {
        "claimed True": {"dtypes": ["float32", "int32", "float32"]},
        "version 4": {"version": 4},
        "not tied": {"params": [[0.5, 3, 1], None, [0.25, 3, 1]]},
    }
    for said, change in faults.items():
        assert any(said in p for p in contradicted(ops.all(), {"PAD:mlir": {**told, **change}}))
    assert contradicted(ops.all(), {"PAD:mlir": {"error": "abort"}})
    assert contradicted(changed("PAD", tie=Tie.NONE), {"PAD:mlir": told})
    soft = {**told, "inputs": 1, "dtypes": ["int8", "int8"], "shapes": [[2, 8], [2, 8]],
            "params": [[0.5, 3, 1], [0.5, 3, 1]]}  # fmt: skip
    assert any("spec says Fixed" in p for p in contradicted(ops.all(), {"SOFTMAX:mlir": soft}))


@pytest.mark.slow
def test_quantizers_of_tensorflow() -> None:
    """Rules A (int8) and B (int8 and int16) on each operator alone, tensorflow 2.21."""
    tensorflow = pytest.importorskip("importlib.metadata")
    try:
        if not tensorflow.version("tensorflow").startswith("2.21."):
            pytest.skip("the facts were measured on tensorflow 2.21")
    except tensorflow.PackageNotFoundError:
        pytest.skip("needs the tensorflow extra")
    names = [name for name in CASES if name not in ("QUANTIZE", "DEQUANTIZE")]
    answers = ask(
        "convert", *(f"{n}:{rules}" for n in names for rules in ("mlir", "int8", "int16"))
    )
    assert len(answers) == 3 * len(names)
    assert contradicted(ops.all(), answers) == []
