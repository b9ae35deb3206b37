"""Every rule of every target has an operator that breaks it and one that does not."""

from __future__ import annotations

from collections import Counter

import pytest

from kernels.errors import KernelError
from qcore import targets
from qcore.check import check, why
from qcore.errors import BadInput
from qcore.targets import sources
from qcore.targets.rule import Rule, Target, takes
from tests.targets.pool import pool

RULES = [(target, rule) for target in targets.all() for rule in target.rules]


def judged(target: Target, rule: Rule) -> tuple[list[str], int]:
    """What was found where the rule is broken; how often it holds for an operator it is about."""
    broken, holds = [], 0
    about = rule.operators or (None if rule.final else target.operators.keys())
    for site in pool():
        if about is not None and site.name not in about:
            continue
        try:
            found = rule.found(site)
        except (KernelError, IndexError):  # an operand is not there: `why` says so
            continue
        broken += [found] if found else []
        holds += not found
    return broken, holds


@pytest.mark.parametrize(("target", "rule"), RULES, ids=[f"{t.key}: {r.name}" for t, r in RULES])
def test_a_rule_is_broken_and_holds(target: Target, rule: Rule) -> None:
    broken, holds = judged(target, rule)
    assert broken and holds
    assert all(isinstance(found, str) for found in broken)


@pytest.mark.parametrize("target", targets.all(), ids=lambda target: target.key)
def test_names_and_sources(target: Target) -> None:
    assert target.key in targets.names() and target.rules
    doubled = [name for name, n in Counter(r.name for r in target.rules).items() if n > 1]
    assert doubled == []
    for rule in target.rules:
        assert rule.source and not rule.name.endswith(".")
        assert rule.operators <= target.operators.keys(), rule.name
        assert rule.urls, f"nobody can read the source of: {rule.name}"


def test_addresses_of_sources() -> None:
    lite = "https://github.com/google-ai-edge/LiteRT"
    commit = sources.GITHUB["LiteRT"][1]
    assert sources.urls("LiteRT tflite/kernels/add.cc, mul.cc, in words; kernels/ops") == (
        f"{lite}/blob/{commit}/tflite/kernels/add.cc", f"{lite}/blob/{commit}/tflite/kernels/mul.cc"
    )  # fmt: skip
    assert sources.urls("LiteRT tflite/kernels") == (f"{lite}/tree/{commit}/tflite/kernels",)
    assert sources.urls("ethos-u-vela 5.2.0, run") == (
        "https://pypi.org/project/ethos-u-vela/5.2.0/",
    )
    assert sources.urls("https://a.org/b, c.cc; LiteRT README.md (of 2026)") == (
        "https://a.org/b", f"{lite}/blob/{commit}/README.md"
    )  # fmt: skip
    assert sources.urls("our own knowledge") == sources.urls("kernels/ops") == ()
    for rule in {r.source for t in targets.all() for r in t.rules}:
        assert "".join(text for text, _ in sources.cited(rule)) == rule
        assert not [url for url in sources.urls(rule) if ".." in url or " " in url]


@pytest.mark.parametrize("target", targets.all(), ids=lambda target: target.key)
def test_every_operator_that_is_listed_is_known(target: Target) -> None:
    from tflite_schema import BuiltinOperator

    assert target.operators.keys() <= {op.name for op in BuiltinOperator}


@pytest.mark.parametrize("target", targets.all(), ids=lambda target: target.key)
def test_some_are_taken_and_some_are_not(target: Target) -> None:
    taken = [not why(target, site) for site in pool()]
    assert 0 < sum(taken) < len(taken)


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(BadInput, match="target 'tpu' is unknown; known are reference, xnnpack"):
        check("examples/symbols.tflite", "tpu")


def test_a_table_of_types() -> None:
    made = takes("int8:\n    ADD SUB\nfloat32: SUB\n: MUL", {"ADD": 3})
    assert made["ADD"].dtypes == ("int8",) and made["ADD"].version == 3
    assert made["SUB"].dtypes == ("int8", "float32") and made["MUL"].dtypes == ()
