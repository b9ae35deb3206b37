"""Whole graphs by our own kernels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels import ops
from kernels.profile import PATHS, RUNTIMES
from qcore.errors import BadInput, BadSample, CannotRun
from qcore.peers import interpreter
from qcore.testing.build import Builder
from tests.execute.models import counter, dense


@pytest.fixture(scope="session")
def int8(example_model, example_samples):
    """The example model, quantized."""
    return qcore.quantize(example_model, "int8", example_samples[:20])


@pytest.fixture(scope="session")
def example_samples(example_data):
    return list(qcore.data.open(str(example_data), std=255, limit=32))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("path", PATHS)
def test_outputs_are_the_interpreters(int8, example_samples, path, runtime):
    if not interpreter.installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    executor = qcore.Executor(int8, path, runtime=runtime)
    ours = list(executor.run(example_samples[:6]))
    integers = [executor.blocks[0].encode(executor.model.subgraphs[0].inputs[0], x)
                for x in example_samples[:6]]  # fmt: skip
    theirs = list(interpreter.run(int8, integers, runtime, path))
    assert len(ours) == len(theirs) == 6
    for a, b in zip(ours, theirs):
        assert a.keys() == b.keys()
        assert all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in a)


def test_modes_agree(int8, example_samples):
    x = example_samples[0]
    fast, every = qcore.run(int8, x, tensors=True)
    slow, same = qcore.run(int8, x, mode="reference", tensors=True)
    assert every.keys() == same.keys() and len(every) > 10
    assert all((every[t] == same[t]).all() for t in every)
    assert fast.keys() == slow.keys()


def test_real_mode_is_the_float_model(example_model, int8, example_samples):
    x = example_samples[0]
    (truth,) = interpreter.run(example_model, [x], path="optimized")
    (ours,) = qcore.run(example_model, x, mode="real").values()
    np.testing.assert_allclose(ours, next(iter(truth.values())), atol=1e-5)
    (quantized,) = qcore.run(int8, x, mode="real").values()  # its own weights, no rounding between
    assert quantized.dtype == np.float32
    np.testing.assert_allclose(quantized, ours, atol=0.1)


def test_floats_become_the_inputs_integers():
    model = dense()
    x = np.linspace(-3, 3, 7, dtype=np.float32).reshape(1, 7)
    steps = np.clip(np.sign(x) * np.floor(np.abs(x / np.float32(0.05)) + 0.5) + 3, -128, 127)
    a, b = (qcore.run(model, v, "reference") for v in (x, steps.astype(np.int8)))
    assert (a["y1"] == b["y1"]).all()


def test_a_batch_is_its_samples(rng):
    model = dense()
    x = rng.integers(-128, 128, (9, 7)).astype(np.int8)
    whole = qcore.run(model, x, "reference")["y1"]
    assert whole.shape == (9, 5)
    assert (
        whole == np.concatenate([qcore.run(model, v[None], "reference")["y1"] for v in x])
    ).all()


def test_variables_last_as_long_as_the_executor():
    executor = qcore.Executor(counter(), "reference")
    x = np.array([1, 2], np.float32)
    values = [next(iter(made.values())) for made in executor.run([x, x, x])]
    assert [v.tolist() for v in values] == [[1, 2], [2, 4], [3, 6]]
    executor.reset()
    assert next(iter(next(executor.run([x])).values())).tolist() == [1, 2]


def test_signatures():
    model = dense()
    graph = model.subgraphs[0]
    one = ts.SignatureDef(
        inputs=(ts.TensorMap(name="in", tensor_index=graph.inputs[0]),),
        outputs=(ts.TensorMap(name="out", tensor_index=graph.outputs[0]),),
        signature_key="serve",
        subgraph_index=0,
    )
    model = model.replace(signature_defs=(one,))
    assert qcore.run(model, {"in": np.zeros((1, 7), np.int8)}, signature="serve").keys() == {"out"}
    with pytest.raises(BadInput, match="no signature 'other'"):
        qcore.run(model, np.zeros((1, 7), np.int8), signature="other")


def test_an_operator_without_kernel_is_named(monkeypatch):
    monkeypatch.setattr(ops, "module", lambda name: None)
    with pytest.raises(CannotRun, match=r"FULLY_CONNECTED 0 \(y0\): FULLY_CONNECTED has no kernel"):
        qcore.run(dense(), np.zeros((1, 7), np.int8))


def test_a_custom_operator_is_named():
    b = Builder()
    x = b.input((2,), "x")
    y = b.tensor((2,), "y")
    code = ts.OperatorCode.of("CUSTOM").replace(custom_code="Mine")
    b.operators.append(ts.Operator(code=code, inputs=(x,), outputs=(y,)))
    with pytest.raises(CannotRun, match=r"Mine 0 \(y\): Mine has no kernel here"):
        qcore.run(b.model(outputs=[y]), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "fastest"}, "profile 'fastest' is unknown"),
        ({"mode": "quick"}, "mode 'quick' is unknown"),
        ({"runtime": "onnx"}, "runtime 'onnx' is unknown"),
    ],
)
def test_wrong_choices(arguments, message):
    with pytest.raises(BadInput, match=message):
        qcore.run(dense(), np.zeros((1, 7), np.int8), **arguments)


def test_a_sample_of_the_wrong_shape():
    with pytest.raises(BadSample, match="takes shape"):
        qcore.run(dense(), np.zeros((1, 8), np.int8))


def test_states_start_at_real_zero():
    executor = qcore.Executor(dense())
    executor.blocks = (SimpleNamespace(tensors=(executor.blocks[0].tensors[0],)),)
    assert (executor.state(0, 0) == 3).all()


def test_samples_after_samples_that_were_right(rng):
    """What is known of the samples before hides nothing of the next one."""
    model = dense()
    x = rng.integers(-128, 128, (7, 1)).astype(np.int8)
    right = [np.ascontiguousarray(x.T)] * 2
    wide = np.full((1, 7), 300, np.int64)
    for wrong, message in ((x.T[:, :3], "takes shape"), (wide, "-128 to 127"), (x, "takes shape")):
        with pytest.raises(BadSample, match=f"sample 2: .* {message}"):
            list(qcore.Executor(model).run(iter([*right, wrong])))
    both = [np.stack([x, x[::-1]], axis=-1)[:, 0].T for _ in range(2)]  # not in C order
    several = [*right, x.T, x.T.astype(np.int64), *both, (x.T * 0.05 - 0.15), right[0][0]]
    fast, slow = (qcore.Executor(model, mode=mode) for mode in ("fast", "reference"))
    made, want = ([m["y1"] for m in e.run(iter(several))] for e in (fast, slow))
    assert [m.shape for m in made] == [(1, 5)] * 4 + [(2, 5)] * 2 + [(1, 5)] * 2
    assert all((a == b).all() for a, b in zip(made, want, strict=True))
    assert all((m[0] == made[0][0]).all() for m in made)
