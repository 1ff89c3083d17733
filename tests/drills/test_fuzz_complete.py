"""No reader is forgotten: what opens a file is fuzzed, or named as no parser with the reason."""

import ast
from pathlib import Path

from tests.drills.not_parsers import NOT_PARSERS
from tests.drills.parsers import PARSERS

PACKAGE = Path(__file__).resolve().parents[2] / "c2o_evidence"
OPENING = frozenset(
    (
        "open",
        "fdopen",
        "read_text",
        "read_bytes",
        "fromfile",
        "memmap",
        "read_plain",
        "open_plain",
        "open_looked_at",
        "load_yaml",
        "connect",
    )
)


def opening(source: str, module: str) -> set[str]:
    """Functions of a module, by `module.Class.function`, that call something of OPENING."""
    found = set()

    def visit(node: ast.AST, scope: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                called = child.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in OPENING:
                    found.add(".".join((module, *scope)))
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            visit(child, (*scope, child.name) if named else scope)  # type: ignore[attr-defined]

    visit(ast.parse(source), ())
    return found


def test_every_function_that_opens_a_file_is_fuzzed_or_named() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if "templates" not in path.parts:  # verify.py has the drills with hostile bundles
            found |= opening(path.read_text("utf-8"), ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    covered = {name for parser in PARSERS for name in parser.covers}
    assert found - covered - set(NOT_PARSERS) == set(), "fuzz them in tests/drills/parsers.py, or say why not"
    assert (covered | set(NOT_PARSERS)) - found == set(), "these open no file (any more)"
    assert not covered & set(NOT_PARSERS)


def test_the_search_finds_what_it_must() -> None:
    source = """
class A:
    def f(self, path):
        with path.open() as stream:
            pass

def g(path):
    return lambda: path.read_text()

def h():
    pass
"""
    assert opening(source, "m") == {"m.A.f", "m.g"}
