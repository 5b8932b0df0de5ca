"""The rules of the rooms: who may import whom, no circles, and where TensorFlow and Beam are never imported at once.

Imports are read from the files, those inside functions included, so a rule cannot be slipped past by a lazy import.
"""

import ast
from collections import defaultdict
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("tfcaption", "beam_jobs")
HEAVY = ("tensorflow", "tensorflow_text", "keras", "apache_beam")
COMMANDS = {entry.module for entry in entry_points(group="tfcaption.commands")} | {"tfcaption.cli"}


@cache
def modules():
    """Dotted name -> file, of all modules of both packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module):
    """(imported name, whether inside a function) of a module; TYPE_CHECKING blocks count as module level."""
    found = []

    def visit(node, inside):
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            found.extend((f"{node.module}.{alias.name}", inside) for alias in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(modules()[module].read_text()), False)
    return tuple(found)


def own(name):
    """The module of ours that an imported name belongs to; None for others."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name if name.partition(".")[0] in PACKAGES else None


def graph(of=lambda module: module):
    """Which of our modules (or what `of` makes of them) imports which."""
    edges = defaultdict(set)
    for module in modules():
        for name, _ in imports(module):
            target = own(name)
            if target and of(target) != of(module):
                edges[of(module)].add(of(target))
    return edges


def circles(edges):
    """Sets of nodes of which each reaches each."""

    def reached(start):
        found, left = set(), [start]
        while left:
            for target in edges.get(left.pop(), ()):
                if target not in found:
                    found.add(target)
                    left.append(target)
        return found

    reach = {node: reached(node) for node in edges}
    return {frozenset(other for other in found if node in reach.get(other, ())) for node, found in reach.items()} - {
        frozenset()
    }


def test_no_file_imports_itself_by_way_of_others():
    assert circles(graph()) == set()


def test_tfcaption_never_imports_the_beam_jobs_or_beam():
    for module in modules():
        if module.startswith("tfcaption"):
            wrong = [name for name, _ in imports(module) if name.startswith(("beam_jobs", "apache_beam"))]
            assert not wrong, module


def test_no_part_imports_a_command():
    for module in modules():
        if module not in COMMANDS:
            assert not [name for name, _ in imports(module) if own(name) in COMMANDS and own(name) != "tfcaption"], (
                module
            )


@pytest.mark.parametrize("module", ["config", "preprocessing.photos"])
def test_the_contract_needs_no_tensorflow(module):
    assert not [name for name, _ in imports(f"tfcaption.{module}") if name.startswith(HEAVY)]
