"""Every operator that an official quantizer can quantize has kernels, and the lists are theirs."""

from __future__ import annotations

import pytest

from qcore.testing import coverage


def test_all_quantizable_operators_are_covered():
    covered = coverage.covered()
    assert coverage.LITERT_QUANTIZER - covered == set()
    assert coverage.CONVERTER - covered == set()
    assert len(coverage.CONVERTER) == 79


def test_the_list_is_that_of_the_installed_quantizer():
    qtyping = pytest.importorskip("litert_quantizer.qtyping")
    names = {e.value for e in qtyping.TFLOperationName}
    names -= {"*", "INPUT", "OUTPUT", "CUSTOM_OP", "CONV_2D_TRANSPOSE"}
    names |= {"TRANSPOSE_CONV"}
    assert names == coverage.LITERT_QUANTIZER


def test_a_missing_kernel_is_seen(monkeypatch):
    monkeypatch.setattr(coverage, "generators", lambda: {("ADD", "int8"): None})
    assert "MUL" in coverage.CONVERTER - coverage.covered()
