"""A grid of candidates over models and data: every combination a trial, its result a file.

`grid` makes trials of what was asked, `trial` runs one, `folder` keeps results, `pool` spreads
trials over processes or any executor, `values` is what comes out; `run` puts these together.
"""

from qcore.sweep.grid import Grid, Problem
from qcore.sweep.run import load, sweep
from qcore.sweep.values import Row, Sweep

__all__ = ["Grid", "Problem", "Row", "Sweep", "load", "sweep"]
