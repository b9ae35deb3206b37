"""What the system does to a command: no space, no permission, no reader, signals, dying children;
and what a file may hold that no scale stands for."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import qcore
import tflite_schema as ts
from qcore.testing.build import Builder
from qcore.testing.strategies.graphs import looping
from tests.faults.fault import Fault, Make, alive
from tests.faults.observers import Aborts, Grows, Hangs

SAMPLES = "--data data.npz --limit 2"
STARTED = """
import pathlib, time, numpy as np
def samples():
    while True:
        yield np.zeros((1, 32, 32, 1), np.float32)
        pathlib.Path("tmp", "started").touch()
        time.sleep(0.02)
"""
TOO_LARGE = "the file would be larger than files may be here; write somewhere else"

STORAGE = (
    Fault("disk full, ranges", f"qcore calibrate model.tflite {SAMPLES} -o /dev/full",
          "/dev/full: no space left on the device; free some and run again"),
    Fault("disk full, model", "qcore quantize model.tflite -r dynamic -o /dev/full",
          "cannot write '/dev/full': No space left on device; the old file, if any, is unchanged"),
    Fault("disk full, standard output", "qcore inspect model.tflite > /dev/full",
          "no space left on the device; free some and run again", own=True),
    Fault("disk full half-way, ranges", f"qcore calibrate model.tflite {SAMPLES} -o out.json",
          f"out.json: {TOO_LARGE}", own=True, limit=1000),
    Fault("disk full half-way, model", "qcore quantize model.tflite -r dynamic -o out.tflite",
          "cannot write 'out.tflite': File too large; the old file, if any, is unchanged",
          own=True, limit=1000),
    Fault("disk full half-way, outputs",
          f"qcore run int8.tflite {SAMPLES} --tensors -o out.npz", f"out.npz: {TOO_LARGE}",
          own=True, limit=1000),
    Fault("disk full half-way, a temporary file",
          f"qcore quantize float16.tflite {SAMPLES} -o out.tflite", "the model cannot be written "
          "for the runtime, to ... (File too large); free some space there, or set TMPDIR",
          own=True, limit=1000),
    Fault("a read-only folder", "qcore quantize model.tflite -r dynamic -o out.tflite",
          "out.tflite: . may not be written to; give another place", environment={"refuse": "."}),
    *(Fault(f"{name} while saving", f"qcore calibrate model.tflite {SAMPLES} -o out.json",
            f"out.json: {says}", environment={"refuse": name})
      for name, says in (
          ("EACCES", "permission denied; check who may read or write it"),
          ("EROFS", "this file system is only for reading; write somewhere else"),
          ("ENOSPC", "no space left on the device; free some and run again"),
          ("EDQUOT", "your share of the disk is used up; free some and run again"),
          ("EIO", "the device failed to read or write; look at the system's log"),
      )),
    Fault("a reader that goes away", "qcore inspect model.tflite --json | true", "", code=141,
          own=True),
    Fault("a name that is too long", f"qcore quantize model.tflite -r dynamic -o {'x' * 300}",
          "...: the name is too long; shorten it"),
)  # fmt: skip


def started(place: Path, mark: str) -> bool:
    return (place / "tmp" / "started").exists()


def compiling(place: Path, mark: str) -> bool:
    return any("kernels.simd import compiler" in line for line in alive(mark))


def probing(place: Path, mark: str) -> bool:
    return any("qcore.peers import worker" in line for line in alive(mark))


def interrupted(
    what: str, command: str, until: Callable[[Path, str], bool], number: int = signal.SIGINT,
    **environment: str,
) -> Fault:  # fmt: skip
    return Fault(
        f"{signal.Signals(number).name} {what}", command, "interrupted; nothing was left half "
        "written", make=lambda place: (place / "mine.py").write_text(STARTED) and None, code=130,
        own=True, until=until, signal=number, environment=environment,
    )  # fmt: skip


def swept(place: Path) -> None:
    """A grid on endless samples, and a sweep's folder in which nothing is done yet."""
    (place / "mine.py").write_text(STARTED)
    (place / "grid.toml").write_text(
        '[[model]]\nfile = "model.tflite"\ndata = "mine:samples"\n'
        '[[grid]]\nrecipes = ["int8", "int16x8"]\n'
    )
    (place / "results" / "trials").mkdir(parents=True)


def in_sweep(number: int) -> Fault:
    command = "qcore sweep grid.toml -o results --jobs 2"
    return replace(
        interrupted("in sweep", command, started, number), make=swept,
        writes=("results/sweep.json",),
    )  # fmt: skip


