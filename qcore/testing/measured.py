"""Files of measurements: JSON that git compares well, and what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tflite_schema import files


def save(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes `data` as JSON, a line for each key and for each element of a list (a row)."""
    files.replace(path, (dumps(data).encode(),))


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """What numbers were measured on: processor, cores, Python and versions of packages."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
    }


def processor() -> str:
    """Its name and the vector code that is used on it."""
    from kernels.simd.target import host

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name} ({host().name})"


def dumps(data: Mapping[str, Any]) -> str:
    """The text of such a file."""
    parts = [f"{json.dumps(key)}: {_value(value)}" for key, value in data.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _value(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
