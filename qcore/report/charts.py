"""Charts as Vega-Lite: `charts.json` has the specifications, here they are filled with values."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
from collections.abc import Iterator
from importlib import resources
from typing import Any, Literal

from qcore.compare.values import Comparison
from qcore.errors import BadInput, MissingExtra
from qcore.report.data import QUALITIES, data

Kind = Literal["layers", "tradeoff"]
MANY = 1500  # points in a drawing
TITLES = {
    "accuracy": "accuracy (share right)",
    "agreement": "agreement with the float model",
    "score": "score",
    "db": "SQNR of the output (dB)",
}


@contextlib.contextmanager
def extra() -> Iterator[None]:
    """Around an import of a package that the extra `report` brings. Raises MissingExtra."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            f"reports and charts need the package {error.name}; "
            "install it with: pip install 'tflite-qcore[report]'"
        ) from None


def file(name: str) -> str:
    """The text of a file of this folder."""
    return resources.files("qcore.report").joinpath(name).read_text("utf-8")


@functools.cache
def specs() -> dict[str, Any]:
    """All of charts.json; not to be changed."""
    found: dict[str, Any] = json.loads(file("charts.json"))
    return found


def chart(comparison: Comparison, kind: Kind = "layers", *, by: str = "total") -> Any:
    """A chart as an altair.Chart, which shows itself in a notebook and can be changed and saved.

    kind: "layers", SQNR by layer; by: "total", "own" or "inherited" error.
        "tradeoff", quality against a cost; by: "bytes" or a runtime and path ("litert xnnpack").
    Raises MissingExtra without altair, BadInput for what was not measured.
    """
    with extra():
        import altair
    return altair.Chart.from_dict({**spec(comparison, kind, by), "width": 640})


def drawing(comparison: Comparison, kind: Kind = "layers", by: str = "total") -> str:
    """A chart as SVG, drawn here: for pages that run no script.  Raises MissingExtra."""
    with extra():
        import vl_convert
    made = {**spec(comparison, kind, by), "width": 640}
    if kind == "layers" and len(comparison.layers) * len(comparison.candidates) > MANY:
        made["layer"] = made["layer"][:-1]  # lines alone: the points would be megabytes
    return vl_convert.vegalite_to_svg(made, allowed_base_urls=[])


def spec(comparison: Comparison, kind: Kind = "layers", by: str = "total") -> dict[str, Any]:
    """The Vega-Lite specification of a chart, with its values in it."""
    if kind not in ("layers", "tradeoff"):
        raise BadInput(f"there is no chart {kind!r}; there are layers and tradeoff")
    found = data(comparison)
    make = _layers if kind == "layers" else _tradeoff
    made = make(found, by)
    _series(made, [c["name"] for c in found["candidates"]])
    return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", **made}


def _layers(found: dict[str, Any], by: str) -> dict[str, Any]:
    if by not in ("total", "own", "inherited"):
        raise BadInput(f"there is no error {by!r}; there are total, own and inherited")
    layers = found["layers"]
    same = {
        "layer": list(range(len(layers["name"]))),
        "name": layers["name"],
        "op": [found["texts"][i] for i in layers["op"]],
    }
    rows = [
        {"candidate": c["name"], **same, "db": [_finite(x) for x in seen[by]]}
        for c, seen in zip(found["candidates"][1:], found["seen"], strict=True)
    ]
    made = copy.deepcopy(specs()["layers"])
    known = [x for row in rows for x in row["db"] if x is not None and abs(x) < _FAR]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    made["params"][0]["value"], made["params"][1]["value"] = low, high
    made["layer"][1]["encoding"]["y"]["axis"]["title"] = f"SQNR of the {by} error (dB)"
    return {**made, "data": {"values": rows}, "config": specs()["config"]}


_FAR = 1e9  # stands for an infinite SQNR where JSON is written; the chart clamps it


def _finite(x: Any) -> float | None:
    if x is None:
        return None
    return max(-_FAR, min(_FAR, float(x)))


def _tradeoff(found: dict[str, Any], by: str) -> dict[str, Any]:
    by = "bytes" if by == "total" else by
    if by != "bytes" and by not in found["paths"]:
        known = ", ".join(found["paths"]) or "none"
        raise BadInput(f"no latency of {by!r} was measured; there are: bytes, {known}")
    quality = next((q for q in QUALITIES if f"{q}|{by}" in found["fronts"]), None)
    if quality is None:
        raise BadInput(f"no candidate has both a quality and {by}; compare on samples first")
    both = found["fronts"].get(f"{quality}|bytes|{by}", ())
    rows = []
    for i, c in enumerate(found["candidates"]):
        good, low, high = _interval(c[quality])
        cost = c["bytes"] if by == "bytes" else c["latency"].get(by)
        if good is None or cost is None or not math.isfinite(good):
            continue
        rows.append(
            {
                "candidate": c["name"], "good": good, "low": low, "high": high, "cost": cost,
                "front": i in found["fronts"][f"{quality}|{by}"], "both": i in both,
                "quality": f"{good:.4g}", "price": f"{cost:,}",
                "place": "on it" if i in found["fronts"][f"{quality}|{by}"] else "no",
            }
        )  # fmt: skip
    made = copy.deepcopy(specs()["tradeoff"])
    made["encoding"]["y"]["axis"]["title"] = TITLES[quality]
    made["encoding"]["x"]["axis"]["title"] = (
        "size of the file (bytes)" if by == "bytes" else f"{by}, one sample (ms)"
    )
    if by == "bytes":
        made["encoding"]["x"]["axis"]["format"] = "~s"
    return {**made, "data": {"values": rows}, "config": specs()["config"]}


def _interval(found: Any) -> tuple[float | None, float | None, float | None]:
    if isinstance(found, list):
        return found[0], found[1], found[2]
    return (None if found is None else float(found)), None, None


def series(number: int) -> dict[str, Any]:
    """Colour, fill, shape and dashes of a candidate; 0 is the float model."""
    look = specs()["series"]
    if number == 0:
        truth = look["truth"]
        return {"color": truth, "fill": truth, "shape": "circle", "dash": [1, 0]}
    n = len(look["colors"])
    place, again = (number - 1) % n, (number - 1) // n
    return {
        "color": look["colors"][place],
        "fill": "transparent" if again % 2 else look["colors"][place],
        "shape": look["shapes"][(place + again) % n],
        "dash": look["dashes"][again % len(look["dashes"])],
    }


def _series(made: dict[str, Any], names: list[str]) -> None:
    """Write the candidates' colours, shapes and dashes into every encoding by candidate."""
    looks = [series(i) for i in range(len(names))]
    ranges = {"color": "color", "fill": "fill", "shape": "shape", "strokeDash": "dash"}
    for part in (made, *made.get("layer", ())):
        for channel, key in ranges.items():
            encoding = part.get("encoding", {}).get(channel)
            if encoding is not None:
                encoding["scale"] = {"domain": names, "range": [x[key] for x in looks]}