MINE = "--data mine:samples"
INTERRUPTS = (
    interrupted("at the start", "qcore inspect model.tflite", lambda place, mark: True),
    interrupted("in calibrate", f"qcore calibrate model.tflite {MINE} -o out.json", started),
    interrupted("in calibrate", f"qcore calibrate model.tflite {MINE} -o out.json", started,
                signal.SIGTERM),
    interrupted("in calibrate", f"qcore calibrate model.tflite {MINE} -o out.json", started,
                signal.SIGHUP),
    interrupted("in quantize",
                f"qcore quantize model.tflite {MINE} --plan plan.json -o out.tflite", started),
    interrupted("in verify", f"qcore verify int8.tflite {MINE}", started),
    interrupted("in run", f"qcore run int8.tflite {MINE} -o out.npz", started, signal.SIGTERM),
    in_sweep(signal.SIGINT),
    in_sweep(signal.SIGTERM),
    interrupted("in fingerprint", "qcore fingerprint --operator ADD", probing),
    interrupted("while kernels compile", f"qcore run int8.tflite {SAMPLES} -o out.npz", compiling,
                QCORE_CACHE="cache"),
    interrupted("while kernels compile", f"qcore run int8.tflite {SAMPLES} -o out.npz", compiling,
                signal.SIGTERM, QCORE_CACHE="cache"),
)  # fmt: skip


def endless(place: Path) -> None:
    """A WHILE that counts to 2^31 - 1."""
    b = Builder()
    x = b.input((1, 32, 32, 1), "picture")
    y = b.op("RELU", [x], (1, 32, 32, 1))
    ts.write(looping(b.model([y]), ["ABS"], 2**31 - 1), place / "bad.tflite")


def huge(place: Path) -> None:
    """A tensor of 2 GB."""
    b = Builder()
    x = b.input((1, 32, 32, 1), "picture")
    times = np.array([1, 1000, 500, 1], np.int32)
    ts.write(b.model([b.op("TILE", [x, times], (1, 32000, 16000, 1))]), place / "bad.tflite")


CALLS = {
    "qcore.calibrate(model, samples, observer=Aborts())": {"observer": Aborts()},
    "qcore.calibrate(model, samples, observer=Hangs(), time_limit=1)":
        {"observer": Hangs(), "time_limit": 1},
    "qcore.calibrate(model, samples, observer=Grows(), memory_limit=400_000_000)":
        {"observer": Grows(), "memory_limit": 400_000_000},
}  # fmt: skip
ABORTS, HANGS, GROWS = CALLS
WHO = "calibration with litert (...)"
CHILDREN = (
    Fault("the runtime aborts", ABORTS, f"{WHO} crashed (SIGABRT); it last said: the runtime says: "
          "no such kernel"),
    Fault("the runtime hangs", HANGS, f"{WHO} gave no answer within 1 s and was ended...; raise "
          "the time limit or give it less to do"),
    Fault("the runtime eats memory", GROWS, f"{WHO} needed more than the 400 MB it may use..."),
    Fault("a model that never ends", f"qcore calibrate bad.tflite {SAMPLES} -o out.json "
          "--time-limit 2", f"{WHO} gave no answer within 2 s and was ended...; raise the time "
          "limit or give it less to do", endless),
    Fault("a model that never ends, compared", "qcore verify bad.tflite --data data.npz --limit 1 "
          "--path reference --time-limit 2", "", endless, 1, "gave no answer within 2 s"),
    Fault("a model that fills the memory", f"qcore calibrate bad.tflite {SAMPLES} -o out.json "
          "--memory-limit 400", f"{WHO} needed more than the 400 MB it may use...", huge),
    Fault("a model that fills the memory, compared", "qcore verify bad.tflite --data data.npz "
          "--limit 1 --path reference --memory-limit 400", "", huge, 1,
          "needed more than the 400 MB it may use"),
    Fault("a limit that is none", f"qcore calibrate model.tflite {SAMPLES} -o out.json "
          "--time-limit 0", "Invalid value for '--time-limit': ...; see `qcore calibrate --help`"),
)  # fmt: skip


def weights(value: float) -> Make:
    """One weight of the first convolution is this."""

    def make(place: Path) -> None:
        model = qcore.load(place / "model.tflite")
        graph = model.subgraphs[0]
        tensor = graph.operators[0].inputs[1]
        number = graph.tensors[tensor].buffer
        values = np.array(ts.array(model, 0, tensor))
        values.flat[3] = value
        buffers = list(model.buffers)
        buffers[number] = buffers[number].replace(data=values)
        ts.write(model.replace(buffers=tuple(buffers)), place / "bad.tflite")

    return make


