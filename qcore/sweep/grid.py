"""What a sweep is to try: models with their data, and grids of candidates; from a file or Python.

A grid file is TOML:

    plugins = ["mine.py"]                     # imported first, for schemes of your own

    [[model]]
    file = "model.tflite"
    name = "model"                            # by default the file's stem
    data = "train.npz"                        # what calibrates; with the arguments of
    std = 255                                 # qcore.data.open: x, mean, std, size, crop, ...
    eval = { data = "test.npz", std = 255 }   # what judges; by default the test part of `data`

    [[grid]]
    recipes = ["int8", "int16x8"]             # every combination of these is a trial
    activation = ["minmax", "octav"]          # schemes; "" for the recipe's own
    weight = ["", "mse"]
    granularity = ["", "per_tensor"]          # of weights
    observer = [""]
    samples = [100, "all"]                    # how many to calibrate on

    [[grid]]
    candidates = ["tflite:int8", "mine=mine.tflite"]   # named as `qcore compare` names them

    [measure]
    layers = 0                                # samples that layers are compared on
    latency = ["xnnpack"]
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcore import modules, peers, textfiles
from qcore.compare import make
from qcore.compare.run import PATHS, versions
from qcore.errors import BadInput, BadRecipe
from qcore.granularity import Granularity
from qcore.recipe import Recipe, recipe
from qcore.schemes.base import Scheme
from qcore.sweep.folder import Folder, identity
from qcore.sweep.trial import Trial, check

OPENED = ("x", "y", "size", "mean", "std", "crop", "resample", "limit")
MEASURES: dict[str, Any] = {"layers": 0, "latency": [], "profile": "xnnpack", "runtime": "litert"}


@dataclass(frozen=True)
class Problem:
    """A float model with its data.

    model: path, or whatever `qcore.load` takes.  data: what calibrates: a path or text that
    `qcore.data.open` takes, its arguments as a dict with the path as "data", or an array or list of
    samples.  evaluation: what judges, likewise; None: the test part of an .npz, else `data`.
    labels: of values that were given; those of a file are in the file (y).
    name: "" for the file's stem.  signature: where samples name none.
    """

    model: Any
    data: Any
    evaluation: Any = None
    labels: Any = None
    name: str = ""
    signature: str | None = None


@dataclass(frozen=True)
class Grid:
    """Every combination of these is a trial for each model; "" leaves a recipe as it is.

    recipes: names, files or Recipes.  activation, weight: schemes, as `qcore compare` writes them
    ("octav", "percentile:share=99.9").  granularity, of weights: "per_tensor", "per_channel",
    "blockwise:32".  observer: keys.  samples: how many to calibrate on; "all" or a number.
    candidates: further ones, each with every number of samples alone: a sequence as for
    `qcore.compare`, or name -> candidate.
    """

    recipes: Sequence[Any] = ()
    activation: Sequence[str] = ("",)
    weight: Sequence[str] = ("",)
    granularity: Sequence[str] = ("",)
    observer: Sequence[str] = ("",)
    samples: Sequence[int | str] = ("all",)
    candidates: Any = ()

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name == "candidates" and isinstance(value, Mapping):
                continue
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
                raise BadInput(f"{f.name} of a grid is {value!r}; give a list")
            if not value and f.name not in ("recipes", "candidates"):
                raise BadInput(f"{f.name} of a grid is empty; leave it out, or give at least one")
            object.__setattr__(self, f.name, tuple(value))
        for count in self.samples:
            if count != "all" and (type(count) is not int or count < 1):
                raise BadInput(f"samples of a grid has {count!r}; give numbers from 1, or 'all'")
        if not self.recipes and not self.candidates:
            raise BadInput("a grid has neither recipes nor candidates; give it one of them")
        axes = ("activation", "weight", "granularity", "observer")
        if not self.recipes and (wide := [a for a in axes if getattr(self, a) != ("",)]):
            raise BadInput(f"a grid has {wide[0]} and no recipes to apply it to; give recipes")

    def combinations(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """(name, Recipe or what was given, axes) of each; names have the number of samples only
        where there are several."""
        several = len(self.samples) > 1
        for count in self.samples:
            at = f" @{count}" if several else ""
            for base, a, w, g, o in itertools.product(
                self.recipes, self.activation, self.weight, self.granularity, self.observer
            ):
                name, made = _combined(base, a, w, g, o)
                yield name + at, made, {
                    "recipe": base.name if isinstance(base, Recipe) else str(base),
                    "activation": a, "weight": w, "granularity": g, "observer": o, "samples": count,
                }  # fmt: skip
            for name, given in _named(self.candidates).items():
                yield name + at, given, {"samples": count}


@dataclass(frozen=True)
class Asked:
    """What a grid file says."""

    problems: tuple[Problem, ...]
    grids: tuple[Grid, ...]
    measure: dict[str, Any]
    plugins: tuple[str, ...]


def _combined(base: Any, activation: str, weight: str, granularity: str,
              observer: str) -> tuple[str, Recipe]:  # fmt: skip
    spec = base.name if isinstance(base, Recipe) else str(base)
    made = recipe(base)
    for operand, text in (("activation", activation), ("weight", weight)):
        if text:
            made, spec = make.with_part(made, f"{operand}={text}"), f"{spec}+{operand}={text}"
    if granularity:
        made = made.with_rule(operand="weight", granularity=Granularity.parse(granularity))
        spec += f", weights {granularity}"
    if observer:
        made = made.replace(observer=observer)
        spec += f", observer {observer}"
    return spec, made.replace(name=spec)


def _named(candidates: Any) -> dict[str, Any]:
    if isinstance(candidates, Mapping):
        return dict(candidates)
    found: dict[str, Any] = {}
    for one in candidates:
        name, given = (
            str(getattr(one, "name", None) or getattr(one, "key", type(one).__name__)),
            one,
        )
        if isinstance(one, str):
            name, given = make.split_name(one)
        if name in found:
            raise BadInput(f"two candidates are called {name!r}; give them names of their own")
        found[name] = given
    return found


def read(path: str | os.PathLike[str]) -> Asked:
    """A grid file. Paths in it are meant from its folder. Raises BadInput with file and place."""
    place = Path(path)
    try:
        data = textfiles.read(place, ".toml")
    except ValueError as error:
        raise BadInput(f"{place} is not TOML: {error}; mend the file") from None
    try:
        return _asked(data, place.parent)
    except (BadInput, BadRecipe) as error:
        raise type(error)(f"{place}: {error}") from None


def _asked(data: dict[str, Any], folder: Path) -> Asked:
    _known("the file", data, ("model", "grid", "measure", "plugins"))
    for table in ("model", "grid"):
        rows = data.get(table)
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            raise BadInput(f"it has no [[{table}]]; give at least one")
    measure = data.get("measure", {})
    _known("[measure]", measure, MEASURES)
    problems, grids = [], []
    for number, row in enumerate(data["model"]):
        _known(f"[[model]] {number}", row, ("file", "name", "data", "eval", "signature", *OPENED))
        for needed in ("file", "data"):
            if not isinstance(row.get(needed), str):
                raise BadInput(f"[[model]] {number} has no {needed}; give its path")
        how = {"data": _beside(row["data"], folder)} | {k: row[k] for k in OPENED if k in row}
        judged = row.get("eval")
        if isinstance(judged, str):
            judged = {**how, "data": judged}
        if judged is not None:
            _known(f"eval of [[model]] {number}", judged, ("data", *OPENED))
            judged = {**judged, "data": _beside(judged.get("data", row["data"]), folder)}
        file = _beside(row["file"], folder)
        problems.append(Problem(file, how, judged, None, row.get("name", ""), row.get("signature")))
    for number, row in enumerate(data["grid"]):
        _known(f"[[grid]] {number}", row, tuple(f.name for f in dataclasses.fields(Grid)))
        row = dict(row)
        for axis in ("recipes", "candidates"):
            if isinstance(row.get(axis), list):
                row[axis] = [_spec(text, folder) for text in row[axis]]
        grids.append(Grid(**row))
    plugins = tuple(_beside(p, folder) for p in data.get("plugins", ()))
    return Asked(tuple(problems), tuple(grids), dict(measure), plugins)


def _known(what: str, row: Any, names: Iterable[str]) -> None:
    if not isinstance(row, dict):
        raise BadInput(f"{what} is {row!r}; give a table")
    if unknown := sorted(set(row) - set(names)):
        raise BadInput(f"{what} has the unknown field {unknown[0]!r}; known are {', '.join(names)}")


def _beside(text: str, folder: Path) -> str:
    """A path of the file's folder as one of the working folder; module:function as it is."""
    return str(folder / text) if (folder / text).exists() else text


