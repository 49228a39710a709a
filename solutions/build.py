"""Write everything that learners get, from the solutions: python -m solutions build."""

import json
from pathlib import Path
from typing import Any

import jupytext
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from exercises.catalogue import keep, pages
from solutions.source import FOLDER, Task, read, stems, stub, tasks

ROOT = FOLDER.parent
SHOWN = ("Goal", "Out of scope", "Marking")
WORDS = {
    "difficulty": "Difficulty {} of 5",
    "importance": "importance {}",
    "minutes": "about {} minutes",
}


def outputs() -> dict[Path, str]:
    """Every generated file and its text."""
    files, fresh, rows = {}, {}, []
    for stem in stems():
        notebook, some = learners_notebook(stem), tasks(stem)
        fresh[stem] = as_script(notebook)
        files[ROOT / "exercises" / f"{stem}.py"] = fresh[stem]
        files[ROOT / "exercises" / f"{stem}.ipynb"] = as_ipynb(notebook)
        blocks = "\n\n".join(block(task, stem) for task in some)
        files[ROOT / "book" / "exercises" / f"{stem}.md"] = blocks + "\n"
        rows += [catalogue_row(task, stem) for task in some]
    catalogue = json.dumps({"exercises": rows, "pages": fresh}, indent=1, ensure_ascii=False)
    files[ROOT / "exercises" / "catalogue.json"] = catalogue + "\n"
    return files


def catalogue_row(task: Task, stem: str) -> dict[str, Any]:
    about = {"id": task.id, "stem": stem, "function": task.function, "title": task.title}
    told = {"hints": task.hints, "helps": task.helps, "another_way": task.parts["Another way"]}
    return {**about, **task.facts, **told}


def learners_notebook(stem: str) -> Any:
    """The source without solutions, hints and worked answers."""
    cells, name = [], ""
    texts = {task.id: task for task in tasks(stem)}
    for cell in read(stem).cells:
        if "exercise" in cell.metadata:
            name = cell.metadata["exercise"]
            cells.append(new_markdown_cell(statement(texts[name])))
        elif cell.cell_type == "code":
            cells.append(new_code_cell(stub(cell.source, name)))
        else:
            cells.append(new_markdown_cell(cell.source))
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same in every build
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def filled_notebook(stem: str) -> Any:
    """The learner's notebook with the solutions put in, and every check as an assertion."""
    notebook, solved = learners_notebook(stem), {t.function: t.code for t in tasks(stem)}
    for cell in notebook.cells:
        for function, code in solved.items():
            if cell.cell_type == "code" and f"def {function}(" in cell.source:
                cell.source = code
        if cell.source.startswith("check("):
            cell.source = f"assert {cell.source}"
    return notebook


def as_script(notebook: Any) -> str:
    plain = new_notebook(cells=notebook.cells)
    plain.metadata["jupytext"] = {
        "notebook_metadata_filter": "-all",
        "cell_metadata_filter": "-all",
    }
    return str(jupytext.writes(plain, fmt="py:percent"))


def as_ipynb(notebook: Any) -> str:
    return str(jupytext.writes(notebook, fmt="ipynb"))


def facts(task: Task) -> str:
    """Kind, difficulty, importance, minutes and points in a line."""
    parts = [form.format(task.facts[fact]) for fact, form in WORDS.items()]
    points = "1 point" if task.facts["points"] == 1 else f"{task.facts['points']} points"
    return f"*{task.facts['kind'].capitalize()}. {', '.join(parts)}, {points}.*"


def statement(task: Task) -> str:
    """What a learner reads above the code."""
    parts = [f"## {task.id} {task.title}", facts(task), task.parts[""]]
    parts += [f"**{word}.** {task.parts[word]}" for word in SHOWN if word in task.parts]
    return "\n\n".join([*parts, f'Stuck? `hint("{task.id}")`'])


def block(task: Task, stem: str) -> str:
    """The exercise as the book shows it, with its hints to open one by one."""
    words = [word for word in SHOWN if word in task.parts]
    code = stub(task.code, task.id)
    lines = [
        f"`````{{exercise}} {task.id} {task.title}",
        f":label: ex-{task.id.replace('.', '-')}",
        ":nonumber:",
        "",
        facts(task),
        "",
        task.parts[""],
        "",
        *(f"**{word}.** {task.parts[word]}\n" for word in words),
        f"```python\n{code}\n```",
        "",
        f"Write it in `exercises/{stem}.py`, then `python -m exercises check {task.id}`; or in the "
        "notebook beside it.",
        "",
        *(f":::{{dropdown}} Do you see this? {_symptom(text)}\n:::" for text in task.helps),
        *(f":::{{dropdown}} Hint {i}\n{text}\n:::" for i, text in enumerate(task.hints, 1)),
        "`````",
    ]
    return "\n".join(lines)


def _symptom(text: str) -> str:
    """The first sentence of a help is what one sees; the rest is what to do about it."""
    seen, _, rest = text.partition(". ")
    return f"{seen}\n{rest}"


def _keep_work(path: Path) -> None:
    """Before an exercise file is overwritten: if somebody has worked in it, keep a copy."""
    if path.parent != ROOT / "exercises" or path.suffix == ".json" or not path.exists():
        return
    if as_script(jupytext.read(path)) != pages().get(path.stem):
        keep(path)


def build(check: bool) -> list[Path]:
    """Write the files, or only compare. Returns: the files that differ (or differed)."""
    different = []
    for path, text in outputs().items():
        now = path.read_text(encoding="utf-8") if path.exists() else None
        if now == text:
            continue
        different.append(path.relative_to(ROOT))
        if not check:
            _keep_work(path)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return different
