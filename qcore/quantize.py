"""The stages in a row: prepare, calibrate where needed, plan, lower; and the result they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import tflite_schema as ts
from qcore import patch
from qcore.errors import BadInput, NotCalibrated
from qcore.observers import HistogramObserver, MinMax, Observer, find
from qcore.plan import Plan, needs_calibration, needs_histograms, plan
from qcore.prepare import prepare
from qcore.recipe import Recipe
from qcore.recipe import recipe as find_recipe
from qcore.tune.asked import needs_moments
from qcore.tune.moments import Moments
from qcore.tune.stage import tuned


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model that has not been written yet.

    source: the prepared float model, its constants tuned where the recipe asks for it.  plan: what
    becomes of it.  edits: the plan as edits.
    Constants are encoded when the file is written, not before.
    """

    source: ts.Model
    plan: Plan
    edits: tuple[ts.Edit, ...]

    def __repr__(self) -> str:
        operators = sum(len(part.steps) for part in self.plan.subgraphs)
        return f"Quantized(recipe {self.plan.recipe}, {operators} operators)"

    @cached_property
    def model(self) -> ts.Model:
        """The quantized model as a frozen value (constants still deferred)."""
        return ts.prune(ts.apply(self.source, self.edits))

    def save(self, target: str | Path | BinaryIO) -> None:
        """Writes the .tflite file; an existing file is replaced only once the new one is whole."""
        ts.write(self.source, target, self.edits)

    def to_bytes(self) -> bytes:
        """The .tflite file in memory."""
        return ts.to_bytes(self.source, self.edits)


def quantize(
    model: Any,
    recipe: str | Path | Recipe = "int8",
    calibration: Any = None,
    **options: Any,
) -> Quantized:
    """Quantizes a float model.

    model: a Model, path or bytes.
    recipe: a name ("int8", "int8_float_io", "int16x8", "dynamic", "weight_only", "float16", ...),
        a TOML or JSON file, or a Recipe.
    calibration: a Calibration, or samples (any iterable) to make one from; not needed by recipes
        without static operators.
    options: passed to `calibrate` when samples are given (observer, runtime, threads ...). Without
        an observer, the recipe's, or "histogram" where a scheme of activations needs it.

    Raises NotCalibrated where ranges or histograms are needed and missing, CannotQuantize for a
    model that the recipe cannot be applied to, BadRecipe, BadSample.
    """
    from qcore.load import load

    recipe = find_recipe(recipe)
    prepared = prepare(load(model), recipe)
    ranges = ranges_for(prepared, recipe, calibration, options)
    made = plan(prepared, recipe, ranges)
    if ranges is not None:
        prepared, notes = tuned(prepared, made, recipe, ranges.moments)
        made = made.replace(notes=(*ranges.notes, *made.notes, *notes))
    return apply_plan(prepared, made)


def apply_plan(prepared: ts.Model, made: Plan) -> Quantized:
    """The quantized model that a plan, perhaps an edited one, describes.

    prepared: the model that the plan was made for, `Quantized.source` (tensors keep their numbers).
    Raises BadInput for a plan of another model or with numbers of forms that it does not have.
    """
    return Quantized(prepared, made, patch.lower(prepared, made))


def ranges_for(model: ts.Model, recipe: Recipe, calibration: Any, options: dict[str, Any]) -> Any:
    """The Calibration to plan by, made from samples where samples were given; None where the recipe
    needs none. model: prepared.  options: of `calibrate`.
    """
    needed = calibrated_with(model, recipe, options)
    if needed is None:
        return None
    from qcore.calibrate import Calibration, calibrate

    if calibration is None:
        asks = needs_moments(model, recipe)
        what = "ranges of the activations"
        if asks is not None and not needs_calibration(model, recipe):
            what = f"to see what weights are multiplied with, for rounding {asks.key!r}"
        raise NotCalibrated(
            f"recipe {recipe.name!r} needs {what}; give samples or a "
            "Calibration as `calibration` (on the command line: --data or --calibration)"
        )
    if not isinstance(calibration, Calibration):
        return calibrate(model, calibration, **needed)
    if options:
        raise BadInput(
            f"{next(iter(options))} is about samples, and a Calibration was given; leave it out"
        )
    _check_observer(model, recipe, calibration.observer, "the calibration was made with")
    _check_moments(model, recipe, calibration.moments.values())
    return calibration.for_model(model)


def calibrated_with(
    model: ts.Model, recipe: Recipe, options: dict[str, Any]
) -> dict[str, Any] | None:
    """The options, of `calibrate`, with the observer and the moments that the recipe needs where
    they leave them out; None where it needs no samples at all. model: prepared."""
    moments = needs_moments(model, recipe)
    if moments is None and not needs_calibration(model, recipe):
        return None
    observer, level = options.get("observer"), options.get("moments")
    if observer is not None:
        _check_observer(model, recipe, find(observer), "samples are observed with")
    if level is None:
        level = moments and moments.level
    elif level == "mean" and moments is not None and moments.level != level:
        raise BadInput(
            f"rounding {moments.key!r} needs the {moments.level} of what operators multiply their "
            f"weights with, and moments is {level!r}; leave it out"
        )
    return options | {
        "observer": observer_for(model, recipe) if observer is None else find(observer),
        "moments": level,
    }


def observer_for(model: ts.Model, recipe: Recipe) -> Observer:
    """The observer that the recipe names, or that its schemes need. model: prepared."""
    if recipe.observer is not None:
        _check_observer(model, recipe, recipe.observer, f"recipe {recipe.name!r} observes with")
        return recipe.observer
    return HistogramObserver() if needs_histograms(model, recipe) else MinMax()


def _check_moments(model: ts.Model, recipe: Recipe, found: Iterable[Moments]) -> None:
    needed = needs_moments(model, recipe)
    if needed is not None and not any(m.level in (needed.level, "covariance") for m in found):
        raise NotCalibrated(
            f"rounding {needed.key!r} needs the {needed.level} of what operators multiply their "
            "weights with, which the calibration does not have; calibrate with "
            f"moments={needed.level!r} (on the command line: --moments {needed.level})"
        )


def _check_observer(model: ts.Model, recipe: Recipe, observer: Observer, what: str) -> None:
    scheme = None if observer.histograms else needs_histograms(model, recipe)
    if scheme is not None:
        raise NotCalibrated(
            f"scheme {scheme.key!r} needs histograms of the activations, and {what} "
            f"{observer.key!r}, which records none; use the observer 'histogram' (on the command "
            "line: --observer histogram)"
        )
