"""Every Python file of the repository, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = (ROOT / "shared", *sorted(p.parent for p in (ROOT / "packages").glob("*/pyproject.toml")))


@dataclass(frozen=True)
class SourceFile:
    path: Path
    tree: ast.Module
    lines: int
    module: str = ""

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def imports(self) -> Iterator[tuple[str, int]]:
        """(absolute module, line) of every import, inside functions too; from a import b: a, a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level or not self.module, f"{self}:{node.lineno}: imports are absolute here"
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
                yield node.module or "", node.lineno

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """(dotted name, call) of every call of a name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def _parse(path: Path, module: str = "") -> SourceFile:
    text = path.read_text(encoding="utf-8")
    return SourceFile(path, ast.parse(text, str(path)), text.count("\n"), module)


@cache
def sources() -> tuple[SourceFile, ...]:
    """The files of the distributions."""
    found = []
    for distribution in DISTRIBUTIONS:
        for path in sorted((distribution / "src").rglob("*.py")):
            parts = path.relative_to(distribution / "src").with_suffix("").parts
            found.append(_parse(path, ".".join(parts).removesuffix(".__init__")))
    assert len(found) > 50
    return tuple(found)


@cache
def others() -> tuple[SourceFile, ...]:
    """Tests and benchmarks."""
    folders = (ROOT / "tests", ROOT / "benchmarks")
    return tuple(_parse(path) for folder in folders for path in sorted(folder.rglob("*.py")))
