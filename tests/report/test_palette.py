"""The candidates' colours stand out on both papers and from each other, whoever looks.

Contrast: WCAG 2.2, 1.4.11, which asks for 3:1 (rounded to one digit here). Colour vision: the
matrices of Machado, Oliveira, Fernandes 2009 for severity 1, distances in CIELAB (1976).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qcore.report.charts import file, specs

SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)
PAPERS = ("#ffffff", "#101317")
APART = 20.0  # CIELAB; about 2 is the least that is seen side by side
COLORS = (*specs()["series"]["colors"], specs()["series"]["truth"])


def linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    low, high = sorted(float(XYZ[1] @ linear(c)) + 0.05 for c in (a, b))
    return high / low


def lab(color: str, vision) -> np.ndarray:
    xyz = XYZ @ np.clip(np.asarray(vision) @ linear(color), 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colors, vision) -> float:
    pairs = itertools.combinations([lab(c, vision) for c in colors], 2)
    return min(float(np.linalg.norm(a - b)) for a, b in pairs)


@pytest.mark.parametrize("paper", PAPERS)
def test_colours_stand_out(paper):
    assert paper in file("page.css")
    assert min(round(contrast(c, paper), 1) for c in COLORS) >= 3.0


@pytest.mark.parametrize("vision", SEEN_BY)
def test_colours_are_apart(vision):
    assert closest(COLORS, SEEN_BY[vision]) > APART


def test_colours_too_close_would_be_seen():
    assert closest(("#d55e00", "#a87900"), SEEN_BY["all cones"]) > APART
    assert closest(("#d55e00", "#a87900"), SEEN_BY["deuteranopia"]) < APART
    assert contrast("#ffee00", "#ffffff") < 3.0
