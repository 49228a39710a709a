"""Mistakes that the tests' type checker would see first, made in plain Python, as users do.

Each call must give a `PathPatchError` of one sentence; one process tries them all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CALLS = {
    "prompts[:0]": "the list of prompts is empty",
    "prompts[2]": "prompts are taken as a slice, such as prompts[:8], not 2",
    'make_prompts(tokenizer, "x")': "expected a list of pairs, got the string 'x'; use ['x']",
    "make_prompts(tokenizer, prompts.pairs[0])": "expected a list of pairs, got one Pair(",
    "make_prompts(tokenizer, [{}])": "pair 0: expected a Pair, got dict",
    "make_prompts(tokenizer, [Pair([1], [2], 3, 4)])": "clean, corrupt, answer, foil must be text",
    'make_prompts(tokenizer, [replace(pair, positions={"S2": True})])': "token index, got True",
    'make_prompts(tokenizer, [replace(pair, positions={"S2": 3.0})])': "token index, got 3.0",
    "make_prompts(tokenizer, [replace(pair, positions={3: 3})])": "3 cannot be a label",
    'fact_prompts(tokenizer, "x")': "expected a list of facts, got the string",
    'fact_prompts(tokenizer, ["x"])': "fact 0: expected a Fact, got str",
    "ioi_prompts(tokenizer, 2.5, Random(0))": "n, the number of prompts, must be a whole number",
    "ioi_prompts(tokenizer, True, Random(0))": "n, the number of prompts, must be a whole number",
    'ioi_prompts(tokenizer, 2, Random(0), "Then")': "expected a list of templates, got the string",
    "prompts.orig.at(True)": "these prompts have no position True",
    "prompts.orig.at(-1)": "position -1 is outside a prompt",
    "prompts.orig.at(np.int64(99))": "position 99 is outside a prompt",
    "prompts.orig.at(1.0)": "these prompts have no position 1.0",
    "prompts.orig.at(None)": "these prompts have no position None",
    'path_sweep(model, prompts, senders="0.1@END", receivers=[LOGITS])': "list of senders, got the",
    "path_sweep(model, prompts, senders=LOGITS, receivers=[LOGITS])": "list of senders, got one",
    'path_sweep(model, prompts, senders=["0.1@END"], receivers="logits")': "list of nodes, got the",
    'path_sweep(model, prompts[:0], senders=["0.1@END"], receivers=[LOGITS])': "prompts is empty",
    'activation_sweep(model, prompts, nodes="0.1@END")': "expected a list of nodes, got the string",
    'windows(model, "mlp_out", "END")': "expected a list of positions, got the string 'END'",
    'windows(model, "mlp_out", ["END"], (-1, 2))': "reach of a window must be a whole",
    'grid(model, "z", "END")': "expected a list of positions, got the string 'END'",
    'embedding_std(model, "Mary")': "expected a list of texts, got the string 'Mary'",
    "gaussian_noise(model, prompts.orig, 1.0, torch.Generator(), -1)": "number of draws must",
    'gaussian_noise(model, prompts.orig, float("nan"), torch.Generator())': "scale of the noise",
    'read([Node("z", -1, 0)])': "cannot read '-1.0.z' as a node",
    'read([Node("z", 0, -1)])': "cannot read '0.-1.z' as a node",
    'read([Node("z", 0, True)])': "cannot read '0.True.z' as a node",
    'read([Node("z", 0)])': "a z node looks like",
    'read([Node("zz", 0, 1)])': "unknown kind 'zz'",
    'str(Node("k", 0, 1, shared=np.ones(2)))': "shared of a node cannot be array",
    'read([Node("z", 0, [1])])': "the head of a node cannot be [1]; see Node.parse",
    'Node.parse("0.1").check(3)': "Node.check: model must be a model, such as load_model",
    'Node.parse("0.1").is_in(None)': "Node.is_in: model must be a model, such as load_model",
    'Node.parse("0.kv1.k").heads("x")': "Node.heads: model must be a model, such as load_model",
    'prompts.orig.to("x")': "cannot move tokens to the device 'x': Expected one of cpu, cuda",
    'prompts.orig.to("cuda:99")': "cannot move tokens to the device 'cuda:99': ",
    "prompts.orig.to(object())": "Tokens.to: device must be a device, such as torch.device",
    'replace(prompts, direction="x")': "unknown direction 'x'; known: noising, denoising",
    'replace(prompts, direction="Noising")': "direction 'Noising'; known: noising",
    "replace(prompts, direction=None)": "unknown direction None; known",
    'read([Node("z", 0, 1, at="3")])': "is not the node that '0.1.z@3' names",
    'read([Node("z", 0, 1, at=-1)])': "is not the node that '0.1.z@-1' names",
    'read([Node("z", 0, 1, at=True)])': "is not the node that",
    'SweepOptions(memory=float("nan"))': "memory (GiB) must be a number from 1e-09 on, got nan",
    "SweepOptions(seed=10**400)": "the seed must be a whole number from 0 on, got 1000",
    "random_sets([LOGITS], 10**400, np.random.default_rng(0))": "number of random sets must be a",
    "SweepOptions(memory=0)": "memory (GiB) must be a number",
    'SweepOptions(memory="2")': "memory (GiB) must be a number from 1e-09 on, got '2'",
    "Rule(rounds=0)": "rounds must be a whole number from 1 on, got 0",
    "Rule(error=2)": "error must be a number from 0 to 1, got 2",
    "Search(np.random.default_rng(0), runs=0)": "runs must be a whole number from 1 on, got 0",
    "random_sets([LOGITS], -1, np.random.default_rng(0))": "number of random sets must be a whole",
    "Tokens(prompts.orig.ids.double(), prompts.orig.positions)": "token ids are whole numbers",
    "Tokens(prompts.orig.ids[0], prompts.orig.positions)": "token ids are whole numbers",
    "Tokens(prompts.orig.ids, {})": "END",
    "Tokens(ids, {'END': ends.double()})": "the positions of 'END' are whole numbers of the shape",
    "Tokens(ids, {'END': ends[:1]})": "the positions of 'END' are whole numbers of the shape [2]",
    "Tokens(ids, {'END': [3, 3]})": "the positions of 'END' are whole numbers",
    "Tokens(ids, {'END': ends + 9})": "positions of 'END' are outside the tokens 0 to ",
    "Tokens(ids, {'END': ends - 99})": "positions of 'END' are outside the tokens 0 to ",
    "replace(prompts, new=Tokens(ids[:, :-2], {'END': ends - 2}))": "token ids of x_new are whole",
    "replace(prompts, new=prompts.new[:1])": "token ids of x_new are whole numbers",
    "replace(prompts, answer=prompts.answer[:1])": "answer, one token for each pair, are whole",
    "replace(prompts, foil=prompts.foil.double())": "foil, one token for each pair, are whole",
    "replace(prompts, answer=[1, 2])": "answer, one token for each pair, are whole",
    "replace(prompts, pairs=prompts.pairs * 2)": "the token ids of x_orig are whole numbers",
    "run(model, Tokens(ids - 999, {'END': ends}))": "is outside the 158 tokens of tiny-gpt2",
    "make_prompts(tokenizer, [replace(pair, positions=None)])": "pair 0: positions must be a dict",
    "make_prompts(tokenizer, [replace(pair, positions=[9])])": "pair 0: positions must be a dict",
    "path_patch(model, prompts, senders=[3], receivers=[LOGITS])": "expected a node, or a name",
    "path_sweep(model, prompts, senders=[3], receivers=[LOGITS])": "expected a node, or a name",
    "activation_sweep(model, prompts, nodes=[None])": "expected a node, or a name such",
    "activation_sweep(model, prompts, nodes=[[]])": "the list of nodes to patch is empty",
    "path_sweep(model, prompts, senders=[()], receivers=[LOGITS])": "at least one sender, got none",
    "read([['0.1']])": "expected a node, or a name such as 9.6.q@END, got ['0.1']",
}
RIGHT = [
    "prompts.orig.at(np.int64(3)).tolist() == [3, 3]",
    'read([Node("z", np.int64(0), np.int64(1), at=np.int64(3))])',
    'make_prompts(tokenizer, (replace(p, positions={"S2": np.int64(3)}) for p in prompts.pairs))',
    "len(prompts[np.int64(0) : np.int64(1)]) == 1",
]
SCRIPT = """
import json, sys
from dataclasses import replace
from random import Random
import numpy as np, torch
from pathpatch import *
model = tiny_model("gpt2")
tokenizer = model.tokenizer
prompts = ioi_prompts(tokenizer, 2, Random(0))
pair, ids, ends = prompts.pairs[0], prompts.orig.ids, prompts.orig.at("END")
calls, right = json.load(sys.stdin)
def read(nodes):
    return run(model, prompts.orig, reads=nodes)
def said(call):
    try:
        return str(eval(call) is None)
    except PathPatchError as error:
        return str(error)
    except Exception as error:
        return f"TRACEBACK {error!r}"
print(json.dumps([{call: said(call) for call in calls}, [bool(eval(call)) for call in right]]))
"""


def test_mistakes_get_a_sentence_and_numpy_numbers_are_numbers():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([list(CALLS), RIGHT]),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said, right = json.loads(done.stdout)
    wrong = {call: said[call] for call, words in CALLS.items() if words not in said[call]}
    assert not wrong, "\n".join(f"{call}: {text}" for call, text in wrong.items())
    assert all(right), dict(zip(RIGHT, right, strict=True))
