"""The commands of the package as setup.py names them, installed or not."""

import ast
from pathlib import Path

_SETUP = ast.parse((Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8"))
MODULES = next(  # name -> module
    ast.literal_eval(node.value)
    for node in _SETUP.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMANDS"
)
