"""Wrong answers that nobody wrote down: small edits of the syntax tree of every solution.

Run by itself it judges them all and prints a table:

    PYTHONPATH=.:tests python tests/mutants/edits.py [EXERCISE ...] [--every N]
"""

import argparse
import ast
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from exercises.catalogue import Exercise, exercises
from exercises.checks.cases import trial
from exercises.checks.compare import same
from exercises.checks.judge import SEED, judge
from exercises.room.room import RoomError, session
from solutions.source import read, tasks

INPUTS = 200  # on which a survivor is compared with the solution, to see whether it is one
OTHER = {"orig": "new", "new": "orig", "answer": "foil", "foil": "answer"}
SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mod}
SWAPPED |= {ast.Eq: ast.NotEq, ast.In: ast.NotIn, ast.Gt: ast.Lt, ast.Lt: ast.Gt}


@dataclass(frozen=True)
class Edit:
    """A solution with one edit. what: the edited line and how it was."""

    exercise: Exercise
    source: str
    what: str

    def function(self) -> Callable[..., Any]:
        space: dict[str, Any] = {"__name__": "edited"}
        exec(_imports(self.exercise.stem), space)
        exec(self.source, space)
        found: Callable[..., Any] = space[self.exercise.function]
        return found


def _imports(stem: str) -> str:
    """The first code cell of the page, without `check` and `hint`."""
    first = next(cell.source for cell in read(stem).cells if cell.cell_type == "code")
    return "\n".join(x for x in first.splitlines() if not x.startswith("from exercises import"))


def edits_of(exercise: Exercise) -> list[Edit]:
    """Every edit of the solution, each once."""
    (task,) = [task for task in tasks(exercise.stem) if task.id == exercise.id]
    tree = ast.parse(task.code)
    before = ast.unparse(tree)
    found: dict[str, Edit] = {}
    for number, change in enumerate(_changes(tree)):
        edited = copy.deepcopy(tree)
        try:
            change(list(ast.walk(edited)))
            text = ast.unparse(ast.fix_missing_locations(edited))
            compile(text, "edited", "exec")
        except (SyntaxError, ValueError, IndexError):
            continue
        if text != before:
            found.setdefault(text, Edit(exercise, text, _difference(before, text) or str(number)))
    return list(found.values())


def _difference(before: str, after: str) -> str:
    was, now = before.splitlines(), after.splitlines()
    lines = [x for x in now if x not in was]
    gone = [x for x in was if x not in now]
    return f"{' / '.join(x.strip() for x in gone)}  ->  {' / '.join(x.strip() for x in lines)}"


Change = Callable[[list[ast.AST]], None]  # of the nodes of a copy, in the order of ast.walk


def _changes(tree: ast.AST) -> Iterator[Change]:
    nodes = list(ast.walk(tree))
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    names |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    own = {n.arg for n in nodes if isinstance(n, ast.arg)}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    words = {w for w in words if len(w) < 40}
    for i, node in enumerate(nodes):
        yield from _of_blocks(i, node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in own:
            for other in sorted(own - {node.id}):
                yield lambda copies, i=i, other=other: setattr(copies[i], "id", other)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            for step in (1, -1):
                value = node.value + step
                yield lambda copies, i=i, value=value: setattr(copies[i], "value", value)
        if isinstance(node, ast.Constant) and node.value in words:
            for other in sorted(words - {node.value}):
                yield lambda copies, i=i, other=other: setattr(copies[i], "value", other)
        if isinstance(node, ast.Attribute) and node.attr in OTHER:
            yield lambda copies, i=i, a=OTHER[node.attr]: setattr(copies[i], "attr", a)
        yield from _of_operations(i, node)


def _of_blocks(i: int, node: ast.AST) -> Iterator[Change]:
    """A statement is dropped; a loop ends after its first turn."""
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    for j, statement in enumerate(body):
        words = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not words and not isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef):
            yield lambda copies, i=i, j=j: copies[i].body.__setitem__(j, ast.Pass())
    if isinstance(node, ast.For | ast.While):
        yield lambda copies, i=i: copies[i].body.append(ast.Break())


