"""What an instructor gets: the table of the class, Gradescope's file, a form for open answers."""

import csv
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError
from solutions.grading.feedback import markdown, number, page, total

Row = dict[str, Any]  # learner, marks, notes
FORM = ("learner", "exercise", "of", "points", "comment")


def slug(learner: str) -> str:
    """A name for files: what may lead elsewhere is taken out, and no two learners share one."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", learner).strip("_")[:60]
    tail = hashlib.sha256(learner.encode("utf-8", "replace")).hexdigest()[:6]
    return plain if plain == learner else f"{plain or 'learner'}-{tail}"


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8", errors="replace")
    os.replace(new, path)


def write_all(rows: list[Row], out: Path, warning: str) -> None:
    """Every file but the log. Marks that a person gave are in the rows already."""
    _grades(rows, out / "grades.csv")
    _form(rows, out / "marking.csv")
    for row in rows:
        name = slug(row["learner"])
        text = markdown(row, warning)
        write(out / "feedback" / f"{name}.md", text)
        write(out / "feedback" / f"{name}.html", page(text, row["learner"]))
        results = json.dumps(gradescope(row, text), indent=1, ensure_ascii=False)
        write(out / "gradescope" / name / "results.json", results)
        if answers := [m for m in row["marks"] if m["answer"]]:
            texts = [f"# {m['id']}\n\n{m['answer']}\n" for m in answers]
            write(out / "to_mark" / f"{name}.txt", "\n".join(texts))


def _grades(rows: list[Row], path: Path) -> None:
    ids = list(dict.fromkeys(m["id"] for row in rows for m in row["marks"]))
    lines = [["learner", "points", "of", *ids, "to be marked", "notes"]]
    for row in rows:
        got, of = total(row["marks"])
        by_id = {m["id"]: m["points"] for m in row["marks"]}
        points = ["" if by_id.get(i) is None else number(by_id[i]) for i in ids]
        waiting = sum(p is None for p in by_id.values())
        notes = " ".join(row["notes"])
        lines.append([row["learner"], number(got), str(of), *points, str(waiting), notes])
    _csv(path, lines)


def _form(rows: list[Row], path: Path) -> None:
    """The form for open answers: what was filled in stays."""
    lines = [list(FORM)]
    for row in rows:
        for m in row["marks"]:
            if m["state"] == "to be marked" or "comment" in m:
                points = "" if m["points"] is None else number(m["points"])
                lines.append([row["learner"], m["id"], m["of"], points, m.get("comment", "")])
    if len(lines) > 1 or path.exists():
        _csv(path, lines)


def _csv(path: Path, lines: list[list[Any]]) -> None:
    """A cell that a spreadsheet would compute gets a quote in front of it."""
    safe = [[f"'{c}" if re.match(r"\s*[=+\-@]", str(c)) else c for c in line] for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows(safe)
    os.replace(new, path)


def merge_form(rows: list[Row], path: Path) -> None:
    """Take over the points that a person has filled in.

    Raises: PathPatchError for a form that has other columns, or points beyond those there are.
    """
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.DictReader(file))
    marks = {(row["learner"], m["id"]): m for row in rows for m in row["marks"]}
    for at, line in enumerate(lines, 2):
        if not {*FORM} <= line.keys():
            raise PathPatchError(f"{path} needs the columns {', '.join(FORM)}")
        mark = marks.get((line["learner"].removeprefix("'"), line["exercise"]))
        if mark is None or not (mark["state"] == "to be marked" and line["points"].strip()):
            continue
        try:
            points = float(line["points"].replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= mark["of"]:
            raise PathPatchError(
                f"{path}, line {at}: points are {line['points']!r}; expected 0 to {mark['of']}"
            )
        state = "right" if points == mark["of"] else "partly right" if points else "not right"
        mark |= {"points": points, "state": state, "comment": line["comment"]}


def gradescope(row: Row, text: str) -> dict[str, Any]:
    """The fields of Gradescope's `results.json`, as its documentation of autograders has them."""
    got, _ = total(row["marks"])
    tests = [
        {
            "name": m["id"],
            "number": m["id"],
            "score": m["points"] or 0,
            "max_score": m["of"],
            "status": "passed" if m["state"] == "right" else "failed",
            "output": "\n".join([m["state"], *m["words"]]),
            "output_format": "text",
            "visibility": "visible",
        }
        for m in row["marks"]
    ]
    return {
        "score": got,
        "output": text,
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
