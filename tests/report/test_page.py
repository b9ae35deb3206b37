"""The page as text: nothing is loaded, nothing escapes, and it is the same every time."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from qcore.compare.values import Candidate, Comparison
from qcore.report import html
from qcore.report.data import data
from qcore.report.page import _inside, digits, library, size
from tests.report import made

LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Reader(HTMLParser):
    """Elements that load something, texts by element, and events in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.events: list[str] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name.startswith("on"):
                self.events.append(name)
            if name in LOADING and not (value or "").startswith(("#", "data:,")):
                self.loads.append(f"{tag} {name}={value}")
        if tag not in ("meta", "link", "br", "input", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts.append(text)
        elif inside == "style":
            self.loads += re.findall(r"url\([^)]*\)|@import[^;]*", text)
        elif text.strip():
            self.texts.append(text.strip())

    @classmethod
    def of(cls, page: str) -> Reader:
        reader = cls()
        reader.feed(page)
        reader.close()
        assert reader._open == []
        return reader


def embedded(reader: Reader) -> dict:
    return json.loads(reader.scripts[0])


@pytest.fixture(scope="module")
def page() -> str:
    return html(made.comparison())


def test_nothing_is_loaded(page):
    reader = Reader.of(page)
    assert reader.loads == [] and reader.events == []
    assert "default-src 'none'" in page
    assert len(reader.scripts) == 3


@pytest.mark.parametrize(
    "more",
    [
        '<img src="https://example.org/x.png">', '<link href="a.css">',
        "<style>@import 'x';</style>", "<style>a{background:url(x)}</style>",
        '<script src="x.js"></script>', '<p onclick="x()"></p>',
    ],
)  # fmt: skip
def test_what_loads_or_listens_would_be_seen(page, more):
    reader = Reader.of(page.replace("<header>", f"{more}<header>", 1))
    assert reader.loads or reader.events


def test_the_values_are_in_it(page):
    found = embedded(Reader.of(page))
    expected = data(made.comparison())
    assert {k: found[k] for k in expected} == expected
    assert found["charts"]["series"]["colors"]


def test_what_a_person_reads_first(page):
    texts = Reader.of(page).texts
    whole = made.comparison()
    assert whole.headline in texts
    assert texts.index(whole.headline) < texts.index("Summary")
    for c in (whole.truth, *whole.candidates):
        assert c.name in texts
    joined = " ".join(texts)
    for words in ("1.12 MB", "÷ 3.8", "90.5", "88.7–92.2", "litert xnnpack", "of 14", "McNemar"):
        assert words in joined, words


def test_hostile_texts_stay_texts():
    page = html(made.hostile())
    reader = Reader.of(page)
    assert reader.loads == [] and reader.events == [] and len(reader.scripts) == 3
    assert not any("alert(1)" in s for s in reader.scripts[1:])
    found = embedded(reader)
    assert found["layers"]["name"] == [made.HOSTILE] * 6
    assert found["candidates"][2]["name"] == made.HOSTILE + " (2)"
    rest = page.replace(library(), "")
    assert "<script>alert" not in rest and "<img" not in rest


def test_escaping_that_is_missing_would_be_seen():
    page = html(made.hostile()).replace("\\u003c", "<").replace("\\u003e", ">")
    with pytest.raises((AssertionError, ValueError)):
        assert len(Reader.of(page).scripts) == 3
        embedded(Reader.of(page))


def test_nothing_in_a_script_or_style_ends_it():
    assert _inside("script", "a </SCRIPT> <!-- </p>") == "a \\x3c/SCRIPT> \\x3c!-- </p>"
    assert _inside("style", "a </style>") == "a \\3c /style>"


def test_the_same_comparison_gives_the_same_bytes(page, tmp_path):
    assert html(made.comparison(), tmp_path / "report.html") == page
    assert (tmp_path / "report.html").read_text("utf-8") == page


def test_a_large_comparison_is_below_five_megabytes():
    page = html(made.comparison(12, 300))
    assert 1e6 < len(page.encode()) < 5e6


@pytest.mark.parametrize(
    "whole",
    [
        Comparison("m", Candidate("float"), (), ()),
        Comparison("m", Candidate("float"), (Candidate("a", error="it aborted (signal 6)"),), ()),
        dataclasses.replace(made.comparison(2), pairs=(), notes=(), versions={}, labelled=0),
        dataclasses.replace(made.comparison(1), metric="mIoU"),
    ],
    ids=["nothing", "failed", "no labels", "metric"],
)
def test_what_was_not_measured_leaves_a_page(whole):
    reader = Reader.of(html(whole))
    for c in whole.candidates:
        assert c.error == "" or c.error in reader.texts
    assert ("mIoU" in reader.texts) == (whole.metric == "mIoU")


def test_a_missing_package_is_one_sentence(monkeypatch):
    from qcore.errors import MissingExtra

    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tflite-qcore\[report\]'"):
        html(made.comparison())


@pytest.mark.parametrize(
    ("count", "said"), [(17, "17 B"), (999, "999 B"), (1_120_000, "1.12 MB"), (999_990, "1 MB")]
)
def test_sizes_as_people_say_them(count, said):
    assert size(count) == said


@pytest.mark.parametrize(
    ("x", "said"),
    [(12345.0, "12,300"), (0.8, "0.800"), (300.0, "300"), (3.14159, "3.14"), (1e-7, "1.00e-07")],
)
def test_numbers_as_people_write_them(x, said):
    assert digits(x) == said
