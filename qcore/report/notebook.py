"""What a notebook shows of results: plain tables, and for a comparison a figure.

Nothing here needs a script in the page or a package beyond the standard library; the figure is
drawn beforehand and left out where the extra `report` is not installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from qcore.errors import MissingExtra

if TYPE_CHECKING:
    from qcore.compare.values import Candidate, Comparison, Interval
    from qcore.diff import Change, Diff
    from qcore.verify import Compared, Verification

_SHOWN = 50


def comparison(found: Comparison) -> str:
    """Headline, a row a candidate, and the SQNR of the layers as a figure."""
    from qcore.report.data import latency_paths, output_SQNR

    paths = latency_paths(found)
    rows = [
        (
            c.name,
            f"{c.bytes:,}" if c.bytes else "",
            _share(c.accuracy),
            _share(None if c is found.truth else c.agreement),
            "" if c.score is None else f"{c.score:.4g}",
            _decibel(None if c is found.truth else output_SQNR(c)),
            *_latencies(c, paths),
            c.error,
        )
        for c in (found.truth, *found.candidates)
    ]
    head = (
        "candidate", "bytes", "accuracy", "agreement", found.metric, "SQNR_dB",
        *(f"{p}, ms" for p in paths), "error",
    )  # fmt: skip
    return (
        f"<p><b>{escape(found.headline)}</b></p>"
        + _table(head, rows, right=range(1, 6 + len(paths)))
        + _figure(found)
    )


def verification(found: Verification) -> str:
    """A row a path, and below it the operators that differ."""
    verdict = f"equal: {found.compared:,} elements compared" if found.ok else "not equal"
    rows = [
        (
            f"{p.runtime} {p.path}",
            f"{p.samples:,}",
            str(len(p.operators)),
            str(sum(o.delegated for o in p.operators)),
            *(_differing(c) for c in (p.compared, p.outputs, p.tensors)),
            f"not run: {p.failed}" if p.failed else p.stopped,
        )
        for p in found.paths
    ]
    head = (
        "path", "samples", "operators", "delegated", "differ: each operator",
        "end to end: outputs", "end to end: all tensors", "",
    )  # fmt: skip
    wrong = [
        (
            f"{p.runtime} {p.path}", f"{o.name} {o.number}", o.output,
            o.error or f"{_differing(o.compared)}, by up to {o.compared.largest:g}", o.rule,
        )
        for p, o in found.mismatches
    ]  # fmt: skip
    return (
        f"<p><b>{verdict if found.compared else 'nothing was compared'}</b></p>"
        + _table(head, rows, right=range(1, 7))
        + _table(("path", "operator", "output", "differ", "rule"), wrong)
    )


def diff(found: Diff) -> str:
    """How many differences of each kind, and a row for each."""
    counts = ", ".join(f"{n} {kind}" for kind, n in found.counts().items())
    said = counts or f"no difference in {found.compared:,} pairs of tensors"
    rows = [(c.kind, c.where, c.a, c.b, _how_many(c), _largest(c)) for c in found.changes]
    head = ("kind", "where", "a", "b", "how many", "largest step")
    return f"<p><b>{escape(said)}</b></p>" + _table(head, rows, right=(4, 5))


def _figure(found: Comparison) -> str:
    """SQNR by layer as a drawing; a line that says why there is none."""
    from qcore.report.charts import drawing

    if not found.layers:
        return ""
    try:
        return f'<div style="max-width:100%;overflow-x:auto">{drawing(found)}</div>'
    except MissingExtra as error:
        return f"<p><small>{escape(str(error))}</small></p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A table without the columns that are empty; "" without rows."""
    if not rows:
        return ""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    style = dict.fromkeys(right, ' style="text-align:right"')

    def line(tag: str, row: Sequence[Any]) -> str:
        cells = (f"<{tag}{style.get(i, _LEFT)}>{escape(str(row[i]))}</{tag}>" for i in kept)
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in rows[:_SHOWN])
    left = len(rows) - _SHOWN
    more = f"<p><small>and {left:,} more</small></p>" if left > 0 else ""
    return f"<table><thead>{line('th', head)}</thead><tbody>{body}</tbody></table>{more}"


_LEFT = ' style="text-align:left"'


def _latencies(c: Candidate, paths: Sequence[str]) -> list[str]:
    measured = {f"{x.runtime} {x.path}": f"{x.ms:.3g}" for x in c.latency}
    return [measured.get(p, "") for p in paths]


def _share(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _decibel(x: float | None) -> str:
    return "" if x is None else "exact" if x == float("inf") else f"{x:.1f}"


def _differing(c: Compared) -> str:
    return f"{c.differing:,} of {c.elements:,}"


def _how_many(c: Change) -> str:
    if c.count is None:
        return ""
    return f"{c.count:,}" if c.of is None else f"{c.count:,} of {c.of:,}"


def _largest(c: Change) -> str:
    return "" if c.largest is None else f"{c.largest:,.6g}"
