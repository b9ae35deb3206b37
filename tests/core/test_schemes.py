"""Schemes that clip, each against a slow oracle by its definition, and in whole models.

An oracle is plain Python over single values (docs/math.md E77 to E84); it shares nothing with
`qcore.schemes`. Each is seen to tell a wrong scheme from the right one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels.ranges import INT4_NARROW, INT8, INT8_NARROW, INT16, INT16_NARROW, UINT8, IntRange
from qcore.errors import BadRecipe, BadStatistics, NotCalibrated
from qcore.observers import HistogramObserver, extremes
from qcore.params import Affine, Distribution, Stats
from qcore.plan import common, distribution
from qcore.schemes import Aciq, Kl, Mse, Octav, Percentile, PowerOfTwo, Scheme, Symmetric, octav
from qcore.schemes.aciq import optimum
from qcore.schemes.clipping import Clipping, grid
from qcore.schemes.kl import Divergence
from qcore.schemes.mse import SquaredError
from qcore.testing import strategies as qs
from qcore.testing.build import Builder
from qcore.testing.checks import check_observer, check_scheme
from qcore.testing.graphs import lstm_model, random_graph

SHIPPED = (
    Percentile(), Percentile(90), Mse(points=20), Aciq(), Aciq("gauss"), Kl(points=10, bins=32),
    Octav(), PowerOfTwo(), PowerOfTwo(True),
)  # fmt: skip
RANGES = (INT8, INT8_NARROW, UINT8, INT4_NARROW, INT16)


def exactly(*groups: np.ndarray) -> Stats:
    """Every value of each group."""
    return dataclasses.replace(qs.stats_of(groups), extra=Distribution.of(groups))


def counted(values: np.ndarray, bins: int = 256) -> Stats:
    """What calibration with histograms knows of the values."""
    state = HistogramObserver(bins).start()
    state.update(values, *extremes(values))
    return state.stats()


def data(kind: str, size: int = 400, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = {
        "laplace": lambda: rng.laplace(0.1, 1, size),
        "relu": lambda: np.maximum(rng.normal(0, 1, size), 0),
        "negative": lambda: -np.abs(rng.laplace(0, 3, size)) - 0.5,
        "outlier": lambda: np.append(rng.normal(0, 1, size - 1), 300.0),
        "few": lambda: rng.normal(0, 1, 7),
    }
    return made[kind]().astype(np.float32)


KINDS = ("laplace", "relu", "negative", "outlier", "few")


# --- E77: the grid of two ends --------------------------------------------------------------------


def grid_by_definition(lo: float, hi: float, q: IntRange, symmetric: bool) -> tuple[Fraction, int]:
    low, high = min(Fraction(lo), Fraction(0)), max(Fraction(hi), Fraction(0))
    if symmetric:
        step = max(high / q.qmax, low / q.qmin if q.qmin < 0 else Fraction(0))
    else:
        step = (high - low) / q.steps
    step = step or Fraction(1, 10**6) / q.steps
    scale = Fraction(
        float(np.float32(float(min(max(step, Fraction(2) ** -126), Fraction(2) ** 127))))
    )
    if symmetric:
        return scale, 0
    exact = q.qmin - low / scale
    nearest = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    return scale, min(max(nearest, q.qmin), q.qmax)


@pytest.mark.parametrize("q", RANGES, ids=str)
def test_the_grid_of_two_ends(q, rng):
    lo, hi = rng.normal(0, 10, 50), rng.normal(0, 10, 50)
    lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    lo[:2], hi[:2] = (0, -1e-40), (0, 1e-40)
    for symmetric in (False, True):
        made = grid(lo, hi, q, symmetric)
        want = [grid_by_definition(a, b, q, symmetric) for a, b in zip(lo, hi)]
        assert made.scale.tolist() == [float(s) for s, _ in want]
        assert made.zero_point.tolist() == [z for _, z in want]


# --- E78: percentile ------------------------------------------------------------------------------


def percentile_by_sorting(values: np.ndarray, share: str, symmetric: bool) -> tuple[float, float]:
    known = sorted(abs(float(v)) if symmetric else float(v) for v in values)
    beyond = math.floor(len(known) * (1 - Fraction(share) / 100))
    hi = known[len(known) - 1 - beyond]
    lo = -hi if symmetric else known[beyond]
    return min(lo, 0.0), max(hi, 0.0)


class OneLess(Percentile):
    """Leaves out one value less than it may."""

    def _beyond(self, totals):
        return super()._beyond(totals) - 1


def percentile_agrees(kind: type[Percentile]) -> bool:
    same = []
    for share in ("99.9", "99", "90", "75.5"):
        for symmetric in (False, True):
            scheme = kind(float(share), symmetric=symmetric)
            groups = [data(k, 1000) for k in KINDS]
            lo, hi = scheme.ends(exactly(*groups), INT8)
            for g, values in enumerate(groups):
                want = percentile_by_sorting(values, share, symmetric)
                same.append((lo[g], hi[g]) == want)
    assert len(same) == 40
    return all(same)


def test_percentile_is_that_of_the_sorted_values():
    assert percentile_agrees(Percentile)
    assert not percentile_agrees(OneLess)


def test_a_percentile_of_a_histogram_is_within_a_bin():
    values = data("laplace", 5000)
    stats = counted(values)
    lo, hi = Percentile(99).ends(stats, INT8)
    want = percentile_by_sorting(values, "99", False)
    width = stats.extra.width
    assert want[0] - width <= lo[0] <= want[0] and want[1] <= hi[0] <= want[1] + width


def test_a_percentile_of_almost_nothing_keeps_the_range():
    mostly_zero = np.zeros(1000, np.float32)
    mostly_zero[3] = 5
    lo, hi = Percentile(99).ends(exactly(mostly_zero), INT8)
    assert (lo[0], hi[0]) == (0, 5)


# --- E79, E80: least squared error ----------------------------------------------------------------


def error_of_value(x: Fraction, scale: Fraction, z: int, q: IntRange) -> Fraction:
    steps = x / scale
    nearest = min(max(math.floor(steps + Fraction(1, 2)), q.qmin - z), q.qmax - z)
    return (x - nearest * scale) ** 2


def error_of_interval(a: Fraction, b: Fraction, scale: Fraction, z: int, q: IntRange) -> Fraction:
    """The mean over [a, b], piece by piece between the places where the integer changes."""
    if a == b:
        return error_of_value(a, scale, z, q)
    ends = [scale * (k + Fraction(1, 2)) for k in range(q.qmin - z, q.qmax - z)]
    cuts = [a, *[e for e in ends if a < e < b], b]
    total = Fraction(0)
    for left, right in itertools.pairwise(cuts):
        middle = (left + right) / 2 / scale
        v = min(max(math.floor(middle + Fraction(1, 2)), q.qmin - z), q.qmax - z) * scale
        total += ((right - v) ** 3 - (left - v) ** 3) / 3
    return total / (b - a)


def error_by_definition(found: Distribution, lo: float, hi: float, q: IntRange, symmetric: bool):
    scale, z = grid_by_definition(lo, hi, q, symmetric)
    total, many = Fraction(0), 0
    for a, b, n in zip(found.low[0].tolist(), found.high[0].tolist(), found.counts[0].tolist()):
        if n:
            total += n * error_of_interval(Fraction(a), Fraction(b), scale, z, q)
            many += n
    return float(total / many)


def test_the_squared_error_is_that_of_every_value():
    compared = 0
    for kind in KINDS:
        values = data(kind, 60)
        for stats in (exactly(values), counted(values, 16)):
            found = stats.distribution()
            for q, symmetric in ((INT8, False), (INT4_NARROW, True), (INT16, False)):
                if not found.exact and q is INT16:
                    continue  # the oracle's pieces would be thousands
                for part in (1.0, 0.31):
                    lo, hi = stats.lo * part, stats.hi * part
                    got = SquaredError(found).of(grid(lo, hi, q, symmetric), q)[0]
                    want = error_by_definition(found, lo[0], hi[0], q, symmetric)
                    assert got == pytest.approx(want, rel=1e-9), (kind, q, part)
                    compared += 1
    assert compared == 50


def search_by_definition(
    cost: Callable[[float, float], float], lo: float, hi: float, points: int, symmetric: bool
) -> float:
    """The least cost that the sweeps of E79 find."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if symmetric:
        hi = max(hi, -lo)
        lo = -hi
    best = (cost(lo, hi), lo, hi)
    sweeps = [(True, True)] if symmetric else [(True, True), (False, True), (True, False)]
    for low, high in sweeps:
        if not (low and high) and not lo < 0 < hi:
            continue
        _, a, b = best
        for k in range(points - 1, 0, -1):
            f = k / points
            ends = (a * f if low else a, b * f if high else b)
            found = cost(*ends)
            if found < best[0]:
                best = (found, *ends)
    return best[0]


