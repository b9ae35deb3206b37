"""Every documented defect of an official runtime is still what the registry says, and the checker
sees it when one is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tflite_schema as ts
from qcore.peers import child
from qcore.peers.interpreter import installed
from qcore.testing import bugs
from qcore.testing.bugs import __main__ as program
from qcore.testing.bugs import treatment
from qcore.testing.bugs.probe import isolated
from qcore.testing.bugs.record import PLACES, REFUSED, REPRODUCED, RUNTIMES, Answer, gives

INSTALLED = [
    pytest.param(
        name, marks=pytest.mark.skipif(not installed(name), reason=f"{name} is not installed")
    )
    for name in RUNTIMES
]


def test_the_registry_is_whole():
    found = bugs.all()
    assert len({b.key for b in found}) == len(found) > 90
    for bug in found:
        assert bug.seen and set(bug.seen) <= set(PLACES), bug.key
        assert bug.title.endswith(".") and bug.trigger and bug.correct, bug.key
    with pytest.raises(KeyError, match="no bug 'nothing'"):
        bugs.get("nothing")


@pytest.mark.parametrize("runtime", INSTALLED)
def test_runtimes_behave_as_documented(runtime):
    tried, problems = 0, []
    for bug, place, answer in bugs.ask(bugs.all(), runtime):
        tried += 1
        problems += [
            found
            for found in (bug.problem(place, answer), treatment.problem(bug, place, answer))
            if found
        ]
    assert tried > 300
    assert problems == []


@pytest.mark.parametrize("runtime", INSTALLED)
def test_the_checker_fails(runtime):
    true = bugs.get("neg-zero-point")
    fixed = replace(true, right=gives([-10, -14, -128]), seen={(runtime, "reference"): gives([1])})
    other = replace(true, right=gives([7]), seen={(runtime, "optimized"): gives([1])})
    found = [bug.problem(place, answer) for bug, place, answer in bugs.ask([fixed, other], runtime)]
    sentences = [
        (1, "is fixed"), (2, None), (None, None),
        (2, "documented as right"), (3, "no longer as documented"), (2, "documented as right"),
    ]  # fmt: skip
    for sentence, (_, words) in zip(found, sentences, strict=True):
        assert (sentence is None) == (words is None)
        assert words is None or words in sentence


def test_a_wrong_treatment_is_seen():
    place = ("litert", "reference")
    same, wrong = (Answer((np.int8(v),)) for v in ([-10, -14, -128], [1, 2, 3]))
    bug = bugs.get("neg-zero-point")
    assert bug.ours == REPRODUCED and treatment.problem(bug, place, same) is None
    assert "should give the runtime's answer and answer otherwise" in treatment.problem(
        bug, place, wrong
    )
    assert "should refuse it and give" in treatment.problem(replace(bug, ours=REFUSED), place, same)


def crash() -> Answer:
    import os

    os.abort()


def sleep() -> Answer:
    import time

    time.sleep(60)
    return Answer()


def ends() -> list[Answer]:
    """In a child, which may fork: nothing else runs in it."""
    return [
        isolated(crash),
        isolated(sleep, seconds=1),
        isolated(lambda: Answer(refused="no")),
        isolated(lambda: 1 // 0),
    ]


def test_what_ends_a_process_is_an_answer():
    aborted, slow, refused, failed = child.call("tests.peers.test_runtime_bugs:ends")
    assert aborted.signal == "SIGABRT" and slow.signal == "SIGALRM"
    assert refused == Answer(refused="no")
    assert failed.signal == "exit 1" and "ZeroDivisionError" in failed.said


def test_the_program_writes_the_model_and_its_input(tmp_path, capsys):
    path = tmp_path / "bug.tflite"
    assert program.main(["sum-int8-bytes", "-o", str(path)]) == 0
    graph = ts.read(path).subgraphs[0]
    assert [o.code.name for o in graph.operators] == ["SUM"]
    with np.load(path.with_suffix(".npz")) as stored:
        assert stored["input0"].tolist() == [-1, -2]
    assert program.main(["fc-hybrid-computed", "-o", str(path)]) == 0
    with np.load(path.with_suffix(".npz")) as stored:
        assert sorted(stored) == ["run0_input0", "run0_input1", "run1_input0", "run1_input1"]
    assert program.main([]) == 0
    assert program.main(["sum-int8-bytes"]) == 0
    assert "sum-int8-bytes" in capsys.readouterr().out
    assert program.main(["nothing"]) == 2
    assert program.main(["-o", str(path)]) == 2