def _of_operations(i: int, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BinOp):
        if type(node.op) in SWAPPED:
            op = SWAPPED[type(node.op)]
            yield lambda copies, i=i, op=op: setattr(copies[i], "op", op())

        def exchange(copies: list[Any], i: int = i) -> None:
            copies[i].left, copies[i].right = copies[i].right, copies[i].left

        yield exchange
        yield lambda copies, i=i: _replace(copies, copies[i], copies[i].left)
        yield lambda copies, i=i: _replace(copies, copies[i], copies[i].right)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        op = SWAPPED[type(node.ops[0])]
        yield lambda copies, i=i, op=op: copies[i].ops.__setitem__(0, op())
    if isinstance(node, ast.Call):
        for j in range(len(node.keywords)):
            yield lambda copies, i=i, j=j: copies[i].keywords.pop(j)
        for j in range(len(node.args) - 1):
            yield lambda copies, i=i, j=j: copies[i].args.insert(j, copies[i].args.pop(j + 1))
        if isinstance(node.func, ast.Attribute) and not node.args:
            yield lambda copies, i=i: _replace(copies, copies[i], copies[i].func.value)
    if isinstance(node, ast.Return) and node.value is not None:

        def negate(copies: list[Any], i: int = i) -> None:
            copies[i].value = ast.UnaryOp(ast.USub(), copies[i].value)

        yield negate
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) > 1:
        yield lambda copies, i=i: copies[i].elts.reverse()
        yield lambda copies, i=i: copies[i].elts.pop()
    if isinstance(node, ast.comprehension):
        yield lambda copies, i=i: copies[i].ifs.append(ast.Constant(False))
        one = "slice(1)"
        first = lambda x: ast.Subscript(x, ast.parse(one, mode="eval").body, ast.Load())  # noqa: E731
        listed = lambda x: ast.Call(ast.Name("list", ast.Load()), [x], [])  # noqa: E731
        yield lambda copies, i=i: setattr(copies[i], "iter", first(listed(copies[i].iter)))


def _replace(copies: list[Any], old: ast.AST, new: ast.AST) -> None:
    for node in copies:
        for name, value in ast.iter_fields(node):
            if value is old:
                setattr(node, name, new)
            elif isinstance(value, list) and any(part is old for part in value):
                value[[part is old for part in value].index(True)] = new


@dataclass(frozen=True)
class Outcome:
    """What became of an edit. state: named, rejected, equivalent, or passes (which may not be)."""

    edit: Edit
    state: str
    text: str


def outcome(edit: Edit, limit: float = 5.0, seed: int = SEED) -> Outcome:
    """Judge an edit. One that passes is compared with the solution on 200 other inputs."""
    verdict = judge(edit.exercise, edit.function(), limit, seed)
    if not verdict.right:
        said = "is what comes out when" in verdict.text or "raised" in verdict.text
        return Outcome(edit, "named" if said else "rejected", verdict.text)
    different = _different(edit, limit)
    return Outcome(edit, "passes" if different else "equivalent", different or verdict.text)


def _different(edit: Edit, limit: float) -> str:
    """The first of many inputs on which an edit and the solution differ; "" where there is none."""
    exercise, function = edit.exercise, edit.function()
    with session(function, exercise.function, limit) as opened:
        for seed, number in _inputs(exercise):
            drawn = trial(exercise.function, seed)
            case = drawn.case(number)
            reply = opened.call(exercise.function, drawn.check.names, case.args, limit)
            if drawn.check.examine is not None:
                return ""
            counts = drawn.counts(number, reply.result)
            if reply.error or reply.changed or not same(counts, drawn.result(number)):
                return f"on seed {seed}: {case.shown}"
    return ""


def _inputs(exercise: Exercise) -> Iterator[tuple[int, int]]:
    count = trial(exercise.function, SEED).check.count
    if count == 1:
        yield 1, 0
        return
    for i in range(INPUTS):
        yield 1000 + i // count, i % count


def table(outcomes: list[Outcome]) -> str:
    """A line for each exercise, and every edit that passes and may not."""
    lines = [f"{'exercise':10}{'edits':>7}{'named':>7}{'rejected':>10}{'equal':>7}{'pass':>6}"]
    for name in dict.fromkeys(o.edit.exercise.id for o in outcomes):
        own = [o.state for o in outcomes if o.edit.exercise.id == name]
        counts = [own.count(s) for s in ("named", "rejected", "equivalent", "passes")]
        a, b, c, d = counts
        lines.append(f"{name:10}{len(own):7}{a:7}{b:10}{c:7}{d:6}")
    survivors = [o for o in outcomes if o.state == "passes"]
    lines += [f"{o.edit.exercise.id} passes: {o.edit.what}\n    {o.text}" for o in survivors]
    return "\n".join(lines)


def outcomes(exercise: Exercise, every: int = 1) -> Iterator[Outcome]:
    """What becomes of every edit of a solution, or of every n-th."""
    for edit in edits_of(exercise)[::every]:
        try:
            yield outcome(edit)
        except RoomError as error:
            yield Outcome(edit, "rejected", str(error))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercises", nargs="*", help="such as 5.2; all, if none is named")
    parser.add_argument("--every", type=int, default=1, help="only every n-th edit")
    parser.add_argument("--show", action="store_true", help="the message about every edit")
    asked = parser.parse_args()
    found = []
    for exercise in exercises().values():
        if not asked.exercises or exercise.id in asked.exercises:
            for one in outcomes(exercise, asked.every):
                found.append(one)
                if asked.show:
                    print(f"--- {one.state}: {one.edit.what}\n{one.text}", flush=True)
    print(table(found))
    return int(any(one.state == "passes" for one in found))


if __name__ == "__main__":
    sys.exit(main())
