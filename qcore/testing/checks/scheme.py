"""A user's own scheme or rounding: `check_scheme(MyScheme())`, `check_rounding(MyRounding())`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kernels.ranges import IntRange
from qcore.errors import BadInput, QcoreError
from qcore.observers import Observer, extremes
from qcore.params import Affine, Distribution, Stats
from qcore.rounding import Rounding
from qcore.schemes import Scheme, Symmetric
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.search import Found, search
from qcore.testing.strategies.numbers import RANGES, int_ranges
from qcore.testing.strategies.tensors import KINDS, NO_RANGE, groups, stats_of

SIZES = (1, 4, 16)  # values in a group
GROUPS = 3
U = Fraction(1, 2**24)  # half an ulp of float32, relative, where numbers are normal
SMALLEST_STEP = Fraction(1, 2**150)  # the same of a denormal, absolute
SECOND_ORDER = 1 + Fraction(1, 2**20)  # (1 + U)^n <= 1 + n U SECOND_ORDER for n up to 6
SINGLE = 2**21  # integers up to which four float32 roundings stay below half a step

# Name -> what a scheme or rounding is held to; a failure begins with the name.
PROPERTIES = {
    "saved": "it comes back equal from its JSON",
    "answers": "it gives one scale and one zero point for each group of any finite range",
    "scale": "every scale is a finite, positive float32",
    "zero point": "every zero point is one of the integers",
    "symmetric": "the zero points of a symmetric scheme are 0",
    "covers": "each end of a range is within half a step of an integer's value",
    "deterministic": "the same input gives the same result",
    "groups": "what a group gets depends on nothing but that group",
    "input": "what it is given is not written to",
    "no range": "a group without a range (empty, NaN, infinite) is refused or gets a usable scale",
    "encodes": "values become integers of the range, in its type and their shape",
    "zero": "real 0 becomes the zero point, whose value is real 0",
    "monotone": "a larger value never gets a smaller integer",
    "error": "a value is within half a step, and float32's error, of its integer's value",
    "idempotent": "the value of an integer becomes that integer again",
}


@dataclass
class SchemeCheck:
    """What was gone through.

    examples: sets of groups.  groups: groups among them.  encoded: values turned into integers.
    properties: name -> how often it was looked at and held.
    """

    name: str
    examples: int = 0
    groups: int = 0
    encoded: int = 0
    properties: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.properties)} properties hold, {self.examples:,} examples, "
            f"{self.groups:,} groups, {self.encoded:,} values encoded"
        )

    def held(self, name: str) -> None:
        self.properties[name] = self.properties.get(name, 0) + 1


def check_scheme(
    scheme: Scheme,
    *,
    kinds: Iterable[str] = (*KINDS, *NO_RANGE),
    ranges: Iterable[str] | None = None,
    covers: bool = True,
    observer: Observer | None = None,
    examples: int = 200,
    seed: int | None = 0,
) -> SchemeCheck:
    """Hold a scheme, and the rounding it names for constants, to every one of PROPERTIES.

    kinds: of groups that the scheme is for, by the names of `strategies.groups`.
    ranges: of integers, by name; by default all of up to 16 bits, those with a negative end for a
        symmetric scheme, whose constants take the narrow ones.
    covers: False for a scheme that clips on purpose; its ends may then lie outside the grid.
    observer: what fills `Stats.extra`, group by group; without one, a scheme that needs histograms
        is given every value, as it is for small constants.
    examples: sets of groups to try.  seed: the same for the same number; None draws new ones.
    Raises CheckFailed: the property, and the smallest case found as Python.
    """
    if not isinstance(scheme, Scheme):
        raise BadInput(f"check_scheme takes a Scheme, got {type(scheme).__name__}")
    done = SchemeCheck(f"scheme {scheme.key!r}")
    names = _ranges(ranges, scheme)
    _run(_Subject(scheme, scheme.rounding, covers, observer, True, done), kinds, names, examples,
         seed)  # fmt: skip
    return done


def check_rounding(
    rounding: Rounding,
    scheme: Scheme | None = None,
    *,
    kinds: Iterable[str] = KINDS,
    ranges: Iterable[str] | None = None,
    examples: int = 200,
    seed: int | None = 0,
) -> SchemeCheck:
    """Hold a rounding to integers to those of PROPERTIES that are about values and integers.

    scheme: whose scales it is used with; Symmetric() if not given.  The rest as in check_scheme.
    """
    if not isinstance(rounding, Rounding):
        raise BadInput(f"check_rounding takes a Rounding, got {type(rounding).__name__}")
    scheme = Symmetric() if scheme is None else scheme
    done = SchemeCheck(f"rounding {rounding.key!r}")
    names = _ranges(ranges, scheme)
    if scheme.symmetric and ranges is None:
        names = [n for n in names if n.endswith("_narrow")]
    _run(_Subject(scheme, rounding, True, None, False, done), kinds, names, examples, seed)
    return done


@dataclass(frozen=True)
class _Subject:
    """What is checked. choosing: the scheme itself as well, or its rounding only."""

    scheme: Scheme
    rounding: Rounding
    covers: bool
    observer: Observer | None
    choosing: bool
    done: SchemeCheck

    @property
    def name(self) -> str:
        return self.done.name

    @property
    def counted(self) -> bool:
        """Whether the scheme is to be given every value."""
        return self.observer is None and self.scheme.needs == "histogram"


@dataclass(frozen=True)
class _Case:
    """Groups, a range of integers, and what is known of the groups."""

    about: _Subject
    q: IntRange
    groups: list[np.ndarray]
    stats: Stats

    def broken(self, name: str, what: str, test: str, *more: str) -> Found:
        """The property does not hold. test: an expression that is False, "" where a line raises.
        more: lines before it."""
        one = self.about
        where = _ends(self.stats)
        sentence = f"{name}: {one.name}, {where}, integers {self.q}: {what} ({PROPERTIES[name]})"
        return Found(sentence, self.source(test, more))

    def source(self, test: str, more: Sequence[str] = ()) -> str:
        """Python that makes the case and fails at `test`."""
        one = self.about
        plugs: dict[str, Any] = {"scheme": one.scheme}
        if one.rounding != one.scheme.rounding:
            plugs["rounding"] = one.rounding
        if one.observer is not None:
            plugs["observer"] = one.observer
        body = [*more, *([f"assert {test}"] if test else [])]
        names = [n for n in ("Affine", "Stats") if any(n in line for line in body)]
        if one.observer is None:
            names = sorted({*names, "Stats", *(["Distribution"] if one.counted else [])})
        imports = ["from kernels.ranges import IntRange", *map(imported, plugs.values())]
        if names:
            imports.append(f"from qcore.params import {', '.join(names)}")
        order = sorted(set(imports), key=lambda i: (i[0] == "#", i))
        lines = ["import numpy as np", "", *order, ""]
        lines += [f"{name} = {expression(plug)}" for name, plug in plugs.items()]
        if "rounding" not in plugs and any("rounding." in line for line in body):
            lines.append("rounding = scheme.rounding")
        lines.append(f'q = IntRange({self.q.qmin}, {self.q.qmax}, np.dtype("{self.q.dtype}"))')
        if one.observer is None:
            lo, hi = literal(self.stats.lo), literal(self.stats.hi)
            more = ""
            if one.counted:
                values = ", ".join(map(literal, self.groups))
                lines.append(f"values = Distribution.of([{values}])")
                more = ", values"
            lines.append(f"stats = Stats({lo}, {hi}, {self.stats.count}{more})")
        else:
            lines += [
                "state = observer.start()",
                f"seen = np.array({literal(self.groups[0])}, np.float32)",
                "state.update(seen, float(seen.min()), float(seen.max()))",
                "stats = state.stats()",
            ]
        lines += ["params = scheme.choose(stats, q)", *body]
        return "\n".join(lines) + "\n"


def _run(
    one: _Subject, kinds: Iterable[str], names: Sequence[str], examples: int, seed: int | None
) -> None:
    kinds = tuple(kinds)
    groups(kinds=kinds)  # refuses what it does not know
    if one.choosing:
        _saved(one)
    usual = [k for k in kinds if k not in NO_RANGE]
    none = [k for k in kinds if k in NO_RANGE]

    def cases(size: int, of: Sequence[str]) -> st.SearchStrategy[tuple[IntRange, Any]]:
        most = 1 if one.observer is not None or size == 1 else GROUPS
        return st.tuples(int_ranges(names), groups(most, size, of))

    searches: list[tuple[Callable[[_Case], None], Sequence[str], int]] = []
    if usual:
        searches.append((_hold, usual, examples))
    if none and one.choosing and one.observer is None:
        searches.append((_no_range, [*usual[:1], *none], max(1, examples // 8)))
    for test, of, number in searches:
        found = search(
            lambda size, of=of: cases(size, of),  # type: ignore[misc]
            lambda drawn, test=test: test(_case(one, *drawn)),  # type: ignore[misc]
            number, seed, SIZES,
        )  # fmt: skip
        if found is not None:
            raise CheckFailed(found.sentence, found.more[0])
    if not set(one.done.properties) - {"saved"}:
        raise CheckFailed(f"{one.name}: nothing was checked; name kinds of groups")


def _case(one: _Subject, q: IntRange, found: list[np.ndarray]) -> _Case:
    if one.observer is None:
        stats = stats_of(found)
        if one.counted:
            stats = dataclasses.replace(stats, extra=Distribution.of(found))
        return _Case(one, q, found, stats)
    state = one.observer.start()
    state.update(found[0].copy(), *extremes(found[0]))
    return _Case(one, q, found, state.stats())


def _hold(case: _Case) -> None:
    """Raise Found for the first property that does not hold: those of parameters come first."""
    one, done = case.about, case.about.done
    done.examples += 1
    done.groups += len(case.groups)
    params = _choose(case)
    if one.choosing:
        _storable(case, params)
        if one.covers:
            _covers(case, params)
        _deterministic(case, params)
        _by_itself(case, params)
    elif not _usable(params, case.q):
        return  # the scheme's affair
    if not one.scheme.symmetric or case.q.narrow:
        for axis in (None, 0):
            _encoding(case, params, axis)


def _saved(one: _Subject) -> None:
    try:
        back = Scheme.from_json(one.scheme.to_json())
    except QcoreError as error:
        raise CheckFailed(f"saved: {one.name}: {error} ({PROPERTIES['saved']})") from error
    if back != one.scheme:
        raise CheckFailed(f"saved: {one.name} comes back as {back} ({PROPERTIES['saved']})")
    one.done.held("saved")


# --- parameters -----------------------------------------------------------------------------------


def _call(case: _Case, stats: Stats) -> Any:
    with np.errstate(all="ignore"):
        return case.about.scheme.choose(stats, case.q)


def _choose(case: _Case) -> Affine:
    stats = case.stats
    # Of its own, so that what writes to it is seen.
    given = Stats(stats.lo, stats.hi, stats.count, stats.extra)
    try:
        params = _call(case, given)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if "read-only" in str(error):
            raise case.broken("input", f"it wrote to the ranges ({said})", "") from error
        raise case.broken("answers", f"it raised {said}", "") from error
    if not _same(given, stats):
        raise case.broken(
            "input", "the ranges were written to",
            f"(stats.lo.tolist(), stats.hi.tolist()) == "
            f"({literal(stats.lo)}, {literal(stats.hi)})",
        )  # fmt: skip
    if not isinstance(params, Affine) or params.groups != stats.groups:
        made = f"{params.groups} groups" if isinstance(params, Affine) else type(params).__name__
        raise case.broken(
            "answers", f"it gave {made} for {stats.groups} groups",
            "isinstance(params, Affine) and params.groups == stats.groups",
        )  # fmt: skip
    if case.about.choosing:
        case.about.done.held("input")
        case.about.done.held("answers")
    return params


def _storable(case: _Case, params: Affine) -> None:
    one, q = case.about, case.q
    bad = ~(np.isfinite(params.scale) & (params.scale > 0))
    if bad.any():
        raise case.broken(
            "scale", f"the scale is {params.scale[bad][0]}",
            "np.isfinite(params.scale).all() and (params.scale > 0).all()",
        )  # fmt: skip
    one.done.held("scale")
    bad = (params.zero_point < q.qmin) | (params.zero_point > q.qmax)
    if bad.any():
        raise case.broken(
            "zero point", f"the zero point is {params.zero_point[bad][0]}",
            "(params.zero_point >= q.qmin).all() and (params.zero_point <= q.qmax).all()",
        )  # fmt: skip
    one.done.held("zero point")
    if one.scheme.symmetric:
        if params.zero_point.any():
            first = params.zero_point[params.zero_point != 0][0]
            raise case.broken(
                "symmetric", f"the zero point is {first}", "not params.zero_point.any()"
            )
        one.done.held("symmetric")


def bound(scale: Fraction, steps: int) -> Fraction:
    """How many steps an end of a range may lie from the grid of a min-max scheme in float32.

    The width errs by 2U (an end, the difference), the scale by U or, denormal, by half of 2^-149,
    the zero point by 1/2 and by U of at most `steps`: each of it up to `steps` steps.
    """
    return Fraction(1, 2) + steps * (3 * U + max(U, SMALLEST_STEP / scale)) * SECOND_ORDER


def _covers(case: _Case, params: Affine) -> None:
    q = case.q
    for g in range(params.groups):
        scale, z = Fraction(float(params.scale[g])), int(params.zero_point[g])
        allowed = bound(scale, q.steps)
        low = (q.qmin - z) - Fraction(float(case.stats.lo[g])) / scale
        high = Fraction(float(case.stats.hi[g])) / scale - (q.qmax - z)
        if max(low, high) > allowed:
            name, end = ("lo", "qmin") if low > high else ("hi", "qmax")
            value = float(getattr(case.stats, name)[g])
            sign = "-" if name == "lo" else ""
            raise case.broken(
                "covers",
                f"{value!r} is {_number(max(low, high))} steps beyond the value of {q.qmin}"
                if name == "lo" else
                f"{value!r} is {_number(max(low, high))} steps beyond the value of {q.qmax}",
                f"{sign}(stats.{name}[{g}] / np.float64(params.scale[{g}]) - "
                f"(q.{end} - params.zero_point[{g}])) <= {float(allowed)!r}",
            )  # fmt: skip
    case.about.done.held("covers")


def _deterministic(case: _Case, params: Affine) -> None:
    if not _call(case, case.stats).same(params):
        raise case.broken(
            "deterministic", "a second call gave other parameters",
            "scheme.choose(stats, q) == params",
        )  # fmt: skip
    case.about.done.held("deterministic")


def _by_itself(case: _Case, params: Affine) -> None:
    stats, many = case.stats, case.stats.groups
    if many < 2:
        return
    orders = [*([g] for g in range(many)), list(range(many))[::-1]]
    for order in orders:
        got = _call(case, stats.take(order))
        if not (
            np.array_equal(got.scale, params.scale[order])
            and np.array_equal(got.zero_point, params.zero_point[order])
        ):
            raise case.broken(
                "groups",
                f"group {order[0]} by itself gets other parameters"
                if len(order) == 1 else "in reverse order the groups get other parameters",
                "np.array_equal(other.scale, params.scale[order]) and "
                "np.array_equal(other.zero_point, params.zero_point[order])",
                f"order = {order}",
                "other = scheme.choose(stats.take(order), q)",
            )  # fmt: skip
    case.about.done.held("groups")


def _no_range(case: _Case) -> None:
    if np.isfinite(case.stats.lo).all() and np.isfinite(case.stats.hi).all():
        return
    case.about.done.examples += 1
    try:
        params = _call(case, case.stats)
    except (QcoreError, ValueError, ArithmeticError):
        case.about.done.held("no range")
        return
    if not _usable(params, case.q):
        raise case.broken(
            "no range", f"the scale is {params.scale.tolist()}, zero point {params.zero_point}",
            "np.isfinite(params.scale).all() and (params.scale > 0).all() and "
            "(params.zero_point >= q.qmin).all() and (params.zero_point <= q.qmax).all()",
        )  # fmt: skip
    case.about.done.held("no range")


def _usable(params: Affine, q: IntRange) -> bool:
    scale, z = params.scale, params.zero_point
    return bool((np.isfinite(scale) & (scale > 0)).all() and ((z >= q.qmin) & (z <= q.qmax)).all())


# --- integers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Encoding:
    """One way to encode: per tensor (the first group) or per channel (all, along axis 0)."""

    case: _Case
    params: Affine
    stats: Stats

    @property
    def channels(self) -> bool:
        return self.params.axis is not None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """values: (G, N), a row for each group. Raises Found where what comes back is no answer."""
        case, q = self.case, self.case.q
        data = values if self.channels else values[0]
        given = data.copy()
        try:
            with np.errstate(all="ignore"):
                made = case.about.rounding.encode(given, self.params, self.stats, q)
        except Exception as error:
            raise self.broken(
                "encodes", f"it raised {type(error).__name__}: {error}", "", data
            ) from error
        if not np.array_equal(given, data):
            raise self.broken(
                "input", "the values were written to", "np.array_equal(values, before)", data,
                before=True,
            )  # fmt: skip
        case.about.done.held("input")
        if not isinstance(made, np.ndarray) or made.shape != data.shape or made.dtype != q.dtype:
            what = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made)
            raise self.broken(
                "encodes", f"{data.shape} values became {what}",
                "integers.shape == values.shape and integers.dtype == q.dtype", data,
            )  # fmt: skip
        outside = (made < q.qmin) | (made > q.qmax)
        if outside.any():
            raise self.broken(
                "encodes", f"{data[outside][0]} became {made[outside][0]}",
                "q.qmin <= integers.min() and integers.max() <= q.qmax", data,
            )  # fmt: skip
        case.about.done.held("encodes")
        case.about.done.encoded += made.size
        return np.asarray(made if self.channels else made[None], np.int64)

    def broken(
        self, name: str, what: str, test: str, values: np.ndarray, before: bool = False
    ) -> Found:
        s, z = literal(self.params.scale), literal(self.params.zero_point)
        axis = ", axis=0" if self.channels else ""
        lines = [f"params = Affine({s}, {z}{axis})"]
        if not self.channels and self.case.stats.groups > 1:
            lines.append("stats = Stats(stats.lo[:1], stats.hi[:1], stats.count)")
        lines.append(f"values = np.array({literal(values)}, np.float32)")
        if before:
            lines.append("before = values.copy()")
        lines.append("integers = rounding.encode(values, params, stats, q)")
        form = "per channel" if self.channels else "per tensor"
        return self.case.broken(name, f"{form}, {what}", test, *lines)

    def fewer(
        self, values: np.ndarray, at: Sequence[int], fails: Callable[[np.ndarray], bool]
    ) -> np.ndarray:
        """The columns `at` of the values if these alone fail as well, else all."""
        few = values[:, list(at)]
        whole = few if fails(self(few)) else values
        return whole if self.channels else whole[0]


def _encoding(case: _Case, params: Affine, axis: int | None) -> None:
    stats, done = case.stats, case.about.done
    if axis is None:
        params = Affine(params.scale[:1], params.zero_point[:1])
        stats = Stats(stats.lo[:1], stats.hi[:1], stats.count, stats.extra)
    else:
        params = Affine(params.scale, params.zero_point, axis)
    encode = _Encoding(case, params, stats)
    scale, z = params.scale.astype(np.float64), params.zero_point
    many = params.groups

    nothing = encode(np.zeros((many, 1), np.float32))
    if (nothing[:, 0] != z).any():
        zero = np.zeros((many, 1), np.float32)
        g = int(np.flatnonzero(nothing[:, 0] != z)[0])
        raise encode.broken(
            "zero", f"0.0 became {nothing[g, 0]}, the zero point is {z[g]}",
            f"(integers.reshape(-1) == {literal(z)}).all()", zero if encode.channels else zero[0],
        )  # fmt: skip
    done.held("zero")

    rows = [_probes(case, g, scale[g], int(z[g])) for g in range(many)]
    longest = max(r.size for r in rows)
    values = np.stack([np.pad(r, (0, longest - r.size), "edge") for r in rows])
    integers = encode(values)
    if (encode(values) != integers).any():
        raise encode.broken(
            "deterministic", "the same values became other integers",
            "np.array_equal(integers, rounding.encode(values, params, stats, q))",
            values if encode.channels else values[0],
        )  # fmt: skip
    done.held("deterministic")
    down = np.argwhere(np.diff(integers, axis=1) < 0)
    if down.size:
        g, i = map(int, down[0])
        few = encode.fewer(values, (i, i + 1), lambda y: bool((np.diff(y, axis=1) < 0).any()))
        raise encode.broken(
            "monotone",
            f"{values[g, i]!s} became {integers[g, i]} and {values[g, i + 1]!s}, which is larger, "
            f"{integers[g, i + 1]}",
            "(np.diff(integers.astype(np.int64)) >= 0).all()", few,
        )  # fmt: skip
    done.held("monotone")

    error, allowed = _errors(values, integers, scale, z, case.q)
    far = np.argwhere(error > allowed)
    if far.size:
        g, i = map(int, far[np.argmin(np.abs(values[tuple(far.T)]))])
        few = encode.fewer(
            values, (i,), lambda y: bool((_errors(values[:, [i]], y, scale, z, case.q)[0]
                                          > allowed[:, [i]]).any())
        )  # fmt: skip
        shaped = "params.scale[:, None], params.zero_point[:, None]"
        s, o = shaped.split(", ") if encode.channels else ("params.scale", "params.zero_point")
        raise encode.broken(
            "error",
            f"{values[g, i]!s} became {integers[g, i]}, which is {error[g, i]:.9g} steps away",
            f"(np.abs(values.astype(np.float64) / {s} - (integers - {o})) <= "
            f"{float(allowed[g, i])!r}).all()", few,
        )  # fmt: skip
    done.held("error")
    _idempotent(encode, integers, scale, z)


def _errors(
    values: np.ndarray, integers: np.ndarray, scale: np.ndarray, z: np.ndarray, q: IntRange
) -> tuple[np.ndarray, np.ndarray]:
    """Steps between each value (at most an end of the grid) and its integer; how many are allowed.

    Half a step, and the error of w * (1 / s) in float32: one rounding each of the scale, the
    inverse and the product, relative to w / s. float64 adds less than SECOND_ORDER leaves.
    """
    s, o = scale[:, None], z[:, None]
    exact = values.astype(np.float64) / s
    clipped = np.clip(exact, q.qmin - o, q.qmax - o)
    error = np.abs(clipped - (integers - o))
    single = 2 * float(U) + np.maximum(float(U), float(SMALLEST_STEP) / s)
    return error, 0.5 + single * float(SECOND_ORDER) * np.abs(exact) + 2.0**-40


def _idempotent(encode: _Encoding, integers: np.ndarray, scale: np.ndarray, z: np.ndarray) -> None:
    """On integers that the group's own values can become."""
    rows = []
    for g in range(len(integers)):
        lo, hi = int(integers[g].min()), int(integers[g].max())
        known = np.unique(np.clip(_some(lo, hi, int(z[g])), z[g] - SINGLE, z[g] + SINGLE))
        rows.append(known[(known >= lo) & (known <= hi)])
    if not all(r.size for r in rows):
        return
    longest = max(r.size for r in rows)
    wanted = np.stack([np.pad(r, (0, longest - r.size), "edge") for r in rows])
    with np.errstate(over="ignore"):
        values = ((wanted - z[:, None]) * scale[:, None]).astype(np.float32)
    if not np.isfinite(values).all():
        return  # an end of the grid of the widest ranges
    got = encode(values)
    wrong = np.argwhere(got != wanted)
    if wrong.size:
        g, i = map(int, wrong[np.argmin(np.abs(values[tuple(wrong.T)]))])
        few = encode.fewer(values, (i,), lambda y: bool((y != wanted[:, [i]]).any()))
        alone = few.size <= len(wanted)
        want = (wanted[:, [i]] if alone else wanted) if encode.channels else (
            wanted[0, [i]] if alone else wanted[0])  # fmt: skip
        raise encode.broken(
            "idempotent",
            f"{values[g, i]!s}, the value of {wanted[g, i]}, became {got[g, i]}",
            f"np.array_equal(integers, {literal(want)})", few,
        )  # fmt: skip
    encode.case.about.done.held("idempotent")


