"""A roofline picture as SVG: each operator's rate over its products for each byte it moves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from bench import single

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 56
LOW_X, HIGH_X = 0.5, 1000.0  # MAC/byte
LOW_Y, HIGH_Y = 5.0, 1000.0  # GMAC/s
COLOURS = {
    "CONV_2D": "#2563eb", "DEPTHWISE_CONV_2D": "#d97706", "FULLY_CONNECTED": "#059669",
    "BATCH_MATMUL": "#9333ea",
}  # fmt: skip
OTHER = "#64748b"


@dataclass(frozen=True)
class Point:
    """An operator: products for each byte, GMAC/s, its share of the model's time in per cent."""

    name: str
    intensity: float
    rate: float
    share: float


def measured() -> tuple[float, dict[str, float]]:
    """(peak GMAC/s, name of a memory -> GB/s read from it), one thread."""
    sizes = {"L2": 512 << 10, "memory": 128 << 20}  # an L1 is read in less than a call takes
    found = {}
    for name, size in sizes.items():
        words = np.ones(size // 8)
        repeat = max(1, (1 << 20) // size)

        def read(words: np.ndarray = words, repeat: int = repeat) -> None:
            for _ in range(repeat):
                words.max()

        found[name] = repeat * size / single.best(read, 0.2) / 1e9
    return single.peak_rate() / 1e9, found


def draw(title: str, points: Sequence[Point], peak: float, memories: dict[str, float]) -> str:
    """The picture. Area of a circle: the operator's share of the time."""
    body = [*_frame(title), *_roofs(peak, memories)]
    for p in sorted(points, key=lambda p: -p.share):
        colour = COLOURS.get(p.name.split()[0], OTHER)
        radius = max(2.5, 4.0 * math.sqrt(p.share))
        tip = f"{p.name}: {p.rate:.0f} GMAC/s, {p.intensity:.1f} MAC/byte, {p.share:.1f} %"
        body.append(
            f'<circle cx="{_x(p.intensity):.1f}" cy="{_y(p.rate):.1f}" r="{radius:.1f}"'
            f' fill="{colour}" fill-opacity="0.55" stroke="{colour}">'
            f"<title>{escape(tip)}</title></circle>"
        )
    kinds = dict.fromkeys(p.name.split()[0] for p in points)
    for i, kind in enumerate(kinds):
        x, y = WIDTH - RIGHT - 190, HEIGHT - BOTTOM - 14 - 18 * i
        body.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{COLOURS.get(kind, OTHER)}"/>')
        body.append(_text(x + 12, y, kind))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" font-family="sans-serif" font-size="12">\n'
        + "\n".join(body) + "\n</svg>\n"
    )  # fmt: skip


def _x(value: float) -> float:
    part = math.log(min(max(value, LOW_X), HIGH_X) / LOW_X) / math.log(HIGH_X / LOW_X)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    part = math.log(min(max(value, LOW_Y), HIGH_Y) / LOW_Y) / math.log(HIGH_Y / LOW_Y)
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="#1e293b">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _frame(title: str) -> Iterator[str]:
    """Paper, title, axes with a grid at 1, 2 and 5."""
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(LEFT, 28, title, size=15)
    for value in _ticks(LOW_X, HIGH_X):
        x = _x(value)
        yield _line(x, TOP, x, HEIGHT - BOTTOM, 'stroke="#e2e8f0"')
        yield _text(x, HEIGHT - BOTTOM + 18, f"{value:g}", "middle")
    for value in _ticks(LOW_Y, HIGH_Y):
        y = _y(value)
        yield _line(LEFT, y, WIDTH - RIGHT, y, 'stroke="#e2e8f0"')
        yield _text(LEFT - 8, y + 4, f"{value:g}", "end")
    yield _text((LEFT + WIDTH) / 2, HEIGHT - 14, "products for each byte moved", "middle")
    yield _text(LEFT, TOP - 6, "GMAC/s")


def _ticks(low: float, high: float) -> Iterator[float]:
    for power in range(-2, 5):
        for step in (1, 2, 5):
            if low <= (value := step * 10.0**power) <= high:
                yield value


def _roofs(peak: float, memories: dict[str, float]) -> Iterator[str]:
    style = 'stroke="#475569" stroke-width="1.5"'
    yield _line(_x(LOW_X), _y(peak), _x(HIGH_X), _y(peak), style)
    label = f"dot instruction, {peak:.0f} GMAC/s"
    yield _text(WIDTH - RIGHT, _y(peak) - 6, label, "end")
    for name, rate in memories.items():
        start = max(LOW_X, LOW_Y / rate)
        yield _line(
            _x(start), _y(start * rate), _x(peak / rate), _y(peak),
            style + ' stroke-dasharray="6 4"',
        )  # fmt: skip
        at = max(start, 12.0 / rate)
        yield _text(_x(at) + 8, _y(at * rate) + 4, f"{name} {rate:.0f} GB/s")
