"""Observers: what is recorded of each tensor while a float model runs on samples.

One observer a file; one of your own stands in a module that the child process can import.
`find(observer)` takes an Observer, its key, or its JSON.
"""

from __future__ import annotations

from typing import Any

from qcore.observers.base import Observer, State, extremes
from qcore.observers.histogram import Histogram, HistogramObserver, HistogramState
from qcore.observers.minmax import MinMax, MinMaxState
from qcore.observers.moving_average import MovingAverage, MovingAverageState
from qcore.observers.tflite import TFLite, TFLiteState

__all__ = [
    "Histogram", "HistogramObserver", "HistogramState", "MinMax", "MinMaxState", "MovingAverage",
    "MovingAverageState", "Observer", "State", "TFLite", "TFLiteState", "extremes", "find",
]  # fmt: skip


def find(observer: Any) -> Observer:
    """The observer that a key ("minmax", "moving_average", "histogram", "tflite"), a table with
    key and fields, or an Observer stands for. Raises BadRecipe for anything else."""
    return Observer.from_json(observer)