def _probes(case: _Case, g: int, scale: float, z: int) -> np.ndarray:
    """Sorted float32 values of the group's range: its own, 0, and ties of the scale with their
    neighbours."""
    q, own = case.q, case.groups[g]
    lo, hi = min(float(own.min()), 0.0), max(float(own.max()), 0.0)
    first, last = (int(min(max(round(e / scale) + z, q.qmin), q.qmax)) for e in (lo, hi))
    with np.errstate(over="ignore"):
        ties = ((_some(first, last, z) - z + 0.5) * scale).astype(np.float32)
        ends = np.array([-np.inf, np.inf], np.float32)
        beside = [np.nextafter(ties, e) for e in ends]
    found = np.clip(np.concatenate([ties, *beside]), np.float32(lo), np.float32(hi))
    return np.unique(np.concatenate([found, own, np.zeros(1, np.float32)]) + np.float32(0))


def _some(first: int, last: int, z: int) -> np.ndarray:
    """Integers of [first, last]: the ends, the zero point, some between."""
    between = [first + (last - first) * k // 7 for k in range(8)]
    found = {*between, first + 1, last - 1, z - 1, z, z + 1}
    return np.array(sorted(k for k in found if first <= k <= last), np.int64)


# --- words ----------------------------------------------------------------------------------------


def _ranges(names: Iterable[str] | None, scheme: Scheme) -> list[str]:
    if names is not None:
        names = list(names)
        int_ranges(names)  # refuses what it does not know
        return names
    return [n for n in RANGES if not (scheme.symmetric and n.startswith("u"))]


def _same(a: Stats, b: Stats) -> bool:
    return a.lo.tobytes() == b.lo.tobytes() and a.hi.tobytes() == b.hi.tobytes()


def _ends(stats: Stats) -> str:
    found = [f"[{lo!r}, {hi!r}]" for lo, hi in zip(stats.lo.tolist(), stats.hi.tolist())]
    return f"range{'s' if len(found) > 1 else ''} {', '.join(found)}"


def _number(x: Fraction) -> str:
    return f"{float(x):.9g}"


def imported(plug: Any) -> str:
    """The line that makes the name in `expression` known, or says that it must be."""
    cls = type(plug)
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        return f"# {cls.__name__} as in your program"
    return f"from {cls.__module__} import {cls.__name__}"


def expression(plug: Any) -> str:
    """The expression that makes a plug, with the fields that are not at their default."""
    changed = [
        f"{f.name}={getattr(plug, f.name)!r}"
        for f in dataclasses.fields(plug)
        if f.init and (f.default is dataclasses.MISSING or getattr(plug, f.name) != f.default)
    ]
    return f"{type(plug).__name__}({', '.join(changed)})"


def literal(values: Any) -> str:
    """Numbers as Python writes them: shortest digits of their own type, np.nan and np.inf."""
    array = np.asarray(values)
    if array.ndim:
        return f"[{', '.join(map(literal, array))}]"
    if array.dtype.kind != "f":
        return str(int(array))
    if not math.isfinite(array):
        return "np.nan" if math.isnan(array) else "np.inf" if array > 0 else "-np.inf"
    return str(array[()])
