"""Asks the official runtimes about one-operator models; run as a program, in a child process.

    python -m tests.kernels.runtime_worker invoke NAME:DTYPE ...   -> JSON {"NAME:DTYPE": answer}
    python -m tests.kernels.runtime_worker convert NAME:RULES ...  (RULES: mlir, int8, int16)

`invoke` runs the integer model and the float model of the same numbers in ai-edge-litert and tells
how their outputs differ. `convert` has tensorflow's quantizer work on the float model and tells
what became of the operator. Each question is answered in a fork of its own, since a runtime may
abort: then the answer is {"error": what happened}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import ops
from tests.kernels.single_op import POSITIVE_ONLY, build

SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 14: "timeout"}


def forked(work: Callable[[], Any]) -> Any:
    """work() in a fork: its value, or {"error": the exception, or the signal it died of}."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        import signal

        signal.alarm(60)
        try:
            answer: Any = work()
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    if told:
        return json.loads(told)
    return {"error": SIGNALS.get(os.WTERMSIG(status), f"status {status}")}


def interpreter(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    found = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found.allocate_tensors()
    return found


def invoke(name: str, dtype: str) -> dict[str, Any]:
    """How the integer operator and the float one differ on the same numbers.

    steps: largest difference of a data output in output steps, after clipping the float output to
    what the integers can say; equal: share of equal elements of the other outputs; relative:
    largest difference of float outputs over their largest value.
    """
    integer = interpreter(build(name, dtype))
    moves = name in ("QUANTIZE", "DEQUANTIZE")  # the float meaning is the input itself
    real = interpreter(build("ABS" if moves else name, dtype, real=dtype != "float32"))
    random = np.random.RandomState(0)
    for there, here in zip(integer.get_input_details(), real.get_input_details(), strict=True):
        shape, kind = tuple(there["shape"]), np.dtype(there["dtype"])
        scale, zero_point = there["quantization"]
        if kind == np.float32:
            value = random.uniform(-2 if dtype == "hybrid" else 0.1, 2, shape).astype(kind)
        elif kind in (np.bool_, np.int32):  # conditions, rows of a table
            value = random.randint(0, 2, shape).astype(kind)
        else:
            info = np.iinfo(kind)
            low = zero_point + 40 if name in POSITIVE_ONLY else info.min
            value = random.randint(low, info.max + 1, shape).astype(kind)
            if name not in POSITIVE_ONLY:
                value.flat[: min(2, value.size)] = (zero_point, 0)[: value.size]
        integer.set_tensor(there["index"], value)
        if scale and dtype != "float32":
            value = ((value.astype(np.float64) - zero_point) * scale).astype(np.float32)
        real.set_tensor(here["index"], value)
    integer.invoke()
    real.invoke()
    outputs = real.get_input_details() if moves else real.get_output_details()
    steps, equal, relative, compared = 0.0, 1.0, 0.0, 0
    for there, here in zip(integer.get_output_details(), outputs, strict=True):
        got, want = integer.get_tensor(there["index"]), real.get_tensor(here["index"])
        scale, zero_point = there["quantization"]
        if got.shape != want.shape or (not scale and got.dtype != want.dtype):
            return {"error": f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"}
        compared += got.size
        if scale:
            info = np.iinfo(got.dtype)
            wanted = np.clip(want / scale + zero_point, info.min, info.max)
            steps = max(steps, float(np.abs(got - wanted).max(initial=0)))
        else:
            equal = min(equal, float(np.isclose(got, want, rtol=1e-6, atol=0).mean()))
            if got.dtype == np.float32:
                off = float(np.abs(got - want).max() / np.abs(want).max())
                relative = max(relative, off if np.isfinite(off) else np.inf)
    return {"steps": steps, "equal": equal, "relative": relative, "compared": compared}


def sample(random: np.random.RandomState, position: int, detail: Any) -> np.ndarray:
    """Calibration data: a different range for every float input, all of it positive."""
    if detail["dtype"] == np.float32:
        return random.uniform(0.1, 2 + position, detail["shape"])
    return random.randint(0, 2, detail["shape"])


def convert(name: str, rules: str) -> dict[str, Any]:
    model = build(name, "float32")
    spec = ops.find(name)
    assert spec is not None
    if rules == "mlir":
        from tensorflow.lite.python.convert import mlir_quantize

        out = mlir_quantize(model, input_data_type=9, output_data_type=9)
    else:
        import tensorflow as tf
        from tensorflow.lite.python.optimize.calibrator import Calibrator

        interpreter = tf.lite.Interpreter(
            model_content=model,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        )
        random = np.random.RandomState(0)
        details = interpreter.get_input_details()

        def samples() -> Any:
            for _ in range(2):
                yield [np.asarray(sample(random, i, d), d["dtype"]) for i, d in enumerate(details)]

        out = Calibrator(model).calibrate_and_quantize(
            samples, tf.float32, tf.float32, True, tf.dtypes.as_dtype(rules)
        )
    return described(bytes(out), name)


def described(model: bytes, name: str) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as fb

    names = {v: k.lower() for k, v in vars(fb.TensorType).items() if k.isupper()}
    ops_by_code = {v: k for k, v in vars(fb.BuiltinOperator).items() if k.isupper()}
    m = fb.ModelT.InitFromObj(fb.Model.GetRootAs(model))
    graph, found, others = m.subgraphs[0], None, []
    for op in graph.operators:
        code = m.operatorCodes[op.opcodeIndex]
        kind = ops_by_code[max(code.builtinCode, code.deprecatedBuiltinCode)]
        others.append(f"{kind} {code.version}")
        if kind == name and found is None:
            found = op, code
    if found is None:
        return {"operators": others}
    op, code = found
    listed = [*op.inputs, *op.outputs]
    tensors = [graph.tensors[i] if i >= 0 else None for i in listed]

    def params(t: Any) -> Any:
        if t is None or t.quantization is None or t.quantization.scale is None:
            return None
        scale, zero = t.quantization.scale, t.quantization.zeroPoint
        return [float(scale[0]), int(zero[0]), len(scale)] if len(scale) else None

    return {
        "operators": others,
        "inputs": len(op.inputs),
        "dtypes": [names[t.type] if t is not None else None for t in tensors],
        "shapes": [
            t.shape.tolist() if t is not None and t.shape is not None else None for t in tensors
        ],
        "params": [params(t) for t in tensors],
        "version": code.version,
    }


def main(arguments: list[str]) -> None:
    work = {"invoke": invoke, "convert": convert}[arguments[0]]
    if work is convert:
        import tensorflow.lite.python.convert  # noqa: F401  once, before the forks
    else:
        import ai_edge_litert.interpreter  # noqa: F401
    asked = [a.split(":") for a in arguments[1:]]
    answers = {f"{n}:{d}": forked(lambda n=n, d=d: work(n, d)) for n, d in asked}
    print("ANSWERS " + json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
