"""Who may import whom, as a table, and a checker that names the line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

STDLIB = sys.stdlib_module_names | {"tomllib"}  # there from Python 3.11 on
OURS = frozenset({"kernels", "tflite_schema"})
RUNTIMES = frozenset({"tensorflow", "ai_edge_litert", "ai_edge_quantizer", "litert_quantizer"})
REPORT = frozenset({"altair", "jinja2", "markupsafe", "vl_convert"})


@dataclass(frozen=True)
class Rule:
    """files: glob on the path.  anywhere, inside: packages that may be imported at the top of a
    module, and only inside functions; the standard library and the package itself always may."""

    files: str
    anywhere: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()


# The first rule that matches a file holds.
RULES = (
    Rule("tflite_schema/*", frozenset({"numpy", "flatbuffers"})),
    Rule("kernels/jit.py", frozenset({"numpy", "numba"})),
    Rule("kernels/simd/*", frozenset({"numpy", "llvmlite"})),
    Rule("kernels/*", frozenset({"numpy"})),
    Rule("qcore/peers/*", OURS | {"numpy"}, RUNTIMES),
    Rule("qcore/cli/*", OURS | {"numpy", "typer"}, frozenset({"rich"})),
    Rule("qcore/report/*", OURS | {"numpy"}, REPORT),
    Rule("qcore/sweep/*", OURS | {"numpy"}, frozenset({"distributed", "pyarrow"})),
    Rule("qcore/testing/plugin.py", frozenset({"pytest"})),
    Rule("qcore/testing/strategies/*", OURS | {"numpy", "hypothesis"}),
    Rule("qcore/testing/checks/*", OURS | {"numpy", "hypothesis"}),
    Rule("qcore/testing/properties.py", OURS | {"hypothesis"}),
    Rule("qcore/*", OURS | {"numpy"}, frozenset({"rich", "PIL", "tomli"})),
)  # fmt: skip


def imported(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """(top-level package, line, inside a function) of every import that runs; "." if relative.

    Imports under `if TYPE_CHECKING:` never run and are left out.
    """

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
                for other in child.orelse:
                    yield from walk(other, inside)
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name.split(".")[0], child.lineno, inside
            elif isinstance(child, ast.ImportFrom):
                yield (
                    "." if child.level else (child.module or "").split(".")[0],
                    child.lineno,
                    inside,
                )
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from walk(child, inside or function)
                if isinstance(child, ast.Call):
                    yield from _by_name(child, inside)

    return walk(tree, False)


def _by_name(call: ast.Call, inside: bool) -> Iterator[tuple[str, int, bool]]:
    """`import_module("numba.core")` and `__import__("numba")` are imports as well."""
    name = ast.unparse(call.func).split(".")[-1]
    if name in ("import_module", "__import__") and call.args:
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value.split(".")[0] or ".", call.lineno, inside


def violations(path: str, source: str) -> list[str]:
    """Sentences about imports in `source` that no rule for `path` allows."""
    rule = next((r for r in RULES if fnmatch(path, r.files)), None)
    if rule is None:
        return [f"{path}: no rule covers this file; add one to tests/meta/imports.py"]
    own = path.split("/")[0]
    found = []
    for package, line, inside in imported(ast.parse(source, path)):
        if package == own or package in STDLIB or package in rule.anywhere:
            continue
        if package in rule.inside and inside:
            continue
        when = (
            "at the top of the module; only inside functions" if package in rule.inside else "here"
        )
        found.append(f"{path}:{line}: {package!r} may not be imported {when}")
    return found


def sources(root: Path) -> dict[str, str]:
    """path -> text of every Python file of the three packages."""
    files = (
        p for name in ("tflite_schema", "kernels", "qcore") for p in (root / name).rglob("*.py")
    )
    return {p.relative_to(root).as_posix(): p.read_text("utf-8") for p in sorted(files)}
