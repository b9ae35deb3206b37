"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, SVDF, RNN, UNIDIRECTIONAL_SEQUENCE_RNN and the bidirectional
ones. States start as the interpreter resets them: at zero, which is the zero point of an int8 one.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw

F32 = np.float32
Scale = float | np.float32


def parameters(scale: Scale, zero_point: int = 0) -> dict:
    return {
        "scale": np.atleast_1d(F32(scale)), "zero_point": np.array([zero_point], np.int64)
    }  # fmt: skip


def zeros(dtype: str, shape: tuple[int, ...], scale: Scale, zero_point: int = 0) -> Tensor:
    """A state as an interpreter resets it."""
    return Tensor(dtype, np.full(shape, zero_point, dtype), **parameters(scale, zero_point))


def constant(draw: Draw, dtype: str, shape: tuple[int, ...], scale: Scale) -> Tensor:
    """A weight; one in four has the lowest integer, which quantizers avoid."""
    values = draw.values(dtype, shape, narrow=draw.chance(0.75))
    return Tensor(dtype, values, constant=True, **parameters(scale))


def plain(values: np.ndarray) -> Tensor:
    """A constant that is not quantized."""
    return Tensor(str(values.dtype), values, constant=True)


def near(draw: Draw, target: float) -> F32:
    """A scale about `target`; with ties a simple ratio of a power of two."""
    if draw.ties:
        power = 2.0 ** np.round(np.log2(target))
        return F32(power * draw.choice([1, 1, 1, 0.5, 0.75, 1.5]))
    return F32(target * np.exp(draw.random.normal(0, 0.7)))


