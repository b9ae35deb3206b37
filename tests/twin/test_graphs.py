"""The generator of random models: the seed decides, every operator occurs, the float model runs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import tflite_schema as ts
from qcore.testing import graphs
from tests.twin.runs import Runner

SEEDS = 400


def test_a_seed_gives_the_same_model():
    for seed in (0, 7, 123456):
        assert ts.to_bytes(graphs.random_graph(seed)) == ts.to_bytes(graphs.random_graph(seed))
    assert ts.to_bytes(graphs.random_graph(0)) != ts.to_bytes(graphs.random_graph(1))


def test_every_operator_and_feature_occurs():
    names: Counter[str] = Counter()
    features: Counter[str] = Counter()
    for seed in range(SEEDS):
        graph = graphs.random_graph(seed).subgraphs[0]
        names.update(op.name for op in graph.operators)
        reads = Counter(t for op in graph.operators for t in op.inputs if t >= 0)
        constants = {i for i, t in enumerate(graph.tensors) if t.buffer}
        features["several outputs"] += len(graph.outputs) > 1
        features["output also read"] += any(reads[t] for t in graph.outputs)
        features["shared constant"] += any(reads[t] > 1 for t in constants)
        features["branch"] += any(reads[t] > 1 for t in reads if t not in constants)
        features["several inputs"] += len(graph.inputs) > 1
        features["degenerate range"] += any(_odd(t) for t in graph.tensors)
        assert len(graph.operators) >= 1, f"random_graph({seed}) is empty"
    assert set(graphs.operators()) == set(names), set(graphs.operators()) - set(names)
    assert all(features[f] >= SEEDS // 30 for f in features), features


def _odd(tensor: ts.Tensor) -> bool:
    q = tensor.quantization
    return q is not None and any(
        (q.min[0], q.max[0]) == (np.float32(lo), np.float32(hi)) for lo, hi in graphs.ODD_RANGES
    )


def test_every_computed_float_tensor_has_a_range():
    for seed in range(50):
        graph = graphs.random_graph(seed).subgraphs[0]
        for tensor in graph.tensors:
            computed = tensor.type == ts.TensorType.FLOAT32 and not tensor.buffer
            assert (tensor.quantization is not None) == computed, (seed, tensor.name)


def test_only_and_without_choose_the_operators():
    graph = graphs.random_graph(3, only=("ADD", "RELU"))
    assert {op.name for op in graph.subgraphs[0].operators} <= {"ADD", "RELU"}
    for seed in range(20):
        found = graphs.random_graph(seed, without=("CONV_2D",)).subgraphs[0].operators
        assert "CONV_2D" not in {op.name for op in found}
    with pytest.raises(ValueError, match="seed 0"):
        graphs.random_graph(0, only=("SELECT",))


def test_the_float_models_run():
    with Runner() as runner:
        for seed in range(60):
            refusal = runner.refusal(graphs.random_graph(seed))
            # Random numbers may be negative under a root; the shapes are what is checked.
            assert refusal is None, f"random_graph({seed}): {refusal}"
        for case in list(graphs.weight_cases([0]))[::7]:
            assert (refusal := runner.refusal(graphs.weight_model(*case))) is None, (case, refusal)
        assert runner.refusal(graphs.range_model(0, 40)) is None


def test_forced_ties_are_exact_half_steps():
    w = graphs.weights(np.random.RandomState(0), (4, 3, 3, 5), "ties")
    steps = w * (np.float32(127) / np.abs(w).max(axis=(1, 2, 3), keepdims=True))
    assert (np.abs(steps % 1) == 0.5).mean() > 0.3