class HalfSearched(Mse):
    """Does not shrink an end alone."""

    def ends(self, stats, q):
        found, symmetric = SquaredError(stats.distribution()), bool(self.symmetric)
        lo, hi = stats.lo, stats.hi
        tried = [k / self.points for k in range(self.points, 0, -1)]
        costs = [found.of(grid(lo * f, hi * f, q, symmetric), q)[0] for f in tried]
        best = tried[int(np.argmin(costs))]
        return lo * best, hi * best


class Unclipped(Mse):
    """Keeps everything."""

    def ends(self, stats, q):
        return stats.lo, stats.hi


def mse_agrees(kind: type[Mse]) -> bool:
    same = []
    for name in KINDS:
        values = data(name, 40)
        for stats in (exactly(values), counted(values, 16)):
            for q, symmetric in ((INT4_NARROW, True), (INT4_NARROW, False), (INT8, False)):
                found = stats.distribution()

                def cost(lo, hi, found=found, q=q, symmetric=symmetric):
                    return error_by_definition(found, lo, hi, q, symmetric)

                if not found.exact and q is INT8:
                    continue
                lo, hi = kind(points=8, symmetric=symmetric).ends(stats, q)
                got = cost(float(lo[0]), float(hi[0]))
                want = search_by_definition(cost, stats.lo[0], stats.hi[0], 8, symmetric)
                same.append(got == pytest.approx(want, rel=1e-9, abs=1e-30))
    assert len(same) == 25
    return all(same)


def test_mse_finds_the_least_that_the_sweeps_hold():
    assert mse_agrees(Mse)
    assert not mse_agrees(HalfSearched)
    assert not mse_agrees(Unclipped)


# --- E81: closed form -----------------------------------------------------------------------------


def test_the_optimum_is_that_of_the_paper():
    """Banner et al., section 3: 2, 3 and 4 bits."""
    for density, want in (("laplace", (2.83, 3.89, 5.03)), ("gauss", (1.71, 2.15, 2.55))):
        got = [optimum(density, 3 * 4**bits) for bits in (2, 3, 4)]
        assert got == pytest.approx(want, abs=0.01)


