"""Models through the tools of targets, in the environment that has them: one line of JSON each.

    PYTHON bench/target_tools.py tflm < list-of-files
    PYTHON bench/target_tools.py vela ethos-u55-256 < list-of-files

Needs `pip install tflite-micro`, `pip install ethos-u-vela`; and none of this project.
bench.check_targets runs it and compares. Inputs of x.tflite stand in x.tflite.npz.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata

ARENA = 256 << 20


def tflm(file: str) -> None:
    """Allocate and invoke. Raises what the interpreter raises."""
    import numpy as np
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(file, arena_size=ARENA)
    with np.load(file + ".npz") as inputs:
        for number, name in enumerate(inputs.files):
            interpreter.set_input(inputs[name], number)
    interpreter.invoke()


def vela(accelerator: str) -> Callable[[str], None]:
    def compile_one(file: str) -> None:
        """Compile; the operators that were left are printed."""
        from ethosu.vela import vela
        from ethosu.vela.tflite.Model import Model

        with tempfile.TemporaryDirectory() as folder:
            vela.main([file, "--output-dir", folder, "--accelerator-config", accelerator])
            (made,) = (name for name in os.listdir(folder) if name.endswith("_vela.tflite"))
            with open(os.path.join(folder, made), "rb") as stream:
                graph = Model.GetRootAsModel(stream.read(), 0)
        sub, codes = graph.Subgraphs(0), []
        for i in range(sub.OperatorsLength()):
            code = graph.OperatorCodes(sub.Operators(i).OpcodeIndex())
            if code.CustomCode() != b"ethos-u":
                outputs = [
                    sub.Operators(i).Outputs(k) for k in range(sub.Operators(i).OutputsLength())
                ]
                codes += [sub.Tensors(outputs[0]).Name().decode()] if outputs else []
        print("\nLEFT", json.dumps(codes))

    return compile_one


def warm(tool: str) -> None:
    """Import what every fork needs, once."""
    if tool == "tflm":
        import numpy  # noqa: F401
        from tflite_micro import runtime  # noqa: F401
    else:
        from ethosu.vela import vela  # noqa: F401


def alone(work: Callable[[str], None], file: str) -> tuple[int, str]:
    """Exit code and output of the work in a process of its own; a crash is a negative code."""
    with tempfile.TemporaryFile() as log:
        pid = os.fork()
        if not pid:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            code = 0
            try:
                work(file)
            except SystemExit as error:
                code = int(bool(error.code))
            except BaseException as error:
                print(repr(error))
                code = 1
            sys.stdout.flush()
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        log.seek(0)
        return os.waitstatus_to_exitcode(status), log.read().decode(errors="replace")


def main() -> None:
    tool = sys.argv[1]
    package = {"tflm": "tflite_micro", "vela": "ethos-u-vela"}[tool]
    try:
        print(json.dumps(metadata.version(package)), flush=True)
    except metadata.PackageNotFoundError:
        sys.exit(f"{package} is not installed in {sys.executable}; pip install {package}")
    warm(tool)
    work = tflm if tool == "tflm" else vela(sys.argv[2])
    for line in sys.stdin:
        code, said = alone(work, line.strip())
        print(json.dumps([code, said[-4000:]]), flush=True)


if __name__ == "__main__":
    main()
