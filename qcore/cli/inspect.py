"""`qcore inspect`: what is in a .tflite file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from qcore.cli import shared

if TYPE_CHECKING:
    from qcore.inspect import Inspection, SubgraphInfo, TensorInfo

Ports = tuple[tuple[str, int], ...]
EXAMPLE = "Example: qcore inspect model.tflite --operators"


def command(
    model: shared.ModelPath,
    operators: Annotated[bool, shared.option("--operators", help="List every operator.")] = False,
    tensors: Annotated[bool, shared.option("--tensors", help="List every tensor.")] = False,
    json: shared.Json = False,
) -> None:
    """Show graph, tensors, quantization and sizes of a .tflite file.

    --json prints everything, whatever else is asked.
    """
    from qcore.inspect import inspect

    loaded = shared.load(model)
    found = inspect(loaded)
    size = shared.size(model, loaded)
    if json:
        shared.print_json({"file": str(model), "bytes": size, **found.to_json()})
        return
    parts = _overview(str(model), size, found)
    for sub in found.subgraphs:
        if operators:
            parts.append(_operators(sub))
        if tensors:
            parts.append(_tensors(sub))
    shared.show(shared.console(), *parts)


def _overview(name: str, size: int, found: Inspection) -> list[Any]:
    from rich.text import Text

    operators = sum(len(sub.operators) for sub in found.subgraphs)
    tensors = [t for sub in found.subgraphs for t in sub.tensors]
    head = Text(name, style="bold")
    head.append(
        f"\n{shared.bytes_text(size)}, schema {found.version}, "
        f"{_count(len(found.subgraphs), 'subgraph')}, {_count(operators, 'operator')}, "
        f"{_count(len(tensors), 'tensor')}"
        + (f", {shared.bytes_text(found.appended_bytes)} appended" if found.appended_bytes else ""),
        style="not bold",
    )
    if found.description:
        head.append(f'\ndescription "{found.description}"', style="not bold")
    metadata = shared.table("metadata", "size", right=("size",))
    for entry, stored in found.metadata:
        metadata.add_row(shared.cut(entry), shared.bytes_text(stored))
    return [head, _ports(found), _constants(found, size, tensors), _counts(found), metadata]


def _ports(found: Inspection) -> Any:
    """Inputs and outputs of every signature, or of the subgraphs where there are no signatures."""
    made = shared.table("signature", "", "name", "type", "shape", "scale", "zero point")
    for key, sub, inputs, outputs in _ways_in(found):
        rows = [("in", *port) for port in inputs] + [("out", *port) for port in outputs]
        for number, (what, name, index) in enumerate(rows):
            t = sub.tensors[index]
            made.add_row(
                shared.cut("" if number else key),
                what,
                shared.cut(name),
                t.dtype,
                _shape(t),
                _scale(t),
                _zero_point(t),
            )
    return made


def _ways_in(found: Inspection) -> Iterator[tuple[str, SubgraphInfo, Ports, Ports]]:
    """(signature, subgraph, inputs, outputs); the first subgraph where there is no signature."""
    for s in found.signatures:
        yield s.key, found.subgraphs[s.subgraph], s.inputs, s.outputs
    if not found.signatures and found.subgraphs:
        sub = found.subgraphs[0]
        inputs, outputs = (
            tuple((sub.tensors[i].name, i) for i in ports) for ports in (sub.inputs, sub.outputs)
        )
        yield "-", sub, inputs, outputs


def _constants(found: Inspection, size: int, tensors: list[TensorInfo]) -> Any:
    made = shared.table(
        "constants", "tensors", "size", "of file", "quantized", right=("tensors", "size", "of file")
    )
    for dtype, stored in found.constants.items():
        these = [t for t in tensors if t.bytes and t.dtype == dtype]
        ways = {
            "per tensor": sum(len(t.scale) == 1 for t in these),
            "per channel": sum(len(t.scale) > 1 for t in these),
            "blockwise": sum(t.block > 0 for t in these),
        }
        made.add_row(
            dtype,
            str(len(these)),
            shared.bytes_text(stored),
            f"{100 * stored / size:.1f} %",
            ", ".join(f"{n} {way}" for way, n in ways.items() if n) or "no",
        )
    return made


def _counts(found: Inspection) -> Any:
    made = shared.table("operator", "version", "count", "types", right=("version", "count"))
    counts = sorted(found.operator_counts().items(), key=lambda item: (-item[1], item[0]))
    for (name, version, types), count in counts:
        made.add_row(name, str(version), str(count), types)
    return made


def _operators(sub: SubgraphInfo) -> Any:
    from rich.text import Text

    from qcore.inspect import signature

    made = shared.table(
        "#",
        "operator",
        "v",
        "inputs",
        "outputs",
        "types",
        "options",
        right=("#", "v"),
        title=_title("operators", sub),
    )
    for op in sub.operators:
        options = [f"{k}={v}" for k, v in op.options.items()]
        if op.custom_options_bytes:
            options.append(f"custom options {shared.bytes_text(op.custom_options_bytes)}")
        made.add_row(
            str(op.index),
            Text(op.name),
            str(op.version),
            _numbers(op.inputs),
            _numbers(op.outputs),
            signature(op),
            Text(" ".join(options)),
        )
    return made


def _tensors(sub: SubgraphInfo) -> Any:
    made = shared.table(
        "#",
        "name",
        "kind",
        "type",
        "shape",
        "scale",
        "zero point",
        "size",
        right=("#", "size"),
        title=_title("tensors", sub),
    )
    for t in sub.tensors:
        size = shared.bytes_text(t.bytes) if t.bytes else ""
        made.add_row(
            str(t.index),
            shared.cut(t.name),
            t.kind,
            t.dtype,
            _shape(t),
            _scale(t),
            _zero_point(t),
            size + (" shared" if t.shared > 1 else ""),
        )
    return made


def _title(what: str, sub: SubgraphInfo) -> str:
    return f"{what} of subgraph {sub.index}" + (f" {sub.name}" if sub.name else "")


def _count(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


def _numbers(indices: tuple[int, ...]) -> str:
    return " ".join("-" if i < 0 else str(i) for i in indices)


def _shape(t: TensorInfo) -> str:
    shown = t.signature or t.shape
    if not shown:
        return "unknown" if shown is None else "scalar"
    return "x".join("?" if n < 0 else str(n) for n in shown)


def _scale(t: TensorInfo) -> str:
    if t.block:
        return f"blocks of {t.block}, axis {t.quantized_dimension}"
    if len(t.scale) < 2:
        return f"{t.scale[0]:.6g}" if t.scale else ""
    return f"{min(t.scale):.2g}..{max(t.scale):.2g} axis {t.quantized_dimension}"


def _zero_point(t: TensorInfo) -> str:
    if not t.zero_point or t.block:
        return ""
    low, high = min(t.zero_point), max(t.zero_point)
    return str(low) if low == high else f"{low} .. {high}"
