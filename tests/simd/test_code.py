"""The language that kernels are written in: tiny functions, compiled for every target and run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.simd import elementwise, target
from kernels.simd.code import Code, f32, f64, i8, i16, i32, i64, vector
from kernels.simd.runner import ENTRY
from kernels.simd.target import TARGETS

pytest.importorskip("llvmlite")
NAMES = target.available()
every_target = pytest.mark.parametrize("name", NAMES)
_engines: list[object] = []


def compiled(name: str, body: Callable[[Code], None]) -> Callable[..., None]:
    """The function that `body` writes, for a target: call(*parameters, begin=0, end=1)."""
    import llvmlite.binding as llvm

    from kernels.simd import compiler

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    code = Code("tiny", TARGETS[name])
    body(code)
    module = llvm.parse_assembly(code.finish())
    module.verify()
    machine = compiler.machine(TARGETS[name])
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine.emit_object(module)))
    engine.finalize_object()
    _engines.append(engine)
    entry = ENTRY(engine.get_function_address("tiny"))

    def call(*parameters: int | np.ndarray, begin: int = 0, end: int = 1) -> None:
        given = np.array([p if isinstance(p, int) else p.ctypes.data for p in parameters], np.int64)
        entry(given.ctypes.data, begin, end)

    return call


@every_target
def test_a_loop_goes_from_start_in_steps_and_stops_before_the_end(name: str):
    def body(c: Code) -> None:
        (y,) = c.parameters(1)
        with c.loop(c.begin, c.end, 3) as i:
            c.store(i, y, i * 8)

    y = np.full(12, -1)
    compiled(name, body)(y, begin=2, end=9)
    assert y.tolist() == [-1, -1, 2, -1, -1, 5, -1, -1, 8, -1, -1, -1]
    compiled(name, body)(y, begin=9, end=9)
    assert y[9] == -1


@every_target
def test_carried_values_hold_the_last_turn(name: str):
    def body(c: Code) -> None:
        x, y, n = c.parameters(3)
        with c.loop(0, n, carried=[c.value(0), c.value(1)]) as (i, state):
            found = c.load(i64, x, i * 8)
            with c.loop(0, 2, carried=state) as (_, inner):
                inner[0] = inner[0] + found
            state[:] = [inner[0], state[1] * 3]
        c.store(state[0], y)
        c.store(state[1], y, 8)

    run, x, y = compiled(name, body), np.array([5, 7, -2]), np.zeros(2, np.int64)
    run(x, y, 3)
    assert y.tolist() == [20, 27]
    run(x, y, 0)
    assert y.tolist() == [0, 1]


@every_target
def test_when_is_a_branch_and_choose_a_value(name: str):
    def body(c: Code) -> None:
        x, y = c.parameters(2)
        with c.loop(0, 4) as i:
            v = c.load(i64, x, i * 8)
            with c.when(v > 10):
                c.store(v, y, i * 8)
            c.store((v < 0).choose(v * -1, 7), y, (i + 4) * 8)

    x, y = np.array([3, 11, -4, 10]), np.zeros(8, np.int64)
    compiled(name, body)(x, y)
    assert y.tolist() == [0, 11, 0, 0, 7, 7, 4, 7]


@every_target
def test_integers_widen_with_their_sign_or_without_and_keep_the_low_bits(name: str):
    def body(c: Code) -> None:
        x, signed, unsigned, low = c.parameters(4)
        v = c.load(vector(i8, 8), x)
        c.store(v.to(i32), signed)
        c.store(v.unsigned(i32), unsigned)
        c.store((v.to(i32) * 3).to(i8), low)

    x = np.array([-128, -1, 0, 1, 127, 100, -100, 5], np.int8)
    signed, unsigned, low = np.zeros(8, np.int32), np.zeros(8, np.int32), np.zeros(8, np.int8)
    compiled(name, body)(x, signed, unsigned, low)
    assert (signed == x).all() and (unsigned == x.view(np.uint8)).all()
    assert (low == (x.astype(np.int32) * 3).astype(np.int8)).all()


@every_target
def test_float_steps_are_rounded_one_by_one(name: str):
    """No product is fused with a sum: x * s + b rounds twice, as NumPy does."""

    def body(c: Code) -> None:
        x, y, z = c.parameters(3)
        v = c.load(vector(f32, 16), x)
        c.store(v * 1.1 + 0.3, y)
        c.store(v.min(2.5).max(-2.5).rint().to(i32), z)

    x = np.random.default_rng(0).normal(0, 3, 16).astype(np.float32)
    x[:4] = 0.5, 1.5, -0.5, -2.5
    y, z = np.zeros(16, np.float32), np.zeros(16, np.int32)
    compiled(name, body)(x, y, z)
    assert (y == x * np.float32(1.1) + np.float32(0.3)).all()
    assert (z == np.rint(np.clip(x, -2.5, 2.5))).all()


@every_target
def test_division_is_toward_zero_and_shifts_keep_the_sign(name: str):
    def body(c: Code) -> None:
        x, y = c.parameters(2)
        v = c.load(i64, x)
        for i, made in enumerate((v / 4, v % 4, v >> 2, v << 2, v & 6, v | 1, v ^ 3)):
            c.store(made, y, i * 8)

    y = np.zeros(7, np.int64)
    compiled(name, body)(np.array([-7]), y)
    assert y.tolist() == [-1, -3, -2, -28, -7 & 6, -7 | 1, -7 ^ 3]


@every_target
def test_shuffles_pick_from_two_vectors(name: str):
    def body(c: Code) -> None:
        a, b, y = c.parameters(3)
        one, two = (c.load(vector(i16, 8), v) for v in (a, b))
        c.store(one.shuffle([0, 8, 7, 15], two), y)
        c.store(one.shuffle([3] * 4), y, 8)
        c.store(c.load(i16, a).splat(4), y, 16)

    y = np.zeros(12, np.int16)
    compiled(name, body)(np.arange(8, dtype=np.int16), np.arange(8, 16, dtype=np.int16), y)
    assert y.tolist() == [0, 8, 7, 15, 3, 3, 3, 3, 0, 0, 0, 0]


@every_target
@pytest.mark.parametrize(("kind", "dtype"), [(i8, np.int8), (i32, np.int32), (f32, np.float32)])
@pytest.mark.parametrize("lanes", [16, 64])
def test_the_first_lanes_are_stored_and_nothing_behind(name, kind, dtype, lanes):
    def body(c: Code) -> None:
        x, y, count = c.parameters(3)
        c.store_first(c.load(vector(kind, lanes), x), count, y)

    run, x = compiled(name, body), np.arange(1, lanes + 1).astype(dtype)
    for count in (-3, 0, 1, 2, 7, lanes // 2, lanes - 1, lanes, lanes + 5):
        y = np.zeros(lanes + 16, dtype)
        run(x, y, count)
        stored = min(max(count, 0), lanes)
        assert (y[:stored] == x[:stored]).all() and (y[stored:] == 0).all(), count


@every_target
def test_the_dot_of_a_target_is_the_sum_of_products(name: str):
    """Extremes included: no step saturates."""
    t = TARGETS[name]

    def body(c: Code) -> None:
        x, w, y, flip = c.parameters(4)
        a = t.broadcast(c, x, 0, t.flipper(c, flip))
        c.store(t.dot(c, c.load(vector(i32, t.lanes), y), a, t.weights(c, w, 0)), y)

    from kernels.simd.gemm import aligned

    run, flip = compiled(name, body), aligned(64)
    flip[:] = 0x80
    rng = np.random.default_rng(0)
    for x in (np.full(4, -128), np.full(4, 127), rng.integers(-128, 128, 4)):
        x = x.astype(np.int8)
        w = aligned(t.lanes * t.group).view(np.int8)
        w[:] = rng.choice([-128, 127, 3], w.size)
        y = aligned(4 * t.lanes).view(np.int32)
        run(x, w, y, flip)
        steps = x[: t.group].astype(np.int64) + t.flip
        assert (y == w.reshape(t.lanes, t.group).astype(np.int64) @ steps).all()


def test_a_value_of_another_type_is_refused():
    c = Code("tiny", TARGETS["portable"])
    with pytest.raises(AssertionError, match="beside"):
        c.value(1, i32) + c.value(1, i64)
    with pytest.raises(AssertionError, match="beside"):
        c.value(1.0, f32) * c.value(1.0, f64)


multipliers = st.one_of(st.integers(1 << 30, (1 << 31) - 1), st.just(0))


@given(multipliers, st.integers(0, 20), st.integers(1, 65025), st.integers(0, 2**32 - 1))
def test_the_high_product_in_32_bits_is_the_high_product(multiplier, left, largest, seed):
    parts = elementwise.high_parts(multiplier, left, largest)
    if parts is None:
        return
    upper, lower, outer, inner, cut, rest = (np.int32(v) for v in parts)
    x = np.random.default_rng(seed).integers(-largest, largest + 1, 50)
    x[:4] = largest, -largest, 0, -1
    narrow = x.astype(np.int32)
    with np.errstate(over="raise"):
        low = (narrow * lower + inner) >> cut
        got = (narrow * upper + outer + low) >> rest
    assert (got == ((x << left) * multiplier + (1 << 30)) >> 31).all()


def test_the_high_product_in_32_bits_takes_what_8_bits_need():
    assert elementwise.high_parts((1 << 31) - 1, 20, 255)
    assert elementwise.high_parts((1 << 31) - 1, 0, 255 * 255)
    assert elementwise.high_parts((1 << 31) - 1, 20, 1 << 12) is None
