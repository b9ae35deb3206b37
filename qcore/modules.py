"""The user's own code, imported only when asked for: "module:name" and plugins."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from qcore.errors import BadInput, failure


def function(text: str) -> Any:
    """What "module:name" names; modules in the working folder are found.

    Raises BadInput where there is no such module or name; what the module itself raises passes.
    """
    module, _, name = text.partition(":")
    found = getattr(_imported(text, module), name, None)
    if found is None:
        raise BadInput(f"{text}: module {module!r} has no {name!r}; check the name")
    return found


def plugin(text: str) -> None:
    """Import a module (by name, as "module:Class" or as a .py file), so that its schemes, observers
    and roundings are known by their keys. Raises BadInput with what was raised in it."""
    path = Path(text)
    try:
        if path.suffix == ".py":
            _executed(path)
        elif ":" in text:
            function(text)
        else:
            _imported(text, text)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{text} failed with {failure(error)}; mend it") from error


def origin(name: str) -> str | None:
    """The file that a module is read from, which is not run; None where it has none.

    Raises BadInput where there is no such module.
    """
    _see_working_folder()
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise BadInput(f"there is no file, folder or module {name}; check the name")
    return found.origin if found.origin and os.path.exists(found.origin) else None


def _see_working_folder() -> None:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _imported(text: str, name: str) -> ModuleType:
    _see_working_folder()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(f"{text}: module {name!r} cannot be imported ({error})") from None


def _executed(path: Path) -> None:
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
