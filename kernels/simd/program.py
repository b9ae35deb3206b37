"""A model as a table of compiled kernels over one arena: planned once, run for many images.

    plan = Plan(target)
    lowering = plan.operator(call, inputs, outputs)      # numbers of tensors
    ops.module(call.name).lower(call, lowering)          # adds steps
    program = plan.finish(inputs, outputs)
    program.run(images, arrays)                          # batches, threads

An operator's `lower(call, to)` adds the kernels that compute it, with addresses as `Place`s; what
it cannot lower it refuses with `NotLowered`, and a Python function takes its place in the program.
Nothing here knows an operator, a file or a graph.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from kernels.call import Call
from kernels.errors import KernelError
from kernels.simd import build, team
from kernels.simd.gemm import aligned
from kernels.simd.runner import ENTRY, LINE
from kernels.simd.target import Target, host

ALIGN = 64
WAKING = 200e-6  # seconds of one image from which on it is worth waiting for sleeping threads
MEETING = 0.5e-6  # seconds for each kernel when threads wait for the slowest
SLACK = 128  # bytes behind a tensor that kernels may read


class NotLowered(KernelError):
    """This call has no compiled form; the message says why."""


@dataclass(frozen=True)
class Place:
    """An address that is known when the program is: `offset` bytes into a block of the arena, or
    into a constant array."""

    block: int | None
    offset: int = 0
    array: np.ndarray | None = None

    def __add__(self, offset: int) -> Place:
        return replace(self, offset=self.offset + offset)


Parameter = int | Place


@dataclass(frozen=True)
class Step:
    """One kernel call. operator: position of the operator it belongs to."""

    kernel: str
    units: int
    parameters: tuple[Parameter, ...]
    operator: int


@dataclass(frozen=True)
class Foreign:
    """An operator that Python computes: function(arrays of inputs) -> arrays of outputs."""

    function: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operator: int


@dataclass
class Block:
    """Bytes of the arena. first, last: operators between which they are in use."""

    size: int
    first: int
    last: int
    alias: int | None = None


@dataclass(frozen=True)
class Form:
    """Shape and NumPy type of a tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class Variable:
    """A resource variable: a block that keeps its value from one run to the next.

    read: the value that it has before a run counts. written: it gets another.
    """

    block: int
    form: Form
    read: bool = False
    written: bool = False


