"""Mixed precision: which operators cost the most as integers, and the fewest to leave float.

`trials` quantizes with some operators left float and measures, `costs` does so one operator
at a time, `search` looks for the cheapest set that reaches a target.
"""

from qcore.mixed.costs import Sensitivity, sensitivity
from qcore.mixed.search import Mixed, mixed

__all__ = ["Mixed", "Sensitivity", "mixed", "sensitivity"]
