"""What a fuzz target is, and the limits that hold for every input of every target."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

LIMIT_S = 5.0
"""Most processor seconds for one input."""
LIMIT_MB = 64
"""Most that one input may add to the peak memory of the process."""
LIMIT_MESSAGE = 2000
"""Most characters of an error: it is one sentence for a person."""
MAX_BYTES = 1 << 14
"""Largest input."""
REGRESSIONS = Path(__file__).parent / "regressions"
MODULES = {
    "reader": "tests.fuzz.reader",
    "recipe": "tests.fuzz.texts:RECIPE",
    "calibration": "tests.fuzz.texts:CALIBRATION",
    "arrays": "tests.fuzz.arrays",
}
"""Name -> where the target is; imported late, so that it can be instrumented."""
MEASURED: dict[str, tuple[str, ...]] = {
    "reader": ("tflite_schema",),
    "recipe": (
        "qcore.recipe", "qcore.litert_recipe", "qcore.textfiles", "qcore.granularity",
        "qcore.rounding", "qcore.plugs", "qcore.schemes",
    ),
    "calibration": (
        "qcore.calibrate.calibration", "qcore.textfiles", "qcore.params", "qcore.plugs",
        "qcore.observers",
    ),
    "arrays": ("qcore.data",),
}  # fmt: skip
"""Name -> modules and packages whose branches guide the search, and whose coverage is reported."""


class Broken(AssertionError):
    """An invariant does not hold for an input."""


@dataclass(frozen=True)
class Target:
    """attempt: tries an input, gives what came of it in a word or two, raises for a defect.
    seeds: inputs to start from.  mutate: (input, random numbers) -> another input that has much of
    its structure.  words: byte strings that the format gives a meaning to.  quick: as `attempt`,
    without what is as well tried on some of the inputs only; for the search.
    """

    attempt: Callable[[bytes], str]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Callable[[bytes, Any], bytes]
    words: tuple[bytes, ...] = ()
    quick: Callable[[bytes], str] | None = None


def load(name: str) -> Target:
    module, _, attribute = MODULES[name].partition(":")
    target: Target = getattr(import_module(module), attribute or "TARGET")
    return target


def regressions(name: str) -> list[Path]:
    """Inputs that showed a defect once."""
    return sorted((REGRESSIONS / name).glob("*.bin"))


def peak_mb() -> float:
    """Largest resident memory that the process ever had."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def check(target: Target, data: bytes, quick: bool = False) -> tuple[str, float]:
    """What came of an input and the seconds it took. Raises whatever breaks an invariant."""
    attempt = (target.quick if quick else None) or target.attempt
    peak, began = peak_mb(), time.process_time()
    outcome = attempt(data)
    took, more = time.process_time() - began, peak_mb() - peak
    if took > LIMIT_S:
        raise Broken(f"{len(data)} bytes took {took:.1f} s")
    if more > LIMIT_MB:
        raise Broken(f"{len(data)} bytes took {more:.0f} MB")
    return outcome, took


def said(error: Exception) -> None:
    """Raises Broken for a message that nobody can read."""
    text = str(error)
    if not text or len(text) > LIMIT_MESSAGE:
        raise Broken(f"a message of {len(text)} characters: {text[:200]}") from error
