"""Confidence intervals and paired tests against other formulas; accuracy against counting."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import qcore
from qcore.compare import compare
from qcore.compare.accuracy import Z95, Evaluation, is_scores, mcnemar, top_class, wilson
from qcore.errors import BadInput
from qcore.execute import as_profile
from tests.compare.models import branches, operator, quantized, samples, with_constant


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (3, 10), (97, 100), (5000, 10000)])
def test_wilson_solves_its_equation(right, of):
    """The ends are the shares p at which |right/of - p| is z standard deviations of p's own."""
    found = wilson(right, of)
    assert found.value == right / of and found.of == of
    assert 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            deviation = math.sqrt(end * (1 - end) / of)
            assert abs(found.value - end) / deviation == pytest.approx(Z95, rel=1e-9)
    assert (found.low == 0) == (right == 0) and (found.high == 1) == (right == of)


def test_z_leaves_two_and_a_half_per_cent():
    assert 0.5 * math.erfc(Z95 / math.sqrt(2)) == pytest.approx(0.025, rel=1e-12)


def test_no_trials_are_no_share():
    with pytest.raises(BadInput, match="at least one trial"):
        wilson(0, 0)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (3, 3), (1, 9), (12, 30), (0, 20)])
def test_mcnemar_by_its_definition(a, b):
    """All splits of a + b fair coins that are no likelier than this one."""
    n = a + b
    odds = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    want = sum((p for k, p in enumerate(odds) if abs(2 * k - n) >= abs(a - b)), Fraction(0))
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(float(want), rel=1e-15)


def test_mcnemar_of_many():
    assert 0 < mcnemar(4000, 4600) < 1e-9 and mcnemar(4300, 4300) == 1.0


@pytest.mark.parametrize(
    ("shape", "are"), [((1, 10), True), ((10,), True), ((1, 1), False), ((1, 8, 8, 6), False),
                       ((3, 10), False), ((1, 1, 10), False)],
)  # fmt: skip
def test_what_class_scores_are(shape, are):
    assert is_scores(shape) is are


@pytest.fixture(scope="module")
def judged():
    model = branches()
    int8 = quantized(model)
    broken = with_constant(int8, operator(int8, "left"), 1, np.zeros_like)
    data = samples(120, seed=9)
    truth = [int(next(iter(qcore.run(model, x).values())).argmax()) for x in data]
    labels = np.array([t if i % 4 else (t + 1) % 10 for i, t in enumerate(truth)])

    def total(outputs, labels):
        return float(outputs.shape[1] + (labels >= 0).sum())

    found = compare(
        model, {"int8": int8, "broken": broken}, samples(2), labels, evaluation=data,
        metric=total, latency=False, threads=2,
    )  # fmt: skip
    return found, data, labels, truth, {"int8": int8, "broken": broken}


def test_accuracy_is_what_counting_gives(judged):
    found, data, labels, truth, models = judged
    assert found.labelled == 120 and found.samples == 2
    assert found.truth.accuracy == wilson(90, 120)
    right = {}
    for name, model in models.items():
        top = np.array([next(iter(qcore.run(model, x).values())).argmax() for x in data])
        right[name] = top == labels
        c = found.candidate(name)
        assert c.accuracy == wilson(int(right[name].sum()), 120)
        assert c.agreement == wilson(int((top == truth).sum()), 120)
        assert c.score == 10 + 120
    assert found.metric == "total"
    (pair,) = [p for p in found.pairs if (p.a, p.b) == ("int8", "broken")]
    only = [int((right[a] & ~right[b]).sum()) for a, b in (("int8", "broken"), ("broken", "int8"))]
    assert [pair.only_a, pair.only_b] == only and only[0] > only[1]
    assert pair.p == mcnemar(*only) < 0.05
    assert {(p.a, p.b) for p in found.pairs} == {
        ("int8", "broken"), ("float", "int8"), ("float", "broken"),
    }  # fmt: skip


def test_a_batch_has_more_than_one_label():
    model = branches()
    batch = [np.concatenate(samples(2))]
    with pytest.raises(BadInput, match="one at a time"):
        compare(model, {"a": model}, batch, np.zeros(1, int), latency=False)
    found = compare(model, {"a": model}, batch, latency=False)
    assert found.truth.agreement is None and found.candidate("a").outputs[0].noise == 0


def test_labels_must_go_with_the_samples():
    model = branches()
    for count in (3, 5):
        with pytest.raises(BadInput, match="one label for each"):
            compare(model, {"a": model}, samples(4), np.zeros(count, int), latency=False)


def test_labels_that_are_no_classes_are_remarked_on():
    model = branches()
    for labels, said in (
        (np.arange(4) + 8, "2 of 4 labels are none of the 10 classes (0 to 9) and count as wrong"),
        (np.zeros(4), "labels are float64 of shape [4]; give the number of a class"),
        (
            np.eye(10, dtype=int)[:4],
            "labels are int64 of shape [4, 10]; give the number of a class",
        ),
    ):
        found = compare(model, {"a": model}, samples(4), labels, latency=False)
        assert said in " ".join(found.notes) and said in str(found).replace("\n", " ")
        assert (found.truth.accuracy is None) == (labels.dtype != int or labels.ndim > 1)
    assert compare(model, {"a": model}, samples(4), np.arange(4), latency=False).notes == ()
    with pytest.raises(BadInput, match="labels is a generator"):
        compare(model, {"a": model}, samples(4), (x for x in range(4)), latency=False)


def test_a_metric_that_fails_leaves_all_else():
    model = branches()

    def broken(outputs, labels):
        return labels[len(outputs)]

    found = compare(model, {"a": model}, samples(4), np.arange(4), metric=broken, latency=False)
    for c in (found.truth, found.candidate("a")):
        (note,) = c.notes
        assert note.startswith("the metric failed with IndexError") and "test_accuracy.py" in note
        assert c.score is None and c.accuracy is not None


def test_no_class_is_the_top_one_among_nan():
    assert top_class(np.array([[1, 5, 5]])) == 1
    assert top_class(np.array([[np.nan, 5.0, 1.0]])) == -1


def test_labels_of_many_shapes_go_to_the_metric():
    model = branches()
    boxes = [np.zeros((n, 4)) for n in (1, 3, 0, 2)]

    def many(outputs, labels):
        return sum(len(x) for x in labels)

    found = compare(model, {"a": model}, samples(4), boxes, metric=many, latency=False)
    assert found.candidate("a").score == 6 and found.notes == ()


def test_a_candidate_that_fails_midway_is_in_no_pair():
    model, int8 = branches(), quantized(branches())
    profile = as_profile("xnnpack", "litert")
    judge = Evaluation(model, {"int8": int8, "b": int8}, profile)
    try:
        judge.run(samples(4), np.arange(4))
        assert len(judge.paired("float")) == 3
        judge.judges["int8"].error = "it ran out of memory"
        assert [(p.a, p.b) for p in judge.paired("float")] == [("float", "b")]
    finally:
        judge.close()
