from __future__ import annotations

import ast

from .source_tree import others, sources

LONGEST_FILE = 400
LONGEST_FUNCTION = 80
MOST_POSITIONAL = 5
NO_TOPIC = {"utils", "util", "helpers", "helper", "misc", "common"}


def test_no_module_is_named_after_nothing() -> None:
    assert [str(f) for f in (*sources(), *others()) if NO_TOPIC & {f.path.stem, f.path.parent.name}] == []


def test_no_file_is_too_long() -> None:
    assert [f"{f}: {f.lines}" for f in (*sources(), *others()) if f.lines > LONGEST_FILE] == []


def test_no_function_is_too_long() -> None:
    wrong = [
        f"{file}:{function.lineno} {function.name}: {length}"
        for file in (*sources(), *others())
        for function in file.functions()
        if (length := (function.end_lineno or 0) - function.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not wrong


def test_options_are_given_by_name() -> None:
    wrong = []
    for file in sources():
        if ".cli" in file.module:  # typer reads its options from the parameters
            continue
        for function in file.functions():
            if "triton.jit" in map(ast.unparse, function.decorator_list):
                continue  # a kernel is launched with its arguments in order
            names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
            if len([name for name in names if name not in ("self", "cls")]) > MOST_POSITIONAL:
                wrong.append(f"{file}:{function.lineno} {function.name}")
    assert not wrong


def test_everything_is_annotated() -> None:
    wrong = [
        f"{file}:{function.lineno} {function.name}"
        for file in sources()
        for function in file.functions()
        if function.returns is None
        or any(
            a.annotation is None and a.arg not in ("self", "cls")
            for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        )
    ]
    assert not wrong


def test_nothing_is_printed_outside_the_command_line() -> None:
    wrong = [
        f"{file}:{call.lineno}"
        for file in sources()
        if ".cli" not in file.module
        for name, call in file.calls()
        if name == "print"
    ]
    assert not wrong


def test_errors_are_never_swallowed_whole() -> None:
    wrong = []
    for file in sources():
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ExceptHandler):
                silent = all(isinstance(part, ast.Pass) for part in node.body)
                everything = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                if silent and everything:
                    wrong.append(f"{file}:{node.lineno}")
    assert not wrong


def test_random_state_is_never_set_for_the_whole_process() -> None:
    seeds = {"np.random.seed", "random.seed", "torch.seed", "seed_everything", "lightning.seed_everything"}
    wrong = [f"{f}:{call.lineno} {name}" for f in sources() for name, call in f.calls() if name in seeds]
    assert not wrong


def test_every_test_file_holds_tests() -> None:
    files = [file for file in others() if file.path.name.startswith("test_")]
    assert len(files) > 20
    wrong = [str(f) for f in files if not any(part.name.startswith("test_") for part in f.functions())]
    assert not wrong