class Plan:
    """A program in the making."""

    def __init__(self, target: Target | None = None, keep: bool = False):
        """keep: every tensor keeps its bytes until the end of the run."""
        self.target = target or host()
        self.keep = keep
        self.steps: list[Step | Foreign] = []
        self.blocks: list[Block] = []
        self.tensors: dict[int, tuple[int, Form]] = {}  # number -> block, form
        self.operators = 0
        self.known: dict[int, np.ndarray] = {}  # tensors whose values follow from the plan alone
        self.variables: dict[str, Variable] = {}  # by their keys in Call.resources
        self.before: list[tuple[str, int]] = []  # key when it was done, operator
        self.flip = self.constant(np.full(64, 0x80, np.uint8))

    def constant(self, array: np.ndarray) -> Place:
        """A place for an array of the program's own, 64-byte aligned."""
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        held = aligned(flat.size)
        held[:] = flat
        return Place(None, 0, held)

    def tensor(self, number: int, form: Form, first: int) -> Place:
        """The tensor's place; at its first mention it gets one."""
        if number not in self.tensors:
            self.blocks.append(Block(form.nbytes, first, first))
            self.tensors[number] = len(self.blocks) - 1, form
        return Place(self.tensors[number][0])

    def input(self, number: int, form: Form) -> None:
        """A tensor that is given from outside, before the first operator."""
        self.tensor(number, form, -1)

    def touch(self, number: int, operator: int) -> None:
        """The tensor is in use at this operator."""
        block = self.blocks[self.root(self.tensors[number][0])]
        block.last = max(block.last, operator)

    def root(self, block: int) -> int:
        while (alias := self.blocks[block].alias) is not None:
            block = alias
        return block

    def operator(
        self,
        call: Call,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        forms: Sequence[Form],
    ) -> Lowering:
        """Where the next operator's steps are added. inputs: None for constants and absent ones."""
        return Lowering(self, call, tuple(inputs), tuple(outputs), tuple(forms))

    def foreign(
        self, function: Any, inputs: Sequence[int], outputs: Sequence[int], forms: Sequence[Form]
    ) -> None:
        """An operator that Python computes."""
        at = self.operators
        self.operators += 1
        for number in inputs:
            self.touch(number, at)
        for number, form in zip(outputs, forms):
            self.tensor(number, form, at)
        self.steps.append(Foreign(function, tuple(inputs), tuple(outputs), at))

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> Program:
        """The program; outputs and variables stay in their places until the end."""
        for number in outputs:
            self.touch(number, self.operators)
        for variable in self.variables.values():
            self.blocks[variable.block].last = self.operators
        offsets, size = self._arena()
        return Program(
            tuple(self.steps),
            {n: (offsets[self.root(b)], f) for n, (b, f) in self.tensors.items()},
            offsets,
            size,
            tuple(inputs),
            tuple(outputs),
            self.target,
            tuple(self.root(b) for b in range(len(self.blocks))),
            {key: (offsets[v.block], v) for key, v in self.variables.items()},
            self.known,
            tuple(self.before),
        )

    def _arena(self) -> tuple[list[int], int]:
        """An offset for each block: blocks in use at the same time do not overlap. First fit, the
        largest first."""
        offsets = [0] * len(self.blocks)
        placed: list[tuple[int, int, Block]] = []
        end = 0
        roots = [i for i, b in enumerate(self.blocks) if b.alias is None]
        for i in sorted(roots, key=lambda i: -self.blocks[i].size):
            block = self.blocks[i]
            size = -(-(block.size + SLACK) // ALIGN) * ALIGN
            at = 0
            for start, stop, other in sorted(placed, key=lambda p: p[0]):
                apart = block.last < other.first or other.last < block.first
                if (apart and not self.keep) or stop <= at:
                    continue
                if start >= at + size:
                    break
                at = stop
            offsets[i] = at
            placed.append((at, at + size, block))
            end = max(end, at + size)
        return offsets, end


@dataclass
class Lowering:
    """One operator being lowered: its places, and `run` to add a kernel."""

    plan: Plan
    call: Call
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    forms: tuple[Form, ...]
    steps: list[Step] = field(default_factory=list)
    aliased: dict[int, int] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        return self.plan.target

    @property
    def flip(self) -> Place:
        """64 bytes of 0x80."""
        return self.plan.flip

    def x(self, position: int) -> Place:
        """Where the input is: in the arena, or its constant value."""
        number = self.inputs[position]
        if number is None:
            return self.constant(self.call.x(position))
        return Place(self.plan.tensors[number][0])

    def y(self, position: int = 0) -> Place:
        """Where the output goes."""
        return self.plan.tensor(self.outputs[position], self.forms[position], self.plan.operators)

    def constant(self, array: np.ndarray) -> Place:
        return self.plan.constant(array)

    def scratch(self, size: int) -> Place:
        """Bytes for this operator alone."""
        at = self.plan.operators
        self.plan.blocks.append(Block(size, at, at))
        return Place(len(self.plan.blocks) - 1)

    def run(self, kernel: str, units: int, *parameters: Parameter) -> None:
        """Add a kernel. Its units are independent of one another."""
        self.steps.append(Step(kernel, int(units), parameters, self.plan.operators))

    def alias(self, output: int = 0, input: int = 0) -> None:
        """The output is the input's bytes."""
        self.aliased[output] = input

    def know(self, value: np.ndarray, output: int = 0) -> None:
        """The output has this value, whatever is computed."""
        self.plan.known[self.outputs[output]] = value

    def read(self, key: str, output: int = 0) -> None:
        """The output is the present value of the variable that Call.resources has by this key."""
        found = self._variable(key, self.forms[output])
        found.read |= not found.written
        self._copy(Place(found.block), self.y(output), found.form)

    def write(self, key: str, position: int) -> None:
        """The input is the variable's value from here on."""
        number = self.inputs[position]
        if number is None:
            x = self.call.x(position)
            form = Form(x.shape, x.dtype)
        else:
            form = self.plan.tensors[number][1]
        found = self._variable(key, form)
        found.written = True
        self._copy(self.x(position), Place(found.block), found.form)

    def first(self, key: str) -> None:
        """The operator is computed by itself, before the run, unless Call.resources has the key."""
        if self.plan.variables:
            raise NotLowered("variables were in use before")
        self.plan.before.append((key, self.plan.operators))

    def _variable(self, key: str, form: Form) -> Variable:
        plan = self.plan
        if form.dtype.kind not in "biufc":
            raise NotLowered(f"{key} is {form.dtype}")
        if key not in plan.variables:
            plan.blocks.append(Block(form.nbytes, -1, -1))
            plan.variables[key] = Variable(len(plan.blocks) - 1, form)
        if (found := plan.variables[key]).form != form:
            raise NotLowered(f"{key} is {found.form} and {form}")
        return found

    def _copy(self, x: Place, y: Place, form: Form) -> None:
        self.run("copy_runs", 1, x, y, self.constant(np.zeros(2, np.int64)), form.nbytes)

    def check(self, output: int, shape: Sequence[int], itemsize: int = 1) -> None:
        """Raises NotLowered unless the output is declared as it will be computed."""
        form = self.forms[output]
        if form.shape != tuple(shape) or form.dtype.itemsize != itemsize:
            raise NotLowered(f"declared {form.dtype} {form.shape}, computed {tuple(shape)}")

    def done(self) -> None:
        """The operator is complete: its steps become the plan's."""
        plan, at = self.plan, self.plan.operators
        for output, source in self.aliased.items():
            number = self.inputs[source]
            if number is None:
                raise NotLowered("a view of a constant")
            block = plan.root(plan.tensors[number][0])
            plan.blocks.append(Block(0, at, at, alias=block))
            plan.tensors[self.outputs[output]] = len(plan.blocks) - 1, self.forms[output]
        for number in self.inputs:
            if number is not None:
                plan.touch(number, at)
        for position, number in enumerate(self.outputs):
            if number in plan.known:
                continue
            self.y(position)
            plan.touch(number, at)
        plan.steps += self.steps
        plan.operators += 1


class Program:
    """What `Plan.finish` makes. Frozen; `Instance`s of it have the memory.

    variables: key -> offset into the arena, the variable. Their values lie in the arena of instance
    0, where a run finds those of the run before it; whoever runs the program sees to the first.
    known: tensors that no run changes. before: what is computed first, unless there is the key:
    (key, operator).
    """

    def __init__(
        self, steps: tuple[Step | Foreign, ...], tensors: Mapping[int, tuple[int, Form]],
        offsets: Sequence[int], size: int, inputs: tuple[int, ...], outputs: tuple[int, ...],
        target: Target, roots: tuple[int, ...],
        variables: Mapping[str, tuple[int, Variable]] | None = None,
        known: Mapping[int, np.ndarray] | None = None, before: tuple[tuple[str, int], ...] = (),
    ):  # fmt: skip
        self.steps, self.tensors, self.size = steps, tensors, size
        self.inputs, self.outputs, self.target = inputs, outputs, target
        self._offsets, self._roots = offsets, roots
        self.variables, self.known, self.before = variables or {}, known or {}, before
        runners = {"runner_images", "runner_team"}
        names = {s.kernel for s in steps if isinstance(s, Step)} | runners
        self.entries = build.addresses(sorted(names))
        self._instances: list[Instance] = []
        self._workers: tuple[tuple[int, int], ThreadPoolExecutor] | None = None

    def place(self, where: Place, arena: int) -> int:
        if where.array is not None:
            return where.array.ctypes.data + where.offset
        assert where.block is not None
        return arena + self._offsets[self._roots[where.block]] + where.offset

    @cached_property
    def native(self) -> bool:
        """No operator is computed by Python."""
        return all(isinstance(s, Step) for s in self.steps)

    def instance(self, number: int) -> Instance:
        while len(self._instances) <= number:
            self._instances.append(Instance(self))
        return self._instances[number]

    def run(self, images: int, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        """Run for `images` images; arrays: each input with the images one behind the other.

        Returns the outputs in the same way. The result does not depend on `threads`; one image that
        is over before threads can be woken is left to one, and so is one of many short kernels.
        With variables the images are computed in order, each after the one before it.
        """
        if images == 1:
            if threads == 1:
                return [made[None] for made in self.one(arrays)]
            return self._one(arrays, threads)
        ins = [np.ascontiguousarray(a) for a in arrays]
        outs = [
            np.empty((images, *self.tensors[n][1].shape), self.tensors[n][1].dtype)
            for n in self.outputs
        ]
        if self.variables:  # every image needs what the one before it left
            threads = 1
        cuts = [images * i // threads for i in range(threads + 1)]
        shares = [(self.instance(i), a, b) for i, (a, b) in enumerate(pairwise(cuts)) if a < b]
        if threads > 1 and not self.native:
            pool = self.workers(threads)
            for part in [pool.submit(i.images, ins, outs, a, b) for i, a, b in shares]:
                part.result()
            return outs
        with team.taken() if threads > 1 else nullcontext() as together:
            if together is None:
                self.instance(0).images(ins, outs, 0, images)
            else:
                entry = self.entries["runner_images"]
                together.run([(entry, i.outside(ins, outs), a, b) for i, a, b in shares])
        return outs

    def one(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The outputs for one image, by one thread; without the axis of images."""
        instance = self.instance(0)
        instance.fill(arrays)
        instance.once()
        return [view.copy() for view in instance.outs]

    def _one(self, arrays: Sequence[np.ndarray], threads: int) -> list[np.ndarray]:
        instance = self.instance(0)
        instance.fill(arrays)
        with team.taken() if any(s.pays for s in instance.segments) else nullcontext() as together:
            for segment in instance.segments:
                ready = together and (together.awake(threads - 1) or segment.alone >= WAKING)
                if together and ready and segment.pays:
                    instance.shared(segment, together, threads)
                else:
                    instance.timed(segment)
        return instance.made()

    def workers(self, count: int) -> ThreadPoolExecutor:
        """Threads that stay for the next run. A forked process does not have its parent's."""
        key = os.getpid(), count
        if self._workers is None or self._workers[0] != key:
            self._workers = key, ThreadPoolExecutor(count)
        return self._workers[1]


class Called:
    """An operator of Python's between tables of kernels."""

    pays = False  # for a team

    def __init__(self, operator: Foreign):
        self.operator = operator
        self.alone = 0.0  # seconds that one thread took, the best; 0 before the first run

    def run(self, instance: Instance) -> None:
        made = self.operator.function([instance.view(n) for n in self.operator.inputs])
        for number, array in zip(self.operator.outputs, made):
            instance.view(number)[...] = array


class Table:
    """Kernels that run one behind the other, as runner_images and runner_team take them."""

    def __init__(self, rows: Sequence[tuple[int, int, int]]):
        self.alone = 0.0  # as for Called
        self._rows = np.array(rows, np.int64)
        self._once = np.array([len(rows), self._rows.ctypes.data, 0, 0, 0], np.int64)
        self._team = np.zeros(4 + LINE // 8, np.int64)  # the counter has a line of its own
        self.once, self._counter = self._once.ctypes.data, self._team[4:]
        self.team = self._team.ctypes.data
        self._team[:2], self._team[3] = self._once[:2], self._counter.ctypes.data

    @property
    def rows(self) -> np.ndarray:
        """(kernels, 3): address of the kernel, its units, address of its parameters."""
        return self._rows

    @property
    def pays(self) -> bool:
        """Whether threads that meet after every kernel are worth it."""
        return self.alone > 2 * MEETING * len(self._rows)

    def run(self, instance: Instance) -> None:
        instance.kernels(self.once, 0, 1)

    def shared_by(self, members: int) -> int:
        """Parameters of runner_team for a run by so many."""
        self._team[2], self._counter[:] = members, 0
        return self.team


class Instance:
    """The memory of one run: an arena, and the parameters with its addresses."""

    def __init__(self, program: Program):
        self.program = program
        self.arena = aligned(program.size)
        base = self.arena.ctypes.data
        self._kept: list[np.ndarray] = []
        self.segments: list[Table | Called] = []
        rows: list[tuple[int, int, int]] = []

        def close() -> None:
            if rows:
                self.segments.append(Table(rows))
                rows.clear()

        for step in program.steps:
            if isinstance(step, Foreign):
                close()
                self.segments.append(Called(step))
                continue
            values = np.array(
                [
                    p if not isinstance(p, Place) else program.place(p, base)
                    for p in step.parameters
                ],
                np.int64,
            )
            self._kept.append(values)
            rows.append((program.entries[step.kernel], step.units, values.ctypes.data))
        close()
        self.kernels = ENTRY(program.entries["runner_images"])
        self._ins = [self.view(n) for n in program.inputs]
        self.outs = [self.view(n) for n in program.outputs]
        self._prepare()

    def _prepare(self) -> None:
        """What runner_images copies; only outside addresses are filled in later."""
        p, inside = self.program, [*self._ins, *self.outs]
        self._copies = np.zeros((len(inside), 4), np.int64)
        for row, view in zip(self._copies, inside):
            row[1:] = view.nbytes, view.ctypes.data, view.nbytes
        rows = self.segments[0].rows if self._whole else np.zeros((0, 3), np.int64)  # type: ignore
        self._outside = np.array(
            [
                len(rows), rows.ctypes.data, len(p.inputs), len(p.outputs),
                self._copies.ctypes.data,
            ],
            np.int64,
        )  # fmt: skip

    @property
    def _whole(self) -> bool:
        """One table is the whole program."""
        return len(self.segments) == 1 and isinstance(self.segments[0], Table)

    def view(self, number: int) -> np.ndarray:
        """The tensor's bytes in the arena, as its array."""
        return self._view(*self.program.tensors[number])

    def _view(self, at: int, form: Form) -> np.ndarray:
        return self.arena[at : at + form.nbytes].view(form.dtype).reshape(form.shape)

    @cached_property
    def variables(self) -> dict[str, np.ndarray]:
        """Key -> the variable's value in the arena, for whoever gives and takes it."""
        return {key: self._view(at, v.form) for key, (at, v) in self.program.variables.items()}

    def outside(self, ins: Sequence[np.ndarray], outs: Sequence[np.ndarray]) -> int:
        """Parameters of runner_images with these arrays of all images."""
        self._copies[:, 0] = [a.ctypes.data for a in (*ins, *outs)]
        return self._outside.ctypes.data

    def images(
        self, ins: Sequence[np.ndarray], outs: Sequence[np.ndarray], begin: int, end: int
    ) -> None:
        """Images begin..end from `ins` to `outs`."""
        if self._whole:
            self.kernels(self.outside(ins, outs), begin, end)
            return
        for image in range(begin, end):
            self.fill([a.reshape(-1, *v.shape)[image] for a, v in zip(ins, self._ins)])
            self.once()
            for array, view in zip(outs, self.outs):
                array[image] = view

    def fill(self, arrays: Iterable[np.ndarray]) -> None:
        """One image's inputs into the arena."""
        for view, array in zip(self._ins, arrays):
            view[...] = array if array.shape == view.shape else array.reshape(view.shape)

    def made(self) -> list[np.ndarray]:
        """Copies of the outputs, (1, ...) each."""
        return [view[None].copy() for view in self.outs]

    def once(self) -> None:
        """Run on what is in the arena."""
        for segment in self.segments:
            segment.run(self)

    def timed(self, segment: Table | Called) -> None:
        """Run one segment and remember how long one thread took, at best."""
        began = time.perf_counter()
        segment.run(self)
        segment.alone = min(segment.alone or math.inf, time.perf_counter() - began)

    def shared(self, table: Table | Called, together: team.Team, members: int) -> None:
        """Run one table by a team, operator by operator."""
        assert isinstance(table, Table)
        entry, at = self.program.entries["runner_team"], table.shared_by(members)
        together.run([(entry, at, i, 0) for i in range(members)])