def expected_error(density: str, a: float, noise: int) -> float:
    """Clipping beyond +-a widths and rounding inside, of the density of width 1."""
    if density == "laplace":
        clipped = 2 * math.exp(-a)
    else:
        inside = math.erf(a / math.sqrt(2))
        clipped = (1 + a * a) * (1 - inside) - a * math.sqrt(2 / math.pi) * math.exp(-a * a / 2)
    return clipped + a * a / noise


@pytest.mark.parametrize("density", ["laplace", "gauss"])
def test_the_optimum_is_the_least_expected_error(density):
    def holds(a: float, noise: int) -> bool:
        near = [expected_error(density, a * f, noise) for f in (0.98, 1, 1.02)]
        return near[1] == min(near)

    for noise in (3 * 14**2, 3 * 255**2, 12 * 15**2):
        a = optimum(density, noise)
        assert holds(a, noise)
        assert not holds(a, 4 * noise)  # as if half a density were a whole one


def test_aciq_measures_the_width_of_the_density():
    values = data("laplace", 3000)
    mean = math.fsum(values.tolist()) / values.size
    width = math.fsum(abs(v - mean) for v in values.tolist()) / values.size
    lo, hi = Aciq().ends(exactly(values), INT4_NARROW)
    reach = optimum("laplace", 3 * 14**2) * width
    assert (lo[0], hi[0]) == pytest.approx((mean - reach, mean + reach))
    half = np.maximum(values, 0)
    some = half[half > 0]
    lo, hi = Aciq().ends(exactly(half), INT4_NARROW)
    assert lo[0] == 0 and hi[0] == pytest.approx(some.mean() * optimum("laplace", 12 * 14**2))
    zeros = np.concatenate([half, np.zeros(5000, np.float32)])
    assert Aciq().ends(exactly(zeros), INT4_NARROW)[1] == hi


# --- E82: OCTAV -----------------------------------------------------------------------------------


def at_rest(values: np.ndarray, lo: float, hi: float, q: IntRange, symmetric: bool) -> bool:
    """Whether the equations of E82 hold at these ends, in fractions."""
    x = [Fraction(float(v)) for v in values if v]
    if symmetric:
        x = [abs(v) for v in x]
        noise, ends = Fraction(1, 12 * q.qmax**2), (Fraction(0), Fraction(hi))
    else:
        noise, ends = Fraction(1, 12 * q.steps**2), (Fraction(lo), Fraction(hi))
    over, under = [v for v in x if v > ends[1]], [v for v in x if v < ends[0]]
    inside = noise * (len(x) - len(over) - len(under))
    holds = []
    for beyond, end, other in ((over, ends[1], ends[0]), (under, ends[0], ends[1])):
        if beyond:
            want = (sum(beyond) + inside * other) / (inside + len(beyond))
            holds.append(float(end) == pytest.approx(float(want), rel=1e-9))
    return bool(holds) and all(holds)


class OtherNoise(Octav):
    """Takes one-sided noise for both sides."""

    def ends(self, stats, q):
        wide = IntRange(-2 * q.qmax, 2 * q.qmax, np.dtype(np.int16))
        return super().ends(stats, wide)


def octav_agrees(kind: type[Octav]) -> bool:
    same = []
    for name in KINDS:
        for q, symmetric in ((INT8, False), (INT8_NARROW, True), (INT4_NARROW, False)):
            values = data(name, 300)
            if name == "outlier" and q is INT4_NARROW:
                continue  # does not come to rest, see below
            lo, hi = kind(symmetric=symmetric).ends(exactly(values), q)
            same.append(at_rest(values, float(lo[0]), float(hi[0]), q, symmetric))
    assert len(same) == 14
    return all(same)


def test_octav_goes_to_and_fro_across_one_value(monkeypatch):
    values, found = data("outlier", 300), []
    for most in (50, 51, 52):
        monkeypatch.setattr(octav, "MOST", most)
        found.append([float(e[0]) for e in Octav().ends(exactly(values), INT4_NARROW)])
    assert found[0] == found[2] != found[1]
    low, high = sorted((found[0][0], found[1][0]))
    assert np.count_nonzero((low < values) & (values <= high)) == 1


def test_octav_is_at_rest():
    assert octav_agrees(Octav)
    assert not octav_agrees(OtherNoise)


def newton(values: np.ndarray, bits: int) -> float:
    """Algorithm 1 of Sakr et al., as it stands there."""
    x = np.abs(values.astype(np.float64))
    s = x.sum() / (x > 0).sum()
    for _ in range(100):
        out, within = x > s, (x <= s) & (x > 0)
        s = x[out].sum() / (4.0**-bits / 3 * within.sum() + out.sum())
    return s


@pytest.mark.parametrize("bits", [4, 8])
def test_octav_is_the_papers_algorithm(bits):
    """Whose 2^B steps are 2 qmax here: one of the narrow range of half as many again."""
    q = IntRange(-(2 ** (bits - 1)), 2 ** (bits - 1), np.dtype(np.int16))
    values = data("laplace", 2000)
    _, hi = Octav(symmetric=True).ends(exactly(values), q)
    assert hi[0] == pytest.approx(newton(values, bits), rel=1e-12)


