"""One trial: a candidate of a model, made and measured as `qcore compare` does it.

A trial is plain values, so that any process can be given one. What a process needs again for the
next trial of the same model and data (the model, its ranges) it keeps.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from qcore import modules
from qcore.compare import make
from qcore.compare.run import measured
from qcore.errors import BadInput
from qcore.execute import as_profile
from qcore.recipe import Recipe

KEPT = 2  # models with their ranges that a process keeps


@dataclass(frozen=True)
class Trial:
    """What is to be done, and what it is called.

    problem, candidate: names.  axes: what of the grid it is, for the table.
    model: path.  data, evaluation: arguments of `qcore.data.open`, with the path as "data";
    evaluation None: the same samples.  samples: how many to calibrate on, None for all.
    made: {"spec": text} or {"recipe": as JSON}.  signature, observer: as for `compare`.
    measure: layers, latency, profile, runtime.  plugins: modules to import first.
    decides: digests of what is behind the names: files, code, versions.
    """

    problem: str
    candidate: str
    model: str
    data: dict[str, Any]
    made: dict[str, Any]
    evaluation: dict[str, Any] | None = None
    samples: int | None = None
    signature: str | None = None
    observer: Any = None
    measure: dict[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    axes: dict[str, Any] = field(default_factory=dict)
    decides: dict[str, Any] = field(default_factory=dict)

    def key(self) -> dict[str, Any]:
        """Everything that decides the result: no names, and digests in the place of paths."""
        made = dict(self.made)
        if "recipe" in made:
            made["recipe"] = {k: v for k, v in made["recipe"].items() if k != "name"}
        return {
            "candidate": made,
            "samples": self.samples,
            "signature": self.signature,
            "observer": self.observer,
            "measure": self.measure,
            "data": _unnamed(self.data),
            "evaluation": None if self.evaluation is None else _unnamed(self.evaluation),
            **self.decides,
        }

    @property
    def digest(self) -> str:
        """sha256 of `key`, 32 hexadecimal digits: the name of the result's file."""
        text = json.dumps(self.key(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _unnamed(how: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in how.items() if k != "data"}


def run(trial: Trial, threads: int | None = 1) -> dict[str, Any]:
    """The comparison of the float model with the candidate, as JSON. Whatever goes wrong with the
    candidate is in it; raises BadInput and OSError for the model and the data themselves."""
    for text in trial.plugins:
        modules.plugin(text)
    given = candidate(trial)
    evaluation, labels = _evaluation(trial)
    how = trial.measure
    maker = _maker(trial, threads)
    judged = maker.samples if evaluation is None else make.Samples(evaluation)
    found = measured(
        maker, {trial.candidate: given}, judged, labels, layers=how["layers"],
        paths=how["latency"], profile=as_profile(how["profile"], how["runtime"]),
        signature=trial.signature, threads=threads, outputs=True, progress=False,
    )  # fmt: skip
    made: dict[str, Any] = found.to_json()
    return made


def candidate(trial: Trial) -> Any:
    """What `qcore.compare` is to make: a spec or a Recipe."""
    if "recipe" in trial.made:
        return Recipe.from_json(trial.made["recipe"])
    return trial.made["spec"]


def _evaluation(trial: Trial) -> tuple[Any, Any]:
    """Samples to judge on and their labels; None for all of `data`, without labels."""
    if trial.evaluation is None:
        return (None, None) if trial.samples is None else (_open(trial.data), None)
    source = _open(trial.evaluation)
    return source, source.labels


def _open(how: dict[str, Any], limit: int | None = None) -> Any:
    from qcore import data

    how = {k: tuple(v) if isinstance(v, list) else v for k, v in how.items()}
    if limit is not None:
        how["limit"] = min(limit, how.get("limit") or limit)
    return data.open(how.pop("data"), **how)


_makers: OrderedDict[str, make.Maker] = OrderedDict()


def _maker(trial: Trial, threads: int | None) -> make.Maker:
    """The maker of the trial's model and samples, with the ranges it has observed before."""
    same = {k: v for k, v in trial.key().items() if k not in ("candidate", "measure", "evaluation")}
    key = json.dumps([trial.model, trial.data["data"], same, threads], sort_keys=True)
    if key not in _makers:
        samples = make.Samples(_open(trial.data, trial.samples))
        _makers[key] = make.Maker(
            trial.model, samples, observer=trial.observer, signature=trial.signature,
            threads=threads, progress=False,
        )  # fmt: skip
        while len(_makers) > KEPT:
            _makers.popitem(last=False)
    _makers.move_to_end(key)
    return _makers[key]


def check(trial: Trial) -> None:
    """Raises BadInput or BadRecipe for a candidate whose text says nothing that could be made."""
    from qcore import peers

    spec = trial.made.get("spec", "")
    if spec and spec.partition(":")[0] not in peers.QUANTIZERS and not make.is_file(spec):
        if make.is_function(spec):
            if not callable(make.function(spec)):
                raise BadInput(f"{spec} is no function; a candidate of a sweep is one")
            return
        make.parse(spec)
