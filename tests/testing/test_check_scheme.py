"""check_scheme and check_rounding: what ships passes, and each property is seen to be broken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from kernels.ranges import INT8
from qcore import rounding
from qcore.errors import BadInput
from qcore.observers import HistogramObserver
from qcore.params import Affine
from qcore.schemes import MinMax, Scheme, Symmetric
from qcore.testing import strategies as qs
from qcore.testing.checks import scheme as module
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.scheme import PROPERTIES, check_rounding, check_scheme

# Kinds of groups in which the converter itself, whose bits these schemes are, breaks a property
# (docs/math.md E5, E6, E10, E16): every other kind must pass, and these must not.
CONVERTERS_OWN = {
    MinMax(): {"widest": "scale"},
    MinMax(widen="constant"): {"widest": "scale"},
    MinMax(widen="none"): {"widest": "scale", "zero": "scale", "denormal": "scale"},
    MinMax("legacy"): {"widest": "scale", "zero": "scale", "denormal": "scale"},
    Symmetric(): {"widest": "scale", "tiny": "error", "denormal": "error"},
    Symmetric("legacy"): {"zero": "scale", "denormal": "scale"},
    Symmetric("dynamic"): {},
}
EVERY = (*qs.KINDS, *qs.NO_RANGE)


def broken(error: pytest.ExceptionInfo[CheckFailed]) -> str:
    """The property that a failure names."""
    return error.value.sentence.split(":")[0]


@pytest.mark.parametrize("scheme", CONVERTERS_OWN, ids=str)
def test_schemes_that_ship_hold(scheme, depth):
    kinds = [k for k in EVERY if k not in CONVERTERS_OWN[scheme]]
    done = check_scheme(scheme, kinds=kinds, examples=40 * depth)
    assert done.examples >= 40 and done.encoded > 1000
    held = set(PROPERTIES) - (set() if scheme.symmetric else {"symmetric"})
    assert set(done.properties) == held
    assert scheme.key in str(done) and f"{len(held)} properties" in str(done)


@pytest.mark.parametrize(
    ("scheme", "kind", "name"),
    [(s, kind, name) for s, own in CONVERTERS_OWN.items() for kind, name in own.items()],
    ids=str,
)
def test_where_the_converter_breaks_a_property(scheme, kind, name):
    with pytest.raises(CheckFailed) as error:
        check_scheme(scheme, kinds=[kind], examples=40)
    assert broken(error) == name


@pytest.mark.parametrize(
    ("tested", "scheme", "ranges"),
    [
        (rounding.Nearest(), MinMax(), None),
        (rounding.Nearest(), Symmetric("dynamic"), None),
        (rounding.NearestMlir(), Symmetric(), None),
        (rounding.NearestLegacy(), Symmetric("legacy"), None),
        (rounding.NearestDynamic(), Symmetric("dynamic"), None),
        (rounding.Bias(), Symmetric("legacy"), ["int32", "int16_narrow"]),
    ],
    ids=lambda x: str(x),
)
def test_roundings_that_ship_hold(tested, scheme, ranges, depth):
    kinds = [k for k in qs.KINDS if k not in CONVERTERS_OWN[scheme]]
    done = check_rounding(tested, scheme, kinds=kinds, ranges=ranges, examples=30 * depth)
    assert set(done.properties) == {
        "input", "encodes", "zero", "deterministic", "monotone", "error", "idempotent",
    }  # fmt: skip


# --- wrong ones -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Right(Scheme):
    """A min-max scheme by the book; those below get one thing wrong."""

    key: ClassVar[str] = "right-in-a-test"

    def choose(self, stats, q):
        if not np.isfinite([stats.lo, stats.hi]).all():
            raise ValueError("no range")
        lo, hi = np.minimum(stats.lo, 0), np.maximum(stats.hi, 0)
        scale = np.maximum((hi - lo) / q.steps, 2.0**-126).astype(np.float32)
        return self.made(scale, np.round(q.qmin - lo / scale.astype(np.float64)), q)

    def made(self, scale, zero_point, q):
        return Affine(scale, np.clip(zero_point, q.qmin, q.qmax))


class OffByOne(Right):
    def made(self, scale, zero_point, q):
        return super().made(scale, zero_point + 1, q)


class Outside(Right):
    def made(self, scale, zero_point, q):
        return Affine(scale, zero_point - 1)


class TooSmall(Right):
    def made(self, scale, zero_point, q):
        return super().made(scale * np.float32(0.98), zero_point, q)


class NotSymmetric(Right):
    symmetric: ClassVar[bool] = True


class NoScaleForConstants(Right):
    def choose(self, stats, q):
        found = super().choose(stats, q)
        width = stats.hi - stats.lo
        with np.errstate(invalid="ignore"):
            return Affine(found.scale * (width / width), found.zero_point)


class DividesByTheRange(Right):
    def choose(self, stats, q):
        if not np.all(stats.hi > stats.lo):
            raise ZeroDivisionError("a constant")
        return super().choose(stats, q)


class Writes(Right):
    def choose(self, stats, q):
        np.minimum(stats.lo, 0, out=stats.lo)
        return super().choose(stats, q)


class WritesByForce(Right):
    def choose(self, stats, q):
        stats.lo.setflags(write=True)
        np.minimum(stats.lo, -1, out=stats.lo)
        return super().choose(stats, q)


class OneForAll(Right):
    def made(self, scale, zero_point, q):
        return super().made(scale[:1], zero_point[:1], q)


class Coarsest(Right):
    """Groups share the largest scale; zero points fit their own."""

    def choose(self, stats, q):
        found = super().choose(stats, q)
        scale = np.full(found.groups, found.scale.max())
        lo = np.minimum(stats.lo, 0)
        return self.made(scale, np.round(q.qmin - lo / scale.astype(np.float64)), q)


class Restless(Right):
    calls: ClassVar[list[int]] = []

    def made(self, scale, zero_point, q):
        self.calls.append(0)
        return super().made(scale * np.float32(1 + len(self.calls) % 2), zero_point, q)


class Silent(Right):
    def choose(self, stats, q):
        with np.errstate(invalid="ignore"):
            return Affine((stats.hi - stats.lo) / q.steps, np.zeros(stats.groups))


@dataclass(frozen=True)
class Forgetful(Right):
    steps: int = 1

    def to_json(self):
        return self.key


class Rounded(Right):
    """Right parameters; encodes by `plan`, which those below get wrong."""

    plan: ClassVar[type[rounding.Rounding]] = rounding.Nearest

    @property
    def rounding(self):
        return self.plan()


class TruncatedRounding(rounding.Rounding):
    def encode(self, values, params, stats, q):
        scale, zero_point = params.along(values.ndim)
        return np.clip(np.trunc(values / scale) + zero_point, q.qmin, q.qmax).astype(q.dtype)


class Truncated(Rounded):
    plan = TruncatedRounding


class FoldedRounding(rounding.Nearest):
    def encode(self, values, params, stats, q):
        made = super().encode(values, params, stats, q)
        return np.where(made == q.qmax, q.qmax - 2, made).astype(q.dtype)


class Folded(Rounded):
    plan = FoldedRounding


class ScalingRounding(rounding.Nearest):
    def encode(self, values, params, stats, q):
        values *= 1
        values /= 2
        return super().encode(values, params, stats, q)


class Scaling(Rounded):
    plan = ScalingRounding


class NoZeroRounding(rounding.Nearest):
    def encode(self, values, params, stats, q):
        made = super().encode(values, params, stats, q)
        made[values == 0] = q.qmin + (params.along(values.ndim)[1] == q.qmin).flat[0]
        return made


class NoZero(Rounded):
    plan = NoZeroRounding


class WideRounding(rounding.Nearest):
    def encode(self, values, params, stats, q):
        return super().encode(values, params, stats, q).astype(np.int32)


class Wide(Rounded):
    plan = WideRounding


class RestlessRounding(rounding.Nearest):
    calls: ClassVar[list[int]] = []

    def encode(self, values, params, stats, q):
        self.calls.append(0)
        made = super().encode(values, params, stats, q)
        return np.where((values != 0) & (len(self.calls) % 2 == 0), q.qmax, made).astype(q.dtype)


class RestlessIntegers(Rounded):
    plan = RestlessRounding


class DriftingRounding(rounding.Nearest):
    """A step more for what lies on the grid, so that each round trip adds one."""

    def encode(self, values, params, stats, q):
        scale, zero_point = (a.astype(np.float64) for a in params.along(values.ndim))
        steps = values / scale
        near = np.abs(steps - np.round(steps)) < 1e-3
        made = np.round(steps) + zero_point + np.where(near & (steps > 1.5), 1, 0)
        return np.clip(made, q.qmin, q.qmax).astype(q.dtype)


class Drifting(Rounded):
    plan = DriftingRounding


WRONG = {
    OffByOne: "covers",
    Outside: "zero point",
    TooSmall: "covers",
    NotSymmetric: "symmetric",
    NoScaleForConstants: "scale",
    DividesByTheRange: "answers",
    Writes: "input",
    WritesByForce: "input",
    OneForAll: "answers",
    Coarsest: "groups",
    Restless: "deterministic",
    RestlessIntegers: "deterministic",
    Silent: "scale",
    Forgetful: "saved",
    Truncated: "error",
    Folded: "monotone",
    Scaling: "input",
    NoZero: "zero",
    Wide: "encodes",
    Drifting: "idempotent",
}


def test_the_right_one_is_right():
    assert check_scheme(Right(), examples=60).encoded > 1000
    assert check_scheme(Rounded(), examples=30).encoded > 1000


@pytest.mark.parametrize("wrong", WRONG, ids=lambda c: c.__name__)
def test_a_wrong_scheme_is_seen(wrong):
    start = time.monotonic()
    scheme = wrong() if wrong is not Forgetful else Forgetful(2)
    with pytest.raises(CheckFailed) as error:
        check_scheme(scheme)
    assert time.monotonic() - start < 60
    assert broken(error) == WRONG[wrong], error.value.sentence
    if error.value.python:
        assert f"scheme = {wrong.__name__}()" in error.value.python
        assert error.value.python.count("\n") < 24
        with pytest.raises((AssertionError, ValueError, ZeroDivisionError)):
            exec(compile(error.value.python, "pasted", "exec"), {})


def test_the_smallest_case_is_small():
    with pytest.raises(CheckFailed) as error:
        check_scheme(OffByOne())
    assert "stats = Stats([1.0], [1.0], 1)" in error.value.python
    assert "IntRange(-128, 127" in error.value.python
    assert "covers: scheme 'OffByOne', range [1.0, 1.0]" in str(error.value)


def test_what_is_pasted_runs_through_for_a_right_scheme():
    """The assertion at its end is about the scheme, not about the paste."""
    with pytest.raises(CheckFailed) as error:
        check_scheme(OffByOne())
    exec(error.value.python.replace("OffByOne", "Right"), {})
    with pytest.raises(CheckFailed) as error:
        check_scheme(Truncated())
    exec(error.value.python.replace("Truncated", "Rounded"), {})


def test_a_wrong_rounding_is_seen_by_itself():
    for wrong, name in ((TruncatedRounding(), "error"), (FoldedRounding(), "monotone")):
        with pytest.raises(CheckFailed) as error:
            check_rounding(wrong, Symmetric("dynamic"))
        assert broken(error) == name
        assert f"rounding = {type(wrong).__name__}()" in error.value.python
        with pytest.raises(AssertionError):
            exec(error.value.python, {})


class Clips(Right):
    """Keeps nine tenths of the range on purpose."""

    def made(self, scale, zero_point, q):
        return super().made(scale * np.float32(0.9), zero_point, q)


def test_a_scheme_that_clips_on_purpose():
    with pytest.raises(CheckFailed, match="covers: "):
        check_scheme(Clips())
    assert "covers" not in check_scheme(Clips(), covers=False, examples=40).properties


@dataclass(frozen=True)
class FromHistogram(Right):
    """The range between the outermost bins that hold anything."""

    offset: int = 0

    def choose(self, stats, q):
        edges = stats.extra.edges
        lo, hi = min(float(edges[0]), 0.0), max(float(edges[-1]), 0.0)
        scale = np.maximum(np.array([(hi - lo) / q.steps]), 2.0**-126).astype(np.float32)
        zero_point = np.round(q.qmin - lo / scale.astype(np.float64)) + self.offset
        return self.made(scale, zero_point, q)


def test_a_scheme_that_needs_an_observer():
    kinds = [k for k in qs.KINDS if k != "widest"]
    seen = HistogramObserver(64)
    assert check_scheme(FromHistogram(), kinds=kinds, observer=seen, examples=40).examples == 40
    with pytest.raises(CheckFailed, match="covers") as error:
        check_scheme(FromHistogram(4), kinds=kinds, observer=seen)
    assert "observer = HistogramObserver(bins=64)" in error.value.python
    with pytest.raises(AssertionError):
        exec(error.value.python, {})


def test_the_bound_of_an_end():
    """Half a step and what float32 costs: more where scales are denormal, never less than 1/2."""
    assert Fraction(1, 2) < module.bound(Fraction(1), 255) < Fraction(1, 2) + Fraction(1, 10**4)
    assert module.bound(Fraction(1, 2**149), 255) > 128
    assert module.bound(Fraction(1), 65535) < Fraction(52, 100)


def test_nothing_checked_is_a_failure():
    with pytest.raises(CheckFailed, match="nothing was checked"):
        check_rounding(rounding.Nearest(), MinMax("legacy"), kinds=["zero"], examples=5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_scheme(rounding.Nearest()),
        lambda: check_rounding(MinMax()),
        lambda: check_scheme(MinMax(), kinds=["odd"]),
        lambda: check_scheme(MinMax(), ranges=["int9"]),
    ],
)
def test_refused(call):
    with pytest.raises(BadInput):
        call()


def test_integers_of_the_default_ranges():
    assert INT8.bits == 8
    assert "uint8" not in module._ranges(None, Symmetric()) and "uint8" in module._ranges(
        None, MinMax()
    )