@pytest.mark.parametrize("kind", ["laplace", "relu", "negative"])
def test_octav_is_as_good_as_the_search(kind):
    """It neglects that rounding inside is not quite uniform: a few percent for 8 bits."""
    stats = exactly(data(kind, 3000))
    for q, symmetric in ((INT8, False), (INT8_NARROW, True)):
        cost = [
            SquaredError(stats.distribution()).of(s.choose(stats, q), q)[0]
            for s in (Octav(symmetric=symmetric), Mse(symmetric=symmetric))
        ]
        assert cost[0] < 1.1 * cost[1]


# --- E83: powers of two ---------------------------------------------------------------------------


def power_agrees(kind: type[PowerOfTwo]) -> bool:
    same = []
    for nearest in (False, True):
        for symmetric in (False, True):
            for name in KINDS:
                values = data(name)
                lo, hi = float(values.min()), float(values.max())
                whole, _ = grid_by_definition(lo, hi, INT8, symmetric)
                powers = [Fraction(2) ** e for e in range(-40, 40)]
                above = min(p for p in powers if p >= whole)
                want = above / 2 if nearest and whole / (above / 2) < above / whole else above
                made = kind(nearest, symmetric=symmetric).choose(Stats.of(lo, hi), INT8)
                same.append(Fraction(float(made.scale[0])) == want)
                zero = Fraction(0) if symmetric else INT8.qmin - min(Fraction(lo), 0) / want
                same.append(abs(made.zero_point[0] - min(max(zero, -128), 127)) <= 0.5)
    assert len(same) == 40
    return all(same)


class Doubled(PowerOfTwo):
    def choose(self, stats, q):
        made = super().choose(stats, q)
        return Affine(made.scale * 2, made.zero_point)


def test_powers_of_two_are_the_next_or_the_nearest():
    assert power_agrees(PowerOfTwo)
    assert not power_agrees(Doubled)


# --- E84: divergence ------------------------------------------------------------------------------


def divergence_by_definition(
    counts: list[int], first: int, width: Fraction, lo: float, hi: float, scale: Fraction,
    zero: int, most: int,
) -> float:  # fmt: skip
    """KL(P || Q) with both histograms written out."""
    if scale < width:
        return math.inf
    last_bin = len(counts) - 1
    left, right = (min(max(math.floor(Fraction(e) / width) - first, 0), last_bin) for e in (lo, hi))
    kept = {j: counts[j] for j in range(left, right + 1)}
    p = dict(kept)
    p[left] += sum(counts[:left])
    p[right] += sum(counts[right + 1 :])
    integers: dict[int, list[int]] = {}
    for j in kept:
        middle = (first + j + Fraction(1, 2)) * width
        code = min(max(math.floor(middle / scale + Fraction(1, 2)) + zero, 0), most)
        integers.setdefault(code, []).append(j)
    q = {}
    for bins in integers.values():
        some = [j for j in bins if p[j] > 0]
        for j in some:
            q[j] = Fraction(sum(kept[k] for k in bins), len(some))
    n, inside = sum(p.values()), sum(kept.values())
    if any(q[j] == 0 for j in q):
        return math.inf
    return math.fsum(p[j] / n * math.log(Fraction(p[j], n) / (q[j] / inside)) for j in q)


