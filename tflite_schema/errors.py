"""What can go wrong, one class a kind; every message says what, where, and what to do."""

from __future__ import annotations


class SchemaError(Exception):
    """Base of every error of this package."""


class MalformedModel(SchemaError, ValueError):
    """The bytes are not a valid .tflite file.

    table and field name the place in the schema ("" for the file as a whole), offset is the byte
    in the file where the wrong value stands.
    """

    def __init__(self, what: str, table: str = "", field: str = "", offset: int = 0) -> None:
        self.what, self.table, self.field, self.offset = what, table, field, offset
        place = f"{table}.{field}" if field else table or "file"
        super().__init__(f"{place} at byte {offset}: {what}.")

    def __reduce__(self) -> tuple[type, tuple[str, str, str, int]]:
        return type(self), (self.what, self.table, self.field, self.offset)


class UnknownField(MalformedModel):
    """The file holds a field or union member that the declared schema does not have.

    It would be lost in writing, so reading refuses; a newer `schema.py` is needed.
    """


class InvalidModel(SchemaError, ValueError):
    """A model in memory cannot be written: a value does not fit its field, an index is wrong."""


class EditError(SchemaError, ValueError):
    """An edit does not fit the model it is applied to."""


class EditConflict(EditError):
    """Two edits set the same thing to different values."""


class WriteFailed(SchemaError, OSError):
    """The operating system refused a write; the old file, if any, is untouched."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "write failed"
