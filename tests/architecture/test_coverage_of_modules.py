from __future__ import annotations

import re

from .source_tree import others, sources

SMALL = 50  # lines; less needs no test of its own


def named_by_tests() -> set[str]:
    """Every module a test imports, or names as text (monkeypatching, fresh processes)."""
    named: set[str] = set()
    for file in others():
        if file.path.name.startswith(("test_", "conftest")):
            named |= {name for name, _ in file.imports()}
            named |= set(re.findall(r"tessera(?:\.\w+)+", file.path.read_text(encoding="utf-8")))
    return named


def test_every_module_of_some_size_is_reached_by_a_test() -> None:
    """Imported by a test, or by a module that is, from its own folder."""
    modules = {file.module: file for file in sources()}
    reached: set[str] = set()
    waiting = [name for name in named_by_tests() if name in modules]
    while waiting:
        file = modules[waiting.pop()]
        if file.module in reached:
            continue
        reached.add(file.module)
        opened = [name for name, _ in file.imports() if name in modules]
        waiting += [name for name in opened if modules[name].path.is_relative_to(file.path.parent)]
    missed = [str(f) for f in sources() if f.lines > SMALL and f.module not in reached]
    assert not missed


def test_tests_lie_where_their_sources_lie() -> None:
    """tests/<package>/<folder> exists in the package too."""
    wrong = []
    for file in others():
        parts = (
            file.path.parent.parts[file.path.parent.parts.index("tests") :]
            if "tests" in file.path.parts
            else ()
        )
        if len(parts) < 3 or parts[1] not in {f.module.split(".")[1] for f in sources()}:
            continue
        package = "tessera." + ".".join(parts[1:])
        if not any(f.module == package or f.module.startswith(f"{package}.") for f in sources()):
            wrong.append(str(file))
    assert not wrong