def divergences(kind: type[Divergence], tails: bool = True) -> list[tuple[float, float]]:
    """(computed, by definition) for data of every kind and many ends."""
    found = []
    for name in KINDS:
        values = data(name, 3000, seed=3)
        for bins in (64, 2048):
            both = Distribution.of([values, values[: values.size // 2]])
            got = kind(both, bins)
            for g in range(2):
                counts = [int(n) for n in got.counts[g]]
                width = Fraction(float(got.width[g]))
                lo, hi = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
                for part in (1, 0.9, 0.5, 0.13):
                    ends = np.full(2, lo * part), np.full(2, hi * part)
                    params = grid(*ends, INT4_NARROW)
                    zero = params.zero_point - INT4_NARROW.qmin
                    steps = params.scale.astype(np.float64)
                    one = got.of(*ends, steps, zero, INT4_NARROW.steps)[g]
                    want = divergence_by_definition(
                        counts, int(got.first[g]), width, ends[0][0], ends[1][0],
                        Fraction(float(steps[g])), int(zero[g]), INT4_NARROW.steps,
                    )  # fmt: skip
                    found.append((float(one), want))
    assert len(found) == 80 and sum(math.isfinite(w) for _, w in found) > 40
    return found


def agree(found: list[tuple[float, float]]) -> bool:
    return all(a == b or a == pytest.approx(b, rel=1e-9, abs=1e-12) for a, b in found)


class WithoutTails(Divergence):
    """Forgets what lies beyond the ends."""

    def of(self, lo, hi, scale, zero, most):
        least, largest = np.floor(lo / self.width), np.floor(hi / self.width)
        numbers = self.first[:, None] + np.arange(self.size)
        inside = (numbers >= least[:, None]) & (numbers <= largest[:, None])
        mine = (np.where(inside, self.counts, 0) + 1e-300) * inside
        other = Divergence(Distribution.of([np.ones(1)] * len(lo)), 2)
        other.width, other.first, other.size, other.counts = (
            self.width, self.first, self.size, mine,
        )  # fmt: skip
        from qcore.schemes import kl

        other.values, other.places, other.logs = map(
            kl._running, (mine, mine > 1e-200, kl._x_log_x(mine))
        )
        return Divergence.of(other, lo, hi, scale, zero, most)


def test_the_divergence_is_that_of_two_histograms():
    with np.errstate(all="ignore"):
        assert agree(divergences(Divergence))
        assert not agree(divergences(WithoutTails))


def test_a_histogram_of_its_own_is_counted_bin_by_bin():
    """The bins of the observer, those of magnitudes folded together, zeros left out."""
    values = np.array([-3.5, -1.5, -1.25, 0, 0.25, 1.25, 1.5, 2.5, 7.5], np.float32)
    stats = counted(values, 16)
    assert stats.extra.width == 1
    got = Divergence(stats.distribution(), 4)
    assert (got.width[0], got.first[0]) == (1, -4)
    assert got.counts[0].tolist() == [1, 0, 2, 0, 0, 2, 1, 0, 0, 0, 0, 1]
    folded = Divergence(stats.distribution().magnitudes(), 4)
    assert folded.first[0] + np.arange(folded.size)[0] == 1
    assert folded.counts[0].tolist() == [4, 1, 1, 0, 0, 0, 1]


def test_kl_takes_the_least():
    values, clipped = data("laplace", 4000), []
    stats = exactly(values)
    for symmetric, q in ((True, INT8_NARROW), (False, INT8)):
        scheme = Kl(points=30, symmetric=symmetric)
        found = stats.distribution()
        bins = Divergence(found.magnitudes() if symmetric else found, scheme.bins)

        def cost(lo, hi, bins=bins, q=q, symmetric=symmetric):
            made = grid(np.array([lo]), np.array([hi]), q, symmetric)
            low = np.array([0.0 if symmetric else lo])
            zero = made.zero_point - (0 if symmetric else q.qmin)
            most = q.qmax if symmetric else q.steps
            return float(bins.of(low, np.array([hi]), made.scale.astype(float), zero, most)[0])

        lo, hi = scheme.ends(stats, q)
        want = search_by_definition(cost, stats.lo[0], stats.hi[0], 30, symmetric)
        assert cost(lo[0], hi[0]) == pytest.approx(want, rel=1e-9)
        least = cost(-stats.hi[0] if symmetric else stats.lo[0], stats.hi[0])
        clipped.append(cost(lo[0], hi[0]) < least)
    assert any(clipped)
    lo, hi = Kl().ends(stats, INT16)
    assert (lo[0], hi[0]) == (stats.lo[0], stats.hi[0])  # steps finer than any bin


# --- every scheme ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SHIPPED, ids=str)
def test_schemes_hold_the_properties(scheme, depth):
    """Of all kinds of groups, with every value and with histograms."""
    covers = scheme == PowerOfTwo()
    done = check_scheme(scheme, covers=covers, examples=15 * depth)
    assert done.encoded > 500 and "groups" in done.properties
    symmetric = dataclasses.replace(scheme, symmetric=True)
    done = check_scheme(symmetric, covers=covers, examples=15 * depth)
    assert "symmetric" in done.properties
    seen = HistogramObserver(64)
    kinds = [k for k in qs.KINDS if k != "widest"]
    assert check_scheme(
        scheme, covers=False, observer=seen, kinds=kinds, examples=8 * depth
    ).encoded


@pytest.mark.parametrize("scheme", SHIPPED, ids=str)
def test_a_scheme_needs_what_it_says(scheme):
    stats = Stats.of(-1, 2)
    if scheme.needs == "range":
        assert scheme.choose(stats, INT8).groups == 1
    else:
        with pytest.raises(BadStatistics, match="only the range is known"):
            scheme.choose(stats, INT8)


def test_a_scheme_cannot_need_the_unknown():
    with pytest.raises(BadRecipe, match="needs 'moments'"):

        class Odd(Scheme):
            needs = "moments"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Percentile(50), "share 50"),
        (lambda: Percentile("99"), "share '99'"),
        (lambda: Mse(points=0), "points 0"),
        (lambda: Kl(bins=1), "bins 1"),
        (lambda: Aciq("cauchy"), "no density 'cauchy'"),
        (lambda: PowerOfTwo("yes"), "nearest 'yes'"),
        (lambda: Octav(symmetric="no"), "symmetric 'no'"),
        (lambda: Octav(narrow=3), "narrow 3"),
        (lambda: qcore.Rule(scheme="clipping"), "scheme 'clipping' is unknown"),
    ],
)
def test_wrong_fields_are_refused(make, says):
    with pytest.raises(BadRecipe, match=says):
        make()


def test_the_operand_decides_what_nobody_set():
    """Weights and 16 bits have no zero point; what is set is kept."""
    octav = qcore.recipe("int8").with_rule(scheme="octav")
    assert octav.setting("CONV_2D", "weight", "filter", "w").scheme == Octav(symmetric=True)
    found = octav.setting("CONV_2D", "activation", "input", "x").scheme
    assert found == Octav(symmetric=False) and not found.takes_narrow
    wide = qcore.recipe("int16x8").with_rule(scheme="octav")
    assert wide.setting("CONV_2D", "activation", "input", "x").scheme == Octav(symmetric=True)
    own = {"key": "octav", "symmetric": False}
    kept = qcore.recipe("int8").with_rule(scheme=own)
    assert kept.setting("CONV_2D", "weight", "filter", "w").scheme == Octav(symmetric=False)
    assert (
        Octav(symmetric=True).takes_narrow and not Octav(symmetric=True, narrow=False).takes_narrow
    )


# --- statistics -----------------------------------------------------------------------------------


def test_histograms_of_a_union_are_those_of_one_observer():
    parts = [data("laplace", 300), 50 * data("relu", 200), np.zeros(9, np.float32)]
    for a in parts:
        for b in parts:
            both = counted(np.concatenate([a, b]))
            joined = counted(a).union(counted(b))
            assert joined == both and joined.extra.counts.tolist() == both.extra.counts.tolist()
            assert (joined.extra.exponent, joined.extra.first) == (
                both.extra.exponent, both.extra.first,
            )  # fmt: skip
    assert counted(parts[0]).union(Stats.of(0, 1)).extra is None
    check_observer(HistogramObserver(), examples=20)


