"""In a child process: models through an official interpreter, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Item = tuple[bytes, list[np.ndarray], int]
Run = tuple[int, Sequence[int], Sequence[np.ndarray]]  # subgraph, its inputs, their values


def answer(runtime: str, path: str, items: Iterable[Item]) -> Iterator[Any]:
    """For each (model, inputs, times to invoke): (outputs and variable tensors of the last
    invocation, whether XNNPACK took the operator), or the runtime's message."""
    import importlib

    from qcore.peers.interpreter import PATHS, RUNTIMES

    module = importlib.import_module(RUNTIMES[runtime][0])
    resolver = getattr(module.OpResolverType, PATHS[path])
    for data, inputs, times in items:
        try:
            yield _invoke(module, resolver, data, inputs, times)
        except (RuntimeError, ValueError) as error:
            yield _words(error)


def models(
    runtime: str, path: str, items: Iterable[tuple[bytes, Sequence[Run]]]
) -> Iterator[list[dict[int, np.ndarray]] | str]:
    """For each whole model and its runs, one after another: the values of every tensor after each
    run, or the runtime's message."""
    from qcore.peers.interpreter import Session

    for data, runs in items:
        try:
            session = Session(data, runtime, path, 1, True)
            found = []
            for subgraph, inputs, arrays in runs:
                session.prepare(subgraph, inputs, arrays)
                session.feed(subgraph, inputs, arrays)
                session.invoke(subgraph)
                found.append(session.tensors(subgraph))
            yield found
        except (RuntimeError, ValueError) as error:
            yield _words(error)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _invoke(module: Any, resolver: Any, data: bytes, inputs: Sequence[np.ndarray], times: int):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = module.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    for _ in range(times):
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
    found = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    operators = interpreter._get_ops_details()
    taken = any(o["op_name"] == "DELEGATE" for o in operators)
    from tflite_schema import read

    graph = read(data).subgraphs[0]
    found += [interpreter.get_tensor(i) for i, t in enumerate(graph.tensors) if t.is_variable]
    return found, taken
