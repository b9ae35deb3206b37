"""A comparison is kept whole: every number comes back, and shows the same."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from qcore.compare import Comparison, compare
from qcore.errors import BadInput
from qcore.metrics import Difference
from tests.compare.models import branches, samples


@pytest.fixture(scope="module")
def found() -> Comparison:
    model = branches()
    labels = np.arange(6) % 10
    made = compare(
        model, {"int8": "int8", "same": model, "bad | name": "int9"}, samples(), labels,
        latency=["xnnpack"], metric=lambda y, labels: math.nan,
    )  # fmt: skip
    odd = dataclasses.replace(made.candidates[0], outputs=(Difference(1, 1.0, math.inf),))
    return dataclasses.replace(made, candidates=(*made.candidates, odd))


def same(a, b) -> bool:
    """Equal in every field, arrays and NaN included."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, float):
        return isinstance(b, float) and (a == b or (math.isnan(a) and math.isnan(b)))
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        fields = [f.name for f in dataclasses.fields(a) if f.name != "models"]
        return all(same(getattr(a, n), getattr(b, n)) for n in fields)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_round_trip(found, tmp_path):
    file = tmp_path / "c.json"
    found.save(file)
    json.loads(file.read_text(), parse_constant=pytest.fail)  # no NaN or Infinity in it
    back = Comparison.load(file)
    assert same(found, back)
    assert str(back) == str(found) and back.to_markdown() == found.to_markdown()
    with pytest.raises(BadInput, match="not in memory"):
        back.difference("int8", "same")


def test_a_change_is_seen(found):
    data = found.to_json()
    key = next(iter(data["candidates"][0]["seen"]))
    data["candidates"][0]["seen"][key]["total"]["noise"] *= 1 + 1e-15
    assert not same(found, Comparison.from_json(data))


@pytest.mark.parametrize("change", [
    lambda d: d.pop("layers"),
    lambda d: d.update(version=2),
    lambda d: d.update(format="other"),
    lambda d: d["truth"].update(more=1),
    lambda d: d["candidates"].append(5),
    lambda d: d["layers"][0].update(key="zero"),
])  # fmt: skip
def test_what_is_no_comparison(found, change, tmp_path):
    data = found.to_json()
    change(data)
    file = tmp_path / "c.json"
    file.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=r"c\.json: this is no comparison"):
        Comparison.load(file)


def test_tables(found):
    text, markdown = str(found), found.to_markdown()
    assert found.headline.splitlines()[0][:60] in text
    for words in ("int8", "same", "McNemar", "SQNR_dB", "xnnpack ms", "'int9' is unknown"):
        assert words in text
    assert "| int8 |" in markdown and "bad \\| name" in markdown
    for line in markdown.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    exact = found.candidate("same")
    assert all(s.total.noise == 0 for s in exact.seen.values()) and not found.worst("same")
    assert [layer.name for layer, _ in found.worst("int8", 2)] and len(found.worst("int8", 2)) == 2