def test_a_distribution_knows_its_values():
    found = Distribution.of([np.array([3, -1, 0]), np.array([2]), np.array([])])
    assert found.low.tolist() == [[-1, 0, 3], [2, 2, 2], [0, 0, 0]]
    assert found.counts.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert found.exact and found.take([1]).exact and found.take([1]).low.tolist() == [[2, 2, 2]]
    assert found.magnitudes().low[0].tolist() == [0, 1, 3] and found.magnitudes().exact
    assert found.away.tolist()[0] == [True, False, True]
    with pytest.raises(ValueError, match="read-only"):
        found.counts[0] = 0
    seen = counted(np.array([-0.75, 0.75], np.float32), 4).distribution()
    assert not seen.exact and (seen.low[0, 0], seen.high[0, -1]) == (-0.75, 0.75)


# --- constants ------------------------------------------------------------------------------------


def constant_graph(values: np.ndarray):
    from qcore.graph import Graph

    b = Builder()
    y = b.op("ADD", [b.input(values.shape, range=(-1, 1)), values], values.shape, range=(-2, 2))
    graph = Graph(b.model([y]), 0)
    tensor = next(t for t in range(len(graph.tensors)) if graph.is_constant(t))
    return graph, tensor


def of_parts(scheme: Clipping, values: np.ndarray, axis: int | None, q: IntRange) -> Affine:
    graph, tensor = constant_graph(values)
    stats = common.stats_of(graph, tensor, axis)
    return common.choose_constant(graph, tensor, scheme, stats, q, axis)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_a_constant_in_parts_is_the_constant(axis, rng, monkeypatch):
    """Whatever the axis of the groups, and however few of them come at a time."""
    values = rng.laplace(0, 1, (5, 6, 7)).astype(np.float32)
    moved = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    whole = exactly(*moved.reshape(moved.shape[0], -1))
    for scheme in (Octav(symmetric=True), Percentile(90), Mse(points=9), Kl(points=5, bins=16)):
        want = scheme.choose(whole, INT8_NARROW)
        for points in (1, 64, 1 << 17):
            monkeypatch.setattr(distribution, "POINTS", points)
            got = of_parts(scheme, values, axis, INT8_NARROW)
            assert np.array_equal(got.scale, want.scale) and got.axis == axis
            assert np.array_equal(got.zero_point, want.zero_point)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_large_groups_are_counted(axis, rng, monkeypatch):
    """As the observer of histograms counts them, in slices."""
    values = rng.laplace(0, 1, (60, 50)).astype(np.float32)
    monkeypatch.setattr(distribution, "EXACT", 10)
    monkeypatch.setattr(distribution, "BINS", 64)
    monkeypatch.setattr(distribution, "POINTS", 100)
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    scheme = Octav(symmetric=True)
    got = of_parts(scheme, values, axis, INT8_NARROW)
    want = [scheme.choose(counted(row.ravel(), 64), INT8_NARROW).scale[0] for row in rows]
    assert got.scale.tolist() == [float(s) for s in want]


def test_memory_does_not_grow_with_the_constant(rng):
    import tracemalloc

    values = np.tile(rng.laplace(0, 1, 1 << 17).astype(np.float32), 1 << 6)  # 32 MB
    stats = common.constant_stats(values, None)
    rows = values.reshape(-1, 1 << 8)
    row_stats = common.constant_stats(rows, 0)
    for array, axis, of in ((values, None, stats), (rows, 0, row_stats)):
        tracemalloc.start()
        groups = sum(part.groups for part in distribution.parts(array, axis, of))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert groups == of.groups and peak < 8 << 20


def test_a_histogram_costs_little_against_every_value(rng):
    """The clip of a large constant, counted, is that of its values to a thousandth."""
    values = rng.laplace(0, 1, 60_000).astype(np.float32)
    for scheme in (Octav(symmetric=True), Percentile(99.9), Mse(symmetric=True)):
        got = of_parts(scheme, values, None, INT8_NARROW).scale[0]
        want = scheme.choose(exactly(values), INT8_NARROW).scale[0]
        assert got == pytest.approx(want, rel=1e-3)


# --- whole models ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(example_data):
    return list(qcore.data.open(example_data, std=255, limit=16))


@pytest.fixture(scope="module")
def histograms(example_model, samples):
    return qcore.calibrate(example_model, samples, observer="histogram", progress=False)


@pytest.fixture(scope="module")
def truth(example_model, samples):
    return [y for (y,) in qcore.peers.real.run_real(example_model, samples)]


def sqnr(quantized, samples, truth) -> float:
    found = qcore.metrics.Difference()
    for a, (b,) in zip(truth, qcore.peers.real.run_real(quantized, samples), strict=True):
        found += qcore.metrics.Difference.of(a, b)
    return found.SQNR_dB


