"""Whether the official interpreter prepares and runs a model, in one child for many models."""

from __future__ import annotations

from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.errors import RuntimeFailed
from qcore.peers.child import Child


class Runner:
    """Runs models without and with XNNPACK; a crash ends the child, which is started anew."""

    def __enter__(self) -> Runner:
        self._child: Child | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def outputs(self, model: ts.Model | bytes, *inputs: np.ndarray) -> list[np.ndarray]:
        """Real-valued outputs for real-valued inputs (zeros where none are given), without XNNPACK.

        Raises RuntimeFailed with the runtime's words.
        """
        if self._child is None or not self._child.alive:
            self._child = Child("tests.twin.runs:_serve", what="the interpreter", time_limit=60.0)
        data = model if isinstance(model, bytes) else ts.to_bytes(model)
        return self._child.call(data, list(inputs))

    def refusal(self, model: ts.Model | bytes) -> str | None:
        """Why the model does not run, None if it does."""
        try:
            self.outputs(model)
        except RuntimeFailed as e:
            return str(e)
        return None


def _serve(data: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """In the child: both paths, the values of the first."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made: list[np.ndarray] = []
    for resolver in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO):
        interpreter = Interpreter(model_content=data, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        for detail, x in zip(interpreter.get_input_details(), inputs):
            interpreter.set_tensor(detail["index"], _stored(x, detail))
        interpreter.invoke()
        if not made:
            made = [
                _real(interpreter.get_tensor(d["index"]), d)
                for d in interpreter.get_output_details()
            ]
    return made


def _parameters(detail: dict[str, Any]) -> tuple[float, int] | None:
    scales = detail["quantization_parameters"]["scales"]
    if not len(scales):
        return None
    return float(scales[0]), int(detail["quantization_parameters"]["zero_points"][0])


def _stored(x: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    found = _parameters(detail)
    if found is None or detail["dtype"] == np.float32:
        return x.astype(detail["dtype"])
    info = np.iinfo(detail["dtype"])
    return np.clip(np.rint(x / found[0]) + found[1], info.min, info.max).astype(detail["dtype"])


def _real(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    found = _parameters(detail)
    if found is None or values.dtype == np.float32:
        return values
    return (values.astype(np.float64) - found[1]) * found[0]
