"""The one source of the exercises: solutions/chNN_stem.py, read cell by cell.

An exercise begins with a Markdown cell whose marker holds its facts:

    # %% [markdown] exercise="5.2" kind="implement" minutes=15 difficulty=2 importance=5 points=3

Its text has a title (`## 5.2 Write pass C`), prose, and parts that begin with a bold word: Goal,
Out of scope, Hint 1 to Hint 3, Help, Another way (shown after a pass), Marking, and Worked answer
(never shown to learners). The code cell after it has the function. What stands between `# solution`
and `# end of solution` is replaced by an error that says so, or by what follows `# instead`, if
there is such a line in between.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

FOLDER = Path(__file__).resolve().parent
FACTS = ("kind", "minutes", "difficulty", "importance", "points")
PARTS = ("Goal", "Out of scope", "Hint 1", "Hint 2", "Hint 3", "Another way")
PART = re.compile(
    r"^\*\*(Goal|Out of scope|Hint \d|Help|Another way|Marking|Worked answer)\.\*\* ?", re.MULTILINE
)


@dataclass(frozen=True)
class Task:
    """An exercise as its author wrote it. parts: bold word -> text; "": the prose before them."""

    id: str
    title: str
    facts: dict[str, Any]
    parts: dict[str, str]
    helps: list[str]
    code: str

    @property
    def function(self) -> str:
        """The last function of the cell: helpers may stand before it."""
        return [n.name for n in ast.parse(self.code).body if isinstance(n, ast.FunctionDef)][-1]

    @property
    def hints(self) -> list[str]:
        return [self.parts[f"Hint {i}"] for i in (1, 2, 3)]


def stems() -> list[str]:
    """The chapters that have exercises."""
    return sorted(file.stem for file in FOLDER.glob("ch[0-9][0-9]_*.py"))


def read(stem: str) -> Any:
    """The notebook of a source file."""
    return jupytext.read(FOLDER / f"{stem}.py")


def tasks(stem: str) -> list[Task]:
    """The exercises of a chapter, in order. Raises: ValueError for one that lacks something."""
    found, cells = [], read(stem).cells
    for i, cell in enumerate(cells):
        if "exercise" not in cell.metadata:
            continue
        code = next(c.source for c in cells[i:] if c.cell_type == "code")
        found.append(_task(cell, code))
    return found


def _task(cell: Any, code: str) -> Task:
    name, meta = str(cell.metadata["exercise"]), cell.metadata
    head, _, text = cell.source.partition("\n")
    pieces = PART.split(text.strip())
    parts, helps = {"": pieces[0].strip()}, []
    for word, part in zip(pieces[1::2], pieces[2::2], strict=True):
        if word == "Help":
            helps.append(part.strip())
        else:
            parts[word] = parts.get(word, "") + ("\n\n" if word in parts else "") + part.strip()
    absent = [f for f in FACTS if f not in meta]
    absent += [p for p in PARTS if p not in parts]
    absent += ["Help"] * (not helps)
    if absent or not head.startswith(f"## {name} "):
        raise ValueError(f"exercise {name} lacks {', '.join(absent) or 'a title with its number'}")
    title = head.removeprefix(f"## {name} ").strip()
    return Task(name, title, {fact: meta[fact] for fact in FACTS}, parts, helps, code)


def stub(code: str, name: str) -> str:
    """The code as learners get it: signature and docstring stay, solutions go."""
    lines: list[str] = []
    state = ""
    for line in code.splitlines():
        mark = line.strip()
        if mark == "# solution":
            state, place = "cut", len(lines)
        elif mark == "# instead":
            state = "keep"
        elif mark == "# end of solution":
            if len(lines) == place:
                indent = line[: len(line) - len(line.lstrip())]
                lines.append(f'{indent}raise NotImplementedError("{name} is not written yet")')
            state = ""
        elif state == "keep":
            lines.append(line.replace("# ", "", 1) if mark.startswith("#") else line)
        elif state == "":
            lines.append(line)
    if state:
        raise ValueError(f"exercise {name}: a solution has no end")
    return "\n".join(lines)
