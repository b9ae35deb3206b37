"""Every checker, strategy and oracle is documented, and has a test in which it fails."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from qcore.testing import checks, strategies

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "testing.md"

# Checker or oracle -> a test in which it fails.
CHECKERS = {
    "check_operator": "testing/test_check_operator.py::test_wrong_kernels_are_found",
    "check_runtime": "testing/test_check_runtime.py::test_a_wrong_kernel_of_ours_is_found",
    "check_model": "testing/test_check_model.py::test_a_wrong_kernel_is_found",
    "check_scheme": "testing/test_check_scheme.py::test_a_wrong_scheme_is_seen",
    "check_rounding": "testing/test_check_scheme.py::test_a_wrong_rounding_is_seen_by_itself",
    "check_observer": "testing/test_check_observer.py::test_a_wrong_observer_is_seen",
    "check_roundtrip": "testing/test_check_files.py::test_a_broken_reader_or_writer_is_seen",
    "check_quantized": "testing/test_check_files.py::test_what_is_wrong_is_seen",
    "the conformance run": "kernels/test_conformance.py::test_a_difference_is_seen",
    "compiled kernels in it": "kernels/test_conformance.py::test_a_wrong_kernel_is_seen",
    "the whole run": "testing/test_kit.py::test_a_wrong_kernel_shows",
    "and in whole models": "testing/test_check_model.py::test_the_property_finds_what_is_wrong",
    "qcore.verify": "execute/test_verify.py::test_a_wrong_kernel_is_found_where_it_is",
    "the oracle of floats": "kernels/test_oracle.py::test_format_check_can_fail",
    "how results are compared": "kernels/test_same.py::test_refuses_what_differs_or_is_empty",
    "the faults": "faults/test_faults.py::test_the_check_of_words_fails",
    "the runtimes' defects": "peers/test_runtime_bugs.py::test_the_checker_fails",
    "the page's examples": "testing/test_document.py::test_another_output_would_be_seen",
}  # fmt: skip
# Strategy -> a test in which one that does not keep its promise fails.
STRATEGIES = {
    **dict.fromkeys(("calls", "single_operator_models", "operators", "forms"),
                    "testing/test_calls.py::test_a_call_that_is_not_whole_is_seen"),
    "profiles": "testing/test_calls.py::test_profiles_are_those_named",
    **dict.fromkeys(
        ("accumulators", "finite32", "int32s", "int_ranges", "magnitudes32", "multipliers",
         "near_ties32", "powers_of_two32", "scales32", "shifts", "ties", "weights_for",
         "zero_points"), "testing/test_numbers.py::test_a_wrong_number_would_be_seen"),
    "tied_scales": "testing/test_numbers.py::test_wrong_ratios_would_be_seen",
    **dict.fromkeys(("groups", "stats_of"), "testing/test_tensors.py::test_a_promise_can_fail"),
    **dict.fromkeys(("quantized_tensors", "granularities"),
                    "testing/test_tensors.py::test_a_wrong_tensor_would_be_seen"),
    **dict.fromkeys(("float_models", "quantized_models", "recipes", "observers"),
                    "testing/test_whole_models.py::test_a_wrong_strategy_would_be_seen"),
    "calibration_data": "testing/test_whole_models.py::test_wrong_data_would_be_seen",
}  # fmt: skip


def test_none_is_left_out():
    checkers = {name for name in checks.__all__ if name.startswith("check_")}
    assert checkers == {name for name in CHECKERS if name.startswith("check_")}
    drawn = {name for name in strategies.__all__ if name[0].islower()}
    assert drawn == set(STRATEGIES)


@pytest.mark.parametrize("place", sorted({*CHECKERS.values(), *STRATEGIES.values()}))
def test_the_test_is_there(place):
    file, _, name = place.partition("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    tests = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    assert name in tests


def test_every_name_is_in_the_page():
    page = PAGE.read_text("utf-8")
    names = [*strategies.__all__, *(n for n in checks.__all__ if n.startswith("check_"))]
    assert [n for n in names if n[0].islower() and f"`{n}" not in page] == []
    assert "`no_such_strategy" not in page
