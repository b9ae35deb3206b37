"""Calls of operators, and the models of one operator that hold them."""

from __future__ import annotations

from hypothesis import strategies as st

from kernels.call import Call
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.errors import BadInput
from qcore.testing import models
from qcore.testing.cases import generators
from qcore.testing.draw import Draw
from qcore.testing.strategies.source import Source


def operators() -> tuple[str, ...]:
    """Names of the operators that `calls` knows."""
    return tuple(dict.fromkeys(name for name, _ in generators()))


def forms(operator: str) -> tuple[str, ...]:
    """The forms of an operator: "int8", "int16", "hybrid", ..., as in docs/numerics.md."""
    return tuple(form for name, form in generators() if name == operator)


def profiles(*paths: str) -> st.SearchStrategy[Profile]:
    """An execution path of a runtime; all of them unless some are named."""
    return st.builds(Profile, st.sampled_from(paths or PATHS), st.sampled_from(tuple(RUNTIMES)))


def calls(
    operator: str | None = None, form: str | None = None, size: int = 64
) -> st.SearchStrategy[Call]:
    """Valid calls with data for every input: all shapes and options that the kernels take.

    operator, form: any of them if not given.  size: about the number of outputs, at most.
    Shrinks toward small shapes, few and simple values, and options at their first choice.
    Raises BadInput for an operator or form that is not known.
    """
    known = [key for key in generators() if operator in (None, key[0]) and form in (None, key[1])]
    if not known:
        raise BadInput(
            f"there are no calls of {operator or 'any operator'} as {form or 'anything'}; "
            "qcore.testing.operators() and forms(operator) list what there is"
        )
    return st.sampled_from(known).flatmap(lambda key: _calls(*key, size))


@st.composite
def _calls(draw: st.DrawFn, operator: str, form: str, size: int) -> Call:
    uneven = draw(st.booleans())  # ties first: their scales are the simple numbers
    source = Draw.of(Source(draw), not uneven)
    return generators()[operator, form](source, form, draw(st.integers(1, size)))


def single_operator_models(
    operator: str | None = None, form: str | None = None, size: int = 64
) -> st.SearchStrategy[tuple[bytes, list]]:
    """(a .tflite of one operator, arrays for its inputs): `calls` as files."""
    return calls(operator, form, size).map(lambda c: (models.to_bytes(c), models.arrays(c)))
