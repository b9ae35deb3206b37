"""Our kernels against an installed interpreter on a whole model: `check_model(model, samples)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels.errors import RuntimeRefuses, Undefined
from kernels.profile import Profile
from qcore.binding import Binder
from qcore.errors import CannotRun, MissingExtra, RuntimeFailed
from qcore.execute import Executor, as_profile
from qcore.load import load
from qcore.peers.interpreter import RUNTIMES, installed
from qcore.testing.checks.failure import CheckFailed, npz, write
from qcore.testing.checks.runtime import MEMORY, SECONDS, Asked
from qcore.testing.checks.search import Found
from qcore.testing.conformance import KNOWN
from qcore.verify import PathCheck, Walk, line

WORKER = "qcore.testing.worker:models"


@dataclass
class ModelCheck:
    """What `check_model` went through.

    models, samples: that both computed.  operators: of these models.  compared: elements that an
    operator made of the interpreter's own inputs; bounded: of these, floats that only had to be
    within the operator's bound.  whole: elements of all tensors, end to end.  refused: models that
    the runtime does not run; agreed: of those, refused by our kernels as well.  undefined:
    operators whose result is not defined by the runtime.  beyond: models that were left out for
    floats near the ends of float32.
    """

    profile: Profile
    models: int = 0
    samples: int = 0
    operators: int = 0
    compared: int = 0
    bounded: int = 0
    whole: int = 0
    refused: int = 0
    agreed: int = 0
    undefined: int = 0
    beyond: int = 0

    def __str__(self) -> str:
        within = f", {self.bounded:,} of them within a bound" if self.bounded else ""
        return (
            f"{self.profile}: {self.samples:,} samples through {self.operators:,} operators, "
            f"{self.compared:,} elements equal{within}, {self.whole:,} end to end, "
            f"{self.refused} refused ({self.agreed} by both), {self.undefined} undefined"
        )


def check_model(
    model: Any,
    samples: Iterable[Any],
    path: Profile | str = "xnnpack",
    runtime: str | None = None,
    *,
    mode: str = "fast",
    folder: str | Path | None = None,
    time_limit: float = SECONDS,
    memory_limit: int | None = MEMORY,
) -> ModelCheck:
    """Every integer of a model is an installed interpreter's, operator by operator and end to end.

    model: a path, bytes, Model or Quantized.  samples: as `qcore.verify` takes them, each with the
    name of its signature where there are several.  path, runtime: an execution path of a runtime
    ("litert" if not named), or a `Profile`.  mode: "fast" or "reference".  folder: where a failure
    leaves its files, a temporary one if not given.  time_limit, memory_limit: seconds and resident
    bytes for all samples, in a child process.
    Floats of operators with a bound are held to it, as by `qcore.verify`.
    Raises CheckFailed, if nothing was compared as well; MissingExtra, BadInput, BadSample.
    """
    profile = as_profile(path, runtime)
    require(profile.runtime)
    done = ModelCheck(profile)
    given, listed = load(model), list(samples)
    with Asked(profile, time_limit, memory_limit, WORKER) as ask:
        try:
            refused = compare(ask, given, listed, mode, done)
        except Found as found:
            raise failed(found.sentence, given, listed, profile, mode, folder) from None
    if not done.compared:
        raise CheckFailed(f"{profile}: nothing was compared" + (refused and f": {refused}"))
    return done


def require(runtime: str) -> None:
    """Raises MissingExtra where the runtime is not installed."""
    if not installed(runtime):
        raise MissingExtra(f"{runtime} is not installed; pip install {RUNTIMES[runtime][1]}")


def compare(
    ask: Asked, model: ts.Model, samples: Sequence[Any], mode: str, done: ModelCheck,
    within: tuple[float, float] | None = None,
) -> str:  # fmt: skip
    """Count one model; the runtime's words where it does not run it, else "".

    within: magnitudes; a model in which the runtime makes another float, but 0, is left out: there
    bounds of float operators say nothing, and XNNPACK computes without denormal numbers.
    Raises Found where the answers differ.
    """
    walk = Walk(model, done.profile, mode, None)
    by_name = {entry.name: entry for entry in walk.fed.binder.entries}
    runs = []
    for sent in walk.encoded(samples):
        name, arrays = (None, sent) if None in by_name else sent
        entry = by_name[name]
        runs.append((entry.subgraph, [i.tensor for i in entry.inputs], arrays))
    try:
        answer = ask.item((ts.to_bytes(model), runs))
    except RuntimeFailed as error:
        if not _refuses(model, samples, done.profile):
            raise Found(str(error)) from None
        answer = str(error)
    if isinstance(answer, str):
        done.refused += 1
        done.agreed += _refuses(model, samples, done.profile)
        return answer
    if within is not None and not all(_inside(a, *within) for t in answer for a in t.values()):
        done.beyond += 1
        return ""
    for tensors in answer:
        walk.sample(tensors)
    found = walk.result(len(runs))
    if sentence := _difference(found):
        raise Found(sentence)
    done.models += 1
    done.samples += found.samples
    done.operators += len(found.operators)
    done.compared += found.compared.elements
    done.bounded += found.compared.bounded
    done.whole += found.tensors.elements
    done.undefined += sum(bool(o.undefined) for o in found.operators)
    return ""


def _inside(array: np.ndarray, least: float, most: float) -> bool:
    """Whether magnitudes of floats are 0 or in [least, most]."""
    if array.dtype.kind != "f":
        return True
    size = np.abs(array)
    return bool(((size == 0) | ((size >= least) & (size <= most))).all())


def _refuses(model: ts.Model, samples: Sequence[Any], profile: Profile) -> bool:
    """Whether our kernels say that the runtime stops here, or that what it does is not defined."""
    try:
        for _ in Executor(model, profile, "reference").run(samples):
            pass
    except CannotRun as error:
        return isinstance(error.__cause__, (RuntimeRefuses, Undefined))
    return False


def _difference(found: PathCheck) -> str:
    """A sentence about the first difference, "" if there is none."""
    key = found.path, found.runtime
    wrong = [o for o in found.mismatches if (o.name, o.form, *key) not in KNOWN]
    if wrong:
        return line(wrong[0])
    if found.mismatches:
        return ""  # what is behind them differs as well
    if found.stopped:
        return f"end to end: {found.stopped}"
    differing = found.tensors.differing - found.loose.differing
    if differing:
        return f"end to end {differing:,} elements differ, and every operator by itself is equal"
    return ""


def failed(
    sentence: str, model: ts.Model, samples: Sequence[Any], profile: Profile, mode: str,
    folder: str | Path | None,
) -> CheckFailed:  # fmt: skip
    """The error to raise, its files written."""
    files = {"model.tflite": ts.to_bytes(model)}
    binder, listed = Binder(model, floats=True), []
    for bound in binder.all(samples):
        arrays = {f"input{i}": a for i, a in enumerate(bound.arrays)}
        files[f"inputs{bound.number}.npz"] = npz(arrays)
        listed.append(binder.entries[bound.entry].name)
    place = write(files, folder, "model")
    lines = ["import numpy as np", "", "from qcore.testing import checks", "", "samples = ["]
    for number, name in enumerate(listed):
        loaded = f'tuple(np.load("{place}/inputs{number}.npz").values())'
        lines.append(f"    {loaded}," if name is None else f"    ({name!r}, {loaded}),")
    given = f'"{profile.path}", "{profile.runtime}", mode="{mode}"'
    lines += ["]", f'checks.check_model("{place}/model.tflite", samples, {given})']
    return CheckFailed(f"{profile}: {sentence}", "\n".join(lines) + "\n", place)
