"""Edits: what each does, that they commute, that conflicts and wrong indices are named; pruning."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tflite_schema as ts
from tests.schema import strategies
from tests.schema.samples import ADD, base

MUL = ts.OperatorCode.of("MUL")
NEG = ts.OperatorCode.of("NEG")


def graph_of(*operators: ts.Operator) -> ts.Model:
    model = base()
    return model.replace(subgraphs=(model.subgraphs[0].replace(operators=operators),))


def names(model: ts.Model, subgraph: int = 0) -> list[str]:
    return [operator.name for operator in model.subgraphs[subgraph].operators]


def test_indices_are_those_of_the_model_before() -> None:
    a, b, c = (ts.Operator(code, (0,), (1,)) for code in (ADD, MUL, NEG))
    model = graph_of(a, b)
    edits = (
        ts.ReplaceOperator(0, 0, (b, b)),
        ts.InsertOperators(0, 0, (c,)),
        ts.InsertOperators(0, 1, (c,)),
        ts.InsertOperators(0, 1, (a,)),
        ts.InsertOperators(0, 2, (c, c)),
        ts.ReplaceOperator(0, 1, ()),
    )
    assert names(ts.apply(model, edits)) == ["NEG", "MUL", "MUL", "NEG", "ADD", "NEG", "NEG"]
    assert names(model) == ["ADD", "MUL"]


def test_the_editor_hands_out_the_indices_that_apply_gives() -> None:
    model = base()
    editor = ts.Editor(model)
    buffer = editor.add_buffer(np.float32([1, 2]))
    first = editor.add_tensor(0, ts.Tensor(shape=(2,), name="first", buffer=buffer))
    other = editor.add_tensor(1, ts.Tensor(name="other"))
    second = editor.add_tensor(0, ts.Tensor(name="second"))
    editor.insert_operators(0, 1, ts.Operator(NEG, (first,), (second,)))
    editor.set_tensor(0, 0, ts.Tensor(name="new"))
    editor.set_buffer(2, b"abcd")
    editor.set_graph(0, outputs=(second,))
    editor.set_signatures((ts.SignatureDef(signature_key="s"),))
    editor.set_metadata("made by", buffer)
    editor.set_model(description=None)
    editor.replace_operator(1, 0)
    result = editor.apply()
    graph = result.subgraphs[0]
    assert [graph.tensors[i].name for i in (0, first, second)] == ["new", "first", "second"]
    assert result.subgraphs[1].tensors[other].name == "other"
    assert ts.array(result, 0, first).tolist() == [1, 2]
    assert (graph.inputs, graph.outputs) == ((0,), (second,))
    assert names(result) == ["ADD", "NEG"]
    assert names(result, 1) == []
    assert result.metadata == (ts.Metadata("made by", buffer),)
    assert result.description is None
    assert result.signature_defs[0].signature_key == "s"
    assert result.buffers[2].data.tobytes() == b"abcd"
    assert ts.to_bytes(model, editor.edits) == ts.to_bytes(ts.prune(result))


def test_operators_can_be_set_as_a_whole_and_then_only_so() -> None:
    a, b = (ts.Operator(code, (0,), (1,)) for code in (ADD, MUL))
    whole = ts.SetGraph(0, operators=(b, a, b))
    assert names(ts.apply(graph_of(a), [whole])) == ["MUL", "ADD", "MUL"]
    for other in (ts.InsertOperators(0, 0, (a,)), ts.ReplaceOperator(0, 0, ())):
        with pytest.raises(ts.EditConflict, match="sets all operators of subgraph 0"):
            ts.apply(graph_of(a), [whole, other])


def test_metadata_is_set_by_name() -> None:
    model = base(metadata=(ts.Metadata("a", 1), ts.Metadata("b", 2)))
    edits = [
        ts.SetMetadata("z", 3),
        ts.SetMetadata("c", 3),
        ts.SetMetadata("a", None),
        ts.SetMetadata("b", 0),
    ]
    expected = (ts.Metadata("b", 0), ts.Metadata("c", 3), ts.Metadata("z", 3))
    assert ts.apply(model, edits).metadata == expected
    assert ts.apply(model, edits[::-1]).metadata == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ts.SetTensor(0, 1, ts.Tensor(name="a")), ts.SetTensor(0, 1, ts.Tensor(name="b"))),
        (ts.SetBuffer(1, b"a"), ts.SetBuffer(1, b"b")),
        (ts.ReplaceOperator(0, 0, ()), ts.ReplaceOperator(0, 0, (ts.Operator(ADD),))),
        (ts.SetGraph(0, inputs=(0,)), ts.SetGraph(0, inputs=(1,))),
        (ts.SetGraph(0, outputs=(0,)), ts.SetGraph(0, outputs=(1,))),
        (ts.SetGraph(0, operators=()), ts.SetGraph(0, operators=(ts.Operator(NEG),))),
        (ts.SetSignatures(()), ts.SetSignatures((ts.SignatureDef(),))),
        (ts.SetMetadata("m", 0), ts.SetMetadata("m", None)),
        (ts.SetModel(description="a"), ts.SetModel(description=None)),
        (ts.SetModel(appended=b"a"), ts.SetModel(appended=b"b")),
    ],
    ids=lambda edit: type(edit).__name__,
)
def test_two_edits_of_one_thing_conflict(one: ts.Edit, other: ts.Edit) -> None:
    with pytest.raises(
        ts.EditConflict, match=r"two edits set .* to different values; keep one of them"
    ):
        ts.apply(base(), (one, other))
    assert ts.apply(base(), (one, one)) == ts.apply(base(), (one,))
    inner = base() if isinstance(one, ts.SetGraph) else None
    if inner is not None:
        both = ts.apply(inner, (ts.SetGraph(0, inputs=(2,)), ts.SetGraph(0, outputs=(3,))))
        assert (both.subgraphs[0].inputs, both.subgraphs[0].outputs) == ((2,), (3,))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            ts.SetTensor(0, 4, ts.Tensor()),
            "tensor 4 of subgraph 0 is out of range, the model has 4 tensors",
        ),
        (ts.SetTensor(4, 0, ts.Tensor()), "subgraph 4 is out of range, the model has 4 subgraphs"),
        (ts.SetTensor(0, -1, ts.Tensor()), "tensor -1 of subgraph 0 is out of range"),
        (ts.AddTensor(7, ts.Tensor()), "subgraph 7 is out of range"),
        (ts.SetBuffer(4, b""), "buffer 4 is out of range, the model has 4 buffers"),
        (ts.InsertOperators(0, 2, ()), "operator 2 is out of range"),
        (ts.InsertOperators(9, 0, ()), "subgraph 9 is out of range"),
        (ts.ReplaceOperator(0, 1, ()), "operator 1 of subgraph 0 is out of range"),
        (ts.SetGraph(5, inputs=()), "subgraph 5 is out of range"),
        (
            ts.SetGraph(0, outputs=(4,)),
            "SubGraph.outputs of subgraph 0 is wrong: 4 is out of range",
        ),
        (ts.SetMetadata("m", 4), "Metadata.buffer of metadata 0 is wrong: 4 is out of range"),
        (
            ts.AddTensor(0, ts.Tensor(buffer=9)),
            "Tensor.buffer of subgraph 0, tensor 4 is wrong: 9 is",
        ),
        (
            ts.InsertOperators(0, 0, (ts.Operator(ADD, (8,), (1,)),)),
            "Operator.inputs of subgraph 0, operator 0 is wrong: 8 is out of range",
        ),
        ("not an edit", "'not an edit' is not an edit"),
    ],
)
def test_an_edit_that_does_not_fit_is_named(edit: Any, says: str) -> None:
    with pytest.raises(ts.EditError) as caught:
        ts.apply(base(), (edit,))
    assert says in str(caught.value)
    assert not isinstance(caught.value, ts.EditConflict)


@st.composite
def edited(draw: Any) -> tuple[ts.Model, list[ts.Edit]]:
    """A model and edits of different things, none of which adds."""
    model = draw(strategies.models())
    edits: list[ts.Edit] = []
    for number, graph in enumerate(model.subgraphs):
        count = len(graph.tensors)
        for index in draw(st.sets(st.integers(0, count - 1))):
            edits.append(ts.SetTensor(number, index, ts.Tensor(shape=(1,), name=f"n{index}")))
        operator = strategies.operators(count, len(model.subgraphs))
        for index in draw(st.sets(st.integers(0, len(graph.operators)))):
            edits.append(ts.InsertOperators(number, index, (draw(operator),)))
            if index < len(graph.operators):
                edits.append(
                    ts.ReplaceOperator(number, index, tuple(draw(st.lists(operator, max_size=2))))
                )
        if draw(st.booleans()):
            edits.append(ts.SetGraph(number, inputs=(0,)))
            edits.append(ts.SetGraph(number, outputs=(-1,)))
    for index, buffer in enumerate(model.buffers):
        if buffer.nbytes and draw(st.booleans()):
            edits.append(ts.SetBuffer(index, bytes(buffer.nbytes)))
    edits += [ts.SetMetadata("b", 0), ts.SetMetadata("a", 0), ts.SetModel(description="d")]
    return model, edits


@given(edited(), st.randoms(use_true_random=False))
def test_edits_commute(case: tuple[ts.Model, list[ts.Edit]], chance: random.Random) -> None:
    model, edits = case
    shuffled = list(edits)
    chance.shuffle(shuffled)
    assert ts.apply(model, edits) == ts.apply(model, shuffled)
    assert ts.apply(model, edits) != model


def meaning(model: ts.Model) -> Any:
    """The model with every index replaced by what it points to."""

    def tensor(graph: ts.SubGraph, index: int, depth: int = 0) -> Any:
        if index == -1:
            return None
        value = graph.tensors[index]
        data = model.buffers[value.buffer].data if value.buffer else None
        held = None if data is None else data.tobytes()
        details: Any = value.quantization.details if value.quantization else None
        blockwise = ("BlockwiseQuantization", "MultiAxisQuantization")
        if details is not None and details.stored and details.table in blockwise:
            value = value.replace(
                quantization=value.quantization.replace(
                    details=details.replace(scales=0, zero_points=0)
                )
            )
            if depth < 4:
                held = (
                    held,
                    *(tensor(graph, i, depth + 1) for i in (details.scales, details.zero_points)),
                )
        return value.replace(buffer=0), held

    def mapped(graph: ts.SubGraph, indices: tuple[int, ...]) -> Any:
        return tuple(tensor(graph, i) for i in indices)

    return (
        [
            (
                mapped(g, g.inputs),
                mapped(g, g.outputs),
                [
                    (
                        o.replace(inputs=(), outputs=(), intermediates=()),
                        *(mapped(g, i) for i in (o.inputs, o.outputs, o.intermediates)),
                    )
                    for o in g.operators
                ],
                g.name,
            )
            for g in model.subgraphs
        ],
        [(e.name, model.buffers[e.buffer]) for e in model.metadata],
        [model.buffers[i] for i in model.metadata_buffer],
        [
            (
                s.signature_key,
                s.subgraph_index,
                *(
                    tuple(
                        (m.name, tensor(model.subgraphs[s.subgraph_index], m.tensor_index))
                        for m in maps
                    )
                    for maps in (s.inputs, s.outputs)
                ),
            )
            for s in model.signature_defs
        ],
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@given(strategies.models())
def test_pruning_keeps_the_meaning_and_drops_the_rest(model: ts.Model) -> None:
    pruned = ts.prune(model)
    assert equal(meaning(pruned), meaning(model))
    assert ts.prune(pruned) == pruned
    assert ts.read(ts.to_bytes(pruned)).subgraphs == pruned.subgraphs
    used = {o.code for g in model.subgraphs for o in g.operators}
    assert set(pruned.operator_codes) <= used
    held = {t.buffer for g in pruned.subgraphs for t in g.tensors}
    held |= {0, *pruned.metadata_buffer, *(e.buffer for e in pruned.metadata)}
    assert held >= set(range(len(pruned.buffers)))
    assert pruned.buffers[0] == model.buffers[0]
    assert (pruned.description, pruned.appended is None) == (
        model.description,
        model.appended is None,
    )


def test_the_meaning_sees_a_wrong_index() -> None:
    model = base()
    graph = model.subgraphs[0]
    changed = graph.replace(operators=(graph.operators[0].replace(inputs=(0, 3)),))
    assert not equal(
        meaning(model), meaning(model.replace(subgraphs=(changed, *model.subgraphs[1:])))
    )


def test_pruning_renumbers_everywhere() -> None:
    blockwise = ts.Quantization(
        details=ts.Options("BlockwiseQuantization", scales=5, zero_points=-1)
    )
    tensors = tuple(
        ts.Tensor(shape=(2,), name=f"t{i}", buffer=b, quantization=blockwise if i == 3 else None)
        for i, b in enumerate((0, 1, 0, 2, 3, 4))
    )
    operator = ts.Operator(MUL, (1, -1, 3), (2,), intermediates=(2,))
    model = ts.Model(
        operator_codes=(ADD, MUL),
        subgraphs=(ts.SubGraph(tensors, (1,), (2,), (operator,)),),
        buffers=tuple(ts.Buffer(None if i == 0 else np.float32([i, i])) for i in range(7)),
        metadata=(ts.Metadata("m", 6),),
        signature_defs=(ts.SignatureDef((ts.TensorMap("x", 1),), (ts.TensorMap("y", 2),)),),
    )
    pruned = ts.prune(model)
    graph = pruned.subgraphs[0]
    assert [t.name for t in graph.tensors] == ["t1", "t2", "t3", "t5"]
    assert [t.buffer for t in graph.tensors] == [1, 0, 2, 3]
    assert (graph.inputs, graph.outputs) == ((0,), (1,))
    assert graph.operators == (ts.Operator(MUL, (0, -1, 2), (1,), intermediates=(1,)),)
    assert graph.tensors[2].quantization.details.scales == 3
    assert graph.tensors[2].quantization.details.zero_points == -1
    assert [
        m.tensor_index
        for m in (*pruned.signature_defs[0].inputs, *pruned.signature_defs[0].outputs)
    ] == [0, 1]
    assert pruned.metadata == (ts.Metadata("m", 4),)
    assert [b.nbytes for b in pruned.buffers] == [0, 8, 8, 8, 8]
    assert pruned.operator_codes == (MUL,)


def test_pruning_leaves_quantization_details_without_a_table() -> None:
    bare = ts.Quantization(details=ts.Options("BlockwiseQuantization", stored=False))
    tensors = (ts.Tensor(name="unused"), ts.Tensor(name="used", quantization=bare))
    model = ts.Model(subgraphs=(ts.SubGraph(tensors, (1,), (1,)),), buffers=(ts.Buffer(),))
    assert ts.prune(model).subgraphs[0].tensors == (tensors[1],)


def test_shared_buffers_stay_shared_and_split_where_wanted() -> None:
    tensors = tuple(ts.Tensor(shape=(2,), name=f"t{i}", buffer=1) for i in range(2))
    graph = ts.SubGraph(tensors, (0,), (1,), (ts.Operator(ADD, (0, 1), (1,)),))
    model = ts.Model(subgraphs=(graph,), buffers=(ts.Buffer(), ts.Buffer(np.float32([1, 2]))))
    assert len(ts.prune(model).buffers) == 2
    editor = ts.Editor(model)
    own = editor.add_buffer(np.int32([3, 4]))
    editor.set_tensor(0, 1, tensors[1].replace(buffer=own, type=ts.TensorType.INT32))
    again = ts.read(ts.to_bytes(model, editor.edits))
    assert [ts.array(again, 0, i).tolist() for i in (0, 1)] == [[1, 2], [3, 4]]


def test_a_buffer_that_nobody_uses_any_more_is_gone() -> None:
    tensor = ts.Tensor(shape=(1000,), buffer=1)
    graph = ts.SubGraph((tensor,), (0,), (0,))
    old = np.random.default_rng(0).random(1000, np.float32)
    model = ts.Model(subgraphs=(graph,), buffers=(ts.Buffer(), ts.Buffer(old)))
    editor = ts.Editor(model)
    new = editor.add_buffer(np.zeros(1000, np.int8))
    editor.set_tensor(0, 0, tensor.replace(buffer=new, type=ts.TensorType.INT8))
    data = ts.to_bytes(model, editor.edits)
    assert len(data) < 1500
    assert len(ts.read(data).buffers) == 2
