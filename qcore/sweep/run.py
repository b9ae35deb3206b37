"""`sweep`: trials of a grid that are not done yet, run and kept; then all of them as one value."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import Any

from qcore.compare.values import Comparison
from qcore.errors import BadInput
from qcore.progress import track
from qcore.sweep.folder import Folder
from qcore.sweep.grid import Asked, Grid, Problem, read, trials
from qcore.sweep.pool import Processes, dask, over
from qcore.sweep.trial import Trial
from qcore.sweep.values import Row, Sweep


def sweep(
    models: Any,
    candidates: Any = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    measure: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    retry: bool = False,
    progress: bool | None = None,
) -> Sweep:
    """Try every candidate on every model; what is in the folder already is not run again.

    models: a grid file (see `qcore.sweep.grid`; the candidates are in it), a Problem or several.
    candidates: a Grid or several, or candidates as `qcore.compare` takes them (functions need to be
        importable, since other processes call them).
    folder: where results are kept, one file a trial; made where it is missing.
    executor: any `concurrent.futures.Executor` whose workers see the same files; not shut down.
    jobs: processes here, by default one a core.  scheduler: address of a Dask cluster instead.
    measure: layers (samples that layers are compared on, 0), latency (paths to time, none), profile
        and runtime, as for `compare`.  plugins: modules with schemes, imported by every worker.
    retry: run trials again whose result is an error.  progress: a bar; None for "on a terminal".

    A trial that fails is a row with its error. Raises BadInput, BadRecipe, before anything is run,
    for what cannot be tried; RuntimeFailed where the executor breaks, MissingExtra, OSError.
    """
    if folder is None:
        raise BadInput("a sweep needs a folder for its results; give one")
    if sum(x is not None for x in (executor, jobs, scheduler)) > 1:
        raise BadInput("executor, jobs and scheduler all say who works; give one of them")
    place = Folder(folder)
    asked = _asked(models, candidates, measure or {}, plugins)
    todo = trials(asked.problems, asked.grids, place, asked.measure, asked.plugins)
    own = Processes(jobs) if executor is None and scheduler is None else None
    place.start(todo)
    errors: dict[str, str] = {}
    ran = 0
    with ExitStack() as stack:
        if own is not None:
            stack.callback(own.close)
        pool: Any = own or executor
        missing = [t for t in _once(todo) if not _there(place, t, retry)]
        if scheduler is not None and missing:
            pool = stack.enter_context(dask(scheduler))
        again = {t.digest for t in missing if place.done(t)}

        def done(trial: Trial) -> bool:
            return place.done(trial) and trial.digest not in again

        results = over(missing, pool, done) if missing else iter(())
        for trial, found, error in track(results, "Trials", len(missing), progress):
            if found is not None:
                place.write(trial, found)
                ran += 1
            elif error:
                errors[trial.digest] = error
    return _found(place, todo, errors, ran)


def load(folder: str | os.PathLike[str]) -> Sweep:
    """What is in the folder of a sweep; trials that were not run yet are rows that say so."""
    place = Folder(folder)
    return _found(place, place.trials(), {}, 0)


def _asked(models: Any, candidates: Any, measure: Mapping[str, Any], plugins: Any) -> Asked:
    if isinstance(models, (str, os.PathLike)):
        if candidates is not None:
            raise BadInput(f"{models} is a grid file, which has the candidates; leave them out")
        found = read(models)
        return Asked(
            found.problems, found.grids, {**found.measure, **measure}, (*found.plugins, *plugins)
        )
    problems = (models,) if isinstance(models, Problem) else tuple(models)
    if not problems or not all(isinstance(p, Problem) for p in problems):
        raise BadInput("models of a sweep are Problems (qcore.sweep.Problem), or one grid file")
    if candidates is None:
        raise BadInput("there is no candidate; give a Grid, or specs such as ['int8']")
    if isinstance(candidates, Grid):
        candidates = (candidates,)
    if isinstance(candidates, str):
        raise BadInput(f"candidates is {candidates!r}; give a list")
    if not isinstance(candidates, Mapping):
        candidates = tuple(candidates)
        if candidates and all(isinstance(c, Grid) for c in candidates):
            return Asked(problems, candidates, dict(measure), tuple(plugins))
    return Asked(problems, (Grid(candidates=candidates),), dict(measure), tuple(plugins))


def _once(todo: Sequence[Trial]) -> Iterator[Trial]:
    """Without those that another name stands for as well."""
    seen: set[str] = set()
    for trial in todo:
        if trial.digest not in seen:
            seen.add(trial.digest)
            yield trial


def _there(place: Folder, trial: Trial, retry: bool) -> bool:
    """Whether its result need not be made."""
    if not place.done(trial):
        return False
    return not (retry and _row(place, trial, {}).columns()["error"])


def _found(place: Folder, todo: Sequence[Trial], errors: Mapping[str, str], ran: int) -> Sweep:
    return Sweep(tuple(_row(place, t, errors) for t in todo), str(place.path), ran)


def _row(place: Folder, trial: Trial, errors: Mapping[str, str]) -> Row:
    found = place.read(trial)
    if found is None:
        return Row(trial, None, errors.get(trial.digest, "it was not run yet"))
    return Row(trial, Comparison.from_json(found))
