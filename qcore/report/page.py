"""The report: one HTML file with everything in it, script, styles, charts' library and values.

`page.html` is its template, `page.css` and `page.js` go into it as they are. Charts are drawn in
the reader's browser by Vega, whose script vl-convert carries. A content security policy in the page
forbids every request, so opening it cannot load anything.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Any

from qcore.compare.values import Candidate, Comparison, Interval
from qcore.report.charts import TITLES, extra, file, series, specs
from qcore.report.data import data, latency_paths, output_SQNR, unique
from tflite_schema import files

# Outlines of the shapes in a box of 12 by 12, as Vega draws them.
_OUTLINES = {
    "circle": "M6 2a4 4 0 1 0 0 8a4 4 0 1 0 0-8Z",
    "square": "M2.3 2.3H9.7V9.7H2.3Z",
    "triangle-up": "M6 2L10.4 9.8H1.6Z",
    "triangle-down": "M6 10L10.4 2.2H1.6Z",
    "diamond": "M6 1.4L10 6L6 10.6L2 6Z",
    "cross": "M4.6 1.7H7.4V4.6H10.3V7.4H7.4V10.3H4.6V7.4H1.7V4.6H4.6Z",
}


def html(comparison: Comparison, path: str | os.PathLike[str] | None = None) -> str:
    """The report as text, also written to `path`; the same comparison gives the same bytes.

    Raises MissingExtra without jinja2 and vl-convert-python.
    """
    with extra():
        import jinja2
        import markupsafe
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "ensure_ascii": False,
        "allow_nan": False,
    }
    environment.filters |= {
        "size": size, "percent": percent, "digits": digits, "dB": decibel, "count": "{:,}".format
    }  # fmt: skip
    text = environment.from_string(file("page.html")).render(
        comparison=comparison,
        rows=_rows(comparison),
        paths=latency_paths(comparison),
        style=markupsafe.Markup(_inside("style", file("page.css"))),
        script=markupsafe.Markup(_inside("script", file("page.js"))),
        library=markupsafe.Markup(_inside("script", library())),
        data={**data(comparison), "titles": TITLES, "charts": specs()},
        outlines=_OUTLINES,
    )
    if path is not None:
        files.replace(path, [text.encode("utf-8", "backslashreplace")])
    return text


@functools.cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which defines `vegaEmbed`."""
    with extra():
        import vl_convert
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _inside(tag: str, text: str) -> str:
    """Text that may stand in a <script> or <style> element: nothing in it ends the element."""
    return re.sub(rf"<(?=/{tag}|!--)", r"\\x3c" if tag == "script" else r"\\3c ", text, flags=re.I)


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row of the summary for the float model and for each candidate."""
    everyone = (comparison.truth, *comparison.candidates)
    names = unique([c.name for c in everyone])
    lowest, highest = _span(everyone)
    return [
        {
            "name": name,
            "candidate": c,
            "truth": c is comparison.truth,
            "look": series(i),
            "db": None if c is comparison.truth else output_SQNR(c),
            "smaller": _smaller(c, comparison.truth),
            "latency": {f"{x.runtime} {x.path}": x.ms for x in c.latency},
            "bar": _bar(c.accuracy, lowest, highest),
            "unmatched": _grouped(c.unmatched.values()),
        }
        for i, (c, name) in enumerate(zip(everyone, names, strict=True))
    ]


def _smaller(c: Candidate, truth: Candidate) -> float | None:
    """How many times smaller the file is than the float model's."""
    return truth.bytes / c.bytes if c.bytes and truth.bytes and c is not truth else None


def _span(everyone: tuple[Candidate, ...]) -> tuple[float, float]:
    known = [c.accuracy for c in everyone if c.accuracy is not None]
    return (min(k.low for k in known), max(k.high for k in known)) if known else (0.0, 1.0)


def _bar(found: Interval | None, lowest: float, highest: float) -> dict[str, str] | None:
    """Where the interval and its value stand between the ends of all intervals, in percent."""
    if found is None:
        return None
    width = (highest - lowest) or 1.0
    ends = {"low": found.low, "at": found.value, "high": found.high}
    return {k: f"{100 * (x - lowest) / width:.1f}" for k, x in ends.items()}


def _grouped(reasons: Any) -> dict[str, int]:
    """Reasons and how often each was given, the most frequent first."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def size(count: float) -> str:
    """Bytes as people say them, powers of ten."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g} {unit}" if count < 999.5 * factor else f"{count:,} B"
    return f"{count:.0f} B"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}"


def digits(x: float, n: int = 3) -> str:
    """A number with n significant digits, without an exponent where it is near 1."""
    text = f"{x:#.{n}g}".rstrip(".")
    return f"{float(text):,.0f}" if "e+" in text and abs(x) < 1e9 else text


def decibel(x: float | None) -> str:
    if x is None:
        return ""
    return "exact" if x == float("inf") else "−∞" if x == -float("inf") else minus(f"{x:.1f}")


def minus(text: str) -> str:
    return text.replace("-", "−")
