"""`qcore certify`: what holds for every input of a quantized model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared

if TYPE_CHECKING:
    from qcore.certify import Certificate, OperatorCertificate

EXAMPLE = "Example: qcore certify int8.tflite --float model.tflite --input 0.0,1.0"
_NAMED = "="


def command(
    model: shared.ModelPath,
    float_model: Annotated[
        Path | None,
        shared.option(
            "--float", metavar="FILE", help="The model that was quantized: errors against it."
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        shared.option(
            "--input",
            metavar="[NAME=]LO,HI",
            help="Range of the inputs, or of one: codes, or with a decimal point real units.",
        ),
    ] = None,
    path: Annotated[
        str, shared.option("--path", metavar="PATH", help="reference, optimized or xnnpack.")
    ] = "xnnpack",
    runtime: Annotated[
        str, shared.option("--runtime", metavar="NAME", help="litert or tensorflow.")
    ] = "litert",
    signature: Annotated[
        str | None, shared.option("--signature", metavar="NAME", help="The signature meant.")
    ] = None,
    channels: Annotated[
        bool, shared.option("--channels", help="Show the worst channel of every sum.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Prove that no accumulator overflows, bound saturation and the error against float.

    Bounds go through the graph layer by layer and hold for every input. Exits with 1 where an
    accumulator can overflow, with an input that does it, or where there is no proof.
    """
    from qcore.certify import certify

    loaded = shared.load(model)
    other = None if float_model is None else shared.load(float_model)
    found = certify(
        loaded, inputs=_ranges(inputs or []), float_model=other, profile=path, runtime=runtime,
        signature=signature,
    )  # fmt: skip
    if json:
        shared.print_json(found.to_json())
    else:
        show(found, channels)
    raise typer.Exit(0 if found.proved else 1)


def _ranges(given: list[str]) -> Any:
    """--input as `certify` takes it: None, one range for all, or ranges by name."""
    found: dict[str, tuple[float, float]] = {}
    for text in given:
        name, _, ends = text.rpartition(_NAMED)
        try:
            lo, hi = (float(e) if set(e) & set(".einf") else int(e) for e in ends.split(","))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is no range; write LO,HI or NAME=LO,HI") from None
        if name in found:
            raise typer.BadParameter("--input names the same input twice; give it one range")
        found[name] = lo, hi
    if "" in found and len(found) > 1:
        raise typer.BadParameter("--input has a range for all inputs and one by name; give either")
    return found.get("", found or None)


def show(found: Certificate, channels: bool = False) -> None:
    """The certificate as tables on standard output."""
    numbers = ("codes", "sum", "bits\nleft", "saturates by\n(steps)", "channels", "error\n(steps)")
    bounds = shared.table("operator", "rule", *numbers, "output", right=numbers)
    for o in found.operators:
        bounds.add_row(
            f"{o.name} {o.number}", o.rule.split(":")[0], _codes(o), _sum(o), _spare(o),
            *_saturation(o), _error(o), shared.cut(o.output),
        )  # fmt: skip
    ends = ("channel", "from", "to", "bits left")
    worst = shared.table("operator", "sum", *ends, "any order", "raw", right=ends)
    for o, a in found.accumulators if channels else ():
        if a.lo:
            at = a.worst
            worst.add_row(
                f"{o.name} {o.number}", a.name, str(at), f"{a.lo[at]:,}", f"{a.hi[at]:,}",
                f"{a.spare:.1f}", _yes(a.any_order), _yes(a.raw),
            )  # fmt: skip
    shared.show(
        shared.console(), bounds, worst, *_witnesses(found), *_remarks(found), found.verdict
    )


def _codes(o: OperatorCertificate) -> str:
    return "" if o.lo is None or o.hi is None else f"{o.lo:.6g} to {o.hi:.6g}"


def _sum(o: OperatorCertificate) -> str:
    ends = [e for a in o.accumulators for e in (*a.lo, *a.hi)]
    return f"{min(ends):,} to {max(ends):,}" if ends else ""


def _spare(o: OperatorCertificate) -> str:
    least = min((a.spare for a in o.accumulators), default=math.inf)
    return f"{least:.1f}" if math.isfinite(least) else ""


def _saturation(o: OperatorCertificate) -> tuple[str, str]:
    s = o.saturation
    if s is None:
        return "", ""
    if not s.possible:
        return "no", ""
    return f"{max(s.below, s.above):.4g}", f"{s.channels}/{s.of}" if s.of > 1 else ""


def _error(o: OperatorCertificate) -> str:
    e = o.error
    if e is None:
        return ""
    if not math.isfinite(e.bound):
        return "not finite"
    if e.trivial:
        return "range"
    return f"{e.steps:.3g}" if math.isfinite(e.steps) else f"{e.bound:.3g} (real)"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _witnesses(found: Certificate) -> list[str]:
    from qcore.certify.values import said

    return [
        f"{o.name} {o.number} overflows: {said(o.witness)}"
        for o in found.operators
        if o.witness is not None
    ]


def _remarks(found: Certificate) -> list[str]:
    """Up to where errors hold without a hypothesis, and where a requantization can wrap."""
    lines = [f"{o.name} {o.number}: {o.wraps}" for o in found.operators if o.wraps]
    why = next((o.error.why for o in found.operators if o.error and not o.error.unconditional), "")
    if why:
        lines.append(
            f"errors against {found.against} hold for inputs whose float values stay in the ranges "
            f"of the file: {why}"
        )
    return lines
