"""The rules of the rooms: who may import whom, no circles, and where TensorFlow and Beam are never imported at once.

Imports are read from the files, those inside functions included, so a rule cannot be slipped past by a lazy import.
"""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.support.commands import MODULES

ROOT = Path(__file__).parents[2]
PACKAGES = ("tfcaption", "beam_jobs")
HEAVY = ("tensorflow", "tensorflow_text", "keras", "apache_beam")
COMMANDS = {"tfcaption.cli", "tfcaption.__main__", *MODULES.values()}

# Room of tfcaption -> what it may import of tfcaption: rooms, or single modules of them.
MAY_IMPORT = {
    "runtime": (),
    "sample": (),
    "config": ("backbones.errors", "backbones.families", "backbones.settings", "runtime"),
    "metrics": ("preprocessing.normalization", "runtime.errors"),
    "records": ("runtime",),
    "preprocessing": ("records", "runtime"),
    "input_pipeline": ("preprocessing", "records", "runtime"),
    "backbones": ("records.dataset_info", "runtime"),
    "models": ("backbones", "config", "records", "runtime"),
    "decoding": ("models", "preprocessing", "records", "runtime.errors"),
    "runs": ("backbones.errors", "backbones.families", "config", "records", "runtime"),
    "inspection": ("preprocessing", "records", "runtime"),
    "evaluation": (
        *("decoding", "runs", "input_pipeline", "preprocessing", "models", "metrics", "records", "runtime", "config"),
    ),
    "serving": ("decoding", "runs", "preprocessing", "records", "models", "backbones", "runtime", "config"),
    "training": (
        *("evaluation", "decoding", "runs", "input_pipeline", "preprocessing", "models", "backbones", "metrics"),
        *("records", "runtime", "config"),
    ),
    "reporting": (
        *("evaluation.results", "evaluation.scores", "runs.about", "runs.directory", "runs.metrics_log", "metrics"),
        *("backbones.families", "preprocessing.photos", "records", "runtime", "config"),
    ),
    "api": (
        *("training", "evaluation", "serving", "decoding", "runs", "input_pipeline"),
        *("preprocessing", "metrics", "records", "runtime", "config"),
    ),
    "benchmarks": (
        *("training", "evaluation", "serving", "reporting", "inspection", "decoding", "runs", "input_pipeline"),
        *("preprocessing", "models", "backbones", "metrics", "records", "runtime", "config"),
    ),
}
# Single modules that may import more than their room.
MAY_ALSO_IMPORT = {"runs.checkpoints": ("backbones", "models"), "runs.encoders": ("backbones", "models")}

