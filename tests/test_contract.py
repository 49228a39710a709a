"""The rules of the house, checked on the source."""

import ast
import re
from pathlib import Path

import pytest

import pathpatch

SOURCE = Path(pathpatch.__file__).parent
REPOSITORY = SOURCE.parent
# The rooms in the order of import, and in each room its files: imports only go to the left.
ROOMS = {
    "": "errors files prompts nodes forward metrics activation tracing paths uncertainty effects",
    "tasks": "pairs rows own ioi facts",
    "models": "devices weights smollm2 tiny prepare check load",
    "handmade": "designs build toys ioi_machine ioi_variants",
    "engine": (
        "spec scene suffix pass_c pass_d literal fast total blocks progress verify "
        "verify_total work cost identity store jobs sweeps traces"
    ),
    "circuits": (
        "circuit treatments links ablation knockouts edges evaluation subsets assessment "
        "gradients attribution discovery walk"
    ),
    "pictures": "pen plots attention readout passes diagrams wiring",
    "cli": "words texts door options inputs report commands",
}
ROOT = ROOMS[""].split()
ORDER = [f"{room}.{file}".lstrip(".") for room, files in ROOMS.items() for file in files.split()]
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")
)
ENTRANCES = {"__init__", "__main__", *(f"{room}.__init__" for room in ROOMS if room)}


def text(module: str) -> str:
    return (SOURCE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def tree(module: str) -> ast.Module:
    return ast.parse(text(module))


def imported(module: str) -> list[str]:
    """The modules of pathpatch that a module imports from, those inside functions included."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relative to itself"
            inside = node.module == "pathpatch"
            found += [f"pathpatch.{a.name}" for a in node.names] if inside else [str(node.module)]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name.removeprefix("pathpatch.") for name in found if name.split(".")[0] == "pathpatch"]


def test_every_module_has_a_place_in_the_order():
    assert sorted({*ORDER, *ENTRANCES}) == MODULES


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_to_the_left(module: str):
    for name in imported(module):
        assert name in ORDER[: ORDER.index(module)], f"{module} imports {name}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room])
def test_a_wing_says_what_it_is_for_and_what_it_imports(room: str):
    assert not imported(f"{room}.__init__")
    words = ast.get_docstring(tree(f"{room}.__init__")) or ""
    assert re.search(r"\b[Ii]mports?\b", words)
    order = list(ROOMS)
    allowed = set(re.findall(r"`(\w+)`", words.replace("\n", " "))) & set(order)
    if "everything" in words or "whatever" in words:
        allowed = set(order)
    for module in [module for module in ORDER if module.startswith(f"{room}.")]:
        used = {name.split(".")[0] for name in imported(module)} & set(order) - {room}
        assert used <= allowed, f"{module} imports {used - allowed}, of which {room} does not speak"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module: str):
    assert len(text(module).splitlines()) <= 200
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 40, f"{module}.{node.name} is too long"
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            assert len(arguments) <= 7, f"{module}.{node.name} has too many parameters"


def test_the_root_is_read_in_an_evening():
    assert len(ROOT) == 11
    assert sum(len(text(module).splitlines()) for module in [*ROOT, "__main__"]) < 1500
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "under 1,500 lines" in readme and "200 lines at most" in readme


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"[\"'.]hook_(?!dict)[a-z]", "nodes"),
        (r"run_with_hooks\(", "forward"),
        (r"add_hook\(", ""),
        (r"import TransformerBridge", "models.load"),
        (
            r"(import|from) matplotlib",
            "pictures.pen pictures.plots pictures.attention pictures.diagrams pictures.wiring",
        ),
        (r"import argparse", "cli.options"),
        (r"from scipy", "uncertainty pictures.wiring"),
    ],
)
def test_one_home_for_each_concern(pattern: str, home: str):
    assert {module for module in MODULES if re.search(pattern, text(module))} <= set(home.split())


def test_all_is_what_is_public():
    order = sorted(pathpatch.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert order == list(pathpatch.__all__) or sorted(pathpatch.__all__) == pathpatch.__all__
    for name in pathpatch.__all__:
        value = getattr(pathpatch, name)
        assert callable(value) is False or value.__doc__, f"{name} has no docstring"
    names = {
        alias.name
        for node in tree("__init__").body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pathpatch")
        for alias in node.names
    }
    assert names == set(pathpatch.__all__)


def test_importing_defines_and_does_nothing_else():
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{module} line {node.lineno}"


@pytest.mark.parametrize("page", ["README.md", "pathpatch/__init__.py"])
def test_every_map_names_all_rooms_and_files_in_their_order(page: str):
    words = " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())
    rooms = (f"{room}/ {files}" if room else files for room, files in ROOMS.items())
    assert " ".join(rooms) in words


def test_the_tour_passes_all_rooms_in_their_order():
    words = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    where = [words.find(f"{room}/") for room in ROOMS if room]
    assert -1 not in where and where == sorted(where)


def test_the_tour_names_files_that_are_there():
    tour = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`(pathpatch/[\w/]+\.py|book/[\w/]+\.py|exercises/[\w/]+\.py)`", tour)
    missing = [name for name in named if not (REPOSITORY / name).exists()]
    assert len(named) >= 15 and not missing, missing