def _spec(text: Any, folder: Path) -> Any:
    """A candidate with its file found beside the grid's."""
    if not isinstance(text, str):
        raise BadInput(f"a candidate is {text!r}; give a text")
    name, spec = make.split_name(text)
    base, plus, rest = spec.partition("+")
    found = _beside(base, folder) + plus + rest
    return found if name in (spec, Path(spec).stem) and "=" not in text else f"{name}={found}"


def trials(
    problems: Sequence[Problem], grids: Sequence[Grid], folder: Folder,
    measure: Mapping[str, Any], plugins: Sequence[str],
) -> tuple[Trial, ...]:  # fmt: skip
    """Every combination for every model, those of one model together. Raises BadInput, BadRecipe
    for what cannot be tried at all."""
    plugins = [os.path.abspath(p) if os.path.exists(p) else p for p in plugins]
    for text in plugins:
        modules.plugin(text)
    measured = _measures(measure)
    code = {"plugins": [_code(p) for p in plugins]} if plugins else {}
    known = versions()
    combined = [one for grid in grids for one in grid.combinations()]
    made: list[Trial] = []
    for problem in problems:
        name, base, how = _problem(problem, folder)
        base = {**base, "versions": known, **code}
        for candidate, given, axes in combined:
            what, more = _made(given, folder)
            trial = Trial(
                problem=name, candidate=candidate, made=what, axes=axes, measure=measured,
                plugins=tuple(plugins), decides={**base, **more},
                samples=None if axes["samples"] == "all" else axes["samples"], **how,
            )  # fmt: skip
            check(trial)
            made.append(trial)
    names = [(t.problem, t.candidate) for t in made]
    for problem_, candidate in names:
        if names.count((problem_, candidate)) > 1:
            raise BadInput(f"{problem_}: two candidates are called {candidate!r}; rename one")
        if candidate == "float":
            raise BadInput("a candidate is called 'float', which is the float model; rename it")
    return tuple(made)


