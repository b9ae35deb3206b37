"""Node data for Model Explorer: keys, values, files."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from qcore.errors import BadInput
from qcore.report import overlay
from qcore.report.overlay import THRESHOLDS, node_keys, overlay_paths
from tests.report import made


def test_a_value_for_every_layer_that_was_seen():
    whole = made.comparison(3, 12)
    found = overlay(whole)
    assert list(found) == ["minmax", "kl", "percentile 99.9"]
    for c, values in zip(whole.candidates, found.values(), strict=True):
        assert values["results"] == {
            layer.name: {"value": round(c.seen[layer.key].total.SQNR_dB, 2)}
            for layer in whole.layers if layer.key in c.seen
        }  # fmt: skip
        assert [t["value"] for t in values["thresholds"]] == sorted(t for t, _, _ in THRESHOLDS)


def test_own_errors_leave_out_what_was_not_fed_alone():
    whole = made.comparison(2, 12)
    kl = overlay(whole, part="own")["kl"]
    assert kl["name"] == "kl: own SQNR, dB"
    assert len(kl["results"]) == 11
    assert min(kl["results"].items(), key=lambda x: x[1]["value"])[0] == whole.layers[8].name


def test_exact_layers_are_left_out_and_lost_ones_are_finite():
    whole = made.comparison(1, 4)
    seen = dict(whole.candidates[0].seen)
    first, second = whole.layers[0].key, whole.layers[1].key
    seen[first] = dataclasses.replace(seen[first], total=made.difference(math.inf))
    lost = dataclasses.replace(seen[second].total, signal=0.0)
    seen[second] = dataclasses.replace(seen[second], total=lost)
    one = dataclasses.replace(whole.candidates[0], seen=seen)
    (found,) = overlay(dataclasses.replace(whole, candidates=(one,))).values()
    assert whole.layers[0].name not in found["results"]
    assert found["results"][whole.layers[1].name] == {"value": -200.0}


def test_names_that_stand_twice_become_numbers():
    whole = made.comparison(1, 5)
    names = ["a", "b", "a", "", "c"]
    layers = tuple(dataclasses.replace(x, name=n) for x, n in zip(whole.layers, names, strict=True))
    other = dataclasses.replace(layers[2], key=layers[2].key._replace(subgraph=1))
    assert list(node_keys(layers).values()) == ["0", "b", "2", "3", "c"]
    assert list(node_keys((*layers[:2], other, *layers[3:])).values()) == ["0", "b", "3", "c"]


def test_the_files(tmp_path):
    one, many = made.comparison(1), made.comparison(3)
    assert overlay_paths(one, tmp_path / "x.json") == [tmp_path / "x.json"]
    named = dataclasses.replace(many.candidates[0], name="../a b/ä")
    many = dataclasses.replace(many, candidates=(named, *many.candidates[1:]))
    made_files = overlay_paths(many, tmp_path / "x")
    assert [p.name for p in made_files] == [
        "x-.._a_b_ä.json",
        "x-kl.json",
        "x-percentile_99.9.json",
    ]
    found = overlay(many, tmp_path / "x")
    assert sorted(tmp_path.iterdir()) == sorted(made_files)
    for path, values in zip(made_files, found.values(), strict=True):
        assert json.loads(path.read_text("utf-8")) == values


def test_an_unknown_part_is_an_error():
    with pytest.raises(BadInput, match="there are total, own, inherited"):
        overlay(made.comparison(1), part="other")