def scale(value: float, of_input: bool) -> Make:
    """The scale of the input, or of what the third operator gives, is this."""

    def make(place: Path) -> None:
        model = qcore.load(place / "int8.tflite")
        graph = model.subgraphs[0]
        number = graph.inputs[0] if of_input else graph.operators[2].outputs[0]
        tensors = list(graph.tensors)
        q = tensors[number].quantization
        assert q is not None
        q = q.replace(scale=np.full(1, value, np.float32))
        tensors[number] = tensors[number].replace(quantization=q)
        graph = graph.replace(tensors=tuple(tensors))
        ts.write(model.replace(subgraphs=(graph,)), place / "bad.tflite")

    return make


def nans(place: Path) -> None:
    pictures = np.zeros((3, 32, 32, 1), np.float32)
    pictures[1, 5, 5, 0] = np.nan
    np.savez(place / "nan.npz", x=pictures)


CALIBRATE = f"qcore calibrate bad.tflite {SAMPLES} -o out.json"
QUANTIZE = "qcore quantize bad.tflite --calibration ranges.json -o out.tflite"
RUN = "qcore run bad.tflite --data data.npz --limit 1"
MENDED = "mend the sample or the model, or leave such values out with nonfinite='skip'"
NUMBERS = (
    Fault("a weight is NaN", CALIBRATE, "sample 0: tensor ... (written by CONV_2D 0) holds NaN in "
          f"... values; {MENDED}", weights(np.nan)),
    Fault("a weight is NaN, left out", f"{CALIBRATE} --nonfinite skip", "", weights(np.nan), 0,
          "are not finite and were left out", writes=("out.json",)),
    Fault("a weight is infinite", f"{QUANTIZE} -r int8", "constant ... has the range [..., inf], "
          "which no scale can stand for; look for NaN or infinity in the model or the samples",
          weights(np.inf)),
    Fault("a weight is 3e38, run", RUN, "", weights(3e38), 0, "output_0"),
    Fault("a scale of 1e-45 at the input", RUN, "CONV_2D 0 (...): CONV_2D: XNNPACK takes it and "
          "stops at scale 1.401298464324817e-45, zero point -128; give the tensor a scale of at "
          "least 2^-126", scale(1e-45, True)),
    Fault("a scale of 1e36 inside", RUN, "ADD 3 (...): ADD: a factor is ... and must lie in "
          "(0, 1); the runtime aborts; give the output a larger scale", scale(1e36, False)),
    Fault("a scale of 1e36 inside, where the interpreter aborts",
          "qcore verify bad.tflite --data data.npz --limit 1 --path xnnpack", "",
          scale(1e36, False), 1, "nothing was compared"),
    Fault("a scale of 0 at the input", RUN, "input ... has the scale 0.0, by which nothing can be "
          "divided; give it integers, or mend the model", scale(0.0, True)),
    Fault("NaN for a quantized input", "qcore run int8.tflite --data nan.npz", "input ... is given "
          "NaN, for which no integer stands; mend the sample", nans),
)  # fmt: skip


def named(what: str, stem: str, own: bool = False) -> Fault:
    """Model, samples and result are called `stem`; the table shows it as Python does."""

    def make(place: Path) -> None:
        shutil.copy(place / "model.tflite", place / f"{stem}.tflite")
        shutil.copy(place / "data.npz", place / f"{stem}.npz")

    quoted = "'" + stem.replace("'", "'\"'\"'") + "."
    command = f"qcore quantize {quoted}tflite' --data {quoted}npz' --limit 2 -o {quoted}out'"
    shown = stem.encode(errors="backslashreplace").decode()
    return Fault(f"a name with {what}", command, "", make, 0, f"{shown}.out\n", own=own,
                 writes=(f"{stem}.out",))  # fmt: skip


NAMES = (
    named("blanks", "a  b"),
    named("letters of many kinds", "Straße 模型 😀 é"),
    named("marks of other languages", "[red]x[bold] %s {0} $HOME *"),
    named("quotes", "it's \"x\""),
    named("bytes that are no text", "x\udcff\udcfe", own=True),
    Fault("a name that would colour the terminal", "qcore inspect '\x1b[31m.tflite'",
          r"\x1b[31m.tflite: there is no such file or folder; check the path"),
    Fault(
        "no name", "qcore inspect ''",
        ". is a folder and no SavedModel (it has no saved_model.pb); give a .tflite or Keras file, "
        "or a folder that model.export or tf.saved_model.save wrote",
    ),
)  # fmt: skip

CODES = {name: getattr(errno, name) for name in ("EACCES", "EROFS", "ENOSPC", "EDQUOT", "EIO")}
