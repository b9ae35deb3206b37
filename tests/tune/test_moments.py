"""Sums over columns: exact where sums of float64 are, in any order, saved and read."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.calibrate import Calibration
from qcore.errors import BadInput, NotCalibrated
from qcore.params import TensorKey
from qcore.testing.build import Builder
from qcore.tune.moments import Moments


def same(a: Moments, b: Moments) -> bool:
    products = a.products is b.products is None or (
        a.products is not None and b.products is not None and (a.products == b.products).all()
    )
    return bool(a.count == b.count and (a.total == b.total).all() and products)


def of(*blocks: np.ndarray, level: str = "covariance") -> Moments:
    groups, _, size = blocks[0].shape
    made = Moments.start(groups, size, level)
    made.update(blocks)
    return made


@st.composite
def columns(draw: st.DrawFn) -> list[np.ndarray]:
    """Blocks of integers, (G, N, K) float32."""
    groups, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    return [rng.integers(-999, 1000, (groups, n, size)).astype(np.float32) for n in counts]


@given(columns(), st.integers(0, 4))
@settings(max_examples=60)
def test_updates_and_merges_are_sums_over_all_columns(blocks: list[np.ndarray], at: int) -> None:
    x = np.concatenate(blocks, 1).astype(np.int64)
    want = np.zeros((len(x), x.shape[2], x.shape[2]), np.int64)
    for g, n in np.ndindex(x.shape[:2]):
        want[g] += np.multiply.outer(x[g, n], x[g, n])
    made = of(*blocks)
    assert made.count == x.shape[1] and (made.total == x.sum(1)).all()
    assert made.products is not None and (made.products == want).all()
    assert (made.mean == x.mean(1)).all() and made.level == "covariance"
    empty = Moments.start(*made.total.shape, "covariance")
    first, second = (of(*part) if part else empty for part in (blocks[:at], blocks[at:]))
    assert same(first.merge(second), made) and same(second.merge(first), made)
    means = of(*blocks, level="mean")
    assert means.products is None and (means.total == made.total).all()
    assert means.level == made.merge(means).level == means.merge(made).level == "mean"
    assert same(made, Moments.from_json(json.loads(json.dumps(made.to_json()))))
    assert same(means, Moments.from_json(json.loads(json.dumps(means.to_json()))))
    assert not same(made, of(*blocks, blocks[0])) and not same(made, means)


@given(columns())
@settings(max_examples=30)
def test_second_moments(blocks: list[np.ndarray]) -> None:
    x = np.concatenate(blocks, 1).astype(np.float64)
    made = of(*blocks)
    raw = np.einsum("gnk,gnl->gkl", x, x) / x.shape[1]
    np.testing.assert_allclose(made.second(False), raw, rtol=1e-14)
    around = x - x.mean(1, keepdims=True)
    want = np.einsum("gnk,gnl->gkl", around, around) / x.shape[1]
    # Each difference is of numbers below 10^6, whose rounding is below 10^6 * 2^-50.
    np.testing.assert_allclose(made.second(True), want, atol=1e-8)


def test_a_column_that_never_changes_has_no_variance() -> None:
    """Nothing of what rounding leaves of it is taken for one, however large it is."""
    for value in (0.1, 1e-30, 3e37):
        x = np.full((1, 3, 2), value, np.float32)
        x[0, :, 1] = np.float32(value) * np.array([1, 2, 4])
        found = of(x, x, x).second(True)
        assert found[0, 0, 0] == found[0, 0, 1] == found[0, 1, 0] == 0 < found[0, 1, 1]


def test_not_integers_survive_the_file_bit_for_bit(rng: np.random.Generator) -> None:
    made = of(*(rng.normal(3, 1e3, (2, 50, 7)).astype(np.float32) for _ in range(3)))
    assert made.products is not None
    assert (made.products == made.products.transpose(0, 2, 1)).all()
    assert same(made, Moments.from_json(json.loads(json.dumps(made.to_json()))))


def text(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f8").tobytes()).decode()


DAMAGED = [
    {"count": -1}, {"count": True}, {"count": 1.5}, {"count": None}, {"groups": 0}, {"groups": "2"},
    {"groups": 3}, {"total": ""}, {"total": [1.0]}, {"total": "AAAA"}, {"total": "@@@@"},
    {"total": "é"}, {"total": None}, {"total": text(1, 2, 3, np.nan)}, {"products": text(1, 2)},
    {"products": text(1, 2, 3, 4, 5, np.inf)}, {"products": 7}, {"products": None},
    {"total": text(1, 2)}, {"groups": 10**30},
]  # fmt: skip


def whole() -> dict[str, Any]:
    return of(np.arange(12, dtype=np.float32).reshape(2, 3, 2)).to_json()


@pytest.mark.parametrize("damage", DAMAGED, ids=str)
def test_damage(damage: dict[str, Any]) -> None:
    assert same(Moments.from_json(whole()), Moments.from_json(whole()))
    with pytest.raises((LookupError, TypeError, ValueError)):
        Moments.from_json(whole() | damage)


@pytest.mark.parametrize("missing", ["count", "groups", "total"])
def test_missing_fields(missing: str) -> None:
    with pytest.raises(LookupError):
        Moments.from_json({k: v for k, v in whole().items() if k != missing})


# --- in a calibration -----------------------------------------------------------------------------


def model(before: int = 0) -> Any:
    """A FULLY_CONNECTED whose tensors stand behind `before` others."""
    b = Builder()
    for i in range(before):
        b.tensor((1,), f"other{i}")
    x = b.input((1, 3), "x", range=(-1, 1))
    w = b.const(np.eye(2, 3, dtype=np.float32), "w")
    return b.model([b.op("FULLY_CONNECTED", [x, w, None], (1, 2), names=["y"], range=(-1, 1))])


def calibration(level: str = "covariance") -> Calibration:
    key = TensorKey(0, 2)
    made = of(np.arange(6, dtype=np.float32).reshape(1, 2, 3), level=level)
    return replace(Calibration.from_model(model()), moments={key: made}, samples=2)


def test_saved_and_loaded(tmp_path: Path) -> None:
    made, plain = calibration(), replace(calibration(), moments={})
    made.save(tmp_path / "a.json")
    read = Calibration.load(tmp_path / "a.json")
    assert read == made and made != plain and read.moments.keys() == made.moments.keys()
    assert same(read.moments[TensorKey(0, 2)], made.moments[TensorKey(0, 2)])
    assert made != calibration("mean") and "moments" not in plain.to_json()
    alone = replace(made, states={}, names={TensorKey(0, 2): "y"})
    alone.save(tmp_path / "b.json")
    assert Calibration.load(tmp_path / "b.json") == alone


def test_merged() -> None:
    made, key = calibration(), TensorKey(0, 2)
    both = made.merge(made)
    assert both.samples == 4 and same(both.moments[key], made.moments[key].merge(made.moments[key]))
    assert both.moments[key].count == 4
    assert made.merge(calibration("mean")).moments[key].level == "mean"
    assert not made.merge(replace(made, moments={})).moments


def test_for_another_model_by_name() -> None:
    made = calibration()
    moved = made.for_model(model(5))
    assert list(moved.moments) == [TensorKey(0, 7)]
    assert same(moved.moments[TensorKey(0, 7)], made.moments[TensorKey(0, 2)])
    assert made.for_model(model()) is made
    only = replace(made, states={}, names={TensorKey(0, 2): "z"})
    with pytest.raises(NotCalibrated, match="has no tensor 'z'"):
        only.for_model(model())


@pytest.mark.parametrize("damage", [*DAMAGED, {"index": -1}, {"name": 3}, {"subgraph": None}])
def test_damaged_files_say_which_entry(tmp_path: Path, damage: dict[str, Any]) -> None:
    file = tmp_path / "a.json"
    calibration().save(file)
    data = json.loads(file.read_text())
    data["moments"].append(data["moments"][0] | {"index": 1, "name": "w"} | whole())
    file.write_text(json.dumps(data))
    assert len(Calibration.load(file).moments) == 2
    data["moments"][1] |= damage
    file.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=r"a\.json: the calibration is damaged \(entry 1 of its mom"):
        Calibration.load(file)


@pytest.mark.parametrize("moments", [3, {"a": 1}, [3], [[]]])
def test_no_list_of_moments(moments: Any) -> None:
    with pytest.raises(BadInput, match="damaged"):
        Calibration.from_json(calibration().to_json() | {"moments": moments})


def test_the_same_operator_twice() -> None:
    data = calibration().to_json()
    with pytest.raises(BadInput, match="entry 1 of its moments: tensor 2 comes twice"):
        Calibration.from_json(data | {"moments": data["moments"] * 2})