def _measures(given: Mapping[str, Any]) -> dict[str, Any]:
    made = {**MEASURES, **given}
    latency = made["latency"]
    made["latency"] = [latency] if isinstance(latency, str) else list(latency)
    for path in (*made["latency"], made["profile"]):
        if path not in PATHS:
            raise BadInput(f"path {path!r} is unknown; known are {', '.join(PATHS)}")
    if type(made["layers"]) is not int or made["layers"] < 0:
        raise BadInput(f"layers is {made['layers']!r}; give a number of samples, 0 for none")
    return made


def _problem(p: Problem, folder: Folder) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name, what decides (digests), and the trial's fields."""
    if isinstance(p.model, (str, os.PathLike)):
        model = os.path.abspath(p.model)
    else:
        model = folder.keep_model(p.model)
    how, judged = _opened(p.data, p.labels, folder), None
    if p.evaluation is not None:
        judged = _opened(p.evaluation, p.labels, folder) | {"part": "evaluation"}
        if not isinstance(p.evaluation, (str, os.PathLike, Mapping)):
            judged.pop("part")
    elif p.labels is not None or how["data"].endswith(".npz"):
        judged = _test_part(how)
    if p.evaluation is not None or judged is None:
        how.pop("y", None)
    decides = {"model": identity(model), "data files": _source(how["data"])}
    if judged is not None:
        decides["evaluation files"] = _source(judged["data"])
    name = p.name or Path(model).stem
    return name, decides, {
        "model": model, "data": how, "evaluation": judged, "signature": p.signature
    }  # fmt: skip


def _test_part(how: dict[str, Any]) -> dict[str, Any] | None:
    """The samples of the same archive that judge, with its labels; None where it has none."""
    from qcore import data

    judged = {k: v for k, v in how.items() if k != "limit"} | {"part": "evaluation"}
    y = how.pop("y", None)
    if y is None and "x" in judged:
        return None
    try:
        data.open(judged["data"], **{k: v for k, v in judged.items() if k != "data"})
    except BadInput:
        if y is not None:
            raise
        return None
    return judged


def _opened(given: Any, labels: Any, folder: Folder) -> dict[str, Any]:
    """Data as arguments of `qcore.data.open`, its path as "data" and absolute."""
    if isinstance(given, Mapping):
        how = dict(given)
        if unknown := sorted(set(how) - {"data", *OPENED}):
            raise BadInput(f"data has the unknown field {unknown[0]!r}")
    elif isinstance(given, (str, os.PathLike)):
        how = {"data": os.fspath(given)}
    else:
        return folder.keep_samples(given, labels)
    if os.path.exists(how["data"]):
        how["data"] = os.path.abspath(how["data"])
    return how


def _source(text: str) -> str:
    return identity(text) if os.path.exists(text) else _code(text.partition(":")[0])


def _code(module: str) -> str:
    """Digest of a module's file; its name where it has none."""
    if os.path.exists(module):
        return identity(module)
    file = modules.origin(module)
    return module if file is None else identity(file)


def _made(given: Any, folder: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """A candidate as plain values, and digests of what is behind its name."""
    if isinstance(given, str):
        if make.is_file(given):
            return {"spec": os.path.abspath(given)}, {"candidate file": identity(given)}
        if make.is_function(given):
            return {"spec": given}, {"candidate code": _code(given.partition(":")[0])}
        if given.partition(":")[0] in peers.QUANTIZERS:
            return {"spec": given}, {}
        return {"recipe": make.parse(given).to_json()}, {}
    if isinstance(given, Scheme):
        given = make.with_scheme(recipe("int8"), given)
    if isinstance(given, Recipe):
        return {"recipe": given.to_json()}, {}
    if isinstance(given, os.PathLike):
        return _made(os.fspath(given), folder)
    if callable(given) and not hasattr(given, "to_bytes"):
        return _function(given)
    path = folder.keep_model(given)
    return {"spec": path}, {"candidate file": identity(path)}


def _function(given: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    name, module = getattr(given, "__qualname__", ""), getattr(given, "__module__", "") or ""
    if module in ("", "__main__") or "." in name or "<" in name:
        raise BadInput(
            f"the function {name or given!r} cannot be imported by other processes; move it to the "
            "top of a module"
        )
    return {"spec": f"{module}:{name}"}, {"candidate code": _code(module)}
