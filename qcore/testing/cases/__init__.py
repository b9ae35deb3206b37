"""Random calls of every operator: each module of this package registers its generators.

    @cases("ADD", "int8", "int16", "uint8")
    def add(draw: Draw, form: str, size: int) -> Call: ...

A generator gives one valid call with data for every input, about `size` output elements, and takes
all randomness from `draw`. form: one of the registered words; a row of the conformance table.
Options and shapes go over everything the official kernels take; what makes a runtime stop or read
beyond its memory belongs to `tests.runtime_bugs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from kernels.call import Call
from qcore.testing.draw import Draw

Generator = Callable[[Draw, str, int], Call]
_found: dict[tuple[str, str], Generator] = {}


def cases(operator: str, *forms: str) -> Callable[[Generator], Generator]:
    """Decorator: this generator makes calls of `operator` in these forms."""

    def register(generator: Generator) -> Generator:
        for form in forms:
            assert (operator, form) not in _found, f"{operator} {form} has two generators"
            _found[operator, form] = generator
        return generator

    return register


@cache
def generators() -> Mapping[tuple[str, str], Generator]:
    """(operator, form) -> generator, of every module here, sorted."""
    for info in iter_modules(__path__):
        import_module(f"{__name__}.{info.name}")
    return MappingProxyType(dict(sorted(_found.items())))


def make(operator: str, form: str, seed: int, size: int) -> Call:
    """The call that `seed` stands for: the same each time."""
    return generators()[operator, form](Draw(seed), form, size)
