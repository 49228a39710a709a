"""Notebooks: the solutions, and the learners' own with the solutions filled in, under nbmake."""

import os
import subprocess
import sys

import jupytext
import pytest

from solutions.build import filled_notebook
from solutions.source import read, stems


@pytest.mark.audit
@pytest.mark.parametrize("stem", stems())
def test_the_notebooks_of_a_chapter_run(stem, tmp_path):
    solved = read(stem)
    for cell in solved.cells:
        if cell.source.startswith("check("):
            cell.source = f"assert {cell.source}"
    jupytext.write(solved, tmp_path / f"{stem}_solved.ipynb")
    jupytext.write(filled_notebook(stem), tmp_path / f"{stem}.ipynb")
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = os.environ | {
        "EXERCISES_PROGRESS": str(tmp_path / "progress.json"),
        "PYTHONPATH": root,
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "pytest", "--nbmake", "-q", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout[-3000:] + done.stderr
    assert (tmp_path / "progress.json").exists()
