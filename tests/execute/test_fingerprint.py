"""The fingerprint of a runtime: it knows its own profile, and sees when it is another's."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import ops
from kernels.profile import Profile
from qcore import fingerprint as public
from qcore.cli import invoke
from qcore.errors import BadInput
from qcore.fingerprint import _trait, describe, fingerprint
from qcore.testing.cases import make


def test_each_path_follows_its_own_profile():
    found = fingerprint("litert", ("FULLY_CONNECTED", "ADD"), models=4, outputs=300)
    assert found.version and not found.surprises
    int8 = {t.path: t for t in found.traits if (t.operator, t.form) == ("FULLY_CONNECTED", "int8")}
    assert set(int8) == {"reference", "optimized", "xnnpack"}
    assert all(t.decided > 0 and t.compared > 1000 for t in int8.values())
    assert "F64" in int8["reference"].rule and "UP" in int8["optimized"].rule
    assert public is fingerprint


def asked(path: str, change: int = 0):
    """Models of LEAKY_RELU with the answers of `path`, as if a reference path gave them."""
    calls = [make("LEAKY_RELU", "int8", seed, 300) for seed in range(40)]
    calls = [c for c in calls if ops.resolve(c.on(profile=Profile("xnnpack"))).profile.is_xnnpack]
    assert len(calls) > 6
    calls = calls[:6]
    found = []
    for call in calls:
        (y,) = ops.compute(call.on(profile=Profile(path)), "reference")
        found.append((call.on(profile=Profile("reference")), ([y + np.int8(change)], False)))
    return found


def test_another_rule_is_named():
    trait = _trait("LEAKY_RELU", "int8", "reference", "litert", asked("xnnpack"))
    assert trait.surprising and any("xnnpack" in name for name in trait.follows)
    assert not any("reference" in name for name in trait.follows)
    assert describe(trait).startswith("DIFFERENT: as ")


def test_an_unknown_rule_is_said():
    trait = _trait("LEAKY_RELU", "int8", "reference", "litert", asked("reference", 1))
    assert trait.surprising and trait.follows == ()
    assert describe(trait).startswith("UNKNOWN")


def test_a_refusal_is_no_surprise():
    refused = [(call, "no such kernel") for call, _ in asked("reference")]
    trait = _trait("LEAKY_RELU", "int8", "reference", "litert", refused)
    assert not trait.surprising and trait.refused == 6
    assert describe(trait) == "not run: no such kernel"


def test_wrong_use():
    with pytest.raises(BadInput, match="no generator for TURN"):
        fingerprint("litert", ("TURN",))
    with pytest.raises(BadInput, match="runtime 'onnx'"):
        fingerprint("onnx")


def test_command(capsys):
    assert invoke(["fingerprint", "--operator", "RELU", "--models", "2", "--outputs", "50"]) == 0
    assert "0 of 9 rows are not as documented" in capsys.readouterr().out
    assert invoke(["fingerprint", "--operator", "RELU", "--models", "1", "--json"]) == 0
    assert '"traits"' in capsys.readouterr().out
