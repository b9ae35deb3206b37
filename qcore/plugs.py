"""Plugs with a name: schemes, roundings and observers, saved and found by key.

A plug is a frozen dataclass with a class attribute `key`, the name of the class if it sets none. In
JSON and TOML it is its key, or a table with the key and the fields that are not at their default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

from qcore.errors import BadRecipe

P = TypeVar("P", bound="Plug")


@dataclass(frozen=True)
class Plug:
    """Base of everything a recipe can name. Subclasses register by `key` within their family."""

    family: ClassVar[str] = ""
    key: ClassVar[str] = ""
    _registry: ClassVar[dict[tuple[str, str], type[Plug]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "family" in cls.__dict__:
            return  # the base of a family, which no recipe names
        if "key" not in cls.__dict__:
            cls.key = cls.__name__  # not the parent's: the plan would name another arithmetic
        Plug._registry[cls.family, cls.key] = cls

    def to_json(self) -> Any:
        """The key, or {"key": ..., field: value, ...} when a field is not at its default."""
        changed = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.default is dataclasses.MISSING or getattr(self, f.name) != f.default
        }
        return {"key": self.key, **changed} if changed else self.key

    @classmethod
    def from_json(cls: type[P], data: Any) -> P:
        """The plug that `to_json` described. Raises BadRecipe for unknown keys and fields."""
        if isinstance(data, cls):
            return data
        fields = dict(data) if isinstance(data, dict) else {"key": data}
        key = fields.pop("key", None)
        found = Plug._registry.get((cls.family, key)) if isinstance(key, str) else None
        if found is None:
            known = ", ".join(sorted(k for family, k in Plug._registry if family == cls.family))
            raise BadRecipe(f"{cls.family} {key!r} is unknown; known are: {known}")
        try:
            return cast(P, found(**fields))
        except TypeError:
            takes = ", ".join(f.name for f in dataclasses.fields(found)) or "nothing"
            raise BadRecipe(
                f"{cls.family} {key!r} was given {', '.join(fields)}; it takes {takes}"
            ) from None
