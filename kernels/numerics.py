"""What each path computes, in words: the rows of docs/numerics.md, kept beside the kernels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One form of an operator, as the conformance run names it.

    reference, optimized, xnnpack: the rule in a few words, with the equations of docs/math.md
    ("DBL (E25)"); xnnpack "" where XNNPACK never takes it and the optimized kernel computes;
    reference or optimized "-" where that path has no kernel.  source: files of LiteRT or XNNPACK.
    note: quirks, limits, and what changed between runtimes.
    """

    form: str
    reference: str
    optimized: str
    xnnpack: str = ""
    source: str = ""
    note: str = ""
