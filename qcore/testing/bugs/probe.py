"""Trying bugs: one child process for each runtime, and in it a process for each model.

The child imports the runtime once and forks for each model, so that a crash or a corrupted heap
ends that model alone, and costs nothing but its own time.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from qcore.testing.bugs.record import FILL, Answer, Bug, Case, Place

SECONDS = 10  # for one model


def ask(
    bugs: Iterable[Bug], runtime: str, every: bool = False
) -> Iterator[tuple[Bug, Place, Answer]]:
    """What the installed runtime does with each bug, on the paths of which something is documented
    (every: on all three). Raises RuntimeFailed where the child itself fails."""
    import tflite_schema as ts
    from kernels.profile import PATHS
    from qcore.peers.child import Child, Items

    asked = [
        (bug, (runtime, path))
        for bug in bugs
        for path in PATHS
        if every or bug.expected((runtime, path)) is not None
    ]

    def items() -> Iterator[tuple[Any, ...]]:
        made: tuple[str, bytes, Case] | None = None
        for bug, (_, path) in asked:
            if made is None or made[0] != bug.key:
                case = bug.case()
                made = bug.key, ts.to_bytes(case.model), case
            _, data, case = made
            runs = [list(r) for r in (*case.before, case.inputs)]
            yield path, data, runs, bug.threads, case.read, case.keep, case.mapped

    with Child("qcore.testing.bugs.probe:answer", what=runtime, time_limit=180) as child:
        found = child.stream(runtime, Items(), items=items(), ahead=2)
        for (bug, place), answer in zip(asked, found, strict=True):
            yield bug, place, answer


def answer(runtime: str, items: Iterable[Any]) -> Iterator[Answer]:
    """In the child: an Answer for each item."""
    import importlib

    from qcore.peers.interpreter import PATHS, RUNTIMES

    module = importlib.import_module(RUNTIMES[runtime][0])
    for path, *rest in items:
        resolver = getattr(module.OpResolverType, PATHS[path])
        yield isolated(partial(invoke, module, resolver, *rest))


def invoke(
    module: Any,
    resolver: Any,
    data: bytes,
    runs: Sequence[Sequence[Any]],
    threads: Sequence[int],
    read: Sequence[int] | None,
    keep: bool,
    mapped: bool = False,
) -> Answer:
    """The outputs of the last run, for each number of threads."""
    if mapped:
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(data)
            file.flush()
            return _invoke(module, resolver, {"model_path": file.name}, runs, threads, read, keep)
    return _invoke(module, resolver, {"model_content": data}, runs, threads, read, keep)


def _invoke(
    module: Any,
    resolver: Any,
    model: dict[str, Any],
    runs: Sequence[Sequence[Any]],
    threads: Sequence[int],
    read: Sequence[int] | None,
    keep: bool,
) -> Answer:
    outputs: list[Any] = []
    taken = False
    try:
        for number in threads:
            interpreter = module.Interpreter(
                **model,
                num_threads=number,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep,
            )
            interpreter.allocate_tensors()
            for inputs in runs:
                for detail in interpreter.get_output_details():
                    if detail["dtype"] is not np.object_:
                        _fill(interpreter, detail["index"])
                for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
                    interpreter.set_tensor(detail["index"], array)
                interpreter.invoke()
            wanted = [d["index"] for d in interpreter.get_output_details()]
            outputs += [interpreter.get_tensor(i) for i in (wanted if read is None else read)]
            taken |= any(o["op_name"] == "DELEGATE" for o in interpreter._get_ops_details())
            del interpreter
    except (RuntimeError, ValueError) as error:
        return Answer(refused=" ".join(str(error).split())[:400])
    return Answer(tuple(outputs), taken=taken)


def _fill(interpreter: Any, tensor: int) -> None:
    """Give every byte of an output the value FILL, where it has memory already."""
    try:
        view = interpreter.tensor(tensor)()
    except (RuntimeError, ValueError):
        return
    if view.flags.c_contiguous and view.size:
        view.reshape(-1).view(np.uint8)[:] = FILL


def isolated(function: Callable[[], Answer], seconds: int = SECONDS) -> Answer:
    """The answer of `function` in a fork of this process, or how that ended."""
    from qcore.peers.child import last_words

    read, write = os.pipe()
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            _run(function, read, write, printed.fileno(), seconds)
        os.close(write)
        with open(read, "rb") as stream:
            sent = stream.read()
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        text = printed.read().decode(errors="replace")
        said = last_words("\n".join(w for w in text.splitlines() if not w.startswith("INFO:")))
    if os.WIFSIGNALED(status):
        return Answer(signal=signal.Signals(os.WTERMSIG(status)).name, said=said)
    if not sent:
        return Answer(signal=f"exit {os.WEXITSTATUS(status)}", said=said)
    return pickle.loads(sent)


def _run(function: Callable[[], Answer], read: int, write: int, printed: int, seconds: int) -> None:
    """In the fork: never returns."""
    import faulthandler
    import resource
    import traceback
    import warnings

    code = 1
    try:
        os.close(read)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        faulthandler.disable()
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)  # ends native code as well
        with open(write, "wb") as stream:
            stream.write(pickle.dumps(function()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
