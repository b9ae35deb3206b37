"""Writes docs/operators.md from the specs in kernels/ops/.

python docs/make_operators.py           write the file
python docs/make_operators.py --check   exit 1 if the file is not what the specs say
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_operators.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402
from kernels import ops  # noqa: E402
from kernels.opspec import Operand, OpSpec, Role, Tie  # noqa: E402

HEAD = f"""# Operators

Made by `{COMMAND}` from the SPEC in each file of `kernels/ops/`; do not edit.

- **Operands**: *italics* are indices and shapes, never quantized; `?` may be absent, `...`
  stands for any number. Weights are symmetric, `/n` gives the axis for one scale a channel.
- **Tie**: operands that must share scale and zero point. *same*: all data operands and outputs;
  *output*: operands are requantized to the output's range; *first*: outputs take over from the
  first data operand. A and B name a quantizer that ties in another way than the kernel asks for.
- **Kernel**: activation types for which ai-edge-litert 2.3 has an integer kernel that honours scale
  and zero point.
- **A**: TensorFlow 2.21's MLIR quantizer makes it int8. **B**: types to which its older quantizer
  makes it.
- **Version**: of the operator for float32, int8, int16, uint8 as A writes it; B raises any to the
  number behind the slash.
- **Dynamic range**: `hybrid`, the kernel computes on int8 weights; `stored`, they are dequantized
  first (`stored, after`: the operator moves int8, its result is dequantized).
"""


def operand_text(operand: Operand) -> str:
    name = operand.name
    if operand.role is Role.INDEX:
        name = f"*{name}*"
    if operand.role is Role.WEIGHT:
        name += f" (weight{'' if operand.axis is None else f' /{operand.axis}'})"
    elif operand.role in (Role.BIAS, Role.STATE):
        name += f" ({operand.role.value})"
    return name + ("?" if operand.optional else "") + (" ..." if operand.variadic else "")


def operands_text(operands: tuple[Operand, ...]) -> str:
    """Names in order; a long list (LSTM) is cut after its first four."""
    shown = [operand_text(o) for o in operands]
    if len(shown) > 8:
        shown = [*shown[:4], f"... {len(shown)} in all"]
    return ", ".join(shown) or "none"


def tie_text(spec: OpSpec) -> str:
    parts = [spec.tie.value] if spec.tie is not Tie.NONE else []
    for rules, tie in (("A", spec.mlir_tie), ("B", spec.legacy_tie)):
        if tie is not None:
            parts.append(f"{rules} {tie.value}")
    for output in spec.outputs:
        for dtype, fixed in output.fixed.items():
            scale = Fraction(fixed.scale)
            parts.append(f"{dtype} {scale.numerator}/{scale.denominator}, {fixed.zero_point}")
    for i, o in spec.shared:
        parts.append(f"{spec.inputs[i].name} with {spec.outputs[o].name}")
    return "; ".join(parts)


def version_text(spec: OpSpec) -> str:
    numbers = [spec.versions.get(d, 1) for d in ("float32", "int8", "int16", "uint8")]
    text = str(numbers[0]) if len(set(numbers)) == 1 else " ".join(map(str, numbers))
    return text + (f" / {spec.legacy_version}" if spec.legacy_version else "")


def dynamic_text(spec: OpSpec) -> str:
    d = spec.dynamic
    if d is None:
        return ""
    words = ["hybrid" if d.hybrid else "stored, after" if d.after else "stored"]
    words += ["per channel"] if d.per_channel else []
    words += ["asymmetric inputs"] if d.asymmetric_inputs else []
    return ", ".join([*words, f"v{d.version}"])


def row(spec: OpSpec) -> str:
    short = {"int8": "8", "int16": "16", "uint8": "u8"}

    def types(dtypes: frozenset[str]) -> str:
        return " ".join(text for dtype, text in short.items() if dtype in dtypes)

    cells = (
        f"`{spec.name}`",
        f"{operands_text(spec.inputs)} -> {operands_text(spec.outputs)}",
        tie_text(spec),
        types(spec.kernels),
        "8" if spec.mlir else "",
        types(spec.legacy),
        version_text(spec),
        dynamic_text(spec),
    )
    return "| " + " | ".join(cells) + " |"


def meaning(name: str) -> str:
    """What the operator computes: the first sentence of its module's docstring."""
    module = ops.module(name)
    assert module is not None and module.__doc__, name
    return " ".join(module.__doc__.split("\n\n")[0].split()).partition(": ")[2]


def document() -> str:
    """The whole text of docs/operators.md."""
    specs = ops.all()
    lines = [HEAD, "## What a quantizer must know\n"]
    lines.append("| Operator | Operands | Tie | Kernel | A | B | Version | Dynamic range |")
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    lines += [row(spec) for spec in specs.values()]
    lines.append("\n## What they compute\n")
    lines += [f"- `{name}`: {meaning(name)}" for name in specs]
    lines.append("\n## Versions that depend on more than the type of the data\n")
    lines.append("The first that holds is written; otherwise the number of the table above.\n")
    for name, spec in specs.items():
        if spec.special:
            listed = "; ".join(f"{s.version} {s.reason}" for s in spec.special)
            lines.append(f"- `{name}`: {listed}")
    return "\n".join(lines) + "\n"


DOCUMENT = Document("operators.md", "the specs", COMMAND, document)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
