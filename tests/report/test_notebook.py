"""What a notebook shows by itself, and the charts as values."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from qcore.diff import Change, Diff
from qcore.errors import BadInput, MissingExtra
from qcore.report import chart, notebook
from qcore.report.charts import drawing, series, spec, specs
from qcore.verify import Compared, OperatorCheck, PathCheck, Verification
from tests.report import made
from tests.report.test_page import Reader


def test_a_comparison_is_a_table_and_a_figure():
    shown = made.comparison()._repr_html_()
    reader = Reader.of(shown)
    assert reader.loads == [] and reader.scripts == []
    assert {"float", "minmax", "kl", "90.5 % (88.7 to 92.2)"} <= set(reader.texts)
    assert "<svg" in shown


def test_hostile_texts_stay_texts():
    shown = made.hostile()._repr_html_()
    assert "<script" not in shown and "<img" not in shown
    assert Reader.of(shown).events == []


def test_without_the_extra_the_tables_stay(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    shown = made.comparison()._repr_html_()
    assert "<svg" not in shown and "pip install" in shown and "minmax" in shown


def verification(differing: int = 0) -> Verification:
    compared = Compared(1000, differing, 2.0 if differing else 0.0)
    operator = OperatorCheck(3, "CONV_2D", "a<b>", "int8", "double", True, compared)
    return Verification((PathCheck("xnnpack", "litert", 8, (operator,), compared, compared),))


def test_a_verification():
    assert "equal: 1,000 elements" in verification()._repr_html_()
    shown = verification(5)._repr_html_()
    assert "not equal" in shown and "a&lt;b&gt;" in shown and "5 of 1,000, by up to 2" in shown
    assert "nothing was compared" in Verification()._repr_html_()


def test_a_diff():
    same = Diff((), 12, (3, 3), (10, 10))
    assert "no difference in 12 pairs" in same._repr_html_()
    change = Change("scale", "CONV_2D 3 <x>", "0.1", "0.2", 1, 32, 5)
    shown = dataclasses.replace(same, changes=(change,) * 60)._repr_html_()
    assert "60 scale" in shown and "&lt;x&gt;" in shown and "1 of 32" in shown
    assert shown.count("<tr>") == 51 and "and 10 more" in shown


def test_columns_that_are_empty_are_left_out():
    shown = notebook._table(("a", "b"), [("1", ""), ("2", "")])
    assert Reader.of(shown).texts == ["a", "1", "2"]
    assert notebook._table(("a",), []) == ""


@pytest.mark.parametrize("kind", ["layers", "tradeoff"])
def test_charts_are_drawn(kind):
    assert drawing(made.comparison(), kind).startswith("<svg")


def test_a_drawing_of_many_layers_has_no_points():
    small, large = made.comparison(3, 20), made.comparison(4, 400)
    assert drawing(small).count("<path") > 60 > drawing(large).count("<path")
    assert len(drawing(large)) < 200_000


def test_a_chart_is_altairs():
    altair = pytest.importorskip("altair")
    made_chart = made.comparison().chart("tradeoff", by="litert xnnpack")
    assert isinstance(made_chart, altair.TopLevelMixin)
    (rows,) = made_chart.to_dict()["datasets"].values()
    assert [row["candidate"] for row in rows] == ["float", "minmax", "kl", "percentile 99.9"]


def test_what_cannot_be_charted_is_one_sentence(monkeypatch):
    whole = made.comparison()
    for kind, by, words in [
        ("other", "total", "there is no chart 'other'"),
        ("layers", "size", "there is no error 'size'"),
        ("tradeoff", "gpu", "there are: bytes, litert reference"),
    ]:
        with pytest.raises(BadInput, match=words):
            spec(whole, kind, by)
    with pytest.raises(BadInput, match="no candidate has both"):
        spec(dataclasses.replace(whole, candidates=(), truth=made.Candidate("float")), "tradeoff")
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtra, match="altair"):
        chart(whole)


def test_candidates_look_different():
    looks = [str(series(i)) for i in range(19)]
    assert len(set(looks)) == 19
    assert series(1)["color"] == specs()["series"]["colors"][0]
