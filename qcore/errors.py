"""What can go wrong, as one family: every error is one sentence with what, where, what to do."""

from __future__ import annotations

import os


class QcoreError(Exception):
    """Base of every error this package raises for a person to read."""


class BadInput(QcoreError):
    """A file, an argument or a sample is not what it should be."""


class BadSample(BadInput):
    """A calibration or evaluation sample has the wrong name, shape, dtype or values."""


class BadRecipe(BadInput):
    """A recipe, rule, scheme or observer is unknown or contradicts itself."""


class BadStatistics(QcoreError):
    """A range that no quantization parameters can stand for (NaN, infinite, lo > hi)."""


class NotCalibrated(QcoreError):
    """Ranges are needed and not there, or belong to another model."""


class CannotQuantize(QcoreError):
    """The model as a whole cannot take this recipe."""


class CannotRun(QcoreError):
    """An operator of the model has no kernel here, or cannot compute what it was given."""


class RuntimeFailed(QcoreError):
    """An official runtime in a child process refused, crashed, hung or ran out of memory.

    printed: the last that it wrote to standard output and error.
    signal: what ended it, if one did.
    """

    def __init__(self, message: str, *, printed: str = "", signal: int | None = None):
        super().__init__(message)
        self.printed = printed
        self.signal = signal


class MissingExtra(QcoreError):
    """An optional package is needed; the message names the extra that brings it."""


def short(text: str) -> str:
    """What an error quotes may be a whole file or array."""
    return text if len(text) <= 400 else text[:400] + "..."


def failure(error: BaseException) -> str:
    """What a user's own code raised, and where: "IndexError: out of bounds (mine.py, line 10)"."""
    said = short(" ".join(str(error).split()))
    found = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError):
        return found  # which says where
    at, where = error.__traceback__, ""
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if not file.startswith("<frozen"):
            where = f" ({os.path.basename(file)}, line {at.tb_lineno})"
        at = at.tb_next
    return found + where
