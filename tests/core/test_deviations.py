"""The list of departures from the converter: each is asked for and tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qcore.deviations import DEVIATIONS

ROOT = Path(__file__).resolve().parents[2]


def mentions(folder: str, key: str) -> list[str]:
    """Files below `folder` that name a deviation in quotes, or as a keyword of `deviations`."""
    found = re.compile(rf"[\"']{key}[\"']|deviations\.{key}|\b{key}=")
    return [p.name for p in (ROOT / folder).rglob("*.py") if found.search(p.read_text("utf-8"))]


@pytest.mark.parametrize("key", DEVIATIONS)
def test_each_is_asked_for_by_the_engine_and_shown_by_a_test(key):
    assert set(mentions("qcore", key)) - {"deviations.py"}, f"nothing in qcore asks for {key!r}"
    assert mentions("tests", key), f"no test shows {key!r} on and off"


def test_a_key_that_nobody_uses_would_be_seen():
    assert not mentions("qcore", "no_such_deviation_" + "key")
