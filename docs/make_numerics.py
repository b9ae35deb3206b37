"""Writes docs/numerics.md from the kernels in kernels/ops/ and bench/results/conformance.json.

python docs/make_numerics.py           write the file
python docs/make_numerics.py --check   exit 1 if the file is not what they say
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_numerics.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402
from kernels import ops  # noqa: E402
from kernels.numerics import Row  # noqa: E402
from kernels.profile import PATHS, RUNTIMES  # noqa: E402
from qcore.testing import coverage  # noqa: E402

MEASURED = ROOT / "bench" / "results" / "conformance.json"
MEASURE = "python -m qcore.testing.conformance --targets all --json bench/results/conformance.json"

HEAD = f"""# What the official interpreter computes

Made by `{COMMAND}` from `NUMERICS` in each file of `kernels/ops/` and from the measurement below;
do not edit.

There is no single result of a .tflite file. The official interpreter has three execution paths with
arithmetic of their own, and they disagree by one step, now and then by many:

- **reference**: `OpResolverType.BUILTIN_REF`; independent of processor, threads and position.
- **optimized**: `BUILTIN_WITHOUT_DEFAULT_DELEGATES`; vector code, some of whose rules depend on
  where an element stands in a run. On processors without ruy's vector code products round once
  (SGL).
- **xnnpack**: the default; XNNPACK computes what it takes, the optimized kernels the rest.

Every rule below is reproduced bit for bit: `Profile(path, runtime)`. DBL, UP, MIX, SGL, F64, M64,
XF and the equations E1, E2, ... are derived in [math.md](math.md). In the tables "as optimized"
says that XNNPACK never takes the operator in this form; "-" that the path has no kernel for it.
Defects of the runtimes, where a result is not what anybody meant, are in
[runtime-bugs.md](runtime-bugs.md).
Measured on x86-64 with AVX-512 VNNI; ARM was not.
"""

COVERAGE = """## Operators covered

{covered} operators have `reference` and `fast` kernels that are compared with the official
runtimes, {others} more stand between quantized islands in float (`real` only: {names}). Of the
{litert} operators that LiteRT's quantizer 0.11 quantizes, {of_litert} are among them; of the
{converter} in the converter's `operator_property.cc`, {of_converter}.
"""

COUNTS = f"""## Measured

`{MEASURE}`: random models of one operator, about 30 % of them with scales that make exact ties;
both our `reference` and our `fast` kernels against the runtime. Each cell: output elements
compared, then how many differ. "refused": the runtime does not run the model on that path.
"""


KERNELS = """## Compiled kernels

The same models' answers against the kernels that each operator's `lower` compiles, by kind of
vector code ([speed.md](speed.md)). Forms: those with a call that is compiled. Calls: on all paths
of both runtimes; what is not compiled runs as `fast`. Each cell: output elements compared, then how
many differ.
"""


def text() -> str:
    parts = [HEAD]
    for name in ops.names():
        rows = getattr(ops.module(name), "NUMERICS", ())
        if rows:
            parts.append(_operator(name, rows))
    parts.append(_coverage())
    if MEASURED.is_file():
        measured = json.loads(MEASURED.read_text("utf-8"))
        parts.append(_counts(measured))
        parts += filter(None, [_kernels(measured["rows"])])
    return "\n".join(parts)


def _coverage() -> str:
    covered = coverage.covered()
    others = sorted(set(ops.names()) - covered)
    return COVERAGE.format(
        covered=len(covered), others=len(others), names=", ".join(others),
        litert=len(coverage.LITERT_QUANTIZER), of_litert=len(coverage.LITERT_QUANTIZER & covered),
        converter=len(coverage.CONVERTER), of_converter=len(coverage.CONVERTER & covered),
    )  # fmt: skip


def _operator(name: str, rows: tuple[Row, ...]) -> str:
    lines = [f"## {name}", "", "| form | reference | optimized | xnnpack |", "|---|---|---|---|"]
    notes: dict[str, list[str]] = {}  # what is said -> the forms of which it is said
    for row in rows:
        cells = (row.form, row.reference, row.optimized, row.xnnpack or "as optimized")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        said = [row.note] if row.note else []
        said += [f"Source: {row.source}."] if row.source else []
        if said:
            text = " ".join(s if s.endswith(".") else s + "." for s in said)
            notes.setdefault(text, []).append(row.form)
    everywhere = len(rows)
    told = [
        "- " + ("" if len(forms) == everywhere else f"{'; '.join(forms)}: ") + text
        for text, forms in notes.items()
    ]
    return "\n".join([*lines, "", *told, *([""] if told else [])])


def _counts(measured: Mapping[str, Any]) -> str:
    head = ["operator", "form"] + [f"{r} {p}" for r in RUNTIMES for p in PATHS]
    lines = [COUNTS, "| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += _rows(measured["rows"])
    rows = measured["rows"]
    total = sum(r["compared"] for r in rows)
    packages = ", ".join(f"{k} {v}" for k, v in measured["packages"].items() if v)
    lines += [
        "",
        f"{len(rows)} rows, {sum(r['models'] for r in rows):,} models, {total:,} outputs compared, "
        f"{sum(r['differing'] for r in rows):,} differ. {packages}.",
        "",
    ]
    return "\n".join(lines)


def _kernels(rows: list[Mapping[str, Any]]) -> str:
    """A line for each operator with compiled calls, by target: (calls, elements, differing)."""
    targets = list(dict.fromkeys(t for r in rows for t in r.get("kernels", ())))
    if not targets:
        return ""
    head = ["operator", "forms", "calls", *targets]
    lines = [KERNELS, "| " + " | ".join(head) + " |", "|---|---|---:|" + "---:|" * len(targets)]
    for operator in dict.fromkeys(r["operator"] for r in rows):
        those = [r for r in rows if r["operator"] == operator and any(_calls(r))]
        if those:
            forms = ", ".join(dict.fromkeys(r["form"].replace(",", "") for r in those))
            calls = max(sum(column) for column in zip(*map(_calls, those)))
            lines.append(f"| {operator} | {forms} | {calls:,} | {_cells(those, targets)} |")
    return "\n".join([*lines, f"| all | | | {_cells(rows, targets)} |", ""])


def _calls(row: Mapping[str, Any]) -> list[int]:
    """By target."""
    return [found[0] for found in row.get("kernels", {}).values()]


def _cells(rows: list[Mapping[str, Any]], targets: list[str]) -> str:
    found = {t: [r["kernels"][t] for r in rows if t in r.get("kernels", ())] for t in targets}
    sums = [[sum(k[i] for k in found[t]) for i in (1, 2)] for t in targets]
    return " | ".join(f"{compared:,} / {differing:,}" for compared, differing in sums)


def _rows(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    table: dict[tuple[str, str], dict[tuple[str, str], Mapping[str, Any]]] = {}
    for r in rows:
        table.setdefault((r["operator"], r["form"]), {})[r["runtime"], r["path"]] = r
    for (operator, form), cells in table.items():
        said = [_cell(cells.get((runtime, path))) for runtime in RUNTIMES for path in PATHS]
        yield f"| {operator} | {form} | " + " | ".join(said) + " |"


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if not row["compared"]:
        return "refused"
    return f"{row['compared']:,} / {row['differing']:,}"


DOCUMENT = Document("numerics.md", "kernels/ops and the measurements", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
