"""The page in a real browser: silent, self-contained, readable in every width and theme, usable."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from docs import browser
from qcore.report import html
from tests.report import made

PROGRAM = browser.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=browser.MISSING)
WAYS = [(width, dark) for width in (400, 1600) for dark in (False, True)]


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    with browser.open_page(PROGRAM or "") as opened:
        yield opened


def written(tmp_path, whole):
    path = tmp_path / "report.html"
    html(whole, path)
    return path


@pytest.mark.parametrize(("width", "dark"), WAYS)
def test_nothing_is_said_asked_or_too_wide(page, tmp_path, width, dark):
    seen = page.open(written(tmp_path, made.comparison(12, 20)), width, dark)
    assert seen.problems == []
    assert page.run("document.querySelectorAll('#by-layer svg path').length") > 100


def test_hostile_texts_stay_texts(page, tmp_path):
    seen = page.open(written(tmp_path, made.hostile()), 400, False)
    assert seen.problems == []
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.querySelector('#table tbody small').title") == made.HOSTILE


@pytest.mark.parametrize("count", [0, 1])
def test_a_page_of_little(page, tmp_path, count):
    whole = dataclasses.replace(made.comparison(count, 1), pairs=(), labelled=0)
    assert page.open(written(tmp_path, whole), 1600, False).problems == []


def test_it_does_what_its_controls_say(page, tmp_path):
    page.open(written(tmp_path, made.comparison(3, 30)), 1600, False)
    rows = "[...document.querySelectorAll('#table tbody tr')].map(r => Number(r.dataset.layer))"
    assert page.run(rows) == list(range(30))
    choose = (
        "field = document.getElementById('{}'); field.value = '{}';"
        "field.dispatchEvent(new Event('input'))"
    )
    page.run(choose.format("metric", "own"))
    page.run("document.querySelectorAll('#table thead button')[2].click()")
    assert page.run(rows)[0] == 20  # where kl breaks
    page.run(choose.format("find", "softmax"))
    assert page.run(rows) and all(i % 6 == 5 for i in page.run(rows))
    page.run("document.querySelector('#table tbody button').click()")
    page.settle()
    assert "SOFTMAX" in page.run("document.querySelector('#detail h3').textContent")
    assert page.run("document.querySelectorAll('#detail .codes .chart-wrapper > svg').length") == 3
    page.run("document.querySelector('#chips input').click()")
    page.settle()
    assert page.run("document.querySelectorAll('#detail .codes .chart-wrapper > svg').length") == 2
    assert page.run("document.querySelectorAll('#table thead th').length") == 3
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.run(paper)
    page.run("document.getElementById('theme').click()")
    assert page.run(paper) != before
    assert page.seen.problems == []


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("<script>console.error('x')</script>", "console"),
        ("<script>undefined_name()</script>", "console"),
        ('<img src="https://example.org/x.png">', "request"),
        ('<p style="width:3000px">x</p>', "too wide"),
    ],
)
def test_what_is_wrong_is_seen(page, tmp_path, more, problem):
    path = written(tmp_path, made.comparison(1, 3))
    text = path.read_text("utf-8").replace("<header>", f"{more}<header>", 1)
    path.write_text(text.replace("Content-Security-Policy", "x"), "utf-8")
    assert any(p.startswith(problem) for p in page.open(path, 400, False).problems)
