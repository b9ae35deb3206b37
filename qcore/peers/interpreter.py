"""The official interpreters: which there are, how to run a model in one, in a child process.

`run` is for everyone; `Session` is what the child itself uses (calibration builds on it).
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qcore.errors import BadInput, MissingExtra, RuntimeFailed
from qcore.load import load

RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert", "ai_edge_litert"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tflite-qcore[tensorflow]", "tensorflow"),
}
# AUTO applies XNNPACK to whatever it takes; the others never do.
PATHS = {
    "reference": "BUILTIN_REF",
    "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "AUTO",
}


def check_choice(runtime: str, path: str) -> None:
    """Raises BadInput for a runtime or path that is not one."""
    if runtime not in RUNTIMES:
        raise BadInput(f"runtime {runtime!r} is unknown; known are {', '.join(RUNTIMES)}")
    if path not in PATHS:
        raise BadInput(f"path {path!r} is unknown; known are {', '.join(PATHS)}")


def installed(runtime: str) -> bool:
    """Whether the runtime's package is there, without importing it."""
    from importlib.util import find_spec

    return find_spec(RUNTIMES[runtime][2]) is not None


@contextmanager
def as_file(model: Any) -> Iterator[str]:
    """A path to the model: the given one, or a temporary file with its bytes.

    model: a path, bytes, a tflite_schema Model, or anything with `to_bytes()`. A Model that is what
    a file holds needs no other; a Keras file or SavedModel folder is converted.
    """
    from qcore.peers import converter

    if isinstance(model, (str, os.PathLike)) and converter.takes(model):
        model = load(model)
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file or folder; check the path")
        with _readable(str(path.resolve())) as name:
            yield name
        return
    import tflite_schema as ts

    if isinstance(model, ts.Model) and (known := ts.path_of(model)) is not None:
        with _readable(known) as name:
            yield name
        return
    with tempfile.TemporaryDirectory(prefix="qcore-") as folder:
        target = Path(folder) / "model.tflite"
        try:
            if isinstance(model, (bytes, bytearray, memoryview)):
                target.write_bytes(model)
            elif hasattr(model, "subgraphs"):
                with open(target, "wb") as stream:  # for us alone: no need to wait for the disk
                    ts.write(model, stream)
            elif hasattr(model, "to_bytes"):
                target.write_bytes(model.to_bytes())
            else:
                raise BadInput(
                    f"a {type(model).__name__} is no model; give a path, bytes or a loaded model"
                )
        except OSError as error:
            raise RuntimeFailed(
                f"the model cannot be written for the runtime, to {tempfile.gettempdir()} "
                f"({error.strerror}); free some space there, or set TMPDIR"
            ) from None
        yield str(target)


