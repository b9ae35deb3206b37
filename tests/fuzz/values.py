"""Changes to JSON values and to texts, for targets that read such files."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, 5e-324, float("nan"),
    float("inf"), float("-inf"), "", "x", "0", "re:(", "*", "\u2603", "a\0b", [], [0], [[]], {},
    {"key": "minmax"}, "int8", "NaN",
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything below a value."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo and len(found) < 1000:
        item = todo.pop()
        keys = item.keys() if isinstance(item, dict) else range(len(item))
        for key in keys:
            found.append((item, key))
            if isinstance(item[key], (dict, list)):
                todo.append(item[key])
    return found


def changed(value: Any, rng: np.random.Generator) -> Any:
    """A copy with one to three changes: other values, keys gone, renamed, moved or doubled."""
    whole = [copy.deepcopy(value)]
    for _ in range(int(rng.integers(1, 4))):
        found = places(whole)
        holder, key = found[int(rng.integers(len(found)))]
        other, place = found[int(rng.integers(len(found)))]
        action = int(rng.integers(8))
        if action < 4:
            holder[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
        elif action == 4 and isinstance(holder[key], (int, float)):
            factors = (-1, 0.5, 2, 1e30, 1e-30, 1 + 2.0**-52)
            holder[key] = holder[key] * factors[int(rng.integers(len(factors)))]
        elif action == 5 and holder is not whole:
            del holder[key]
        elif action == 6 and isinstance(holder, dict) and isinstance(place, str):
            holder[place] = holder.pop(key)
        elif action == 7 and isinstance(holder, list) and holder is not whole:
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(other[place])
    return whole[0]


def text(data: bytes, rng: np.random.Generator) -> bytes:
    """Lines and bytes doubled, dropped, exchanged or changed."""
    lines = data.split(b"\n")
    one, two = (int(rng.integers(len(lines))) for _ in range(2))
    action = int(rng.integers(5))
    if action == 0:
        lines[one], lines[two] = lines[two], lines[one]
    elif action == 1:
        lines.insert(one, lines[two])
    elif action == 2:
        del lines[one]
    changed = bytearray(b"\n".join(lines))
    if action > 2 and changed:
        at = int(rng.integers(len(changed)))
        if action == 3:
            changed[at] = int(rng.integers(256))
        else:
            del changed[at : at + int(rng.integers(1, 9))]
    return bytes(changed)


def toml(values: dict[str, Any]) -> str:
    """A recipe's values as TOML: tables of `rule` in full, every other table on its line."""
    rules = values.get("rule")
    listed = isinstance(rules, list) and all(isinstance(r, dict) for r in rules)
    plain = {k: v for k, v in values.items() if not (listed and k == "rule")}
    blocks = [_lines(plain)]
    for rule in rules if listed else ():  # type: ignore[union-attr]
        blocks.append("[[rule]]\n" + _lines(rule))
    return "\n".join(blocks)


def _lines(values: dict[str, Any]) -> str:
    return "".join(
        f"{json.dumps(str(k))} = {_value(v)}\n" for k, v in values.items() if v is not None
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = (f"{json.dumps(str(k))} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value if v is not None) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
