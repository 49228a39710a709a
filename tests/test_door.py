"""Nobody sees a traceback of another library for a thing of a wrong kind, in any public call."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import door
import pytest
import torch

import pathpatch
from pathpatch import PathPatchError, Prompts, SweepOptions, logit_diff, path_sweep
from pathpatch.handmade.ioi_machine import TOKEN
from pathpatch.metrics import METRICS

REPOSITORY = Path(__file__).parent.parent
# Of a class of their own: nothing else may be taken for them.
OF_A_CLASS = set(
    "model prompts tokens metric generator tokenizer hf_model effects knockout search rules "
    "rule options orig new over about executor figure".split()
)
SAID = {
    ("path_sweep", "metric", "'x'"): "path_sweep: metric must be a function; got 'x'",
    ("path_sweep", "model", "'x'"): "model must be a model, such as load_model, tiny_model or wrap",
    ("path_sweep", "prompts", "[]"): "Prompts, such as make_prompts(model.tokenizer, pairs) gives",
    ("path_sweep", "senders", "3"): "expected a list of senders, got one 3; use [3]",
    (
        "ioi_prompts",
        "generator",
        "numpy",
    ): "a generator of Python, such as random.Random(seed); got a",
    (
        "random_sets",
        "generator",
        "random",
    ): "of numpy, such as numpy.random.default_rng(seed); got a",
    (
        "gaussian_noise",
        "generator",
        "numpy",
    ): "torch, such as torch.Generator().manual_seed(seed)",
    ("interval", "values", "[]"): "values must be an array of numpy [*rows batch]; got a list",
    ("recovered", "clean", "array"): "recovered: clean must be a tensor [batch]; got an ndarray of",
    ("completeness", "sets", "[]"): "completeness: sets must be a dict, each value a list, each a",
    ("wrap", "hf_model", "3"): "wrap: hf_model must be a causal language model of transformers",
    ("tiny_model", "dtype", "'x'"): "dtype must be a dtype, such as torch.float32; got 'x'",
    ("windows", "reach", "[]"): "reach must be a list of a whole number, a whole number;",
    ("run", "tokens", "object"): "run: tokens must be Tokens, such as prompts.orig; got an object",
    ("save_figure", "path", "'x'"): "a figure is written as ",
    ("SweepOptions", "executor", "3"): "executor must be an executor of concurrent.futures or None",
    ("Knockout", "rules", "'x'"): "Knockout: rules must be Ablation(...), such as Ablation('mean')",
    ("Gap", "other", "array"): "Gap: other must be an array of numpy [batch]; got an ndarray of",
    ("Effects.table", "n", "'x'"): "number of rows must be a whole number from 0 on, got 'x'",
    ("logit_diff", "logits", "array"): "a metric needs logits [..., batch, vocab] and the Prompts",
    ("Run.__getitem__", "node", "3"): "cannot read 3 as a node; examples: 9.6.q@END",
}


@pytest.fixture(scope="module")
def found() -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "tests/door.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_public_call_is_tried(found):
    tried = {name for name, *_ in found}
    public = {name for name in pathpatch.__all__ if callable(getattr(pathpatch, name))}
    assert public == {name for name in tried if "." not in name} | set(door.LEFT_OUT)
    assert len(found) > 1500


def test_the_right_calls_work(found):
    assert [row for row in found if not row[1] and row[3] != "done"] == []


def test_no_call_stumbles(found):
    assert [row for row in found if row[3] == "stumbled"] == []


def test_what_is_of_a_class_is_not_taken_for_another(found):
    taken = {(name, a, came) for name, a, came, end, _ in found if end == "done" and a}
    wrong = {row for row in taken if row[1] in OF_A_CLASS and row[2] != "None"}
    wrong -= {row for row in wrong if row[0] in ("Gap.percent", "Faithfulness")}  # `model`: values
    assert wrong == {  # these are right
        (name, "generator", kind)
        for name, a, kind, end, _ in found
        if a == "generator" and end == "done" and kind in door.GENERATORS
    }
    right = {"ioi_prompts": "random", "gaussian_noise": "torch"}
    assert all(kind == right.get(name, "numpy") for name, _, kind in wrong)


@pytest.mark.parametrize("call", SAID, ids=" ".join)
def test_the_sentence_says_what_would_work(found, call: tuple[str, str, str]):
    (words,) = [row[4] for row in found if tuple(row[:3]) == call]
    assert SAID[call] in words


def test_the_model_inside_and_pairs_are_told_from_models_and_prompts(gpt2):
    asked = {"senders": ["0.1@END"], "receivers": ["logits@END"]}
    with pytest.raises(PathPatchError, match=r"model must be .* or wrap gives; got a GPT2LMHead"):
        path_sweep(gpt2.model.original_model, gpt2.prompts, **asked)
    for odd in (list(gpt2.prompts.pairs), gpt2.prompts.orig):
        with pytest.raises(PathPatchError, match=f"prompts must be .*; got a {type(odd).__name__}"):
            path_sweep(gpt2.model, odd, **asked)


@pytest.mark.usefixtures("as_users_run")
def test_a_mistake_inside_a_metric_keeps_its_own_traceback(gpt2):
    def broken(logits: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        raise TypeError("mine")

    asked = {"senders": ["0.1@END"], "receivers": ["logits@END"], "metric": broken}
    with pytest.raises(TypeError, match="mine"):
        path_sweep(gpt2.model, gpt2.prompts, **asked, options=SweepOptions(quiet=True))
    with pytest.raises(TypeError, match=r"missing .* required"):
        path_sweep(gpt2.model)


def test_public_functions_travel_to_other_processes():
    for function in (path_sweep, logit_diff, pathpatch.heads, pathpatch.Effects.load):
        assert pickle.loads(pickle.dumps(function)) is function
    assert pathpatch.logit_diff is METRICS["logit_diff"]
    assert pathpatch.path_patch is pathpatch.paths.path_patch


def test_prompts_are_taken_backwards_and_by_number(gpt2):
    prompts, turned = gpt2.prompts, gpt2.prompts[::-1]
    assert turned.pairs == prompts.pairs[::-1]
    assert torch.equal(turned.orig.ids, prompts.orig.ids.flip(0))
    assert torch.equal(prompts.orig[::-2].ids, prompts.orig.ids[[5, 3, 1]])
    for rows, words in (([6], "from -6 to 5, got 6"), ([True] * 6, "got True")):
        with pytest.raises(PathPatchError, match=f"number of a prompt must be .*{words}"):
            prompts[rows]


def test_a_tuple_of_several_kinds_is_checked_item_by_item():
    """Designs hold such tuples, and a learner's key makes a new design."""
    made = replace(TOKEN, name="again")
    assert made.embed == TOKEN.embed
    with pytest.raises(PathPatchError, match="each a list of a text, a text, a whole number, "):
        replace(made, embed=(("Mary", "word", "0", 1),))
