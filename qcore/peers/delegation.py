"""Whether an official interpreter loads a model, and which operators XNNPACK computes in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qcore.errors import RuntimeFailed
from qcore.peers.interpreter import as_file, check_choice


@dataclass(frozen=True)
class Loaded:
    """operators: of subgraph 0, those that the delegate computes.  unread: operators whose outputs
    nobody reads, of which the interpreter does not show who computes them.  error: why the model
    was not loaded, else ""."""

    operators: frozenset[int] = frozenset()
    unread: frozenset[int] = frozenset()
    error: str = ""


def serve(runtime: str, path: str, items: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """In the child: for each file (delegated, unread), or (message,)."""
    from qcore.peers.interpreter import Session

    for file in items:
        try:
            session = Session(file, runtime, path, 1, False)
            session._wrapper.AllocateTensors(0)
            outputs = [int(d["index"]) for d in session.interpreter.get_output_details()]
            yield parts(session.interpreter._get_ops_details(), outputs)
        except (RuntimeError, ValueError) as error:
            yield (" ".join(str(error).split())[:300],)


def inside(details: Sequence[Any]) -> set[int]:
    """Operators inside of DELEGATE nodes, which follow the model's own in the interpreter's list.

    What a node of the delegate computes is what its outputs need and its inputs do not give; one
    without outputs is the operator without outputs (ASSIGN_VARIABLE) that has its inputs. Where all
    tensors are kept every operator is a node by itself, and all of them are found.
    """
    own = [d for d in details if d["op_name"] != "DELEGATE"]
    producer = {int(t): i for i, d in enumerate(own) for t in d["outputs"]}
    found: set[int] = set()
    silent: Counter[frozenset[int]] = Counter()
    for delegate in details:
        if delegate["op_name"] != "DELEGATE":
            continue
        given = _given(delegate)
        wanted = [int(t) for t in delegate["outputs"]]
        silent[given] += not wanted
        while wanted:
            tensor = wanted.pop()
            node = producer.get(tensor)
            if node is not None and node not in found and tensor not in given:
                found.add(node)
                wanted += _given(own[node])
    for i, d in enumerate(own):
        if not len(d["outputs"]) and silent[_given(d)]:
            silent[_given(d)] -= 1
            found.add(i)
    return found


def parts(details: Sequence[Any], outputs: Sequence[int]) -> tuple[list[int], list[int]]:
    """Operators inside of DELEGATE nodes, and those of which nothing tells. outputs: of the graph.

    What only goes where nothing shows it (a variable, or nowhere) may be inside or not.
    """
    own = [d for d in details if d["op_name"] != "DELEGATE"]
    found = inside(details)
    ends = {int(t) for d in details if d["op_name"] == "DELEGATE" for t in d["outputs"]}
    ends |= set(outputs)
    hidden: set[int] = set()
    for i in reversed(range(len(own))):
        made = {int(t) for t in own[i]["outputs"]}
        readers = [
            k for k, d in enumerate(own) if k > i and made.intersection(map(int, d["inputs"]))
        ]
        if i not in found and not made & ends and all(k in hidden for k in readers):
            hidden.add(i)
    return sorted(found), sorted(hidden)


def _given(detail: Any) -> frozenset[int]:
    return frozenset(int(t) for t in detail["inputs"] if t >= 0)


def load(
    models: Iterable[Any], runtime: str = "litert", path: str = "xnnpack",
    *, time_limit: float = 60.0,
) -> Iterator[Loaded]:  # fmt: skip
    """What the interpreter makes of each model, in a child process; a crash is an error as well.

    models: paths, bytes or Models.  Raises BadInput for names that are none.
    """
    from qcore.peers.child import Child, Items

    check_choice(runtime, path)
    child: Any = None
    try:
        for model in models:
            with as_file(model) as file:
                if child is None:
                    child = Child("qcore.peers.delegation:serve", what=f"{runtime} ({path})",
                                  time_limit=time_limit)  # fmt: skip
                try:
                    (answer,) = child.stream(runtime, path, Items(), items=[file])
                except RuntimeFailed as error:
                    child.close()
                    child = None
                    yield Loaded(error=str(error))
                    continue
            if len(answer) == 1:
                yield Loaded(error=answer[0])
            else:
                yield Loaded(frozenset(answer[0]), frozenset(answer[1]))
    finally:
        if child is not None:
            child.close()
