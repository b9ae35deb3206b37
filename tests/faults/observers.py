"""Observers that do to the child process what a runtime may: they run in it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qcore.observers import MinMax, MinMaxState
from qcore.plugs import Plug


class Aborting(MinMaxState):
    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        print("the runtime says: no such kernel", file=sys.stderr, flush=True)
        os.abort()


class Hanging(MinMaxState):
    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        time.sleep(60)


class Growing(MinMaxState):
    kept: ClassVar[list[np.ndarray]] = []

    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        while True:
            self.kept.append(np.ones(1 << 20))
            time.sleep(0.001)


@dataclass(frozen=True)
class Aborts(MinMax):
    key: ClassVar[str] = "aborts"
    state: ClassVar[type[MinMaxState]] = Aborting


@dataclass(frozen=True)
class Hangs(MinMax):
    key: ClassVar[str] = "hangs"
    state: ClassVar[type[MinMaxState]] = Hanging


@dataclass(frozen=True)
class Grows(MinMax):
    key: ClassVar[str] = "grows"
    state: ClassVar[type[MinMaxState]] = Growing


# No names for recipes: other tests list those that there are.
for _kind in (Aborts, Hangs, Grows):
    del Plug._registry[_kind.family, _kind.key]
