"""Files of measurements: JSON that git compares well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflite_schema import files


def save(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes `data` as JSON, a line for each key and for each element of a list (a row)."""
    files.replace(path, (dumps(data).encode(),))


def dumps(data: Mapping[str, Any]) -> str:
    """The text of such a file."""
    parts = [f"{json.dumps(key)}: {_value(value)}" for key, value in data.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _value(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
