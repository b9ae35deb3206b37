"""The types that the graph's inputs and outputs shall have, by conversions at its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BadRecipe, CannotQuantize
from qcore.params import Affine
from qcore.plan import common
from qcore.plan.legacy.choice import MODES
from qcore.plan.values import Form, Step
from qcore.schemes import MinMax, Symmetric

if TYPE_CHECKING:
    from qcore.plan.legacy.draft import Draft


def inputs(draft: Draft) -> None:
    """Puts QUANTIZE (or DEQUANTIZE) in front where an input's type differs from the recipe's."""
    wanted = draft.recipe.input_type if common.is_entry(draft.graph) else "float32"
    for place, t in enumerate(draft.inputs):
        outer = _outer(draft, t, wanted, "input")
        if outer is None:
            continue
        name = "DEQUANTIZE" if draft.forms[t].dtype == "float32" else "QUANTIZE"
        # At the very front, so that the last input's conversion comes first, as rules B write it.
        draft.steps.insert(0, _end(draft, name, outer, t))
        draft.inputs[place] = outer


def outputs(draft: Draft) -> None:
    """Puts DEQUANTIZE (or QUANTIZE) behind where an output's type differs from the recipe's."""
    wanted = draft.recipe.output_type if common.is_entry(draft.graph) else "float32"
    for place, t in enumerate(draft.outputs):
        outer = _outer(draft, t, wanted, "output")
        if outer is None:
            continue
        name = "DEQUANTIZE" if wanted == "float32" else "QUANTIZE"
        if (wanted, draft.forms[t].dtype) == ("uint8", "int16"):  # no kernel does it at once
            form = draft.forms[outer]
            assert form.params is not None
            params = Affine(form.params.scale, form.params.zero_point - 128)
            between = form.replace(dtype="int8", params=params, name=f"{form.name}_int8")
            draft.steps.append(_end(draft, name, t, at := draft.add(between)))
            t = at
        draft.steps.append(_end(draft, name, t, outer))
        draft.outputs[place] = outer


def _end(draft: Draft, name: str, source: int, target: int) -> Step:
    """A conversion at an end; a QUANTIZE only found there keeps version 1."""
    dtype = draft.forms[target].dtype
    mode = MODES.get(dtype, dtype)
    inserted = [s.version for s in draft.steps if s.name == name]
    version = (
        inserted[0] if inserted else (1 if name == "QUANTIZE" else draft.inserted_version(name))
    )
    return Step(None, name, version, (source,), (target,), mode=mode)


def _outer(draft: Draft, f: int, wanted: str, end: str) -> int | None:
    """A new form of the wanted type for an end tensor, None where it has that type already.

    The inner form gives its name to the outer one.
    """
    form = draft.forms[f]
    if wanted == form.dtype or not (form.quantized or form.dtype == "float32"):
        return None
    t, name = form.tensor, draft.name(f)
    if not form.quantized:
        return _integer_end(draft, f, wanted, end)
    draft.forms[f] = form.replace(name=f"{name}_{form.dtype}")
    if wanted == "float32":
        return draft.add(Form(t, wanted, name=name, rule=f"float {end}"))
    return draft.add(_converted(draft, form, wanted, end).replace(name=name))


def _converted(draft: Draft, form: Form, wanted: str, end: str) -> Form:
    """The end form of another integer type."""
    assert form.params is not None
    if form.params.groups > 1:
        raise CannotQuantize(
            f"{end} {draft.graph.name(form.tensor)!r} is a weight with {form.params.groups} "
            f"scales, which no {wanted} {end} can have; ask for float32, or take it out of the "
            f"{end}s"
        )
    if (wanted, form.dtype) == ("uint8", "int8"):  # the same steps, shifted
        params = Affine(form.params.scale, form.params.zero_point + 128)
        return Form(form.tensor, wanted, params, rule=f"{end} type", stats=form.stats)
    if (only := fixed(draft, form, wanted)) is not None:
        return Form(form.tensor, wanted, only, rule=form.rule)
    if form.stats is None:
        raise BadRecipe(
            f"{end} {draft.name(form.tensor)!r} is {form.dtype} with parameters fixed by its "
            f"operator, and the recipe asks for {wanted}; ask for {form.dtype} or float32"
        )
    made = _on_range(form, wanted, end)
    assert made.params is not None
    q = common.int_range(wanted, wanted == "int16", end)
    params, note = draft.mended(made.params, q)
    return made.replace(params=params, note=note)


def fixed(draft: Draft, form: Form, wanted: str) -> Affine | None:
    """The only parameters of that type that the operator which writes a value has, for an operator
    of mode int16x8."""
    t = form.tensor
    i = draft.graph.producer.get(t)
    spec = None if i is None else draft.graph.spec(i)
    if i is None or spec is None or not common.is_wide(draft.graph, draft.recipe, i):
        return None
    operand = spec.output(draft.graph.operators[i].outputs.index(t))
    found = operand.fixed.get(wanted) if operand is not None else None
    return None if found is None else Affine.of(found.scale, found.zero_point)


def _on_range(form: Form, wanted: str, end: str) -> Form:
    """The end form on the tensor's own range."""
    assert form.stats is not None
    scheme = Symmetric("legacy") if wanted == "int16" else MinMax("legacy")
    q = common.int_range(wanted, scheme.takes_narrow, end)
    params = common.choose(scheme, form.stats, q, f"{end} tensor {form.tensor}")
    return Form(form.tensor, wanted, params, rule=f"{end} type", stats=form.stats)


def _integer_end(draft: Draft, f: int, wanted: str, end: str) -> int | None:
    """An integer form for an input or output that the plan left float."""
    t = draft.forms[f].tensor
    name = draft.graph.name(t)
    if not draft.recipe.deviates("integer_ends"):
        raise CannotQuantize(
            f"{end} {name!r} stays float, and TFLite's quantizer cannot make it {wanted}; "
            f"set {end}_type to float32 or allow the deviation 'integer_ends'"
        )
    stats = draft.ranges.get(t)
    if stats is None:
        draft.forms[f] = draft.forms[f].replace(
            note="stays float32: no range was calibrated for it"
        )
        return None
    inner = draft.forms[f].replace(stats=stats)
    made = _on_range(inner, wanted, end)
    assert made.params is not None
    q = common.int_range(wanted, wanted == "int16", end)
    params, note = draft.mended(made.params, q)
    draft.forms[f] = draft.forms[f].replace(name=f"{draft.name(f)}_float")
    return draft.add(made.replace(params=params, note=note, name=name))
