"""JSON and TOML files that somebody wrote: values, or one ValueError that says why not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def read(path: str | os.PathLike[str], suffix: str = ".json") -> Any:
    """The values of a file. Raises OSError where it cannot be opened, ValueError for its text."""
    try:
        text = Path(path).read_text("utf-8-sig")  # with the mark that some editors put first
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    return parse(text, suffix)


def parse(text: str, suffix: str = ".json") -> Any:
    """The values of a JSON text, or of a TOML one for another suffix. Raises ValueError."""
    try:
        if suffix == ".json":
            return json.loads(text)
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has too many digits") from None
        raise