@pytest.mark.parametrize("scheme", (Percentile(99.9), *SHIPPED[2:]), ids=str)
def test_a_model_by_each_scheme(scheme, example_model, histograms, samples, truth):
    """Activations and weights, run by the interpreter; min-max has 27, 37 and 46 dB."""
    # A thousandth of the values, 29 % of a range, the tails that a normal density has not.
    clips_much = scheme in (Percentile(99.9), PowerOfTwo(True), Aciq("gauss"))
    for name, operand, forms, least in (
        ("int8", "*", 20, 8 if clips_much else 25),
        ("int16x8", "*", 20, 8 if clips_much else 33),
        ("dynamic", "weight", 5, 20 if clips_much else 38),
    ):
        recipe = qcore.recipe(name).with_rule(operand=operand, scheme=scheme)
        quantized = qcore.quantize(example_model, recipe, histograms)
        found = quantized.plan.subgraphs[0].forms
        assert sum(form.rule == scheme.key for form in found) >= forms
        assert least < sqnr(quantized, samples, truth) < 60, name


def test_histograms_are_made_where_a_scheme_needs_them(example_model, samples):
    plain = qcore.recipe("int8")
    octav = plain.with_rule(operand="activation", scheme="octav")
    weights = plain.with_rule(operand="weight", scheme="octav")
    made = qcore.quantize(example_model, octav, samples[:3], progress=False).plan
    ranges = qcore.calibrate(example_model, samples[:3], progress=False)
    with pytest.raises(NotCalibrated, match=r"scheme 'octav' needs histograms.*'minmax'") as caught:
        qcore.quantize(example_model, octav, ranges)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotCalibrated, match="observed with 'minmax'"):
        qcore.quantize(example_model, octav, samples[:3], observer="minmax", progress=False)
    with pytest.raises(NotCalibrated, match="recipe 'int8' observes with 'moving_average'"):
        named = octav.replace(observer="moving_average")
        qcore.quantize(example_model, named, samples[:3], progress=False)
    assert qcore.quantize(example_model, weights, ranges).plan.notes == made.notes
    known = qcore.calibrate(example_model, samples[:3], observer="histogram", progress=False)
    assert qcore.quantize(example_model, octav, known).plan.to_json() == made.to_json()
    # Histograms change nothing for a scheme of ranges.
    assert (
        qcore.quantize(example_model, plain, known).plan.to_json()
        == qcore.quantize(example_model, plain, ranges).plan.to_json()
    )


def test_a_recipe_names_its_observer(example_model, samples, tmp_path):
    moving = qcore.recipe("int8").replace(observer={"key": "moving_average", "smoothing": 0.5})
    path = tmp_path / "moving.toml"
    path.write_text(
        'observer = { key = "moving_average", smoothing = 0.5 }\n[[rule]]\nmode = "static"\n'
    )
    assert qcore.recipe(path).observer == moving.observer
    assert qcore.Recipe.from_json(moving.to_json()) == moving
    ranges = qcore.calibrate(example_model, samples[:5], observer=moving.observer, progress=False)
    found = qcore.quantize(example_model, moving, samples[:5], progress=False).plan.to_json()
    assert found == qcore.quantize(example_model, moving, ranges).plan.to_json()
    assert (
        found != qcore.quantize(example_model, "int8", samples[:5], progress=False).plan.to_json()
    )
    with pytest.raises(BadRecipe, match="observer 'mean' is unknown"):
        moving.replace(observer="mean")


def wide_bias(bias: float):
    """A dense layer whose bias leaves int32 beside weights of 1e-6; one of them far larger."""
    b = Builder()
    x = b.input((1, 64), range=(-1e-3, 1e-3))
    w = np.full((2, 64), 1e-6, np.float32) * np.linspace(-1, 1, 64, dtype=np.float32)
    w[0, 0] = 1e-4
    return b.model([b.op("FULLY_CONNECTED", [x, w, np.full(2, bias, np.float32)], (1, 2),
                         range=(-1.1 * bias, 1.1 * bias))])  # fmt: skip


@pytest.mark.parametrize("recipe", ["int8", "int8_legacy"])
def test_clipped_weights_leave_room_for_the_bias(recipe):
    """The guard against overflow looks at the scale that the scheme chose, not at the range."""
    model = wide_bias(4.0)
    ranges = qcore.Calibration.from_model(model)
    for granularity in ("per_channel", "per_tensor"):
        rule = {"operand": "weight", "granularity": granularity}
        own = qcore.recipe(recipe).with_rule(**rule, scheme="octav")
        part = qcore.quantize(model, own, ranges).plan.subgraphs[0]
        (step,) = (s for s in part.steps if s.name == "FULLY_CONNECTED")
        assert step.mode == "int8"
        x, w, bias = (part.forms[f] for f in step.inputs)
        assert not bias.saturated
        product = x.params.scale[0].astype(np.float64) * w.params.scale
        assert (4.0 / product <= 2**30 * 1.001).all()
        free = qcore.quantize(wide_bias(1e-12), own, ranges).plan.subgraphs[0]
        (step,) = (s for s in free.steps if s.name == "FULLY_CONNECTED")
        clipped = free.forms[step.inputs[1]].params.scale
        assert (clipped < w.params.scale).all()


def test_blocks_by_a_scheme(rng):
    b = Builder()
    x = b.input((1, 64))
    w = rng.laplace(0, 1, (8, 64)).astype(np.float32)
    model = b.model([b.op("FULLY_CONNECTED", [x, w, np.zeros(8, np.float32)], (1, 8))])
    recipe = qcore.recipe("int4").with_rule(
        operand="weight", granularity="blockwise:32", scheme="mse", min_elements=0
    )
    (form,) = (
        f for f in qcore.quantize(model, recipe).plan.subgraphs[0].forms if f.dtype == "int4"
    )
    want = Mse(symmetric=True).choose(exactly(*w.reshape(-1, 32)), INT4_NARROW).scale
    assert form.params.block == 32
    assert np.array_equal(form.params.scale, want.astype(np.float16).astype(np.float32))
    assert (form.params.scale < np.abs(w.reshape(-1, 32)).max(axis=1) / 7).any()
    assert form.stats.extra is None  # the values are not kept


