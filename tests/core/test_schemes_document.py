"""docs/schemes.md and docs/adding-a-scheme.md: what stands there runs, and is all that ships."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qcore import schemes
from qcore.recipe import Recipe
from qcore.schemes import Scheme
from tests.testing.test_document import PATIENT, counted

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = (ROOT / "docs" / "schemes.md").read_text("utf-8")
ADDING = (ROOT / "docs" / "adding-a-scheme.md").read_text("utf-8")
SHIPPED = [
    found
    for found in vars(schemes).values()
    if isinstance(found, type) and issubclass(found, Scheme) and found.key
]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page)


def run(code: str, folder: Path) -> str:
    shutil.copytree(ROOT / "examples", folder / "examples")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def problems(page: str) -> list[str]:
    """Schemes, fields and needs that the page's table has otherwise than the code."""
    rows = [
        re.split(r" \| ", line.strip("| ")) for line in page.splitlines() if "](math.md#e" in line
    ]
    table = {re.findall(r"`(\w+)`", row[0])[0]: row for row in rows if row[0].startswith("`")}
    found = [f"{kind.key} is missing" for kind in SHIPPED if kind.key not in table]
    for kind in SHIPPED:
        if kind.key not in table:
            continue
        _, _, fields, needs, *_ = table[kind.key]
        own = {f.name: f.default for f in dataclasses.fields(kind) if not f.kw_only}
        if re.findall(r"`(\w+)`", fields) != [*own]:
            found.append(f"{kind.key} has the fields {', '.join(own) or 'none'}")
        for name, shown in re.findall(r"`(\w+)` = ([\w.\"]+)", fields):
            default = own.get(name)
            if shown.strip('"') != (str(default).lower() if default is False else str(default)):
                found.append(f"{kind.key} has {name} = {default}")
        if needs.strip() != kind.needs:
            found.append(f"{kind.key} needs {kind.needs}")
    return found


def test_the_table_is_what_ships():
    assert len(SHIPPED) == 8 and problems(SCHEMES) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("| `octav` |", "| octave |", "octav is missing"),
        ("`share` = 99.99", "`share` = 99", "percentile has share = 99.99"),
        ("`points` = 100, `bins`", "`bins`", "kl has the fields points, bins"),
        (
            "power of two | `nearest` = false | range",
            "power | `nearest` = false | none",
            "needs range",
        ),
    ],
)
def test_another_table_is_seen(old, new, says):
    assert old in SCHEMES
    assert any(says in found for found in problems(SCHEMES.replace(old, new)))


def test_the_rules_are_rules():
    import qcore.textfiles as textfiles

    (rules,) = blocks(SCHEMES, "toml")
    made = Recipe.from_json(textfiles.parse(rules, ".toml"))
    assert [rule.scheme for rule in made.rules] == [schemes.Percentile(99.9), schemes.Octav()]


def test_the_side_by_side_runs(tmp_path):
    (code,), (shown,) = blocks(SCHEMES, "python"), blocks(SCHEMES, "text")
    found = run(code.replace("limit=100", "limit=4"), tmp_path)
    names = [line.rsplit(None, 2)[0] for line in shown.splitlines()]
    assert [line.rsplit(None, 2)[0] for line in found.splitlines()] == names


def test_from_nothing_to_a_compared_scheme(tmp_path):
    """The page's blocks are one program, and the scheme is 20 lines at most."""
    code, checked = blocks(ADDING, "python"), blocks(ADDING, "text")[0]
    lines = code[0][code[0].index("@dataclass") :].strip().splitlines()
    assert len(lines) <= 20
    program = "\n".join(code).replace("limit=100", "limit=8").replace("[:100]", "[:8]")
    found = run(PATIENT + program, tmp_path)
    assert counted(found).startswith(counted(checked))
    assert (tmp_path / "sigmas.tflite").stat().st_size < 80_000
    for name in ("mine", "tflite", "McNemar"):
        assert name in found


def test_the_commands_run(tmp_path, monkeypatch, capsys):
    """`--plugin` with the page's class, fields of schemes, and its comparison in one command."""
    import json

    from qcore.cli import invoke

    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(blocks(ADDING, "python")[0].replace('"sigmas"', '"of-a-file"'))
    data = ["--data", str(ROOT / "examples" / "symbols.npz"), "--std", "255", "--limit", "4"]
    model = str(ROOT / "examples" / "symbols.tflite")
    quantize = ["quantize", model, *data, "-o", "out.tflite"]
    own = ["--plugin", "mine.py", "--activation-scheme", "of-a-file:many=9.5"]
    weights = ["--weight-scheme", "kl:points=9:bins=64"]
    assert invoke([*quantize, *own, *weights, "--plan", "plan.json"]) == 0, capsys.readouterr().err
    forms = json.loads(Path("plan.json").read_text())["subgraphs"][0]["forms"]
    assert {"of-a-file", "kl"} <= {form["rule"] for form in forms}
    for wrong, says in (
        (["--plugin", "no.py"], "no such file"),
        (["--activation-scheme", "mse:points"], "FIELD=VALUE"),
        (["--weight-scheme", "mse:points=0"], "points 0"),
        (["--weight-scheme", "mse:dots=1"], "it takes"),
        (["--recipe", "dynamic", "--activation-scheme", "mse"], "leaves activations float"),
        (["--activation-scheme", "mse", "--observer", "minmax"], "--observer histogram"),
        (["--activation-scheme", "mse", "--set", "observer=moving_average"], "'moving_average'"),
    ):
        capsys.readouterr()
        assert invoke([*quantize, *wrong]) == 2
        assert says in " ".join(capsys.readouterr().err.split()), wrong
    assert invoke([*quantize, "--set", "observer=moving_average"]) == 0
    capsys.readouterr()
    candidate = ["--candidate", "int8+activation=of-a-file:many=10", "--plugin", "mine.py"]
    options = ["--latency", "none", "--layers", "2", "--json"]
    assert invoke(["compare", model, *data, *candidate, *options]) == 0, capsys.readouterr().err
    assert "of-a-file" in capsys.readouterr().out
