"""Hypothesis strategies: what to draw when integers are at stake.

from hypothesis import given
from qcore.testing import strategies as qs

@given(call=qs.calls("ADD", "int8"), profile=qs.profiles("xnnpack"))
def test_mine(call, profile): ...
"""

from qcore.testing.strategies.calls import (
    calls,
    forms,
    operators,
    profiles,
    single_operator_models,
)
from qcore.testing.strategies.data import calibration_data
from qcore.testing.strategies.graphs import float_models, quantized_models
from qcore.testing.strategies.numbers import (
    accumulators,
    finite32,
    int32s,
    int_ranges,
    magnitudes32,
    multipliers,
    near_ties32,
    powers_of_two32,
    scales32,
    shifts,
    tied_scales,
    ties,
    weights_for,
    zero_points,
)
from qcore.testing.strategies.recipes import observers, recipes
from qcore.testing.strategies.tensors import (
    KINDS,
    NO_RANGE,
    QuantizedTensor,
    granularities,
    groups,
    quantized_tensors,
    stats_of,
)

__all__ = [
    "KINDS", "NO_RANGE", "QuantizedTensor", "accumulators", "calibration_data", "calls",
    "finite32", "float_models", "forms", "granularities", "groups", "int32s", "int_ranges",
    "magnitudes32", "multipliers", "near_ties32", "observers", "operators", "powers_of_two32",
    "profiles", "quantized_models", "quantized_tensors", "recipes", "scales32", "shifts",
    "single_operator_models", "stats_of", "tied_scales", "ties", "weights_for", "zero_points",
]  # fmt: skip