# Room -> its modules that import TensorFlow when they are imported; all others must not, by way of others either.
NEEDS_TENSORFLOW = {
    "preprocessing": {"tokenizer", "wordpieces", "sentencepieces", "photos_in_graph", "augmented_views"},
    "input_pipeline": "all but options and split",
    "backbones": "all but errors and families and settings",
    "models": "all",
    "decoding": "all but options",
    "runs": {"checkpoints", "encoders"},
    "evaluation": {"predictions", "evaluator", "opening", "candidates", "photo_features", "reranker"},
    "serving": {"run_captioner", "exported_captioner", "export"},
    "training": "all but rewards and sweep",
    "benchmarks": {"input", "training", "cider", "search", "baselines", "gpu", "profiling", "costs"},
}
# beam_jobs: each may import those before it and itself.
LAYERS = ("errors", "execution", "sources", "pipelines")
CLOSED_TO_JOBS = ("training", "reporting", "benchmarks", "sample")


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
    """(imported name, whether it is late: inside a function, or for type checkers only) of a module."""
    found = []

    def visit(node, inside):
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            found.extend((f"{node.module}.{alias.name}", inside) for alias in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside = inside or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
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


def room_of(module):
    """The room of a module of ours, `config` for the config, None for commands, `tfcaption` and `beam_jobs`."""
    parts = module.split(".")
    if len(parts) > 2 or (len(parts) == 2 and modules()[module].name == "__init__.py"):
        return parts[1]
    return parts[1] if module in ("tfcaption.config", "beam_jobs.errors") else None


def allowed(name, rules):
    """Whether an imported module of tfcaption is in one of some rooms or modules."""
    inner = name.removeprefix("tfcaption.")
    return any(inner == rule or inner.startswith(f"{rule}.") for rule in rules)


def is_heavy(name):
    return name.partition(".")[0] in HEAVY


@cache
def starts_heavy(module, seen=frozenset()):
    """Whether importing a module imports TensorFlow, Keras or Beam, by itself or by way of our other modules."""
    direct = [name for name, inside in imports(module) if not inside]
    if any(map(is_heavy, direct)):
        return True
    targets = {own(name) for name in direct} - {None, module} - seen
    return any(starts_heavy(target, seen | {module}) for target in targets)


def needs_tensorflow(module):
    """What the table says of a module."""
    room, name = room_of(module), module.rpartition(".")[2]
    rule = NEEDS_TENSORFLOW.get(room, set())
    if isinstance(rule, str):
        return name not in rule.removeprefix("all").replace("but", "").replace("and", "").split()
    return name in rule


def test_every_folder_is_a_room_with_rules_and_every_file_at_the_top_a_command():
    rooms = {path.parent.name for path in (ROOT / "tfcaption").glob("*/__init__.py")}
    assert rooms == MAY_IMPORT.keys() - {"config"}
    top = {f"tfcaption.{path.stem}" for path in (ROOT / "tfcaption").glob("*.py")} - {"tfcaption.__init__"}
    assert top <= COMMANDS | {"tfcaption.config"}
    jobs = {path.relative_to(ROOT / "beam_jobs").parts[0] for path in (ROOT / "beam_jobs").rglob("*.py")}
    assert {name for name in jobs if not name.endswith(".py")} == set(LAYERS) - {"errors"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_its_rule_allows(room):
    for module in modules():
        if module.startswith("tfcaption") and room_of(module) == room:
            rules = (room, *MAY_IMPORT[room], *MAY_ALSO_IMPORT.get(module.removeprefix("tfcaption."), ()))
            found = {own(name) for name, _ in imports(module)} - {None, "tfcaption"}
            assert not [name for name in found if not allowed(name, rules)], module


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_of_the_beam_jobs_imports_only_those_below_it(layer):
    below = LAYERS[: LAYERS.index(layer) + 1]
    for module in modules():
        if module.startswith("beam_jobs") and room_of(module) == layer:
            found = {own(name) for name, _ in imports(module)} - {None, "beam_jobs", "tfcaption"}
            jobs = {name for name in found if name.startswith("beam_jobs")}
            assert {room_of(name) for name in jobs} <= set(below), module


def test_the_beam_jobs_import_no_room_that_is_closed_to_them():
    for module in modules():
        if module.startswith("beam_jobs"):
            found = [name for name, _ in imports(module) if name.startswith("tfcaption.")]
            assert not [name for name in found if allowed(name, CLOSED_TO_JOBS)], module


def test_no_file_imports_itself_by_way_of_others():
    assert circles(graph()) == set()


def test_no_room_imports_itself_by_way_of_others():
    def room(module):
        package = module.partition(".")[0]
        return f"{package}.{room_of(module) or module.rpartition('.')[2]}"

    assert circles(graph(room)) == set()


def test_tfcaption_never_imports_the_beam_jobs_or_beam():
    for module in modules():
        if module.startswith("tfcaption"):
            wrong = [name for name, _ in imports(module) if name.startswith(("beam_jobs", "apache_beam"))]
            assert not wrong, module


def test_no_part_imports_a_command():
    for module in modules():
        if module not in COMMANDS:
            assert not [name for name, _ in imports(module) if own(name) in COMMANDS], module


def test_tensorflow_starts_where_the_table_says_and_nowhere_else():
    wrong = {}
    for module, path in modules().items():
        if module.startswith("tfcaption"):
            expected = path.name != "__init__.py" and needs_tensorflow(module)
            if starts_heavy(module) != expected:
                wrong[module] = "starts TensorFlow" if expected is False else "does not start TensorFlow"
    assert wrong == {}


def test_commands_start_without_tensorflow_or_beam():
    light = [
        module
        for module in modules()
        if module in COMMANDS or (module.startswith("beam_jobs") and room_of(module) == "errors")
    ]
    assert [module for module in light if starts_heavy(module)] == []


def late_imports(function, lines):
    """Blocks of import statements in a function: (names, the text of the block with the line above it)."""
    statements = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
    statements.sort(key=lambda node: node.lineno)
    blocks = []
    for node in statements:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
        between = lines[blocks[-1][2] : node.lineno - 1] if blocks else [""]
        if blocks and not "".join(between).strip():
            blocks[-1] = (blocks[-1][0] + names, blocks[-1][1], node.end_lineno)
        else:
            blocks.append((names, node.lineno, node.end_lineno))
    return [(names, first, "\n".join(lines[first - 2 : last])) for names, first, last in blocks]


def test_an_import_inside_a_function_has_its_reason_beside_it():
    """Of our own modules, TensorFlow and Beam, in parts; a command has one such block in the function that needs it."""
    without = []
    for module, path in modules().items():
        if module not in COMMANDS:
            text = path.read_text()
            functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
            for names, line, shown in (block for node in functions for block in late_imports(node, text.splitlines())):
                if any(name.partition(".")[0] in (*HEAVY, *PACKAGES) for name in names) and "#" not in shown:
                    without.append(f"{path.relative_to(ROOT)}:{line}")
    assert without == []
