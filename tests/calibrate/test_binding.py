"""Which samples a model takes, what is adapted, and the sentence for everything else."""

from __future__ import annotations

import numpy as np
import pytest

from qcore.binding import Binder
from qcore.errors import BadInput, BadSample
from tests.calibrate import graphs

ONE = np.ones((1, 3), np.float32)


def bind(sample, model=None, **how):
    return Binder(model or graphs.two_inputs(), **how).bind(sample, 7)


@pytest.mark.parametrize(
    "sample",
    [
        (ONE, 2 * ONE),
        [ONE, 2 * ONE],
        {"l": ONE, "r": 2 * ONE},
        {"right": 2 * ONE, "left": ONE},
        ("sum", {"r": 2 * ONE, "l": ONE}),
        ("sum", (ONE, 2 * ONE)),
        ([[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]),
        (ONE[0], 2 * ONE[0]),
        (ONE.astype(np.float64), 2 * ONE.astype(np.float16)),
        (ONE.astype(np.uint8), np.full((1, 3), 2, np.int16)),
    ],
    ids=str,
)
def test_accepted(sample) -> None:
    bound = bind(sample)
    left, right = bound.arrays
    assert (bound.number, bound.entry) == (7, 0)
    assert left.dtype == right.dtype == np.float32 and left.shape == right.shape == (1, 3)
    assert (left == 1).all() and (right == 2).all() and left.flags.c_contiguous


@pytest.mark.parametrize(
    "sample, words",
    [
        (ONE, "sample 7 has 1 array and signature 'sum' takes 2 ('l', 'r')"),
        ((ONE, ONE, ONE), "sample 7 has 3 arrays"),
        ({"l": ONE}, "sample 7: input 'r' is missing; it takes 'l', 'r'"),
        ({"l": ONE, "r": ONE, "z": ONE}, "sample 7: 'z' is no input of signature 'sum'"),
        ({"l": ONE, "right": ONE}, "'right' is no input"),
        (("nothing", (ONE, ONE)), "no signature 'nothing'; it has 'sum'"),
        ((ONE, np.ones((1, 4))), "sample 7: input 'r' takes shape (1, 3) and got (1, 4)"),
        ((ONE, np.ones((1, 1, 3))), "takes shape (1, 3) and got (1, 1, 3)"),
        ((ONE, np.ones((0, 3))), "got (0, 3)"),
        ((ONE, np.ones((1, 3), np.int64)), "input 'r' takes float32 and got int64"),
        ((ONE, np.ones((1, 3), complex)), "got complex128"),
        ((ONE, np.array([["a", "b", "c"]])), "give numbers"),
        ((ONE, np.full((1, 3), 1e300)), "beyond its range"),
        ((ONE, [[1.0], [1.0, 2.0]]), "input 'r' is no array"),
    ],
    ids=str,
)
def test_refused_in_one_sentence(sample, words: str) -> None:
    with pytest.raises(BadSample) as caught:
        bind(sample)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_dynamic_and_batch_shapes() -> None:
    assert bind(np.ones((5, 4)), graphs.dynamic()).arrays[0].shape == (5, 4)
    assert bind(np.ones(4), graphs.dynamic()).arrays[0].shape == (1, 4)
    assert bind(np.ones((5, 4)), graphs.chain()).arrays[0].shape == (5, 4)
    with pytest.raises(BadSample, match=r"takes shape \(\?, 4\) and got \(5, 3\)"):
        bind(np.ones((5, 3)), graphs.dynamic())
    picture = graphs.model({"x": (1, 2, 2, 1)}, [], ["x"], ["x"])
    assert bind(np.ones((2, 2)), picture).arrays[0].shape == (1, 2, 2, 1)
    assert bind(np.ones((2, 2, 1)), picture).arrays[0].shape == (1, 2, 2, 1)


def test_integers_only_where_they_fit() -> None:
    model = graphs.model({"x": np.zeros((1, 2), np.int32)}, [], ["x"], ["x"])
    assert bind(np.array([[1, -2]]), model).arrays[0].dtype == np.int32
    with pytest.raises(BadSample, match="values from 0 to 4294967296"):
        bind(np.array([[0, 2**32]]), model)
    with pytest.raises(BadSample, match="takes int32 and got float64"):
        bind(np.array([[1.0, 2.0]]), model)


def test_names_without_signature() -> None:
    model = graphs.two_inputs(signature=False)
    assert [a[0, 0] for a in bind({"left": ONE, "right": 2 * ONE}, model).arrays] == [1, 2]
    with pytest.raises(BadSample, match="'l' is no input of the model"):
        bind({"l": ONE, "r": ONE}, model)
    with pytest.raises(BadInput, match="it has none"):
        bind((ONE, ONE), model, signature="sum")


def test_many_samples() -> None:
    binder = Binder(graphs.two_inputs())
    given = iter([(ONE, ONE)] * 3)
    assert [b.number for b in binder.all(given)] == [0, 1, 2] and next(given, None) is None
    assert [b.number for b in binder.all({"sum": [(ONE, ONE)] * 2})] == [0, 1]
    with pytest.raises(BadInput, match="not a single sample"):
        list(binder.all([]))
    with pytest.raises(BadInput, match="no signature of the model"):
        list(binder.all({"l": ONE, "r": ONE}))
    with pytest.raises(BadInput, match="samples is a str"):
        list(binder.all("data.npz"))
    with pytest.raises(BadInput, match="samples is a int"):
        list(binder.all(3))
