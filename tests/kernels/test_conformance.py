"""A short conformance run: every operator and form on every path, and the comparison itself.

The long one, both runtimes and 200,000 outputs a row, is `python -m qcore.testing.conformance`.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels import ops
from kernels.profile import PATHS, Profile
from kernels.simd import target
from qcore.testing import conformance
from qcore.testing.cases import generators, make
from qcore.testing.conformance import Case, Row, rows

WANTED = list(generators())


@pytest.mark.parametrize("path", PATHS)
def test_all_operators(path: str, depth: int):
    found = list(rows(Profile(path), WANTED, range(3 * depth), 200, ("fast",)))
    assert len(found) == len(WANTED)
    wrong = [conformance.line(r) for r in found if not r.ok]
    assert not wrong, "\n".join(wrong)
    assert sum(r.compared for r in found) > 40_000


def test_every_form_is_documented():
    """A generator's form stands in the operator's NUMERICS, and the other way round."""
    generated: dict[str, set[str]] = {}
    for operator, form in WANTED:
        generated.setdefault(operator, set()).add(form)
    for operator, forms in generated.items():
        written = {row.form for row in getattr(ops.module(operator), "NUMERICS", ())}
        assert forms <= written, f"{operator}: NUMERICS has no row for {forms - written}"


def answer_of(call):
    return (list(ops.compute(call, "reference")), False)


def test_a_difference_is_seen():
    call = make("FULLY_CONNECTED", "int8", 1, 50)
    case = Case("FULLY_CONNECTED", "int8", 1, call)
    row = Row(*conformance.Row("FULLY_CONNECTED", "int8", "reference", "litert").key)
    row.add(case, answer_of(call))
    assert row.ok and row.compared > 0
    (y,), taken = answer_of(call)
    y = y.copy()
    y.flat[3] ^= 1
    row.add(case, ([y], taken))
    assert not row.ok and row.differing == 1 and row.seeds == [1]


def test_refusals_and_empty_rows():
    call = make("FULLY_CONNECTED", "int8", 1, 50)
    case = Case("FULLY_CONNECTED", "int8", 1, call)
    row = Row("FULLY_CONNECTED", "int8", "reference", "litert")
    assert not row.ok  # nothing was compared
    row.add(case, "no such kernel")
    assert row.ok and row.refused == 1 and row.agreed == 0 and row.message == "no such kernel"


def test_a_mistaken_delegation_is_seen():
    call = make("FULLY_CONNECTED", "int8", 1, 50).on(profile=Profile("xnnpack"))
    row = Row("FULLY_CONNECTED", "int8", "xnnpack", "litert")
    ours = list(ops.compute(call, "reference"))
    predicted = ops.resolve(call).profile.is_xnnpack
    row.add(Case("FULLY_CONNECTED", "int8", 1, call), (ours, not predicted))
    assert not row.ok and row.mistaken == [1]


def test_known_differences_are_strict(monkeypatch):
    call = make("FULLY_CONNECTED", "int8", 1, 50)
    row = Row("FULLY_CONNECTED", "int8", "reference", "litert")
    row.add(Case("FULLY_CONNECTED", "int8", 1, call), answer_of(call))
    monkeypatch.setitem(conformance.KNOWN, row.key, "a reason")
    assert not row.ok  # it is said to differ, and does not


def test_a_crash_is_an_answer_and_the_rest_goes_on(monkeypatch):
    """A model that ends the child, between two that do not."""
    calls = [make("FULLY_CONNECTED", "int8", seed, 20) for seed in range(3)]
    cases = [Case("FULLY_CONNECTED", "int8", i, c) for i, c in enumerate(calls)]
    right = conformance.models.to_bytes
    monkeypatch.setattr(
        conformance.models, "to_bytes",
        lambda call: b"" if call is calls[1] else right(call),
    )  # fmt: skip
    found = list(conformance.answers(cases, Profile("reference")))
    assert [c.number for c, _ in found] == [0, 1, 2]
    assert isinstance(found[1][1], str)
    assert not isinstance(found[0][1], str) and not isinstance(found[2][1], str)


def test_numbers_are_equal_as_values():
    a = np.array([0.0, np.nan, 1.0], np.float32)
    b = np.array([-0.0, np.nan, 2.0], np.float32)
    assert conformance.same(a, b).tolist() == [True, True, False]


def test_further_models_are_taken_in():
    call = make("FULLY_CONNECTED", "int8", 1, 50)
    row, more = (Row("FULLY_CONNECTED", "int8", "reference", "litert") for _ in range(2))
    (y,), taken = answer_of(call)
    row.add(Case("FULLY_CONNECTED", "int8", 1, call), ([y], taken))
    y = y.copy()
    y.flat[0] ^= 1
    more.add(Case("FULLY_CONNECTED", "int8", 2, call), ([y], taken))
    row.merge(more)
    assert not row.ok and row.models == 2 and row.seeds == [2] and row.compared == 2 * y.size


def compiled(operator: str, form: str, targets: tuple[str, ...]) -> Row:
    """A row of one call, and of what its kernels compute for the targets."""
    call = make(operator, form, 1, 50)
    case, row = Case(operator, form, 1, call), Row(operator, form, "reference", "litert")
    row.add(case, answer_of(call))
    compiling = conformance.Compiling(targets)
    compiling.add(row, case, answer_of(call))
    compiling.finish()
    return row


def test_compiled_kernels_are_counted():
    names = target.available()
    row = compiled("LOGISTIC", "int8", names)
    assert row.ok and tuple(row.kernels) == names
    assert all(k.calls == 1 and k.compared == row.compared for k in row.kernels.values())
    assert f"compiled: {' '.join(names)} 1 calls" in conformance.line(row)


def test_a_wrong_kernel_is_seen(monkeypatch):
    from kernels.simd import operands

    right = operands.look_up
    monkeypatch.setattr(operands, "look_up", lambda to, table, *r: right(to, table ^ 1, *r))
    row = compiled("LOGISTIC", "int8", ("portable",))
    k = row.kernels["portable"]
    assert not row.ok and not row.differing
    assert k.differing == k.compared > 0 and k.seeds == [1]
    total = Row("LOGISTIC", "int8", "reference", "litert")
    total.merge(row)
    total.merge(row)
    assert not total.ok and total.kernels["portable"].differing == 2 * k.differing


def test_a_compiler_that_fails_is_seen(monkeypatch):
    from kernels.simd import build

    def fail(*given):
        raise build.CompilerFailed("it crashed")

    monkeypatch.setattr(build, "addresses", fail)
    row = compiled("LOGISTIC", "int8", ("portable",))
    assert not row.ok and "it crashed" in row.ours[0]


def test_a_row_says_that_nothing_is_compiled():
    row = compiled("LOGISTIC", "int16", ("portable",))
    assert row.ok and not row.kernels["portable"].calls
    assert conformance.line(row).endswith("compiled: none")


def test_a_target_that_is_not_here(capsys, monkeypatch):
    monkeypatch.setattr(target, "available", lambda: ("portable",))
    assert conformance.main(["--op", "LOGISTIC", "--targets", "avx2"]) == 2
    assert "does not run avx2" in capsys.readouterr().err


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(conformance, "HELD", 0)
    call = make("LOGISTIC", "int8", 1, 50)
    row = Row("LOGISTIC", "int8", "reference", "litert")
    compiling = conformance.Compiling(("portable",))
    for _ in range(2):
        compiling.add(row, Case("LOGISTIC", "int8", 1, call), answer_of(call))
    assert row.kernels["portable"].calls == 2  # computed as they came
