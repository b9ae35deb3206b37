"""A recipe says what the user wants: an ordered list of rules, later rules win.

A rule selects by operator, operand and tensor name, and sets what it names: mode, dtype, scheme,
granularity, rounding. The recipes that ship are TOML files in `qcore/recipes/`; `recipe("int8")`
loads one, `Recipe.load` any TOML or JSON file, LiteRT's quantizer recipes included.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore import textfiles
from qcore.deviations import DEVIATIONS
from qcore.errors import BadRecipe
from qcore.granularity import Granularity
from qcore.rounding import Rounding
from qcore.schemes import Scheme, Symmetric
from tflite_schema import files

if TYPE_CHECKING:
    from qcore.observers import Observer

MODES = ("static", "int16x8", "dynamic", "weight_only", "float16", "float")
INTEGER = ("static", "int16x8")  # activations too
DIALECTS = ("mlir", "legacy")
IO_TYPES = ("float32", "int8", "int16", "uint8")
OPERANDS = ("activation", "weight", "bias", "state", "constant")  # roles, as rules say them
_WIDE = {"activation": "int16", "bias": "int64"}  # what mode int16x8 stores, by role
_SETTABLE = ("mode", "dtype", "scheme", "granularity", "rounding", "min_elements")


@dataclass(frozen=True)
class Rule:
    """Which operators, operands and tensors; and what is set for them (None leaves it).

    operator: glob on the operator name ("CONV_2D", "*POOL*").
    operand: glob on the role ("activation", "weight", "bias", "state"; "constant" for one in an
        activation's place) or the operand's own name ("filter"), that some operator has.
    name: glob on a tensor name, or "re:" and a regular expression that is searched; for `mode` and
        `min_elements` it is tried on each output of the operator, for the rest on the tensor, and
        for weights and biases on the operator's outputs as well.
    mode: static (integer activations and weights), int16x8 (the same with int16 activations and
        int64 biases, whatever their rules say), dynamic (integer weights, float activations
        quantized at run time where the kernel does), weight_only (integer weights behind
        DEQUANTIZE), float16 (weights behind DEQUANTIZE), float (left as it is).
    dtype: "int8", "int16", "int4", "int32", "int64", "float16".
    scheme, granularity, rounding: as values, or as a recipe file writes them.
    min_elements: weights with fewer values stay float (dynamic, weight_only).
    """

    operator: str = "*"
    operand: str = "*"
    name: str = "*"
    mode: str | None = None
    dtype: str | None = None
    scheme: Scheme | str | Mapping[str, Any] | None = None
    granularity: Granularity | str | None = None
    rounding: Rounding | str | Mapping[str, Any] | None = None
    min_elements: int | None = None

    def __post_init__(self) -> None:
        for what in ("operator", "operand", "name", "mode", "dtype"):
            value = getattr(self, what)
            if not isinstance(value, str) and (value is not None or what not in _SETTABLE):
                raise BadRecipe(f"a rule's {what} is {value!r}; give a text")
        if not isinstance(self.granularity, (str, Granularity, type(None))):
            raise BadRecipe(f"a rule's granularity is {self.granularity!r}; give a text")
        least = self.min_elements
        if least is not None and (type(least) is not int or least < 0):
            raise BadRecipe(f"a rule's min_elements is {self.min_elements!r}; give a whole number")
        if self.mode is not None and self.mode not in MODES:
            raise BadRecipe(f"mode {self.mode!r} is unknown; use one of {', '.join(MODES)}")
        if self.mode is not None and self.operand != "*":
            raise BadRecipe(
                f"a rule sets mode {self.mode!r} for operand {self.operand!r}, but a mode belongs "
                "to the whole operator; leave the operand out"
            )
        if not _is_operand(self.operand):
            raise BadRecipe(
                f"no operator has an operand {self.operand!r}; use one of {', '.join(OPERANDS)}, "
                "or an operand's own name (`filter`)"
            )
        if isinstance(self.granularity, str):
            object.__setattr__(self, "granularity", Granularity.parse(self.granularity))
        if self.scheme is not None and not isinstance(self.scheme, Scheme):
            object.__setattr__(self, "scheme", Scheme.from_json(self.scheme))
        if self.rounding is not None and not isinstance(self.rounding, Rounding):
            object.__setattr__(self, "rounding", Rounding.from_json(self.rounding))
        if all(getattr(self, name) is None for name in _SETTABLE):
            raise BadRecipe(
                f"the rule for operator {self.operator!r}, operand {self.operand!r}, name "
                f"{self.name!r} sets nothing; give it one of {', '.join(_SETTABLE)}"
            )
        if self.name.startswith("re:"):
            try:
                re.compile(self.name[3:])
            except re.error as e:
                raise BadRecipe(
                    f"the name pattern {self.name!r} is not a regular expression: {e}"
                ) from None

    def matches(self, operator: str, operand: Iterable[str], names: Iterable[str]) -> bool:
        """Whether the rule applies; operand: its role and name, names: any of which may match."""
        if not fnmatchcase(operator, self.operator):
            return False
        if self.operand != "*" and not any(fnmatchcase(o, self.operand) for o in operand):
            return False
        if self.name == "*":
            return True
        if self.name.startswith("re:"):
            return any(re.search(self.name[3:], n) for n in names)
        return any(fnmatchcase(n, self.name) for n in names)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                if isinstance(value, (Scheme, Rounding)):
                    value = value.to_json()
                elif isinstance(value, Granularity):
                    value = str(value)
                out[f.name] = value
        return out


@cache
def _is_operand(pattern: str) -> bool:
    """Whether an operand of any operator has a role or a name like this."""
    if any(fnmatchcase(role, pattern) for role in OPERANDS):
        return True
    from kernels import ops

    return any(
        fnmatchcase(operand.name, pattern)
        for spec in ops.all().values()
        for operand in (*spec.inputs, *spec.outputs, *spec.intermediates)
    )


@dataclass(frozen=True)
class Setting:
    """What the rules come to for one operand of one operator."""

    dtype: str | None = None
    scheme: Scheme | None = None
    granularity: Granularity | None = None
    rounding: Rounding | None = None


@dataclass(frozen=True)
class Recipe:
    """name, rules in order, and what holds for the whole file.

    dialect: whose tie rules and arithmetic a static plan follows: "mlir" (TFLiteConverter's int8
        path) or "legacy" (its 16x8 path).
    input_type, output_type: what the graph's inputs and outputs shall be ("float32" leaves a
        QUANTIZE or DEQUANTIZE there), None to follow the plan.
    deviations: by key, whether to depart from the converter (see `qcore.deviations`).
    observer: what samples are observed with, as a value or as a recipe file writes it; None: min
        and max, or histograms where a scheme needs them.
    """

    name: str
    rules: tuple[Rule, ...]
    dialect: str = "mlir"
    input_type: str = "float32"
    output_type: str = "float32"
    deviations: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    observer: Observer | None = None

    def __post_init__(self) -> None:
        if self.observer is not None:
            from qcore.observers import find

            object.__setattr__(self, "observer", find(self.observer))
        object.__setattr__(self, "rules", tuple(self.rules))
        if not isinstance(self.name, str):
            raise BadRecipe(f"a recipe's name is {self.name!r}; give a text")
        if not isinstance(self.deviations, Mapping):
            raise BadRecipe(
                f"deviations is {self.deviations!r}; give a table of key = true or false"
            )
        object.__setattr__(self, "deviations", dict(self.deviations))
        if self.dialect not in DIALECTS:
            raise BadRecipe(
                f"dialect {self.dialect!r} is unknown; use one of {', '.join(DIALECTS)}"
            )
        for what in ("input_type", "output_type"):
            if getattr(self, what) not in IO_TYPES:
                raise BadRecipe(
                    f"{what} {getattr(self, what)!r} is unknown; use one of {', '.join(IO_TYPES)}"
                )
        for key in self.deviations:
            if key not in DEVIATIONS:
                raise BadRecipe(f"deviation {key!r} is unknown; known are: {', '.join(DEVIATIONS)}")
            if not isinstance(self.deviations[key], bool):
                raise BadRecipe(
                    f"deviation {key!r} is {self.deviations[key]!r}; give true or false"
                )

    def mode(self, operator: str, outputs: Iterable[str]) -> str:
        """How an operator with outputs of these names is to be computed; "float" by default."""
        outputs = tuple(outputs)
        mode = "float"
        for rule in self.rules:
            if rule.mode is not None and rule.matches(operator, (), outputs):
                mode = rule.mode
        return mode

    def min_elements(self, operator: str, outputs: Iterable[str]) -> int:
        """Weights with fewer elements stay float."""
        outputs = tuple(outputs)
        least = 0
        for rule in self.rules:
            if rule.min_elements is not None and rule.matches(operator, ("weight",), outputs):
                least = rule.min_elements
        return least

    def setting(
        self,
        operator: str,
        role: str,
        operand: str,
        name: str,
        constant: bool = False,
        outputs: Iterable[str] = (),
        wide: bool = False,
    ) -> Setting:
        """dtype, scheme, granularity and rounding for an operand, each from the last rule with it.

        constant: a constant that stands in an activation's place; the role "constant" fits as well.
        outputs: names of the operator's outputs, by which weights and biases may be meant too.
        wide: for an operator of mode int16x8: activations are int16 with zero point 0, by
            `symmetric` where the scheme has others, and biases int64.
        """
        found: dict[str, Any] = {}
        roles = (role, operand, "constant") if constant else (role, operand)
        names = (name, *outputs)
        for rule in self.rules:
            if rule.matches(operator, roles, names):
                for key in ("dtype", "scheme", "granularity", "rounding"):
                    value = getattr(rule, key)
                    if value is not None:
                        found[key] = value
        if wide and role in _WIDE:
            found["dtype"] = _WIDE[role]
        if "scheme" in found:
            found["scheme"] = found["scheme"].placed(role, found.get("dtype"))
        if wide and role == "activation" and not getattr(found.get("scheme"), "symmetric", False):
            found["scheme"] = Symmetric(self.dialect)
        return Setting(**found)

    def deviates(self, key: str) -> bool:
        """Whether the recipe departs from the converter in the point `key`."""
        return self.deviations.get(key, DEVIATIONS[key].default)

    def with_rule(self, rule: Rule | None = None, **fields: Any) -> Recipe:
        """This recipe with one more rule at the end, where it wins."""
        return dataclasses.replace(self, rules=(*self.rules, rule or Rule(**fields)))

    def replace(self, **changes: Any) -> Recipe:
        return dataclasses.replace(self, **changes)

    def like_converter(self, keep: Iterable[str] = ()) -> Recipe:
        """This recipe with every deviation switched off, but for those of `keep`."""
        kept = set(keep)
        return dataclasses.replace(self, deviations={key: key in kept for key in DEVIATIONS})

    def to_json(self) -> dict[str, Any]:
        observer = {} if self.observer is None else {"observer": self.observer.to_json()}
        return {
            "name": self.name,
            "dialect": self.dialect,
            "input_type": self.input_type,
            "output_type": self.output_type,
            **observer,
            "deviations": dict(self.deviations),
            "rule": [rule.to_json() for rule in self.rules],
        }

    @classmethod
    def from_json(cls, data: Any, name: str = "custom") -> Recipe:
        """From what `to_json`, a TOML file or a LiteRT quantizer recipe (a list) holds."""
        if isinstance(data, list):
            from qcore.litert_recipe import from_litert

            return from_litert(data, name)
        if not isinstance(data, dict):
            raise BadRecipe(f"recipe {name!r} is a {type(data).__name__}; give a table of fields")
        fields = dict(data)
        rules = fields.pop("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise BadRecipe(f"recipe {name!r} has a `rule` that is no list of tables; use [[rule]]")
        fields.setdefault("name", name)
        known = {f.name for f in dataclasses.fields(cls)} - {"rules"}
        if unknown := set(fields) - known:
            raise BadRecipe(
                f"recipe {name!r} has the unknown field {sorted(unknown)[0]!r}; "
                f"known are: rule, {', '.join(sorted(known))}"
            )
        made = []
        for i, rule in enumerate(rules):
            try:
                made.append(Rule(**rule))
            except TypeError:
                raise BadRecipe(
                    f"rule {i} of recipe {name!r} has an unknown field; known are: "
                    + ", ".join(f.name for f in dataclasses.fields(Rule))
                ) from None
            except BadRecipe as error:
                raise BadRecipe(f"rule {i} of recipe {name!r}: {error}") from None
        return cls(rules=tuple(made), **fields)

    def save(self, path: str | Path) -> None:
        """Writes the recipe as JSON, a rule a line; an existing file is replaced by a whole one."""
        if Path(path).suffix != ".json":
            raise BadRecipe(f"{path}: a recipe is saved as JSON; name it .json")
        fields = [f"{json.dumps(key)}: {_lines(value)}" for key, value in self.to_json().items()]
        files.replace(path, (("{\n" + ",\n".join(fields) + "\n}\n").encode(),))

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """From a .toml or .json file. Raises BadRecipe naming file and place."""
        path = Path(path)
        try:
            data = textfiles.read(path, path.suffix)
        except ValueError as error:
            kind = "JSON" if path.suffix == ".json" else "TOML"
            raise BadRecipe(f"{path} is not {kind}: {error}; mend the file") from None
        if data == {}:
            raise BadRecipe(f"{path} holds nothing; write rules into it")
        try:
            return cls.from_json(data, path.stem)
        except BadRecipe as error:
            raise BadRecipe(f"{path}: {error}") from None


def _lines(value: Any) -> str:
    """JSON with a line for each element of a list."""
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"


def names() -> tuple[str, ...]:
    """Names of the recipes that ship."""
    folder = resources.files("qcore") / "recipes"
    return tuple(sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml")))


def recipe(source: str | Path | Recipe) -> Recipe:
    """A recipe by name ("int8"), from a file, or as it is."""
    if isinstance(source, Recipe):
        return source
    if str(source) in names():
        text = (resources.files("qcore") / "recipes" / f"{source}.toml").read_text("utf-8")
        return Recipe.from_json(textfiles.parse(text, ".toml"), str(source))
    path = Path(source)
    if path.suffix in (".toml", ".json"):
        return Recipe.load(path)
    raise BadRecipe(
        f"recipe {str(source)!r} is unknown; use one of {', '.join(names())}, or a .toml or .json "
        "file"
    )