def test_full_range_weights_go_behind_dequantize_where_kernels_misread_them(rng):
    b = Builder()
    w = rng.normal(0, 1, (8, 64)).astype(np.float32)
    y = b.op("FULLY_CONNECTED", [b.input((1, 64)), w, np.zeros(8, np.float32)], (1, 8))
    model = b.model([y])
    full = {"key": "octav", "narrow": False}
    recipe = qcore.recipe("dynamic").with_rule(operand="weight", scheme=full, min_elements=0)
    part = qcore.quantize(model, recipe).plan.subgraphs[0]
    assert [s.name for s in part.steps] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    narrow = qcore.recipe("dynamic").with_rule(operand="weight", scheme="octav", min_elements=0)
    assert [s.name for s in qcore.quantize(model, narrow).plan.subgraphs[0].steps] == [
        "FULLY_CONNECTED"
    ]


def test_16_bits_are_symmetric_and_narrow():
    made = Octav().placed("activation", "int16")
    assert made.takes_narrow and made.symmetric
    stats = exactly(data("relu"))
    assert made.choose(stats, INT16_NARROW).zero_point.tolist() == [0]
    plain = Symmetric("legacy").choose(stats, INT16_NARROW)
    assert 0.9 < made.choose(stats, INT16_NARROW).scale[0] / plain.scale[0] <= 1


# --- graphs of every kind -------------------------------------------------------------------------


def with_histograms(model, seed: int = 0) -> qcore.Calibration:
    """The ranges that the model carries, filled with values."""
    rng = np.random.default_rng(seed)
    ranges, states = qcore.Calibration.from_model(model), {}
    for key, stats in ranges.items():
        lo, hi = np.float32(stats.lo[0]), np.float32(stats.hi[0])
        share = np.clip(rng.laplace(0.5, 0.1, 200), 0, 1)
        values = np.clip((lo + (float(hi) - float(lo)) * share).astype(np.float32), lo, hi)
        values[:2] = lo, hi
        states[key] = HistogramObserver().start()
        states[key].update(values, *extremes(values))
    return qcore.Calibration(states, ranges.names, HistogramObserver(), model=ranges.model)


@pytest.mark.parametrize("recipe", ["int8", "int8_legacy", "int16x8"])
def test_every_kind_of_graph(recipe, depth):
    """Ties, fixed ranges, degenerate ranges, shared constants: each scheme makes a whole file."""
    schemes = [s for s in SHIPPED if s != Percentile(90)]
    rules = 0
    for seed in range(20 * depth):
        scheme = schemes[seed % len(schemes)]
        model = random_graph(seed)
        wanted = qcore.recipe(recipe).with_rule(scheme=scheme)
        quantized = qcore.quantize(model, wanted, with_histograms(model, seed))
        written = ts.read(quantized.to_bytes())
        for tensor in written.subgraphs[0].tensors:
            q = tensor.quantization
            if q is not None and q.scale is not None and q.scale.size:
                assert (q.scale > 0).all() and np.isfinite(q.scale).all(), tensor
        forms = quantized.plan.subgraphs[0].forms
        rules += sum(form.rule.startswith(scheme.key) for form in forms)
    assert rules > 50 * depth


@pytest.mark.parametrize("recipe", ["int8", "int8_legacy"])
def test_shared_states_share_a_histogram(recipe):
    """An LSTM's output and the state that it becomes: the union of both, not one of them."""
    model = lstm_model(False, False, True, False, seed=4)
    known = with_histograms(model)
    wanted = qcore.recipe(recipe).with_rule(operand="activation", scheme="octav")
    found = qcore.quantize(model, wanted, known)
    part, (lstm,) = found.plan.subgraphs[0], model.subgraphs[0].operators
    keys = [qcore.TensorKey(0, t) for t in (lstm.inputs[18], lstm.outputs[0])]
    joined = known[keys[0]].union(known[keys[1]])
    forms = [f for f in part.forms if f.tensor == lstm.inputs[18] and f.params is not None]
    want = Octav().choose(joined, INT8)
    assert [f.params for f in forms if f.dtype == "int8"] == [want]
    assert want not in [Octav().choose(known[key], INT8) for key in keys]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_clipped_values_are_counted_in_slices(axis, rng, monkeypatch):
    values = rng.normal(0, 1, (3, 4, 5)).astype(np.float32)
    count = 1 if axis is None else values.shape[axis]
    params = Affine(rng.uniform(0.002, 0.01, count), np.zeros(count), axis)
    scale = params.along(3)[0].astype(np.float64)
    want = int((np.abs(values) > (127.5 * scale).astype(np.float32)).sum())
    stats = common.constant_stats(values, axis)
    for size in (1, 64, 1 << 22):
        monkeypatch.setattr(common, "STATS_BYTES", size)
        assert common.saturation(values, stats, params, INT8_NARROW) == want
        one = values.reshape(3, 4, 5)[:1]
        assert common.saturation(one, Stats.of(-9, 9), Affine.of(0.005), INT8_NARROW) == int(
            (np.abs(one) > np.float32(0.6375)).sum()
        )
    assert want > 0
    scalar = np.array(5, np.float32)
    assert common.saturation(scalar, Stats.of(5, 5), Affine.of(0.01), INT8) == 1
