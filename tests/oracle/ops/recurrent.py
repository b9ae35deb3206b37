"""LSTM, SVDF and RNN operators, one number at a time."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from tests import oracle as o
from tests.oracle import hybrid
from tests.oracle.task import Answer, Operand, Task, count, oracle

ONE = Fraction(1)
INPUT, FORGET, CELL, OUTPUT = range(4)
_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_expf, _tanhf = _libm.expf, _libm.tanhf
for _function in (_expf, _tanhf):
    _function.argtypes, _function.restype = [ctypes.c_float], ctypes.c_float


# --- fixed-point functions ------------------------------------------------------------------------


def product(a: int, b: int, bits: int = 16) -> int:
    """Two fractions of `bits` bits, nearest, ties up; (-1)(-1) saturates."""
    return min(o.half_up(Fraction(a * b, 2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def scaled(x: int, power: int, bits: int = 16) -> int:
    """x 2^power: saturating, or ties away from zero."""
    if power >= 0:
        return o.clip(x * 2**power, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return o.half_away(Fraction(x, 2**-power))


def constant(value: float, bits: int = 16, integer_bits: int = 0) -> int:
    """A real constant: rounded to 32 bits first, then to `bits`."""
    wide = round(value * 2 ** (31 - integer_bits))
    return o.half_away(Fraction(wide, 2 ** (32 - bits)))


def exp_negative(x: int, integer_bits: int, bits: int = 16) -> int:
    """exp of x <= 0 with this many integer bits, as a fraction."""
    top = 2 ** (bits - 1) - 1
    if x == 0:
        return top
    quarter = 2 ** (bits - 3 - integer_bits)
    if integer_bits > 5 and x < -128 * quarter:
        return 0
    quarters, inside = divmod(-x, quarter)
    if inside:
        quarters, inside = quarters + 1, quarter - inside
    # x = -quarters / 4 + inside; the polynomial takes -1/4 + inside, the rest is powers of e.
    near = scaled(inside - quarter, integer_bits, bits) + 2 ** (bits - 4)
    square = product(near, near, bits)
    cube, fourth = product(square, near, bits), product(square, square, bits)
    third = product(scaled(fourth, -2, bits) + cube, constant(1 / 3, bits), bits)
    tail = near + scaled(third + square, -1, bits)
    eighth = constant(math.exp(-1 / 8), bits)
    found = min(eighth + product(eighth, tail, bits), top)
    for k in range(min(7, integer_bits + 2)):
        if (quarters - 1) >> k & 1:
            found = product(found, constant(math.exp(-(2.0 ** (k - 2))), bits), bits)
    return found


def twice_reciprocal(x: int, bits: int = 16) -> int:
    """2 / (1 + x) with two integer bits, of a fraction x."""
    half = o.half_away(Fraction(x + 2 ** (bits - 1) - 1, 2))
    guess = constant(48 / 17, bits, 2) + product(half, constant(-32 / 17, bits, 2), bits)
    for _ in range(3):
        error = 2 ** (bits - 3) - product(half, guess, bits)
        guess += scaled(product(guess, error, bits), 2, bits)
    return guess


def sigmoid16(x: int) -> int:
    """Q3.12 to a fraction of 16 bits."""
    if x == 0:
        return 2**14
    found = scaled(twice_reciprocal(exp_negative(-abs(x), 3)), 1)
    return found if x > 0 else 2**15 - 1 - found


def tanh16(x: int, integer_bits: int) -> int:
    if x == 0:
        return 0
    power = exp_negative(-abs(x), integer_bits + 1)
    found = scaled(twice_reciprocal(power) - 2**13, 2)
    return found if x > 0 else -found


def inverse_sqrt(x: int) -> tuple[int, int]:
    """1 / sqrt(x) as multiplier and shift."""
    if x <= 1:
        return 2**31 - 1, 0
    right = 11
    while x >= 2**29:
        x //= 4
        right += 1
    while x < 2**27:
        x *= 4
        right -= 1
    value = x // 2
    half = scaled(value, -1, 32)
    y = 2**28
    for _ in range(5):
        cube = scaled(product(product(y, y, 32), y, 32), 6, 32)
        y = scaled(product(3 * 2**27, y, 32) - product(half, cube, 32), 3, 32)
    y = product(y, constant(math.sqrt(2) / 2, 32), 32)
    if right < 0:
        y, right = o.wrap(y * 2**-right, 32), 0
    return y, -right


# --- LSTM, integers -------------------------------------------------------------------------------


def truncated(a: int, b: int) -> int:
    return o.toward_zero(Fraction(a, b))


def clip16(x: int) -> int:
    return o.clip(x, -(2**15), 2**15 - 1)


def rescaled(acc: int, factor: Fraction) -> int:
    return o.multiply_double(o.wrap(acc, 32), *o.quantize_multiplier(factor))


def row(operand: Operand, index: int) -> list[Any]:
    assert operand.values is not None
    n = operand.shape[-1]
    return operand.values[index * n : (index + 1) * n]


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def log2(scale: Fraction) -> int:
    return round(math.log2(scale))


class Integer8x8to16:
    """The state of one LSTM and its step on a list of batches."""

    def __init__(self, task: Task):
        self.task = task
        self.cells = task.x(3).shape[0]
        self.outputs = task.x(7).shape[1]
        self.power = log2(task.x(19).scale)
        self.norm = task.has(21)
        self.hidden = task.intermediates[4]
        self.h = list(task.x(18).values or [])
        self.c = list(task.x(19).values or [])

    def gate(self, k: int, rows: Sequence[Sequence[int]], batches: range) -> list[int]:
        """Gate k of these batches, flat."""
        task = self.task
        x, state = task.x(0), task.x(18)
        scale = task.intermediates[k].scale if self.norm else Fraction(1, 4096)
        w, r = task.x(1 + k), task.x(5 + k)
        found = []
        for b, values in zip(batches, rows, strict=True):
            old = self.h[b * self.outputs : (b + 1) * self.outputs]
            for j in range(self.cells):
                acc = dot([v - x.zero_point for v in values], row(w, j))
                if not self.norm:
                    acc += task.x(12 + k).values[j]
                g = clip16(rescaled(acc, o.f32(o.f32(w.scale * x.scale) / scale)))
                acc = dot([v - state.zero_point for v in old], row(r, j))
                g += rescaled(acc, o.f32(o.f32(r.scale * state.scale) / scale))
                found.append(clip16(g))
        peephole = {INPUT: 9, FORGET: 10, OUTPUT: 11}.get(k)
        if peephole is not None and task.has(peephole):
            p = task.x(peephole)
            factor = o.f32(o.f64(o.f64(Fraction(2) ** self.power * p.scale) / scale))
            # The runtime walks `outputs` cells for each batch, one after the other.
            for i in range(len(batches) * self.outputs):
                cell = self.c[batches[0] * self.cells + i]
                place = i % self.outputs
                up = place < self.outputs // 16 * 16  # vector code
                rule = o.multiply_up if up else o.multiply_double
                found[i] += rule(p.values[place] * cell, *o.quantize_multiplier(factor))
                found[i] = clip16(found[i])
        if self.norm:
            n = self.cells
            for b in range(len(batches)):
                found[b * n : (b + 1) * n] = self.normalized(k, found[b * n : (b + 1) * n])
        return [tanh16(g, 3) if k == CELL else sigmoid16(g) for g in found]

    def normalized(self, k: int, gate: list[int]) -> list[int]:
        weight, bias = self.task.x(20 + k), self.task.x(12 + k)
        n = len(gate)
        mean = truncated(1024 * sum(gate), n)
        variance = truncated(dot(gate, gate) * (2**20 // n) - mean * mean, 2**20)
        if variance < 1:
            variance = max(1, o.toward_zero(o.f32(10000 * weight.scale)))
        a, shift = inverse_sqrt(variance)
        multiplier, exponent = o.quantize_multiplier(weight.scale)
        found = []
        for g, w, b in zip(gate, weight.values, bias.values, strict=True):
            value = o.multiply_double(1024 * g - mean, a, shift) * w + b
            value = o.wrap(truncated(value + (512 if value > 0 else -512), 1024), 32)
            found.append(clip16(o.multiply_double(value, multiplier, exponent + 12)))
        return found

    def step(self, rows: Sequence[Sequence[int]], batches: range) -> list[list[int]]:
        task = self.task
        forget = self.gate(FORGET, rows, batches)
        update = self.gate(CELL, rows, batches)
        cifg = not task.has(1)
        inward = [32767 - f for f in forget] if cifg else self.gate(INPUT, rows, batches)
        first = batches[0] * self.cells
        for i in range(len(forget)):
            kept = o.wrap(o.pot_away(forget[i] * self.c[first + i], 15), 16)
            new = o.wrap(o.pot_away(inward[i] * update[i], 30 + self.power), 16)
            total = clip16(kept + new)
            clip = o.f32(Fraction(task.option("cell_clip", 0)))
            if clip > 0:
                limit = o.toward_zero(min(o.f32(clip / task.x(19).scale), Fraction(2**15 - 1)))
                total = o.clip(total, -limit, limit) if limit else total
            self.c[first + i] = total
        outward = self.gate(OUTPUT, rows, batches)
        z = self.hidden.zero_point
        factor = o.f32(o.f64(Fraction(1, 2**30) / self.hidden.scale))
        hidden = []
        for i, out in enumerate(outward):
            squashed = inward[i]  # what the buffer holds where no tanh has so many integer bits
            if 0 <= 15 + self.power <= 6:
                squashed = tanh16(self.c[first + i], 15 + self.power)
            steps = rescaled(out * squashed, factor) + (-z if task.has(16) else z)
            hidden.append(o.clip(steps, -128, 127))
        n = self.cells
        found = [hidden[b * n : (b + 1) * n] for b in range(len(batches))]
        if task.has(16):
            found = [self.projected(values) for values in found]
        for b, values in zip(batches, found, strict=True):
            self.h[b * self.outputs : (b + 1) * self.outputs] = values
        return found

    def projected(self, hidden: list[int]) -> list[int]:
        task, w, state = self.task, self.task.x(16), self.task.x(18)
        factor = o.f32(o.f32(w.scale * self.hidden.scale) / state.scale)
        clip = o.f32(Fraction(task.option("proj_clip", 0)))
        limit = 0
        if clip > 0:
            limit = o.toward_zero(min(o.f32(clip / task.y.scale), Fraction(127)))
        found = []
        for unit in range(self.outputs):
            acc = dot([v + self.hidden.zero_point for v in hidden], row(w, unit))
            acc += task.x(17).values[unit] if task.has(17) else 0
            y = o.clip(rescaled(acc, factor) + state.zero_point, -128, 127)
            found.append(o.clip(y, -limit, limit) if limit else y)
        return found


def sequence(
    task: Task, steps_of: Callable[[int, range], list[list[Any]]], time_major: bool, outputs: int
) -> Answer:
    """Walk the input as the runtime does: `steps_of(step, batches)` gives rows of outputs."""
    shape = task.x(0).shape
    steps, batches = (shape[0], shape[1]) if time_major else (shape[1], shape[0])
    values: dict[tuple[int, int], list[Any]] = {}
    if time_major:
        for t in range(steps):
            for b, found in enumerate(steps_of(t, range(batches))):
                values[t, b] = found
    else:
        for b in range(batches):
            for t in range(steps):
                (values[b, t],) = steps_of(t, range(b, b + 1))
    flat = [v for place in sorted(values) for v in values[place]]
    return (*shape[:2], outputs), flat


def rows_of(operand: Operand, time_major: bool) -> Callable[[int, range], list[list[Any]]]:
    """Rows of a (T, B, N) or (B, T, N) operand."""
    _, second, n = operand.shape
    assert operand.values is not None

    def at(step: int, batches: range) -> list[list[Any]]:
        found = []
        for b in batches:
            place = step * second + b if time_major else b * second + step
            found.append(operand.values[place * n : (place + 1) * n])
        return found

    return at


@oracle("UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM")
def lstm(task: Task) -> list[Answer]:
    if len(task.intermediates) == 12:
        return narrow_lstm(task)
    if len(task.inputs) == 5:
        return basic_lstm(task)
    single = task.operator == "LSTM"
    if single:  # one step
        x = task.x(0)
        task.inputs[0] = Operand(
            x.dtype, (1, *x.shape), x.values, x.scales, x.zero_points, 0, False
        )
    time_major = single or bool(task.option("time_major", False))
    rows = rows_of(task.x(0), time_major)
    if task.x(0).dtype == "int8":
        cell: Any = Integer8x8to16(task)
        outputs = cell.outputs
    else:
        cell = Floating(task, range(24), time_major)
        outputs = cell.outputs
    shape, values = sequence(
        task, lambda t, batches: cell.step(rows(t, batches), batches), time_major, outputs
    )
    shape = shape[1:] if single else shape
    return [(shape, values), (task.x(18).shape, cell.h), (task.x(19).shape, cell.c)]


# --- LSTM, its other integer kernels --------------------------------------------------------------


def from_float(y: float) -> int:
    """A float32 result of [-1, 1] as a fraction of 16 bits, toward zero."""
    return min(o.toward_zero(o.f32(Fraction(y) * 2**15)), 2**15 - 1)


def tanh_steps(x: int, power: int) -> int:
    return from_float(_tanhf(float(Fraction(x) * Fraction(2) ** power)))


def sigmoid_steps(x: int) -> int:
    e = Fraction(_expf(float(-x) / 4096))
    return from_float(float(o.f32(ONE / o.f32(1 + e))))


def narrow_gate(task: Task, k: int, b: int) -> list[int]:
    """8x8->8: both products in 8 bits, their sum in 16, layer norm in float32."""
    middle = task.intermediates
    weight, bias = task.x(20 + k), task.x(12 + k).values
    gate = []
    for j in range(weight.shape[0]):
        total = 0
        for source, place in ((0, 3 * k + 1), (18, 3 * k + 2)):
            x, w = task.x(source), task.x((1 if source == 0 else 5) + k)
            zero = middle[7 if place == 11 else place].zero_point
            acc = dot([v - x.zero_point for v in row(x, b)], row(w, j))
            factor = o.f32(o.f32(w.scale * x.scale) / middle[place].scale)
            part = o.clip(rescaled(acc, factor) + zero, -128, 127) - zero
            m, s = o.quantize_multiplier(o.f32(middle[place].scale / middle[3 * k].scale))
            if place == 11:  # read behind the array: the shift of the forget gate's product
                m = o.quantize_multiplier(o.f32(middle[5].scale / middle[3].scale))[1]
            total += o.multiply_double(part, m, s)
        gate.append(Fraction(clip16(total)))
    m, s = o.quantize_multiplier(weight.scale)
    scale = o.f32(m * Fraction(2) ** (s - 31))
    n = Fraction(len(gate))
    mean = o.f32(f32sum(Fraction(0), *gate) / n)
    squares = f32sum(Fraction(0), *(f32product(g, g) for g in gate))
    variance = f32sum(o.f32(squares / n), -f32product(mean, mean))
    if variance < 0:  # the root is not a number, which converts to the lowest integer
        steps = [-(2**15)] * len(gate)
    else:
        root = Fraction(math.sqrt(variance if variance else o.f32(Fraction(1e-8))))
        inverse = o.f32(ONE / o.f32(root))
        steps = []
        for g, w, c in zip(gate, weight.values, bias, strict=True):
            value = f32product(f32product(f32sum(g, -mean), inverse), Fraction(w))
            shift = f32product(o.f32(Fraction(c)), f32product(Fraction(1, 1024), scale))
            value = f32sum(f32product(value, scale), shift)
            whole = o.half_away(f32product(value, Fraction(4096)))
            steps.append(-(2**15) if abs(whole) >= 2**31 else clip16(whole))
    return [tanh_steps(v, -12) if k == CELL else sigmoid_steps(v) for v in steps]


def narrow_lstm(task: Task) -> list[Answer]:
    batches = task.x(0).shape[0]
    state, cell, w = task.x(18), task.x(19), task.x(16)
    values, kept = [], []
    for b in range(batches):
        forget, update, outward = (narrow_gate(task, k, b) for k in (FORGET, CELL, OUTPUT))
        clip = o.f32(Fraction(task.option("cell_clip", 0)))
        limit = o.toward_zero(min(o.f32(clip * 2**15), Fraction(2**15 - 1))) if 0 < clip < 1 else 0
        hidden = []
        for j, f in enumerate(forget):
            c = o.wrap(o.pot_away(f * cell.at(b, j), 15), 16)
            c = clip16(c + o.wrap(o.pot_away((32767 - f) * update[j], 15), 16))
            c = o.clip(c, -limit, limit) if limit else c
            kept.append(c)
            hidden.append(o.wrap(o.pot_away(outward[j] * tanh_steps(c, -15), 15), 16))
        factor = o.f32(o.f64(o.f64(w.scale / 2**15) / state.scale))
        clip = o.f32(Fraction(task.option("proj_clip", 0)))
        limit = o.toward_zero(min(o.f32(clip / task.y.scale), Fraction(127))) if clip > 0 else 0
        for unit in range(w.shape[0]):
            acc = dot(hidden, row(w, unit)) + task.x(17).values[unit]
            y = o.multiply_int64(acc, *o.quantize_multiplier(factor)) + state.zero_point
            y = o.clip(y, -128, 127)
            values.append(o.clip(y, -limit, limit) if limit else y)
    shape = (batches, w.shape[0])
    return [(shape, values), (state.shape, values), (cell.shape, kept)]


def basic_lstm(task: Task) -> list[Answer]:
    """uint8, five inputs: activation, state, both inputs together, gates."""
    x, h, w, bias, c = (task.x(p) for p in range(5))
    batches, cells = h.shape
    factor = o.f64(4096 * bias.scale)
    sums, states, values, together = [], [], [], []
    for b in range(batches):
        both = row(x, b) + row(h, b)
        together += both
        gates = []
        for unit in range(4 * cells):
            acc = dot([v - 128 for v in both], [v - w.zero_point for v in row(w, unit)])
            acc = o.wrap(acc + bias.values[unit], 32)
            gates.append(clip16(o.multiply_up(acc, *o.quantize_multiplier(factor))))
        sums += gates
        for j in range(cells):
            i, m, f, out = gates[j::cells]
            new = scaled(product(sigmoid16(i), tanh16(m, 3)), -4)
            state = clip16(new + product(sigmoid16(f), c.at(b, j)))
            y = product(sigmoid16(out), tanh16(scaled(state, 1), 3))
            states.append(state)
            values.append(o.clip(scaled(y, -8), -128, 127) + 128)
    return [
        (h.shape, values), (c.shape, states), ((batches, w.shape[1]), together),
        ((batches, 4 * cells), sums),
    ]  # fmt: skip


# --- float activations ----------------------------------------------------------------------------


def f32sum(*values: Fraction) -> Fraction:
    total = values[0]
    for value in values[1:]:
        total = o.f32(total + value)
    return total


def f32product(a: Fraction, b: Fraction) -> Fraction:
    return o.f32(a * b)


def polynomial(x: Fraction, coefficients: Sequence[float]) -> Fraction:
    """Highest power first; every product and sum rounded."""
    found = o.f32(Fraction(coefficients[0]))
    for c in coefficients[1:]:
        found = o.f32(o.f32(found * x) + o.f32(Fraction(c)))
    return found


def tanh32(x: Fraction) -> Fraction:
    end = o.f32(Fraction(7.90738964080810547))
    x = min(max(x, -end), end)
    square = f32product(x, x)
    p = polynomial(square, (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1))
    q = polynomial(square, (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0))
    return o.f32(f32sum(f32product(f32product(square, x), p), x) / q)


def sigmoid32(x: Fraction, vector: bool) -> Fraction:
    end = o.f32(Fraction(16.6355324))
    if not vector:
        e = Fraction(_expf(float(min(x, end))))
        return o.f32(e / f32sum(ONE, e))
    if x < -104:
        return Fraction(0)
    half = f32product(min(x, end), Fraction(1, 2))
    m = math.floor(f32sum(f32product(half, o.f32(Fraction(1.44269504088896341))), Fraction(1, 2)))
    r = f32sum(f32product(Fraction(m), o.f32(Fraction(-0.693359375))), half)
    r = f32sum(f32product(Fraction(m), o.f32(Fraction(2.12194440e-4))), r)
    square = f32product(r, r)
    even = polynomial(square, (4.1898667812347412109375e-2, 0.49999141693115234375))
    odd = polynomial(square, (8.33471305668354034423828125e-3, 0.16666877269744873046875))
    high = f32product(square, f32sum(f32product(r, odd), even))
    e = f32sum(high, f32sum(r, ONE)) * Fraction(2) ** m
    e = f32product(e, e)
    return o.f32(e / f32sum(ONE, e))


def activated(kind: int, x: Fraction, without: Fraction) -> Fraction:
    """A fused activation; `without`: what stands where there is none."""
    if kind == 4:
        return tanh32(x)
    if kind == 0:
        return without
    lo, hi = {1: (0, None), 2: (-1, 1), 3: (0, 6)}[kind]
    x = max(x, Fraction(lo))
    return x if hi is None else min(x, Fraction(hi))


def quantized(values: Sequence[Fraction], task: Task) -> hybrid.Row:
    rule = hybrid.asymmetric if task.option("asymmetric_quantize_inputs") else hybrid.symmetric
    return rule(values)


def integer_sum(q: Sequence[int], weights: Sequence[int], zero_point: int) -> int:
    """sum (q - z) w, with the flaws of vector code: -(-128) is -128 in blocks of 16, and the sum
    of weights wraps in eight lanes of 16 bits."""
    n = len(q)
    blocks, whole = n // 16 * 16, n // 8 * 8
    acc = 0
    for i, (a, w) in enumerate(zip(q, weights, strict=True)):
        acc += -a * w if i < blocks and w == -128 and a < 0 else a * w
    if zero_point:
        lanes = [0] * 8
        for i in range(blocks):
            lanes[i % 16 // 2] += weights[i]
        for i in range(blocks, whole):
            lanes[i % 8] += weights[i]
        acc -= zero_point * (sum(o.wrap(v, 16) for v in lanes) + sum(weights[whole:]))
    return o.wrap(acc, 32)


def added(g: Fraction, given: hybrid.Row, weights: Sequence[int], scale: Fraction) -> Fraction:
    q, s, z = given
    acc = o.f32(Fraction(integer_sum(q, weights, z)))
    return f32sum(g, f32product(acc, f32product(s, scale)))


def in_vector(task: Task, start: int, length: int, i: int) -> bool:
    """Whether element i of a vector that begins `start` floats into aligned memory is computed by
    vector code."""
    if task.runtime != "litert":
        return True
    head = min(-start % 4, length)
    return head <= i < head + (length - head) // 4 * 4


class Floating:
    """One direction of a float LSTM. places: of the 17 weights and biases from index 1, of states
    from 18, of norms from 20, of the auxiliary weights from 24."""

    def __init__(self, task: Task, places: Sequence[int], time_major: bool, states: int = 18):
        self.task, self.at, self.time_major = task, places, time_major
        self.cells = task.x(places[3]).shape[0]
        recurrent = task.x(places[7]).shape
        self.outputs = recurrent[0] if len(recurrent) == 1 else recurrent[1]
        self.h = list(task.x(states).values or [])
        self.c = list(task.x(states + 1).values or [])
        self.kind = int(task.option("fused_activation_function"))

    def has(self, index: int) -> bool:
        return index < len(self.at) and self.task.has(self.at[index])

    def x(self, index: int) -> Operand:
        return self.task.x(self.at[index])

    def step(
        self, rows: Sequence[Sequence[Fraction]], batches: range,
        aux: Sequence[Sequence[Fraction]] | None = None,
    ) -> list[list[Fraction]]:  # fmt: skip
        found = []
        for i, b in enumerate(batches):
            found.append(self.one(rows[i], b, None if aux is None else aux[i], i, len(batches)))
        return found

    def one(self, row_, b: int, aux, i: int, together: int) -> list[Fraction]:
        n, m = self.cells, self.outputs
        h, c = self.h[b * m : (b + 1) * m], self.c[b * n : (b + 1) * n]
        task = self.task
        given = [quantized(row_, task), None if aux is None else quantized(aux, task),
                 quantized(h, task)]  # fmt: skip
        place = (b, i, together)
        forget = self.gate(FORGET, given, h, c, place)
        update = self.gate(CELL, given, h, c, place)
        if self.has(1):
            inward = self.gate(INPUT, given, h, c, place)
        else:
            inward = [f32sum(ONE, -f) for f in forget]
        clip = o.f32(Fraction(task.option("cell_clip", 0)))
        for j in range(n):
            c[j] = f32sum(f32product(forget[j], c[j]), f32product(inward[j], update[j]))
            c[j] = min(max(c[j], -clip), clip) if clip > 0 else c[j]
        outward = self.gate(OUTPUT, given, h, c, place)
        h = [f32product(outward[j], activated(self.kind, c[j], update[j])) for j in range(n)]
        if self.has(16):
            w, q = self.x(16), quantized(h, task)
            clip = o.f32(Fraction(task.option("proj_clip", 0)))
            h = []
            for unit in range(m):
                start = self.x(17).values[unit] if self.has(17) else Fraction(0)
                y = added(start, q, row(w, unit), w.scale)
                h.append(min(max(y, -clip), clip) if clip > 0 else y)
        self.h[b * m : (b + 1) * m], self.c[b * n : (b + 1) * n] = h, c
        return h

    def gate(self, k: int, given, h, c, place: tuple[int, int, int]) -> list[Fraction]:
        norm = self.has(21)
        found = []
        for j in range(self.cells):
            g = Fraction(0) if norm else self.x(12 + k).values[j]
            g = added(g, given[0], row(self.x(1 + k), j), self.x(1 + k).scale)
            if given[1] is not None:
                g = added(g, given[1], row(self.x(24 + k), j), self.x(24 + k).scale)
            r = self.x(5 + k)
            if len(r.shape) == 1:
                g = f32sum(g, f32product(r.values[j], h[j]))
            else:
                g = added(g, given[2], row(r, j), r.scale)
            peephole = {INPUT: 9, FORGET: 10, OUTPUT: 11}.get(k)
            if peephole is not None and self.has(peephole):
                p = self.x(peephole)
                g = f32sum(g, f32product(f32product(Fraction(p.values[j]), p.scale), c[j]))
            found.append(g)
        if norm:
            found = self.normalized(k, found)
        if k == CELL:
            return [activated(self.kind, g, g) for g in found]
        return [sigmoid32(g, self.in_vector(k, place, j)) for j, g in enumerate(found)]

    def normalized(self, k: int, gate: list[Fraction]) -> list[Fraction]:
        n = Fraction(len(gate))
        mean = o.f32(f32sum(Fraction(0), *gate) / n)
        away = [f32sum(g, -mean) for g in gate]
        variance = o.f32(f32sum(Fraction(0), *(f32product(a, a) for a in away)) / n)
        total = f32sum(variance, o.f32(Fraction(1e-8)))
        inverse = o.f32(ONE / o.f32(Fraction(math.sqrt(total))))
        weight, bias = self.x(20 + k).values, self.x(12 + k).values
        return [
            f32sum(f32product(f32product(a, inverse), w), b)
            for a, w, b in zip(away, weight, bias, strict=True)
        ]

    def in_vector(self, k: int, place: tuple[int, int, int], j: int) -> bool:
        """The gates stand in one buffer: (input), cell, forget, output, each of all batches."""
        b, i, together = place
        n = self.cells
        slot = (0, 2, 1, 3)[k] if self.has(1) else (0, 1, 0, 2)[k]
        batches = len(self.c) // n
        first = slot * batches * n + (0 if self.time_major else b * n)
        return in_vector(self.task, first, together * n, i * n + j)


def strided(aux: Operand, x: Operand, time_major: bool) -> Callable[[int, range], list[list[Any]]]:
    """Rows of aux where a step is taken to be as long as one of x."""
    _, second, n = x.shape
    m = aux.shape[2]
    values = aux.values or []

    def at(step: int, batches: range) -> list[list[Any]]:
        found = []
        for b in batches:
            start = step * n * second + b * m if time_major else (b * second + step) * n
            found.append(values[start : start + m])
        return found

    return at


@oracle("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_lstm(task: Task) -> list[Answer]:
    time_major = bool(task.option("time_major", True))
    steps = task.x(0).shape[0 if time_major else 1]
    crossed = task.has(41)
    x = rows_of(task.x(0), time_major)
    other = x
    if task.has(39):
        other = rows_of(task.x(39), time_major)
        if crossed and task.runtime == "tensorflow":
            other = strided(task.x(39), task.x(0), time_major)
    forward = [0, *range(1, 18), 35, 36, *[99] * 4, *range(40, 44)]
    backward = [0, *range(18, 35), 37, 38, *[99] * 4, *range(44, 48)]
    answers, states = [], []
    for back, places, kept in ((False, forward, 35), (True, backward, 37)):
        cell = Floating(task, places, time_major, kept)
        rows = other if back and not crossed else x

        def at(t: int, batches: range, rows=rows, back=back, cell=cell) -> list[list[Any]]:
            t = steps - 1 - t if back else t
            return cell.step(rows(t, batches), batches, other(t, batches) if crossed else None)

        answers.append(turned(sequence(task, at, time_major, cell.outputs), back, time_major))
        states += [(task.x(kept).shape, cell.h), (task.x(kept + 1).shape, cell.c)]
    return [*merged(task, answers), *states]


def turned(answer: Answer, back: bool, time_major: bool) -> Answer:
    """Outputs of a backward walk in the order of time."""
    if not back:
        return answer
    (first, second, n), values = answer
    rows = [values[i * n : (i + 1) * n] for i in range(first * second)]
    places = [(i, j) for i in range(first) for j in range(second)]
    order = [
        (first - 1 - i) * second + j if time_major else i * second + second - 1 - j
        for i, j in places
    ]
    return answer[0], [v for k in order for v in rows[k]]


def merged(task: Task, answers: list[Answer]) -> list[Answer]:
    if not task.option("merge_outputs", False):
        return answers
    (shape, one), (other, two) = answers
    a, b = shape[2], other[2]
    values = []
    for i in range(shape[0] * shape[1]):
        values += one[i * a : (i + 1) * a] + two[i * b : (i + 1) * b]
    return [((*shape[:2], a + b), values)]


# --- RNN ------------------------------------------------------------------------------------------


def rnn_row(task: Task, places: Sequence[int], given: Sequence[Sequence[Fraction]]) -> list:
    """One batch: weights at `places`, the bias last, against the rows of `given`."""
    rows = [quantized(values, task) for values in given]
    bias = task.x(places[-1]).values
    kind = int(task.option("fused_activation_function"))
    found = []
    for j, g in enumerate(bias):
        for q, position in zip(rows, places, strict=False):
            w = task.x(position)
            g = added(g, q, row(w, j), w.scale)
        found.append(activated(kind, g, g))
    return found


@oracle("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN")
def rnn(task: Task) -> list[Answer]:
    x, units = task.x(0), task.x(1).shape[0]
    h = list(task.x(4).values or [])
    time_major = bool(task.option("time_major", False))
    if task.operator == "RNN":
        time_major = True
        x = Operand(x.dtype, (1, *x.shape), x.values, None, [0], 0, False)
        task.inputs[0] = x
    rows = rows_of(x, time_major)

    def at(t: int, batches: range) -> list[list[Any]]:
        found = []
        for values, b in zip(rows(t, batches), batches, strict=True):
            old = h[b * units : (b + 1) * units]
            found.append(rnn_row(task, (1, 2, 3), (values, old)))
            h[b * units : (b + 1) * units] = found[-1]
        return found

    shape, values = sequence(task, at, time_major, units)
    shape = shape[1:] if task.operator == "RNN" else shape
    return [(shape, values), (task.x(4).shape, h)]


@oracle("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_rnn(task: Task) -> list[Answer]:
    time_major = bool(task.option("time_major", False))
    steps = task.x(0).shape[0 if time_major else 1]
    crossed = task.has(10)
    x = rows_of(task.x(0), time_major)
    aux = strided(task.x(9), task.x(0), time_major) if task.has(9) else None
    # A runtime's defects: batch-major, the backward pass takes the first input in any case;
    # time-major, all is done again for each step.
    second = rows_of(task.x(9), True) if aux and not crossed and time_major else x
    states = [list(task.x(p).values or []) for p in (4, 8)]
    answers: list[Answer] = []
    for _ in range(steps if time_major else 1):
        answers = []
        walks = ((False, (1, 10, 2, 3), states[0]), (True, (5, 11, 6, 7), states[1]))
        for back, places, h in walks:
            units = task.x(places[0]).shape[0]

            def at(t: int, batches: range, back=back, places=places, h=h, units=units):
                t = steps - 1 - t if back else t
                rows = (second if back else x)(t, batches)
                extra = aux(t, batches) if aux and crossed else None
                found = []
                for i, b in enumerate(batches):
                    old = h[b * units : (b + 1) * units]
                    given = (rows[i], old) if extra is None else (rows[i], extra[i], old)
                    at_ = places if extra else (places[0], *places[2:])
                    found.append(rnn_row(task, at_, given))
                    h[b * units : (b + 1) * units] = found[-1]
                return found

            answers.append(turned(sequence(task, at, time_major, units), back, time_major))
    kept = [(task.x(p).shape, h) for p, h in zip((4, 8), states, strict=True)]
    return [*merged(task, answers), *kept]


# --- SVDF -----------------------------------------------------------------------------------------


def lane_sum(values: Sequence[Fraction]) -> Fraction:
    """float32, four lanes over whole groups of 4, then the tail."""
    whole = len(values) // 4 * 4
    lanes = [f32sum(Fraction(0), *values[k:whole:4]) for k in range(4)]
    return f32sum(*lanes, *values[whole:])


@oracle("SVDF")
def svdf(task: Task) -> list[Answer]:
    x, feature, time, state = task.x(0), task.x(1), task.x(2), task.x(4)
    batches, filters, memory = x.shape[0], *time.shape
    rank = int(task.option("rank", 1))
    units = filters // rank
    floating = x.dtype == "float32"
    kept, values = [], []
    for b in range(batches):
        sums = []
        q = quantized(row(x, b), task) if floating else None
        for f in range(filters):
            if q is not None:
                new: Any = added(Fraction(0), q, row(feature, f), feature.scale)
            else:
                acc = dot([v - x.zero_point for v in row(x, b)], row(feature, f))
                new = clip16(rescaled(acc, o.f32(o.f32(x.scale * feature.scale) / state.scale)))
            start = (b * filters + f) * memory
            column = [*state.values[start + 1 : start + memory], new]
            kept += column
            if q is not None:
                products = [
                    f32product(c, f32product(Fraction(w), time.scale))
                    for c, w in zip(column, row(time, f), strict=True)
                ]
                sums.append(lane_sum(products))
            else:
                sums.append(dot(column, row(time, f)))
        for unit in range(units):
            part = sums[unit * rank : (unit + 1) * rank]
            bias = task.x(3).values[unit] if task.has(3) else 0
            if floating:
                y = f32sum(lane_sum(part), Fraction(bias))
                values.append(activated(int(task.option("fused_activation_function")), y, y))
                continue
            factor = o.f32(o.f32(state.scale * time.scale) / task.y.scale)
            y = rescaled(sum(part) + bias, factor)
            values.append(o.clip(y + task.y.zero_point, -128, 127))
    assert len(kept) == count(state.shape)
    return [((batches, units), values), (state.shape, kept)]
