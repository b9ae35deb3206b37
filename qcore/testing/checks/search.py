"""Looking for a case in which a check fails: from small sizes to large ones, then shrunk.

A checker gives a strategy for each size and a function that raises `Found`; Hypothesis does the
rest. Nothing is kept in a database: what is found is in the error, as Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable

SIZES = (1, 4, 16, 64)
FEW = 12  # examples below which only the middle sizes are tried: the first ones are all zeros
SHRINKING = 25.0  # seconds that a case may take to become small
T = TypeVar("T")


class _Enough(BaseException):
    """Ends a search that shrinks for too long."""


class Found(Exception):
    """A case that fails. sentence: why.  more: what the checker wants to know of it."""

    def __init__(self, sentence: str, *more: Any):
        super().__init__(sentence)
        self.sentence, self.more = sentence, more


def shares(examples: int, sizes: Sequence[int] = SIZES) -> list[tuple[int, int]]:
    """(size, number of examples) from small to large; `examples` altogether."""
    sizes = sorted(sizes)
    if examples < FEW:
        sizes = sizes[len(sizes) // 2 :][:1]
    each, rest = divmod(examples, len(sizes))
    return [(size, each + (i < rest)) for i, size in enumerate(sizes)]


def search(
    strategy: Callable[[int], st.SearchStrategy[T]],
    test: Callable[[T], None],
    examples: int,
    seed: int | None = 0,
    sizes: Sequence[int] = SIZES,
) -> Found | None:
    """The smallest case that makes `test` raise Found, or None.

    strategy: of a size.  seed: the same cases for the same number, new ones for None.
    """
    for size, number in shares(examples, sizes):
        found = _search(strategy(size), test, number, seed)
        if found is not None:
            return found
    return None


def _search(
    strategy: st.SearchStrategy[T], test: Callable[[T], None], examples: int, seed: int | None
) -> Found | None:
    last: list[Found] = []
    until: list[float] = []

    def once(case: T) -> None:
        if until and time.monotonic() > until[0]:
            raise _Enough
        try:
            test(case)
        except Found as found:
            last.append(found)
            until[:] = until or [time.monotonic() + SHRINKING]
            raise

    given_ = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        backend="hypothesis",
    )
    run = given_(given(strategy)(once))
    if seed is not None:
        run = seeded(seed)(run)
    try:
        with _same_everywhere():
            run()
    except Found as found:
        return found
    except _Enough:
        return last[-1]
    except Flaky:
        last[-1].sentence += "; the same case was also right: the answer changes between calls"
        return last[-1]
    except Unsatisfiable:
        return None
    return None


@contextmanager
def _same_everywhere() -> Iterator[None]:
    """Hypothesis (since 6.131) also draws numbers that stand in the modules which are loaded: with
    the same seed other examples wherever imports differ. Not in here."""
    from hypothesis.internal.conjecture import providers

    find = getattr(providers, "_get_local_constants", None)
    known = getattr(providers, "CONSTANTS_CACHE", None)
    if find is None or known is None:
        yield
        return
    none = type(providers.GLOBAL_CONSTANTS)()
    providers._get_local_constants = lambda: none
    providers.CONSTANTS_CACHE = type(known)(known.max_size)
    try:
        yield
    finally:
        providers._get_local_constants, providers.CONSTANTS_CACHE = find, known
