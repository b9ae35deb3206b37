"""The stages in a row: prepare, calibrate where needed, plan, lower; and the result they make."""

from __future__ import annotations

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


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model that has not been written yet.

    source: the prepared float model.  plan: what becomes of it.  edits: the plan as edits.
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
        made = made.replace(notes=(*ranges.notes, *made.notes))
    return apply_plan(prepared, made)


def apply_plan(prepared: ts.Model, made: Plan) -> Quantized:
    """The quantized model that a plan, perhaps an edited one, describes.

    prepared: the model that the plan was made for, `Quantized.source` (tensors keep their numbers).
    Raises BadInput for a plan of another model or with numbers of forms that it does not have.
    """
    return Quantized(prepared, made, patch.lower(prepared, made))


def ranges_for(model: ts.Model, recipe: Recipe, calibration: Any, options: dict[str, Any]) -> Any:
    """The Calibration to plan by, made from samples where samples were given; None where the recipe
    needs none. model: prepared.  options: of `calibrate`; without an observer it is chosen here.
    """
    if not needs_calibration(model, recipe):
        return None
    from qcore.calibrate import Calibration, calibrate

    if calibration is None:
        raise NotCalibrated(
            f"recipe {recipe.name!r} needs ranges of the activations; give samples or a "
            "Calibration as `calibration` (on the command line: --data or --calibration)"
        )
    if isinstance(calibration, Calibration):
        if options:
            raise BadInput(
                f"{next(iter(options))} is about samples, and a Calibration was given; leave it out"
            )
        _check_observer(model, recipe, calibration.observer, "the calibration was made with")
        return calibration.for_model(model)
    if options.get("observer") is None:
        options["observer"] = observer_for(model, recipe)
    else:
        _check_observer(model, recipe, find(options["observer"]), "samples are observed with")
    return calibrate(model, calibration, **options)


def observer_for(model: ts.Model, recipe: Recipe) -> Observer:
    """The observer that the recipe names, or that its schemes need. model: prepared."""
    if recipe.observer is not None:
        _check_observer(model, recipe, recipe.observer, f"recipe {recipe.name!r} observes with")
        return recipe.observer
    return HistogramObserver() if needs_histograms(model, recipe) else MinMax()


def _check_observer(model: ts.Model, recipe: Recipe, observer: Observer, what: str) -> None:
    scheme = None if observer.histograms else needs_histograms(model, recipe)
    if scheme is not None:
        raise NotCalibrated(
            f"scheme {scheme.key!r} needs histograms of the activations, and {what} "
            f"{observer.key!r}, which records none; use the observer 'histogram' (on the command "
            "line: --observer histogram)"
        )
