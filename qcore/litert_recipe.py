"""Recipes of LiteRT's quantizer (its JSON lists) as ours.

An entry names a pattern on the outputs of operators, an operation, an algorithm and a
configuration; the last entry that is valid for an operator wins. So an entry for all operations
becomes one rule for each operator that its policy allows, in the order of the file.

Sources: litert-quantizer 0.11, recipe_manager.py, qtyping.py, default_policy.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qcore.errors import BadRecipe
from qcore.recipe import Recipe, Rule
from qcore.schemes.base import Scheme

NAMES = {"CONV_2D_TRANSPOSE": "TRANSPOSE_CONV"}  # where theirs differs from the schema's
_SIX = (
    "BATCH_MATMUL",
    "CONV_2D",
    "CONV_2D_TRANSPOSE",
    "DEPTHWISE_CONV_2D",
    "EMBEDDING_LOOKUP",
    "FULLY_CONNECTED",
)
# (mode, type of the weights) -> the operations that the policy has for it.
ALLOWED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("dynamic", "int8"): _SIX,
    ("dynamic", "int4"): ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D"),
    ("dynamic", "int2"): ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D"),
    ("weight_only", "int8"): _SIX,
    ("weight_only", "int4"): ("BATCH_MATMUL", "FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D"),
    ("float16", "float16"): (
        "FULLY_CONNECTED",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D_TRANSPOSE",
        "EMBEDDING_LOOKUP",
    ),
}
BLOCKWISE = {"int4": ("EMBEDDING_LOOKUP", "FULLY_CONNECTED"), "int2": ("FULLY_CONNECTED",)}
# Algorithms that a scheme of ours is named like, and why that would give other scales (held against
# the tool in tests/peers/test_litert.py). Source: algorithms/uniform_quantize/{octav,mse}.py.
DIFFERENT: Mapping[str, str] = {
    "OCTAV": "it takes at most 10 steps from 1, weighs the rounding by 4^-bits / 3 and counts "
    "zeros, while our scheme 'octav' goes to the fixed point, weighs by 1 / (12 qmax^2) and leaves "
    "zeros out",
    "MSE": "it multiplies the root mean square of the weights by 0.05408 (8 bits) or 0.37755 (4), "
    "while our scheme 'mse' searches for the ends of least error",
}
_NEEDED = {"regex", "operation", "algorithm_key"}
_FIELDS = {*_NEEDED, "op_config"}
_IO = ("INPUT", "OUTPUT")


def from_litert(data: list[Any], name: str) -> Recipe:
    """The recipe that a list of LiteRT quantizer entries stands for.

    Raises BadRecipe naming the entry and what of it we do not have (an algorithm, a combination of
    types), or what it lacks.
    """
    rules: list[Rule] = []
    bits: dict[int, int] = {}  # activation bits of static entries -> the entry
    io = {"INPUT": "float32", "OUTPUT": "float32"}
    for number, entry in enumerate(data):
        where = f"entry {number} of LiteRT recipe {name!r}"
        if not isinstance(entry, Mapping) or not _NEEDED <= set(entry):
            raise BadRecipe(
                f"{where} lacks one of regex, operation and algorithm_key; give all three"
            )
        if unknown := set(entry) - _FIELDS:
            raise BadRecipe(f"{where} has the field {sorted(unknown)[0]!r}, which is not known")
        _check(entry, where)
        try:
            made, activation = _entry(entry, where)
        except (TypeError, ValueError) as error:
            raise BadRecipe(f"{where} has a number that is none ({error}); mend it") from None
        rules += made
        if activation:
            bits.setdefault(activation, number)
        for operation in _IO:
            if entry["operation"] in ("*", operation) and entry["regex"] in ("", ".*"):
                io[operation] = f"int{activation}" if activation else "float32"
    if len(bits) > 1:
        raise BadRecipe(
            f"LiteRT recipe {name!r} has both {' and '.join(f'int{b}' for b in bits)} activations; "
            "make one recipe for each"
        )
    legacy = 16 in bits
    return Recipe(
        name=name,
        rules=tuple(rules),
        dialect="legacy" if legacy else "mlir",
        input_type=io["INPUT"],
        output_type=io["OUTPUT"],
    )


def _check(entry: Mapping[str, Any], where: str) -> None:
    """Raises BadRecipe for a text that is none, or a table that is none."""
    for field in sorted(_NEEDED):
        if not isinstance(entry[field], str):
            raise BadRecipe(f"{where} has the {field} {entry[field]!r}; give a text")
    config = entry.get("op_config")
    tables = {"op_config": config}
    if isinstance(config, Mapping):
        kinds = ("weight_tensor_config", "activation_tensor_config")
        tables |= {kind: config.get(kind) for kind in kinds}
    for field, table in tables.items():
        if table is not None and not isinstance(table, Mapping):
            raise BadRecipe(f"{where} has the {field} {table!r}; give a table")


def _entry(entry: Mapping[str, Any], where: str) -> tuple[list[Rule], int]:
    """Rules of one entry, and the bits of its activations (0 where they are float)."""
    operation, algorithm = entry["operation"], entry["algorithm_key"]
    regex = entry["regex"]
    pattern = "*" if regex in ("", ".*") else f"re:{regex}"
    config = entry.get("op_config") or {}
    weight, activation = config.get("weight_tensor_config"), config.get("activation_tensor_config")
    if algorithm == "no_quantize" or weight is None:
        operators = ["*"] if operation == "*" else [operation]
        return [Rule(operator=NAMES.get(o, o), name=pattern, mode="float") for o in operators], 0
    if algorithm in DIFFERENT:
        raise BadRecipe(
            f"{where} asks for the algorithm {algorithm!r}, which gives other scales than ours "
            f"({DIFFERENT[algorithm]}); let LiteRT's quantizer make it (qcore.peers.litert, "
            f"candidate litert:FILE.json), or name scheme {algorithm.lower()!r} in a recipe of ours"
        )
    if algorithm == "GPTQ":
        raise BadRecipe(
            f"{where} asks for the algorithm 'GPTQ', which gives other integers there than ours "
            "(it passes errors on by the inverse of the second moments, not by a factor of it); "
            "let LiteRT's quantizer make it (qcore.peers.litert, candidate litert:FILE.json), or "
            "name rounding 'gptq' in a recipe of ours"
        )
    if algorithm not in ("min_max_uniform_quantize", "float_casting"):
        raise BadRecipe(
            f"{where} asks for the algorithm {algorithm!r}, which we do not have; "
            "use min_max_uniform_quantize, float_casting or no_quantize"
        )
    dtype = _dtype(weight, where)
    mode = _mode(config, activation, dtype, where)
    granularity = _granularity(weight, where)
    settings: dict[str, Any] = {"dtype": dtype}
    if mode != "float16":
        settings["scheme"] = _scheme(weight, mode, activation)
        settings["granularity"] = granularity
        settings["min_elements"] = int(config.get("min_weight_elements", 0))
    if activation is not None:
        return _static(operation, pattern, settings, activation, where)
    allowed = ALLOWED.get((mode, dtype), ())
    if granularity.startswith("blockwise"):
        allowed = BLOCKWISE.get(dtype, ()) if mode == "dynamic" else ()
    if operation != "*" and operation not in allowed:
        raise BadRecipe(
            f"{where} sets {mode} with {dtype} weights ({granularity}) for {operation}; that takes "
            + (", ".join(allowed) or "no operation")
        )
    rules = []
    for o in allowed if operation == "*" else (operation,):
        operator = NAMES.get(o, o)
        rules.append(Rule(operator=operator, name=pattern, mode=mode))
        rules.append(Rule(operator=operator, operand="weight", name=pattern, **settings))
        if mode == "float16":
            rules.append(Rule(operator=operator, operand="bias", name=pattern, dtype="float32"))
    return rules, 0


def _static(
    operation: str,
    pattern: str,
    settings: dict[str, Any],
    activation: Mapping[str, Any],
    where: str,
) -> tuple[list[Rule], int]:
    bits = int(activation.get("num_bits", 8))
    if bits not in (8, 16) or settings["dtype"] != "int8":
        raise BadRecipe(
            f"{where} sets {bits} bit activations with {settings['dtype']} weights; static recipes "
            "here have 8 or 16 bit activations and int8 weights"
        )
    symmetric = bool(activation.get("symmetric", True))
    arithmetic = "legacy" if bits == 16 else "mlir"
    scheme = Scheme.from_json(
        {"key": "symmetric" if symmetric else "minmax", "arithmetic": arithmetic}
    )
    if operation in _IO:
        return [], bits
    bias = "int64" if bits == 16 else "int32"
    operator = NAMES.get(operation, operation)
    return [
        Rule(operator=operator, name=pattern, mode="static"),
        Rule(operator=operator, operand="activation", dtype=f"int{bits}", scheme=scheme),
        Rule(operator=operator, operand="weight", name=pattern, **settings),
        Rule(operator=operator, operand="bias", name=pattern, dtype=bias),
    ], bits


def _dtype(weight: Mapping[str, Any], where: str) -> str:
    kind, bits = weight.get("dtype", "INT"), weight.get("num_bits")
    if kind == "FLOAT" and bits == 16:
        return "float16"
    if kind == "INT" and bits in (2, 4, 8):
        return f"int{bits}"
    raise BadRecipe(
        f"{where} sets weights of type {kind} with {bits} bits; use INT with 8, 4 or 2, or FLOAT "
        "with 16"
    )


def _mode(
    config: Mapping[str, Any], activation: Mapping[str, Any] | None, dtype: str, where: str
) -> str:
    if dtype == "float16":
        return "float16"
    precision = config.get("compute_precision", "FLOAT")
    if activation is not None:
        return "static"
    if precision == "INTEGER":
        return "dynamic"
    if config.get("explicit_dequantize"):
        return "weight_only"
    raise BadRecipe(
        f"{where} computes in FLOAT without explicit_dequantize, which no kernel of the runtime "
        "does; set compute_precision to INTEGER or explicit_dequantize to true"
    )


def _granularity(weight: Mapping[str, Any], where: str) -> str:
    text = str(weight.get("granularity", "TENSORWISE"))
    block = int(weight.get("block_size", 0))
    if text.startswith("BLOCKWISE_") and text[10:].isdigit():
        block = int(text[10:])
    if block:
        return f"blockwise:{block}"
    if text in ("TENSORWISE", "CHANNELWISE"):
        return {"TENSORWISE": "per_tensor", "CHANNELWISE": "per_channel"}[text]
    raise BadRecipe(
        f"{where} sets the granularity {text!r}; use TENSORWISE, CHANNELWISE or BLOCKWISE_32 to 256"
    )


def _scheme(
    weight: Mapping[str, Any], mode: str, activation: Mapping[str, Any] | None
) -> dict[str, Any]:
    if not weight.get("symmetric", True):
        return {"key": "minmax", "widen": "constant"}
    if mode == "static":
        wide = activation is not None and activation.get("num_bits") == 16
        return {"key": "symmetric", "arithmetic": "legacy" if wide else "mlir"}
    return {"key": "symmetric", "arithmetic": "dynamic"}