def sizes(draw: Draw, size: int, most_steps: int = 200) -> tuple[int, int, int, int]:
    """Steps, batches, inputs and cells for about `size` outputs."""
    batches = draw.integer(1, 4)
    cells = min(draw.choice([1, 3, 4, 8, 16, 33, 64]), max(1, size // batches))
    steps = draw.integer(1, 6)
    if draw.chance(0.7) or size > 1000:
        steps = int(np.clip(size // (batches * cells), 1, most_steps))
        batches = int(np.clip(size // (steps * cells), batches, 60))
    if most_steps == 1:
        steps, batches = 1, int(np.clip(size // cells, 1, 200))
    return steps, batches, width(draw), cells


def width(draw: Draw) -> int:
    """Inputs of a row; now and then so many that sums of weights leave 16 bits."""
    return draw.integer(2040, 4300) if draw.chance(0.04) else draw.integer(1, 40)


@cases("UNIDIRECTIONAL_SEQUENCE_LSTM", "int8")
def sequence_lstm(draw: Draw, form: str, size: int) -> Call:
    return integer(draw, size, "UNIDIRECTIONAL_SEQUENCE_LSTM")


@cases("LSTM", "int8")
def lstm(draw: Draw, form: str, size: int) -> Call:
    return integer(draw, size, "LSTM")


@cases("UNIDIRECTIONAL_SEQUENCE_LSTM", "hybrid")
def sequence_lstm_floating(draw: Draw, form: str, size: int) -> Call:
    return floating(draw, form, size, "UNIDIRECTIONAL_SEQUENCE_LSTM")


@cases("LSTM", "hybrid")
def lstm_floating(draw: Draw, form: str, size: int) -> Call:
    return floating(draw, form, size, "LSTM")


def integer(draw: Draw, size: int, name: str) -> Call:
    """8x8->16: peephole, CIFG, layer norm, projection, clips in all combinations."""
    sequence = name != "LSTM"
    steps, batches, inputs, cells = sizes(draw, size, 200 if sequence else 1)
    cifg, peephole, norm, project = (draw.chance(p) for p in (0.3, 0.4, 0.35, 0.4))
    outputs = cells
    if project:  # with a peephole no more outputs than cells: the runtime would read too far
        outputs = draw.integer(1, cells if peephole else cells + 8)
    time_major = draw.chance()
    x = draw.tensor("int8", (), scale=near(draw, 0.03))
    outer = (steps, batches) if time_major else (batches, steps)
    shape = (*outer, inputs) if sequence else (batches, inputs)
    x = Tensor("int8", draw.values("int8", shape), x.scale, x.zero_point)
    s_h, z_h = near(draw, 1 / 100), draw.zero_point("int8")
    s_c = F32(2.0 ** draw.integer(-15, -9))
    if not cifg and draw.chance(0.1):  # outside, tanh of the cell is not computed
        s_c = F32(2.0 ** draw.choice([-20, -17, -16, *([-8, -7, -3] if sequence else [])]))
    s_hidden, z_hidden = s_h, z_h
    if project or draw.chance(0.3):
        s_hidden, z_hidden = near(draw, 1 / 100), draw.zero_point("int8")
    gates = [F32(2.0**-12)] * 4
    if norm:
        gates = [near(draw, draw.choice([2.0**-12, 1e-3, 2.0**-10, 1e-5])) for _ in range(4)]

    operands: list[Tensor | None] = [x] + [None] * (23 if norm or draw.chance() else 19)
    for k in range(1 if cifg else 0, 4):
        spread = 74 * 74  # of the products of evenly spread int8 values
        target = draw.choice([0.3, 1, 4]) * (float(gates[k]) * 4096 if norm else 1)
        s_input = near(draw, target / (spread * inputs**0.5 * float(x.s)))
        operands[1 + k] = constant(draw, "int8", (cells, inputs), s_input)
        recurrent = near(draw, target / (spread * outputs**0.5 * float(s_h)))
        operands[5 + k] = constant(draw, "int8", (cells, outputs), recurrent)
        limit = int(min(2**30, target / (float(x.s) * float(s_input)) * 2))
        bias = draw.random.integers(-limit, limit + 1, cells)
        if norm:
            bias = draw.random.integers(-(2**25), 2**25, cells)
            s_norm = near(draw, draw.choice([1.0, 3.0]) / 32768)
            operands[20 + k] = constant(draw, "int16", (cells,), s_norm)
        operands[12 + k] = plain(bias.astype(np.int32))
        if peephole and k != 2:
            reach = target / (32768 * 32768 * float(s_c)) * draw.choice([1, 4])
            operands[9 + min(k, 2)] = constant(draw, "int16", (cells,), near(draw, reach))
            if draw.ties and draw.chance():  # products of a few bits, so that halves are common
                few = draw.random.integers(-40, 41, cells).astype(np.int16)
                scale = gates[k] / s_c / F32(2.0 ** draw.integer(1, 5))
                operands[9 + min(k, 2)] = Tensor("int16", few, constant=True, **parameters(scale))
    if project:
        operands[16] = constant(
            draw, "int8", (outputs, cells),
            near(draw, 60 * float(s_h) / (74 * 60 * cells**0.5 * float(s_hidden))),
        )  # fmt: skip
        if draw.chance(0.6):
            operands[17] = plain(draw.random.integers(-4000, 4000, outputs).astype(np.int32))
    flat = draw.chance(0.2)
    operands[18] = zeros("int8", (batches * outputs,) if flat else (batches, outputs), s_h, z_h)
    operands[19] = zeros("int16", (batches, cells), s_c)
    middle = [Tensor("int16", None, declared=(), **parameters(g)) for g in gates]
    middle.append(Tensor("int8", None, declared=(), **parameters(s_hidden, z_hidden)))
    y = Tensor("int8", None, declared=(*shape[:-1], outputs), **parameters(s_h, z_h))
    given = {
        "fused_activation_function": 4,
        "cell_clip": float(s_c) * draw.integer(100, 30000) if draw.chance(0.3) else 0.0,
        "proj_clip": float(s_h) * draw.integer(1, 140) if draw.chance(0.3) else 0.0,
    }
    if sequence:
        given["time_major"] = time_major
    return Call(name, tuple(operands), (y,), options(**given), intermediates=tuple(middle))


def rows(draw: Draw, shape: tuple[int, ...]) -> Tensor:
    """A float activation; sometimes with rows of zeros, equal values or one sign."""
    x = draw.floats(shape, draw.choice([0.02, 1.0, 1.0, 4.0]))
    flat = x.reshape(-1, shape[-1])
    for row in range(len(flat)):
        kind = draw.random.random()
        if kind < 0.08:
            flat[row] = 0
        elif kind < 0.12:
            flat[row] = flat[row, 0]
        elif kind < 0.2:
            flat[row] = np.abs(flat[row])
    return Tensor("float32", x)


def small(draw: Draw, shape: tuple[int, ...], spread: float) -> Tensor:
    return plain(draw.floats(shape, spread))


def kept(shape: tuple[int, ...]) -> Tensor:
    """A float state, reset."""
    return Tensor("float32", np.zeros(shape, np.float32))


def weights(draw: Draw, shape: tuple[int, ...], form: str, gain: float = 1.0) -> Tensor:
    """int8 with a scale (hybrid) or float32; products of about `gain` for inputs of about 1."""
    spread = gain * draw.choice([0.3, 1, 3]) / shape[-1] ** 0.5
    if form == "float32":
        return plain(draw.random.normal(0, spread, shape).astype(np.float32))
    return constant(draw, "int8", shape, near(draw, spread / 74))


def direction(
    draw: Draw, form: str, cells: int, inputs: int, outputs: int, project: bool, aux: int = 0,
    cifg: bool = False, peephole: bool = False, diagonal: bool = False,
) -> tuple[list[Tensor | None], list[Tensor | None]]:  # fmt: skip
    """The 17 weights and biases of a float LSTM, and the 4 weights of an auxiliary input."""
    found: list[Tensor | None] = [None] * 17
    auxiliary: list[Tensor | None] = [None] * 4
    for k in range(1 if cifg else 0, 4):
        found[k] = weights(draw, (cells, inputs), form)
        if diagonal and draw.chance(0.8):
            found[4 + k] = small(draw, (cells,), 1.0)
        else:
            found[4 + k] = weights(draw, (cells, outputs), form)
        found[11 + k] = small(draw, (cells,), 1.0)
        if peephole and k != 2:
            found[8 + min(k, 2)] = weights(draw, (cells,), form, cells**0.5)
        if aux:
            auxiliary[k] = weights(draw, (cells, aux), form)
    if project:
        found[15] = weights(draw, (outputs, cells), form, 3.0)
        if draw.chance(0.6):
            found[16] = small(draw, (outputs,), 0.5)
    return found, auxiliary


def clips(draw: Draw, steps: int) -> dict:
    kinds = [4] * 6 + ([2, 3] if steps > 12 else [0, 1, 2, 3])  # as in plain_options
    return {
        "cell_clip": float(F32(draw.random.uniform(0.2, 3))) if draw.chance(0.3) else 0.0,
        "proj_clip": float(F32(draw.random.uniform(0.1, 1))) if draw.chance(0.3) else 0.0,
        "asymmetric_quantize_inputs": draw.chance(),
        "fused_activation_function": draw.choice(kinds),
    }


def floating(draw: Draw, form: str, size: int, name: str) -> Call:
    """A full LSTM with float activations."""
    sequence = name != "LSTM"
    steps, batches, inputs, cells = sizes(draw, size, 200 if sequence else 1)
    cifg, peephole, norm, project = (draw.chance(p) for p in (0.3, 0.4, 0.3, 0.4))
    diagonal = sequence and not project and draw.chance(0.2)
    outputs = draw.integer(1, cells + 8) if project else cells
    time_major = draw.chance()
    outer = (steps, batches) if time_major else (batches, steps)
    shape = (*outer, inputs) if sequence else (batches, inputs)
    cell, _ = direction(draw, form, cells, inputs, outputs, project, 0, cifg, peephole, diagonal)
    operands = [rows(draw, shape), *cell, kept((batches, outputs)), kept((batches, cells))]
    if norm or draw.chance():
        norms: list[Tensor | None] = [None] * 4
        if norm:
            norms = [None if cifg and k == 0 else small(draw, (cells,), 1.0) for k in range(4)]
        operands += norms
    y = Tensor("float32", None, declared=(*shape[:-1], outputs))
    given = clips(draw, steps)
    if sequence:
        given |= {"time_major": time_major, "diagonal_recurrent_tensors": diagonal}
    return Call(name, tuple(operands), (y,), options(**given))


@cases("SVDF", "int8", "hybrid")
def svdf(draw: Draw, form: str, size: int) -> Call:
    batches, rank = draw.integer(1, 5), draw.choice([1, 1, 2, 3, 4, 5, 8])
    units = max(1, size // (batches * (1 + draw.integer(0, 4) * rank)))
    units = min(units, 300)
    inputs, memory, filters = draw.integer(1, 60), draw.integer(1, 20), rank * units
    asymmetric = draw.chance()
    given = {"rank": rank, "asymmetric_quantize_inputs": asymmetric}
    if form == "hybrid":
        operands = (
            rows(draw, (batches, inputs)), weights(draw, (filters, inputs), form),
            weights(draw, (filters, memory), form),
            small(draw, (units,), 0.5) if draw.chance(0.7) else None,
            kept((batches, memory * filters)),
        )  # fmt: skip
        y = Tensor("float32", None, declared=(batches, units))
        given["fused_activation_function"] = draw.integer(0, 3)
        return Call("SVDF", operands, (y,), options(**given))
    x = draw.tensor("int8", (batches, inputs))
    feature = draw.weight((filters, inputs))
    s_state = near(draw, float(x.s * feature.s) * 74 * 74 * inputs**0.5 / draw.choice([500, 8000]))
    time = constant(draw, "int16", (filters, memory), draw.scale(1e-5, 1e-2))
    if draw.chance(0.6):  # 10 bits, as the converter has it
        time = Tensor("int16", time.x >> 6, time.scale, time.zero_point, constant=True)
    spread = 4000 * float(s_state * time.s) * float(time.x.std() + 1) * (memory * rank) ** 0.5
    y = draw.output("int8", (batches, units), near(draw, spread / 60))
    limit = int(min(2**30, 40 * float(y.s) / float(s_state * time.s) + 1))
    bias = draw.random.integers(-limit, limit + 1, units).astype(np.int32)
    given["fused_activation_function"] = 1
    return Call(
        "SVDF",
        (x, feature, time, plain(bias) if draw.chance(0.7) else None,
         zeros("int16", (batches, memory * filters), s_state)),
        (y,), options(**given),
    )  # fmt: skip


def layer(draw: Draw, form: str, units: int, inputs: int) -> list[Tensor | None]:
    return [
        weights(draw, (units, inputs), form), weights(draw, (units, units), form),
        small(draw, (units,), 0.5),
    ]  # fmt: skip


def plain_options(draw: Draw, steps: int = 1) -> dict:
    bounded = [4, 4, 4, 2, 3]  # the others grow from step to step, to infinity in the end
    return {
        "fused_activation_function": draw.choice(bounded if steps > 12 else [*bounded, 0, 1]),
        "asymmetric_quantize_inputs": draw.chance(),
    }


@cases("RNN", "hybrid")
def rnn(draw: Draw, form: str, size: int) -> Call:
    batches = draw.integer(1, 40)
    units = max(1, min(size // batches, 200))
    inputs = width(draw)
    operands = (rows(draw, (batches, inputs)), *layer(draw, form, units, inputs),
                kept((batches, units)))  # fmt: skip
    y = Tensor("float32", None, declared=(batches, units))
    return Call("RNN", operands, (y,), options(**plain_options(draw)))


@cases("UNIDIRECTIONAL_SEQUENCE_RNN", "hybrid")
def sequence_rnn(draw: Draw, form: str, size: int) -> Call:
    steps, batches, inputs, units = sizes(draw, size)
    time_major = draw.chance()
    shape = (steps, batches, inputs) if time_major else (batches, steps, inputs)
    operands = (rows(draw, shape), *layer(draw, form, units, inputs), kept((batches, units)))
    y = Tensor("float32", None, declared=(*shape[:-1], units))
    given = {**plain_options(draw, steps), "time_major": time_major}
    return Call("UNIDIRECTIONAL_SEQUENCE_RNN", operands, (y,), options(**given))


@cases("BIDIRECTIONAL_SEQUENCE_RNN", "hybrid")
def bidirectional_rnn(draw: Draw, form: str, size: int) -> Call:
    steps, batches, inputs, units = sizes(draw, size // 2, 12)
    others = draw.integer(1, units + 3)
    time_major, merge = draw.chance(), draw.chance()
    kind = draw.integer(0, 2)  # nothing beside the input, a second input, or one for both
    extra = inputs if kind < 2 else inputs + draw.choice([0, 0, 1, 7])

    def shape(n: int) -> tuple[int, ...]:
        return (steps, batches, n) if time_major else (batches, steps, n)

    operands = (
        rows(draw, shape(inputs)),
        *layer(draw, form, units, inputs), kept((batches, units)),
        *layer(draw, form, others, inputs), kept((batches, others)),
        rows(draw, shape(extra)) if kind else None,
        weights(draw, (units, extra), form) if kind == 2 else None,
        weights(draw, (others, extra), form) if kind == 2 else None,
    )  # fmt: skip
    sizes_ = [units + others] if merge else [units, others]
    outputs = tuple(Tensor("float32", None, declared=shape(n)) for n in sizes_)
    given = {**plain_options(draw, steps**2), "time_major": time_major, "merge_outputs": merge}
    if merge and time_major and batches > 1:  # symmetric, the runtimes crash
        given["asymmetric_quantize_inputs"] = True
    return Call("BIDIRECTIONAL_SEQUENCE_RNN", operands, outputs, options(**given))


@cases("BIDIRECTIONAL_SEQUENCE_LSTM", "hybrid")
def bidirectional_lstm(draw: Draw, form: str, size: int) -> Call:
    steps, batches, inputs, cells = sizes(draw, size // 2)
    time_major, merge = draw.chance(), draw.chance()
    if merge and not time_major:  # with more, the runtimes write beyond the states
        batches = 1
    kind = draw.integer(0, 2)  # nothing beside the input, a second input, or one for both
    extra = inputs if kind < 2 else inputs + draw.choice([0, 0, 1, 7])

    def shape(n: int) -> tuple[int, ...]:
        return (steps, batches, n) if time_major else (batches, steps, n)

    cifg, peephole, project = draw.chance(0.3), draw.chance(0.3), draw.chance(0.4)
    operands: list[Tensor | None] = [rows(draw, shape(inputs))]
    states, auxiliary, ends = [], [], []
    outputs = draw.integer(1, cells + 4) if project else cells
    for _ in range(2):  # both of the same sizes: the runtimes insist
        cell, aux = direction(
            draw, form, cells, inputs, outputs, project, extra if kind == 2 else 0, cifg, peephole
        )
        operands += cell
        auxiliary += aux
        states += [kept((batches, outputs)), kept((batches, cells))]
        ends.append(outputs)
    operands += [*states, rows(draw, shape(extra)) if kind else None, *auxiliary]
    sizes_ = [sum(ends)] if merge else ends
    outputs_ = tuple(Tensor("float32", None, declared=shape(n)) for n in sizes_)
    given = {**clips(draw, steps), "time_major": time_major, "merge_outputs": merge}
    return Call("BIDIRECTIONAL_SEQUENCE_LSTM", tuple(operands), outputs_, options(**given))


@cases("LSTM", "int8, 8-bit gates")
def narrow_lstm(draw: Draw, form: str, size: int) -> Call:
    """8x8->8: no input gate, always layer norm and projection, 12 intermediates."""
    outputs = draw.integer(1, 40)
    batches = int(np.clip(size // outputs, 1, 200))
    inputs, cells = draw.integer(1, 40), draw.integer(1, 33)
    s_x, z_x = near(draw, 0.03), draw.zero_point("int8")
    s_h, z_h = near(draw, 1 / 100), draw.zero_point("int8")
    x = Tensor("int8", draw.values("int8", (batches, inputs)), **parameters(s_x, z_x))
    operands: list[Tensor | None] = [x] + [None] * 23
    middle = []
    for k in range(4):
        total = near(draw, 2.0**-9)
        middle.append((total, 0))
        for source, width, position in ((s_x, inputs, 1 + k), (s_h, outputs, 5 + k)):
            part = near(draw, 0.05)
            middle.append((part, draw.integer(-20, 20)))
            spread = 60 * float(part) / (5476 * width**0.5 * float(source))
            if k:
                operands[position] = constant(draw, "int8", (cells, width), near(draw, spread))
        if k:
            bias = draw.random.integers(-(2**23), 2**23, cells)
            operands[12 + k] = plain(bias.astype(np.int32))
            operands[20 + k] = constant(draw, "int16", (cells,), near(draw, 2 / 32768))
    reach = 60 * float(s_h) / (74 * 0.3 * cells**0.5)
    operands[16] = constant(draw, "int8", (outputs, cells), near(draw, reach))
    operands[17] = plain(draw.random.integers(-(2**18), 2**18, outputs).astype(np.int32))
    operands[18] = zeros("int8", (batches, outputs), s_h, z_h)
    operands[19] = zeros("int16", (batches, cells), 2.0**-15)
    y = Tensor("int8", None, declared=(batches, outputs), **parameters(s_h, z_h))
    given = {
        "fused_activation_function": 4,
        "cell_clip": float(draw.random.uniform(0.1, 1.5)) if draw.chance(0.3) else 0.0,
        "proj_clip": float(s_h) * draw.integer(1, 140) if draw.chance(0.3) else 0.0,
    }
    intermediates = tuple(Tensor("int8", None, declared=(), **parameters(s, z)) for s, z in middle)
    return Call("LSTM", tuple(operands), (y,), options(**given), intermediates=intermediates)


@cases("LSTM", "uint8, basic")
def basic_lstm(draw: Draw, form: str, size: int) -> Call:
    cells = draw.integer(1, 40)
    batches = int(np.clip(size // (7 * cells), 1, 300))
    inputs = draw.integer(1, 40)
    x = draw.tensor("uint8", (batches, inputs), 1 / 128, 128)
    h = draw.tensor("uint8", (batches, cells), 1 / 128, 128)
    w = Tensor(
        "uint8", draw.values("uint8", (4 * cells, inputs + cells)),
        **parameters(near(draw, 3 / (74 * (inputs + cells) ** 0.5)), draw.zero_point("uint8")),
        constant=True,
    )  # fmt: skip
    s_bias = near(draw, float(w.s) / 128)
    limit = int(2 / float(s_bias))
    bias = Tensor(
        "int32", draw.random.integers(-limit, limit + 1, 4 * cells).astype(np.int32),
        **parameters(s_bias), constant=True,
    )  # fmt: skip
    c = Tensor("int16", draw.values("int16", (batches, cells)), **parameters(2.0**-11))
    outputs = (
        Tensor("uint8", None, declared=(batches, cells), **parameters(1 / 128, 128)),
        Tensor("int16", None, declared=(batches, cells), **parameters(2.0**-11)),
        Tensor("uint8", None, declared=(batches, inputs + cells), **parameters(1 / 128, 128)),
        Tensor("int16", None, declared=(batches, 4 * cells), **parameters(2.0**-12)),
    )
    return Call("LSTM", (x, h, w, bias, c), outputs, options(kernel_type=1))
