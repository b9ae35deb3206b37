"""A comparison as tables: in the terminal, as text, as Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qcore.compare.headline import decibel, short
from qcore.compare.values import Candidate, Comparison, Interval, Layer, Seen

WIDTH = 160  # columns where there is no terminal to ask
WORST = 5  # layers of each candidate
PAIRS = 15  # candidates in pairs


@dataclass(frozen=True)
class Table:
    """title, names of columns, those with numbers, rows of texts."""

    title: str
    columns: tuple[str, ...]
    right: frozenset[str]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Comparison) -> Iterator[Table]:
    """Everything that is shown, one table after the other; those without rows are left out."""
    everyone = (found.truth, *found.candidates)
    paths = list(dict.fromkeys(t.path for c in everyone for t in c.latency))
    cells: list[tuple[str, Callable[[Candidate], str]]] = [
        ("candidate", lambda c: c.name),
        ("bytes", lambda c: f"{c.bytes:,}" if c.bytes else ""),
        ("seconds", lambda c: "" if c.seconds is None else f"{c.seconds:.2f}"),
        ("accuracy", lambda c: _share(c.accuracy)),
        ("agreement", lambda c: "" if c is found.truth else _share(c.agreement)),
        (found.metric or "score", lambda c: "" if c.score is None else f"{c.score:.5g}"),
        ("SQNR_dB", lambda c: ", ".join(_db(d.SQNR_dB) for d in c.outputs)),
        *((f"{path} ms", lambda c, path=path: _ms(c, path)) for path in paths),
        ("operators", lambda c: str(c.operators) if c.operators else ""),
        ("float", lambda c: str(c.left_float) if c.left_float else ""),
        ("XNNPACK", lambda c: "" if c.delegated is None else str(c.delegated)),
    ]
    rows = [tuple(cell(c) for _, cell in cells) for c in everyone]
    kept = [i for i in range(len(cells)) if any(row[i] for row in rows)]
    names = tuple(cells[i][0] for i in kept)
    yield Table(
        f"{found.model}: {found.samples:,} samples"
        + (f", {found.labelled:,} labelled" if found.labelled else ""),
        names,
        frozenset(names) - {"candidate"},
        tuple(tuple(row[i] for i in kept) for row in rows),
    )
    failed = any(c.error for c in found.candidates)
    yield Table(
        "",
        ("candidate", "made by", "error")[: 3 if failed else 2],
        frozenset(),
        tuple((c.name, c.made_by, c.error)[: 3 if failed else 2] for c in found.candidates),
    )
    for c in found.candidates:
        worst = tuple(_layer(layer, seen) for layer, seen in found.worst(c.name, WORST))
        if worst:
            yield Table(
                f"{c.name}: layers that lose most by themselves",
                ("#", "operator", "tensor", "type", "own", "total", "inherited", "why"),
                frozenset({"#", "own", "total", "inherited"}),
                worst,
            )
    if found.pairs:
        pairs = found.pairs
        if len(pairs) > PAIRS:
            pairs = tuple(sorted(pairs, key=lambda p: p.p)[:PAIRS])
        yield Table(
            "McNemar: samples that only one of two has right, p if both were equally good"
            + (f" ({PAIRS} of {len(found.pairs)}, smallest p)" if len(found.pairs) > PAIRS else ""),
            ("a", "b", "only a", "only b", "p"),
            frozenset({"only a", "only b", "p"}),
            tuple((p.a, p.b, f"{p.only_a:,}", f"{p.only_b:,}", _p(p.p)) for p in pairs),
        )


def _layer(layer: Layer, seen: Seen) -> tuple[str, ...]:
    why = "; ".join(seen.reasons) or (f"not fed alone: {seen.why}" if seen.why else "")
    return (
        str(layer.operator), layer.op, short(layer.name), seen.dtype,
        "" if seen.own is None else _db(seen.own.SQNR_dB), _db(seen.total.SQNR_dB),
        "" if seen.inherited is None else _db(seen.inherited.SQNR_dB), why,
    )  # fmt: skip


def remarks(found: Comparison) -> Iterator[str]:
    """What else a person should know, a line each."""
    for c in found.candidates:
        if c.unmatched and not c.error:
            first = next(layer for layer in found.layers if layer.key in c.unmatched)
            more = f" and {len(c.unmatched) - 1} more" if len(c.unmatched) > 1 else ""
            yield (
                f"{c.name}: no counterpart of {first.name!r} ({first.op}){more}: "
                f"{c.unmatched[first.key]}"
            )
    for c in (found.truth, *found.candidates):
        yield from (f"{c.name}: {note}" for note in c.notes)
    yield from found.notes


def _db(x: float) -> str:
    return "" if math.isnan(x) else decibel(x).removesuffix(" dB")


def _share(found: Interval | None) -> str:
    if found is None:
        return ""
    low, value, high = (100 * x for x in (found.low, found.value, found.high))
    return f"{value:.2f} % ({low:.1f}-{high:.1f})"


def _ms(c: Candidate, path: str) -> str:
    return next((f"{t.ms:.3g}" for t in c.latency if t.path == path), "")


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def table(found: Comparison) -> Any:
    """A rich renderable of all of it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as Rich
    from rich.text import Text

    parts: list[Any] = [Text(found.headline, style="bold")] if found.headline else []
    for t in tables(found):
        rows = Rich(
            box=box.SIMPLE_HEAD, title=Text(t.title), title_justify="left", title_style="bold",
            pad_edge=False, show_edge=False, collapse_padding=True,
        )  # fmt: skip
        for name in t.columns:
            number = name in t.right
            rows.add_column(
                name, justify="right" if number else "left", no_wrap=number, overflow="fold"
            )
        for row in t.rows:
            rows.add_row(*map(Text, row))  # brackets in names are no markup
        parts += [Text(""), rows] if parts else [rows]
    said = list(remarks(found))
    if said:
        parts += [Text(""), *map(Text, said)]
    if len(found.candidates) > 1:
        parts += [Text(""), Text(_HINT)]
    return Group(*parts)


_HINT = (
    "Which scales, zero points and integers differ between two: qcore diff A B on their files "
    "(--keep FOLDER), or comparison.difference(a, b)"
)


def text(found: Comparison) -> str:
    """As in a terminal of WIDTH columns, without colours."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None).print(table(found))
    return out.getvalue().rstrip()


def markdown(found: Comparison) -> str:
    """Headings, pipe tables, and the remarks as a list."""
    parts = [f"# {_escape(found.model)}"]
    if found.headline:
        parts.append(f"**{_escape(found.headline)}**")
    for t in tables(found):
        rule = ["---:" if name in t.right else "---" for name in t.columns]
        lines = [_line(t.columns), _line(rule, plain=True), *map(_line, t.rows)]
        parts += [f"## {_escape(t.title)}", "\n".join(lines)]
    said = [f"- {_escape(line)}" for line in remarks(found)]
    if said:
        parts.append("\n".join(said))
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    if versions:
        parts.append(versions)
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str], plain: bool = False) -> str:
    return f"| {' | '.join(c if plain else _escape(c) for c in cells)} |"


def _escape(text: str) -> str:
    """Text that Markdown does not read as more than text."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in text)
