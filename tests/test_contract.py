"""The rules of the house, checked on the source."""

import ast
import re
from pathlib import Path

import pytest

import pathpatch

SOURCE = Path(pathpatch.__file__).parent
ORDER = (
    "errors files prompts facts ioi smollm2 tiny models designs handmade toys ioi_machine "
    "ioi_variants export nodes forward metrics activation paths spec suffix deltas cost "
    "uncertainty effects blocks edges store jobs sweeps treatments tracing knockouts circuits "
    "subsets attribution discovery walk plots readout passes diagrams wiring "
    "report options"
).split()
MODULES = sorted(path.stem for path in SOURCE.glob("*.py"))


def tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))


def test_every_module_has_a_place_in_the_order():
    assert set(ORDER) | {"__init__", "__main__"} == set(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_to_the_left(module: str):
    names = [n.module for n in ast.walk(tree(module)) if isinstance(n, ast.ImportFrom)]
    for name in [name for name in names if name and name.startswith("pathpatch")]:
        assert ORDER.index(name.split(".")[1]) < ORDER.index(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module: str):
    assert len((SOURCE / f"{module}.py").read_text(encoding="utf-8").splitlines()) <= 200
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 40, f"{module}.{node.name} is too long"
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            assert len(arguments) <= 7, f"{module}.{node.name} has too many parameters"


def test_the_size_is_what_the_readme_says():
    readme = (SOURCE.parent / "README.md").read_text(encoding="utf-8")
    lines = {m: len((SOURCE / f"{m}.py").read_text("utf-8").splitlines()) for m in MODULES}
    assert sum(lines[m] for m in ("nodes", "forward", "activation", "paths")) < 500
    assert sum(lines.values()) < 5800
    assert "is under 500 lines" in readme and "under 5,800" in readme


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"[\"'.]hook_[a-z]", "nodes"),
        (r"run_with_hooks\(", "forward"),
        (r"add_hook\(", ""),
        (r"import TransformerBridge", "models"),
        (r"(import|from) matplotlib", "plots diagrams wiring"),
        (r"import argparse", "options"),
        (r"from scipy", "uncertainty wiring"),
    ],
)
def test_one_home_for_each_concern(pattern: str, home: str):
    found = {m for m in MODULES if re.search(pattern, (SOURCE / f"{m}.py").read_text("utf-8"))}
    assert found <= set(home.split())


def test_all_is_what_is_public():
    assert sorted(pathpatch.__all__) == pathpatch.__all__ or sorted(
        pathpatch.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    ) == list(pathpatch.__all__)
    for name in pathpatch.__all__:
        value = getattr(pathpatch, name)
        assert callable(value) is False or value.__doc__, f"{name} has no docstring"
    imported = {
        alias.name
        for node in tree("__init__").body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pathpatch")
        for alias in node.names
    }
    assert imported == set(pathpatch.__all__)


def test_importing_defines_and_does_nothing_else():
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{module} line {node.lineno}"
