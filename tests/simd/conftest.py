"""Small programs, on which several threads are tried as on large ones."""

from __future__ import annotations

import pytest

from kernels.simd import program


@pytest.fixture(autouse=True)
def teams_always_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "WAKING", 0.0)
    monkeypatch.setattr(program, "MEETING", 0.0)
