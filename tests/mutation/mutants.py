"""All mutants of a source file that cosmic-ray's operators make, as texts.

Left out: what runs the same code (type annotations, docstrings; compared as syntax trees without
them) and what another operator makes as well.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """operator: cosmic-ray's name.  line: of the file, from 1.  before, after: that line's text.
    inside: only the body of a plain function differs.
    """

    operator: str
    line: int
    before: str
    after: str
    source: str
    inside: bool


class _Plain(ast.NodeTransformer):
    """The tree without what does not run."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        return self._without_text(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        return self._without_text(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self.generic_visit(node)
        return self._without_text(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return None
        self.generic_visit(node)
        return node

    @staticmethod
    def _without_text(node: ast.AST) -> ast.AST:
        node.body = [  # type: ignore[attr-defined]
            b for b in node.body  # type: ignore[attr-defined]
            if not (isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant))
        ]  # fmt: skip
        return node


class _Hollow(_Plain):
    """And without the bodies of functions that nothing wraps."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        super().visit_FunctionDef(node)
        if not node.decorator_list:
            node.body = []
        return node


def meaning(source: str, hollow: bool = False) -> str:
    """The code that runs, without places; hollow: that runs when the module is imported."""
    return ast.dump((_Hollow if hollow else _Plain)().visit(ast.parse(source)))


def mutants(source: str) -> Iterator[Mutant]:
    """In order of operators and places."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    seen, outside = {meaning(source)}, meaning(source, hollow=True)
    lines = source.splitlines()
    for name in sorted(operator_names()):
        cls = get_operator(name)
        try:
            operator = cls()
        except TypeError:  # needs arguments: names of variables to replace
            continue
        occurrence = 0
        while (changed := mutate_code(source, operator, occurrence)) is not None:
            occurrence += 1
            try:
                text = meaning(changed)
            except SyntaxError:
                continue
            if text in seen:
                continue
            seen.add(text)
            line, before, after = _difference(lines, changed.splitlines())
            inside = meaning(changed, hollow=True) == outside
            yield Mutant(name.removeprefix("core/"), line, before, after, changed, inside)


def again(source: str, row: dict[str, Any]) -> Mutant:
    """The mutant that a row of the results stands for; its line may have moved."""
    lines = source.splitlines()
    at = min(
        (i for i, line in enumerate(lines) if line.strip() == row["before"]),
        key=lambda i: abs(i + 1 - row["line"]),
        default=None,
    )
    if at is None:
        raise SystemExit(f"{row['before']!r} is not there any more; run without --again")
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    changed = "\n".join([*lines[:at], indent + row["after"], *lines[at + 1 :]]) + "\n"
    inside = meaning(changed, hollow=True) == meaning(source, hollow=True)
    return Mutant(row["operator"], at + 1, row["before"], row["after"], changed, inside)


def _difference(old: list[str], new: list[str]) -> tuple[int, str, str]:
    """Number and text of the first line that differs, and what stands there instead."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            before = " ".join(line.strip() for line in old[i1:i2])
            return i1 + 1, before, " ".join(line.strip() for line in new[j1:j2])
    raise AssertionError("no line differs")
