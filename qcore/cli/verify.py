"""`qcore verify`: our kernels against an official interpreter, operator by operator."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared
from qcore.cli.groups import Interpreted, takes

if TYPE_CHECKING:
    from qcore.verify import Compared, PathCheck, Verification

EXAMPLE = "Example: qcore verify int8.tflite --data test.npz --std 255 --limit 8"
_SHOWN = 20


@takes(Interpreted)
def command(
    model: shared.ModelPath,
    path: Annotated[
        list[str] | None,
        shared.option(
            "--path", metavar="PATH", help="reference, optimized or xnnpack; repeat it (all)."
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        shared.option(
            "--runtime", metavar="NAME", help="litert (default) or tensorflow; repeat it."
        ),
    ] = None,
    mode: Annotated[
        str,
        shared.option("--mode", metavar="MODE", help="fast (compiled) or reference (NumPy)."),
    ] = "fast",
    operators: Annotated[
        bool, shared.option("--operators", help="Show every operator, not only sums.")
    ] = False,
    json: shared.Json = False,
    *,
    samples: Interpreted,
) -> None:
    """Compare every integer with the official interpreter's, on each of its execution paths.

    Exits with 1 when an integer differs, or when nothing could be compared.
    """
    from qcore.progress import track
    from qcore.verify import PATHS, verify

    if samples.data is None:
        raise typer.BadParameter("there is nothing to verify on; give --data")
    loaded = shared.load(model)
    found = verify(
        model,
        track(samples.open(loaded), "reading samples"),
        tuple(path or PATHS),
        tuple(runtime or ("litert",)),
        mode=mode,
        signature=samples.signature,
        **samples.limits(),
    )
    if json:
        shared.print_json(found.to_json())
    else:
        show(found, operators)
    raise typer.Exit(0 if found.ok else 1)


def show(found: Verification, operators: bool = False) -> None:
    """The result as tables on standard output."""
    from rich.text import Text

    numbers = (
        "samples", "operators\n(by XNNPACK)", "differ:\neach operator", "end to end:\noutputs",
        "end to end:\nall tensors",
    )  # fmt: skip
    sums = shared.table("path", *numbers, right=numbers)
    for p in found.paths:
        taken = sum(o.delegated for o in p.operators)
        sums.add_row(
            f"{p.runtime} {p.path}", str(p.samples),
            f"{len(p.operators)} ({taken})" if taken else str(len(p.operators)),
            *map(_differing, (p.compared, p.outputs, p.tensors)),
        )  # fmt: skip
    wrong = shared.table("path", "operator", "what", title="differences")
    for p, o in found.mismatches[:_SHOWN]:
        what = o.error or (
            f"{o.compared.differing:,} of {o.compared.elements:,} differ, by up to "
            f"{o.compared.largest:g}; rule {o.rule}"
        )
        wrong.add_row(
            f"{p.runtime} {p.path}", shared.cut(f"{o.name} {o.number} ({o.output})"), Text(what)
        )
    left = len(found.mismatches) - _SHOWN
    undefined = [
        f"{p.runtime} {p.path}, {o.name} {o.number} ({o.output}): {o.undefined}"
        for p in found.paths for o in p.operators if o.undefined
    ]  # fmt: skip
    failed = [f"{p.runtime} {p.path} not run: {p.failed}" for p in found.paths if p.failed]
    stopped = [f"{p.runtime} {p.path} end to end: {p.stopped}" for p in found.paths if p.stopped]
    bounded = sum(p.compared.bounded for p in found.paths)
    closing = f"equal: {found.compared:,} elements compared, none differs"
    if not found.ok:
        closing = f"not equal: {_difference(found)}"
    if failed:
        closing += f"; {len(failed)} of {len(found.paths)} paths were not run"
    if not found.compared:
        closing = "nothing was compared"
    if bounded:
        closing += f"; {bounded:,} floats within their operator's bound"
    shared.show(
        shared.console(),
        sums,
        *(_operators(p) for p in found.paths if operators),
        wrong,
        f"{left} more; --json has all" if left > 0 else None,
        *map(Text, undefined),
        *map(Text, failed),
        *map(Text, stopped),
        Text(closing, style="green" if found.ok else "bold red"),
    )


def _differing(c: Compared) -> str:
    return f"{c.differing:,} of {c.elements:,}"


def _difference(found: Verification) -> str:
    """What makes it not ok: operators, else what only the end-to-end run shows."""
    if found.mismatches:
        failed = sum(bool(o.error) for _, o in found.mismatches)
        wrong = sum(p.compared.differing for p in found.paths)
        parts = [f"{wrong:,} elements differ"] if wrong or not failed else []
        if failed:
            plural = "s" * (failed > 1)
            parts.append(f"{failed} operator{plural} could not be computed")
        return " and ".join(parts)
    wrong = sum(p.tensors.differing - p.loose.differing for p in found.paths)
    whole = f"{wrong:,} elements differ" if wrong else "there is no answer to compare"
    return f"end to end {whole}; every operator by itself is equal"


def _operators(p: PathCheck) -> Any:
    """One row for each kind of operator: name, form and rule."""
    made = shared.table(
        "operator", "form", "rule", "count", "differ",
        right=("count", "differ"), title=f"{p.runtime} {p.path}",
    )  # fmt: skip
    kinds: Counter[tuple[str, str, str]] = Counter()
    sums: dict[tuple[str, str, str], Any] = {}
    for o in p.operators:
        rule = o.rule + (" (XNNPACK)" if o.delegated else "")
        key = o.name, o.form or "plain", rule
        kinds[key] += 1
        sums[key] = sums[key] + o.compared if key in sums else o.compared
    for key, count in sorted(kinds.items()):
        c = sums[key]
        largest = f"\nby up to {c.largest:g}" if c.differing else ""
        made.add_row(*key, str(count), _differing(c) + largest)
    return made
