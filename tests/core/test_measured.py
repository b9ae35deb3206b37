"""Files of measurements: valid JSON, a row a line."""

from __future__ import annotations

import json

from qcore.testing import measured


def test_a_row_a_line(tmp_path):
    rows = [{"model": "a\nb", "ratio": 0.1, "remark": None}, {"model": "é", "ratio": 2, "of": [1]}]
    data = {"title": "t", "packages": {"numpy": "2"}, "none": [], "rows": rows}
    measured.save(tmp_path / "x.json", data)
    text = (tmp_path / "x.json").read_text("utf-8")
    assert json.loads(text) == data
    lines = text.splitlines()
    assert [json.loads(line.rstrip(",")) for line in lines[5:7]] == rows
    assert len(lines) == 9 and text.endswith("}\n")
