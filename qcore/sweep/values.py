"""What a sweep found, as frozen values: a row for each trial, tables, fronts, comparisons."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qcore.compare.values import Candidate, Comparison, Interval
from qcore.errors import BadInput, MissingExtra
from qcore.report.data import front, output_SQNR
from qcore.sweep.trial import Trial
from tflite_schema import files

AXES = ("recipe", "activation", "weight", "granularity", "observer", "samples")
QUALITIES = ("accuracy", "agreement", "SQNR_dB")
TIMES = ("seconds", "latency_ms")  # what differs between two runs of the same sweep


@dataclass(frozen=True, eq=False)
class Row:
    """One trial. comparison: of its candidate with the float model; None where there is none.

    error: why there is no result, "" where there is one.
    """

    trial: Trial
    comparison: Comparison | None = None
    error: str = ""

    @property
    def candidate(self) -> Candidate | None:
        return None if self.comparison is None else self.comparison.candidates[0]

    def measured(self, name: str) -> float | None:
        """A column of the table as a number, None where it was not measured."""
        c = self.candidate
        if c is None or c.error:
            return None
        found: Any = {
            "accuracy": _value(c.accuracy),
            "agreement": _value(c.agreement),
            "SQNR_dB": output_SQNR(c),
            "bytes": c.bytes,
            "seconds": c.seconds,
            **{f"latency_ms {x.path}": x.ms for x in c.latency},
        }.get(name)
        return None if found is None or math.isnan(found) else float(found)

    def columns(self) -> dict[str, Any]:
        """Its line of the table: names, axes, measurements; None where there is nothing."""
        t, c = self.trial, self.candidate
        line: dict[str, Any] = {"model": t.problem, "candidate": t.candidate}
        line |= {name: t.axes.get(name) for name in AXES}
        line["samples"] = "all" if t.samples is None else str(t.samples)
        ok = c is not None and not c.error
        line["bytes"] = c.bytes if ok and c is not None else None
        line["SQNR_dB"] = self.measured("SQNR_dB")
        for name in ("accuracy", "agreement"):
            found = getattr(c, name) if ok else None
            line[name] = _value(found)
            line[f"{name}_low"] = None if found is None else found.low
            line[f"{name}_high"] = None if found is None else found.high
        line["operators"] = c.operators if ok and c is not None else None
        line["left_float"] = c.left_float if ok and c is not None else None
        line["seconds"] = self.measured("seconds")
        for path in t.measure.get("latency", ()):
            line[f"latency_ms {path}"] = self.measured(f"latency_ms {path}")
        line["error"] = self.error or ("" if c is None else c.error)
        line["result"] = f"trials/{t.digest}.json"
        return line


def _value(found: Interval | None) -> float | None:
    return None if found is None else found.value


@dataclass(frozen=True, eq=False)
class Sweep:
    """All trials in the order of the grid.

    folder: where the results are.  ran: how many of them were run this time; the others were there.
    """

    rows: tuple[Row, ...]
    folder: str
    ran: int = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(dict.fromkeys(r.trial.problem for r in self.rows))

    @property
    def failed(self) -> tuple[Row, ...]:
        """Trials without a result."""
        return tuple(r for r in self.rows if r.columns()["error"])

    def of(self, problem: str | None = None) -> tuple[Row, ...]:
        """The rows of one model; None: of the only one. Raises BadInput for no such model."""
        names = self.problems
        if problem is None and len(names) == 1:
            problem = names[0]
        if problem not in names:
            what = "several models; name one" if problem is None else f"no model {problem!r}"
            raise BadInput(f"the sweep has {what} of {', '.join(map(repr, names))}")
        return tuple(r for r in self.rows if r.trial.problem == problem)

    def columns(self, times: bool = True) -> dict[str, list[Any]]:
        """Column -> values, one a trial; None where nothing was measured.

        times: whether what differs from run to run (seconds, latency) is among them.
        """
        lines = [row.columns() for row in self.rows]
        names = list(dict.fromkeys(name for line in lines for name in line))
        if not times:
            names = [n for n in names if not n.startswith(TIMES)]
        return {n: [line.get(n) for line in lines] for n in names}

    def front(
        self, problem: str | None = None, quality: str | None = None,
        costs: Sequence[str] = ("bytes",),
    ) -> tuple[Row, ...]:  # fmt: skip
        """The Pareto front of one model: trials that no other is better than.

        quality: "accuracy", "agreement" or "SQNR_dB"; None: the first that was measured.
        costs: of "bytes", "seconds", "latency_ms PATH". Raises BadInput for what was not measured.
        """
        rows = self.of(problem)
        known = (q for q in QUALITIES if any(r.measured(q) is not None for r in rows))
        quality = quality or next(known, QUALITIES[-1])
        points = []
        for row in rows:
            values = [row.measured(quality), *(row.measured(c) for c in costs)]
            good = None if None in values else values[0]
            points.append(None if good is None else [-good, *values[1:]])
        if not any(points):
            raise BadInput(
                f"no trial has both {quality} and {', '.join(costs)}; see the errors in the table"
            )
        return tuple(rows[i] for i in front(points))  # type: ignore[arg-type]

    def comparison(self, problem: str | None = None) -> Comparison:
        """Everything about one model as `qcore compare` gives it. Raises BadInput where no trial of
        it has a result."""
        rows = [r for r in self.of(problem) if r.comparison is not None]
        if not rows:
            raise BadInput("no trial of this model has a result; see the errors in the table")
        first = rows[0].comparison
        assert first is not None
        return dataclasses.replace(
            first,
            model=rows[0].trial.problem,
            candidates=tuple(
                dataclasses.replace(r.comparison.candidates[0], name=r.trial.candidate)
                for r in rows
                if r.comparison is not None
            ),
            pairs=(),  # of any two candidates there is no count: each was run without the others
            headline="",
        )

    def report(self, path: str | os.PathLike[str]) -> list[Path]:
        """One HTML file; with several models one beside it for each (out-NAME.html). Returns the
        files. Raises MissingExtra."""
        from qcore.compare.run import file_name
        from qcore.report import html

        place, made = Path(path), []
        for problem in self.problems:
            own = place
            if len(self.problems) > 1:
                own = place.with_name(f"{place.stem}-{file_name(problem)}{place.suffix}")
            html(self.comparison(problem), own)
            made.append(own)
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """The table as .csv, or .parquet (extra `parquet`); an existing file is replaced whole."""
        suffix = Path(path).suffix.lower()
        if suffix == ".csv":
            files.replace(path, (self.to_csv().encode(),))
        elif suffix == ".parquet":
            files.replace(path, (_parquet(self.columns()),))
        else:
            raise BadInput(f"{path}: a table is .csv or .parquet; name it so")

    def to_csv(self) -> str:
        """The table as text; numbers as Python writes them, so exact."""
        columns = self.columns()
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Rows as plain values, and each model's front as names of candidates."""
        fronts = {}
        for problem in self.problems:
            try:
                fronts[problem] = [r.trial.candidate for r in self.front(problem)]
            except BadInput:
                fronts[problem] = []
        rows = [row.columns() for row in self.rows]
        return {"folder": self.folder, "ran": self.ran, "rows": rows, "fronts": fronts}


def extra_parquet() -> Any:
    """pyarrow. Raises MissingExtra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            "Parquet needs the package pyarrow; install it with: "
            "pip install 'tflite-qcore[parquet]', or write .csv"
        ) from None
    return pyarrow


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    pyarrow = extra_parquet()
    arrays = {}
    for name, values in columns.items():
        known = [v for v in values if v is not None]
        kind = np.result_type(*known) if known and not isinstance(known[0], str) else None
        typed = pyarrow.string() if kind is None else pyarrow.from_numpy_dtype(kind)
        arrays[name] = pyarrow.array(values, typed)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(arrays), stream)
    return stream.getvalue()