@contextmanager
def _readable(path: str) -> Iterator[str]:
    """A name for the file that a runtime takes: its own, or a link's where that is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="qcore-") as folder:
            link = Path(folder) / "model.tflite"
            link.symlink_to(path)
            yield str(link)
        return
    yield path


class Session:
    """One interpreter on one file, by name or as bytes. Only for use inside a child process.

    Subgraphs other than the first are reached through the wrapper that the public Interpreter class
    itself uses (`_interpreter`), the same in ai-edge-litert and tensorflow.
    """

    def __init__(self, file: str | bytes, runtime: str, path: str, threads: int, keep: bool):
        module, package, _ = RUNTIMES[runtime]
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            raise MissingExtra(
                f"the {runtime} runtime is not installed ({error}); pip install {package}"
            ) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.interpreter = found.Interpreter(
                **{"model_path" if isinstance(file, str) else "model_content": file},
                num_threads=threads,
                experimental_op_resolver_type=getattr(found.OpResolverType, PATHS[path]),
                experimental_preserve_all_tensors=keep,
            )
        self._wrapper = self.interpreter._interpreter
        self._shapes: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._last: dict[tuple[int, int], np.ndarray] = {}

    def prepare(self, subgraph: int, tensors: Sequence[int], arrays: Sequence[np.ndarray]) -> bool:
        """Give the inputs these shapes; True if memory was planned anew."""
        shapes = tuple(a.shape for a in arrays)
        if self._shapes.get(subgraph) == shapes:
            return False
        for tensor, shape in zip(tensors, shapes):
            if tuple(self._wrapper.TensorSize(tensor, subgraph)) != shape:
                self._wrapper.ResizeInputTensor(tensor, np.array(shape, np.int32), False, subgraph)
        self._wrapper.AllocateTensors(subgraph)
        self._shapes[subgraph] = shapes
        for key in [k for k in self._last if k[0] == subgraph]:
            del self._last[key]
        return True

    def feed(self, subgraph: int, tensors: Sequence[int], arrays: Sequence[np.ndarray]) -> None:
        """Set the inputs. An array that was the last one set is not copied again."""
        for tensor, array in zip(tensors, arrays):
            if self._last.get((subgraph, tensor)) is not array:
                self._wrapper.SetTensor(tensor, array, subgraph)
                self._last[subgraph, tensor] = array

    def invoke(self, subgraph: int) -> None:
        self._wrapper.Invoke(subgraph)

    def view(self, subgraph: int, tensor: int) -> np.ndarray:
        """The tensor's own memory; let go of it before the next `prepare` or `invoke`.

        Raises ValueError while it has none.
        """
        return self._wrapper.tensor(self.interpreter, tensor, subgraph)

    def is_empty(self, subgraph: int, tensor: int) -> bool:
        """Whether the tensor has no values, and therefore no memory."""
        return 0 in self._wrapper.TensorSize(tensor, subgraph)

    def copy(self, subgraph: int, tensor: int) -> np.ndarray:
        return self._wrapper.GetTensor(tensor, subgraph)

    def tensors(self, subgraph: int) -> dict[int, np.ndarray]:
        """Every tensor of the subgraph that has values, copied; for sessions made with `keep`."""
        kept: dict[int, np.ndarray] = {}
        for tensor in range(self._wrapper.NumTensors(subgraph)):
            try:
                # GetTensor crashes on a tensor without a shape, which TensorSize refuses, and on
                # handles of resources, whose type is object.
                self._wrapper.TensorSize(tensor, subgraph)
                if self._wrapper.TensorType(tensor, subgraph) is not np.object_:
                    kept[tensor] = self.copy(subgraph, tensor)
            except (RuntimeError, ValueError):
                continue  # it has no memory: not computed, or a temporary without a type
        return kept

    def delegated(self) -> frozenset[int]:
        """Operators of subgraph 0 that a delegate computes, all of them in sessions with `keep`."""
        from qcore.peers.delegation import inside

        return frozenset(inside(self.interpreter._get_ops_details()))

    def reset(self) -> None:
        """Set the variable tensors (states of recurrent operators) to zero."""
        self._wrapper.ResetVariableTensors()


def serve(
    file: str,
    runtime: str,
    path: str,
    threads: int,
    entries: Sequence[tuple[int, Sequence[int], Sequence[tuple[str, int]]]],
    tensors: bool,
    delegated: bool,
    items: Iterable[Any],
) -> Iterator[Any]:
    """In the child: outputs of each bound sample; the other tensors, and what a delegate computes,
    when asked."""
    session = Session(file, runtime, path, threads, tensors)
    taken: frozenset[int] | None = None
    for number, entry, arrays in items:
        subgraph, inputs, outputs = entries[entry]
        try:
            anew = session.prepare(subgraph, inputs, arrays)
            session.feed(subgraph, inputs, arrays)
            session.invoke(subgraph)
        except (RuntimeError, ValueError) as error:
            raise RuntimeFailed(f"{runtime} ({path}) refused sample {number}: {error}") from None
        if delegated and subgraph == 0 and (anew or taken is None):
            taken = session.delegated()
        made = {name: session.copy(subgraph, tensor) for name, tensor in outputs}
        if not tensors:
            yield made
            continue
        every = session.tensors(subgraph)
        yield (made, every, taken if subgraph == 0 else None) if delegated else (made, every)


def run(
    model: Any,
    inputs: Any,
    runtime: str = "litert",
    path: str = "xnnpack",
    threads: int = 1,
    tensors: bool = False,
    signature: str | None = None,
    *,
    delegated: bool = False,
    time_limit: float | None = None,
    memory_limit: int | None = None,
) -> Iterator[Any]:
    """The official interpreter's outputs for each input, one at a time, from a child process.

    model: path, bytes, Model or quantized model.  inputs: any iterable of samples, consumed once
    (see `qcore.binding`).  runtime: "litert" or "tensorflow".  path: "reference", "optimized"
    or "xnnpack".  threads: of the kernels.  signature: where a sample names none.
    Yields dicts of output name -> array; with tensors=True pairs of that and a dict of tensor index
    -> array with every tensor of the entry's subgraph that has memory (those of the runtime's own,
    beyond the file's, included); with delegated=True as well triples, the third being the numbers
    of the operators that a delegate computes, None of other subgraphs than the first.
    Raises RuntimeFailed when the runtime refuses, crashes, exceeds a limit; BadSample; BadInput.
    """
    from qcore.binding import Binder
    from qcore.peers.child import Child, Items

    check_choice(runtime, path)
    binder = Binder(load(model), signature)
    entries = [(e.subgraph, [i.tensor for i in e.inputs], e.outputs) for e in binder.entries]
    with (
        as_file(model) as file,
        Child(
            "qcore.peers.interpreter:serve",
            what=f"{runtime} ({path})",
            time_limit=time_limit,
            memory_limit=memory_limit,
        ) as child,
    ):
        bound = ((b.number, b.entry, b.arrays) for b in binder.all(inputs))
        yield from child.stream(
            file, runtime, path, threads, entries, tensors, delegated, Items(), items=bound,
            ahead=3,
        )  # fmt: skip
