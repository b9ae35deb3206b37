"""What all tests share: how deep they search, how a random one is repeated, where the corpus is."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

import tests.corpus
from kernels import streaming

ROOT = Path(__file__).resolve().parent.parent

# "ci" tries the same examples every time, so that a red run is about the change; "deep" searches.
DEPTHS = {"ci": 1, "deep": 20}
_SLOW_DATA = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, print_blob=True,
    suppress_health_check=_SLOW_DATA,
)  # fmt: skip
settings.register_profile(
    "deep", deadline=None, max_examples=60 * DEPTHS["deep"], print_blob=True,
    suppress_health_check=_SLOW_DATA,
)  # fmt: skip


# Hypothesis draws numbers that stand in loaded modules: other examples wherever imports differ.
providers._get_local_constants = lambda: providers._local_constants


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--depth", choices=sorted(DEPTHS), default="ci",
        help="ci: short and the same every time; deep: twenty times as many random cases",
    )  # fmt: skip
    parser.addoption("--seed", type=int, help="seed of the `rng` fixture, as a failure printed it")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(config.getoption("--depth"))


@pytest.fixture(scope="session", autouse=True)
def numpy_encodes() -> Iterator[None]:
    """Constants by NumPy, however much the tests before have read; tests/simd/test_encode.py asks
    for the kernels."""
    with streaming.using({}, streaming.SMALL):
        yield


@pytest.fixture(scope="session")
def depth(request: pytest.FixtureRequest) -> int:
    """By how much a loop over random cases is to be longer than in `ci`."""
    return DEPTHS[request.config.getoption("--depth")]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test's own: the same on each `ci` run, new ones on each `deep` run."""
    seed = request.config.getoption("--seed")
    if seed is None:
        fixed = request.config.getoption("--depth") == "ci"
        own = zlib.crc32(request.node.nodeid.encode())
        seed = own if fixed else int(np.random.SeedSequence().entropy) % 2**32
    request.node.user_properties.append(("seed", seed))
    return np.random.default_rng(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = (yield).get_result()
    seed = dict(item.user_properties).get("seed")
    if report.failed and seed is not None:
        report.sections.append(("how to repeat", f"pytest {item.nodeid!r} --seed {seed}"))


@pytest.fixture(scope="session")
def corpus() -> ModuleType:
    """`tests.corpus`: trained models and real inputs; the test is skipped where they are not."""
    if not tests.corpus.available():
        pytest.skip(tests.corpus.MISSING)
    return tests.corpus


@pytest.fixture(scope="session")
def example_model() -> Path:
    """The float model that ships with the project."""
    return ROOT / "examples" / "symbols.tflite"


@pytest.fixture(scope="session")
def example_data() -> Path:
    """The labelled data that ship with the project."""
    return ROOT / "examples" / "symbols.npz"
