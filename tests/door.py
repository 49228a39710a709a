"""Every public call with a value of a wrong kind for each argument in turn, in plain Python.

`python tests/door.py` prints what came of it, as JSON; `test_door.py` judges. It runs in a process
of its own: in the others the tests' type checker would see most of these calls first.
"""

import contextlib
import inspect
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import pathpatch as pp
from pathpatch.handmade.toys import TOYS
from pathpatch.models.tiny import tiny_hf
from pathpatch.tasks.ioi import TEMPLATES

ODD = {"None": None, "'x'": "x", "3": 3, "[]": [], "array": np.ones(3), "object": object()}
GENERATORS = {
    "random": Random(0),
    "numpy": np.random.default_rng(0),
    "torch": torch.Generator().manual_seed(0),
}
# Nobody makes these by hand; a node is judged where it is used (`test_plain.py`).
LEFT_OUT = ("Design", "HandMade", "Plan", "Run", "Trace", "TrueEffect", "Node", "PathPatchError")


def right_calls(folder: Path) -> dict[str, dict[str, Any]]:
    """For every public function, class and method a call that works; a function is made anew."""
    model = pp.tiny_model("llama", layers=2)
    prompts = pp.ioi_prompts(model.tokenizer, 6, Random(0))
    first = {"subject_first": prompts.orig.positions["S1"]}
    places = first | {"subject_last": prompts.orig.positions["S1"]}
    sides = [pp.Tokens(x.ids, x.positions | places) for x in (prompts.orig, prompts.new)]
    named = pp.Prompts(*sides, prompts.answer, prompts.foil, prompts.pairs)
    quiet, ends, logits = pp.SweepOptions(quiet=True), ["0.0@END", "0.1@END"], ["logits@END"]
    both: dict[str, Any] = {"model": model, "prompts": prompts}
    asked: dict[str, Any] = {**both, "senders": ends, "receivers": logits}
    metric, options = {"metric": pp.logit_diff}, {"options": quiet}
    effects = pp.path_sweep(model, prompts, senders=pp.heads(model, "END"), receivers=logits)
    numbers = dict.fromkeys(("change", "low", "high", "percent", "p"), 0.0)
    edges = [pp.Edge("0.0.z@S2", "1.1.v@S2", **numbers)]
    edges.append(pp.Edge("1.1.z@END", "logits@END", **numbers))
    circuit, node = pp.Circuit(edges), pp.Node.parse("0.0@END")
    rules = pp.Ablation(over=prompts, generator=np.random.default_rng(0))
    knockout = pp.Knockout(model, prompts, rules)
    search = pp.Search(np.random.default_rng(0), 2, 2, 2)
    ones, batch, seen = np.ones(6), torch.ones(6), {"knockout": knockout, "circuit": ends}
    drawn = {"generator": GENERATORS["numpy"]}
    row = {"clean": prompts.pairs[0].clean, "corrupt": prompts.pairs[0].corrupt}
    row |= {"answer": prompts.pairs[0].answer, "foil": prompts.pairs[0].foil}
    (folder / "prompts.json").write_text(json.dumps([row]))
    fact = {"template": "{} gave a drink to", "subject": " Mary", "answer": " John"}
    fact |= {"other": " Paul", "foil": " Paul", "probability": 0.5}
    (folder / "facts.json").write_text(json.dumps([fact]))
    effects.save(folder / "effects")
    circuit.save(folder / "circuit.json")
    noise = pp.gaussian_noise(model, prompts.orig, 1.0, torch.Generator().manual_seed(0), 1)
    all_metric = {"logits": torch.zeros(6, model.cfg.d_vocab), "prompts": prompts}
    return {
        "activation_patch": {**both, "nodes": ends},
        "activation_sweep": {**both, "nodes": ends, **metric, **options},
        "answer_prob": all_metric,
        "attention_arcs": {"model": model, "tokens": prompts.orig[:1], "patterns": ["0.0@END"]},
        "attention_panel": {"model": model, "tokens": prompts.orig[:1], "patterns": ["0.0@END"]},
        "baseline": both,
        "causal_trace": {
            **{"model": model, "prompts": named, "nodes": ["1.resid_post@END"], "noise": noise},
            **{"severed": ["mlp_out"], "metric": pp.answer_prob},
        },
        "choices": {**both, "circuit": ends, "rules": rules},
        "circuit_diagram": {"circuit": circuit},
        "completeness": {**seen, "sets": {"a": ["0.0@END"]}},
        "discover": {**both, **drawn, "rule": pp.Rule(rounds=1), **metric, **options},
        "edge_attribution": {**asked, "receivers": ["1.0.q@END"], "steps": 1, **metric},
        "edge_effects": {**both, "circuit": circuit, **metric},
        "embedding_std": {"model": model, "texts": [" Mary", " John"]},
        "fact_prompts": {"tokenizer": model.tokenizer, "facts": [pp.Fact(**fact)]},
        "faithfulness": seen,
        "five_treatments": {**asked, "frozen": ends, **metric},
        "gaussian_noise": {
            **{"model": model, "tokens": prompts.orig, "scale": 1.0, "draws": 1},
            "generator": GENERATORS["torch"],
        },
        "greedy_set": {**seen, "search": search},
        "grid": {"model": model, "kind": "z", "positions": ["END"]},
        "heads": {"model": model, "at": "END"},
        "heat_map": {"effects": effects, "title": "t", "labels": 2},
        "heat_maps": {"maps": {"a": effects}, "labels": 2},
        "interval": {"values": ones, **drawn, "clusters": list("aaabbb"), "per": ones},
        "ioi_machine": {"name": "token"},
        "ioi_prompts": {
            **{"tokenizer": model.tokenizer, "n": 2, "generator": GENERATORS["random"]},
            "templates": list(TEMPLATES),
        },
        "ioi_walk": {**both, **options},
        "load_facts": {"path": folder / "facts.json"},
        "load_model": {"name": "tiny-llama", "dtype": torch.float64, "device": "cpu"},
        "load_prompts": {"path": folder / "prompts.json", "tokenizer": model.tokenizer},
        "logit_diff": all_metric,
        "make_prompts": {"tokenizer": model.tokenizer, "pairs": list(prompts.pairs)},
        "minimal_sets": {**seen, "search": search, "classes": {"a": ends}},
        "minimality": {**seen, "sets": {"0.0@END": ["0.1@END"]}},
        "mlps": {"model": model, "at": "END"},
        "node_attribution": {**both, "nodes": ends, "steps": 1, **metric},
        "pass_diagram": {
            **{**asked, "prompts": prompts[:1], "receivers": ["1.0.q@END"], "frozen": ends},
            **{"nodes": ["1.1@END"], "show": lambda *_: "x"},
        },
        "path_patch": {**asked, "frozen": ends},
        "path_sweep": {**asked, "frozen": ends, **metric, **options},
        "plan": {**asked, "frozen": ends, **metric, **options},
        "random_sets": {"circuit": ends, "n": 1, **drawn},
        "recovered": {"value": batch, "corrupt": 0 * batch, "clean": 2 * batch},
        "run": {
            **{"model": model, "tokens": prompts.orig, "reads": ends},
            "writes": {"0.0@END": lambda value: 2 * value},
        },
        "save_figure": {"figure": pp.heat_map(effects), "path": folder / "figure.png"},
        "strongest": {"effects": clear(effects), "n": 1},
        "tiny_model": {
            **{"kind": "llama", "seed": 0, "dtype": torch.float64, "device": "cpu", "layers": 2}
        },
        "toy": {"name": next(iter(TOYS))},
        "windows": {"model": model, "kind": "mlp_out", "positions": ["END"], "reach": (1, 1)},
        "wrap": {
            **{"hf_model": lambda: tiny_hf("llama"), "tokenizer": model.tokenizer, "name": "mine"}
        },
        "Ablation": {
            **{"reference": "mean", "positions": "all", "candidates": "heads", **metric},
            **{"over": prompts, **drawn},
        },
        "Circuit": {"edges": edges, "about": {}},
        "Edge": {"sender": "0.0.z@S2", "receiver": "1.1.v@S2", **numbers},
        "Effects": {
            **{"senders": [[node]], "base": ones, "patched": np.ones((1, 6)), "seed": 0},
            **{"about": effects.about, "templates": ["a"] * 6, "receivers": [pp.LOGITS]},
        },
        "Fact": fact,
        "Faithfulness": {"model": ones, "circuit": ones, "nothing": ones},
        "Gap": {"removed": [node], "one": ones, "other": ones},
        "EdgeKnockout": {**both, "rules": rules},
        "Knockout": {**both, "rules": rules},
        "Link": {"sender": node, "receiver": node},
        "Pair": row,
        "Prompts": {
            **{"orig": prompts.orig, "new": prompts.new, "answer": prompts.answer},
            **{"foil": prompts.foil, "pairs": prompts.pairs, "direction": "noising"},
        },
        "Rule": {"error": 0.05, "least": 1, "least_attention": 0.1, "rounds": 1},
        "Search": {**drawn, "runs": 1, "steps": 1, "nodes_per_step": 1},
        "SweepOptions": {
            **{"engine": "fast", "memory": 1, "folder": folder / "f", "executor": None},
            **{"quiet": True, "seed": 0},
        },
        "Tokens": {"ids": prompts.orig.ids, "positions": prompts.orig.positions},
        "Circuit.save": {"self": circuit, "path": folder / "circuit.json"},
        "Circuit.load": {"path": folder / "circuit.json"},
        "Effects.by_head": {"self": effects, "values": effects.mean()},
        "Effects.load": {"folder": folder / "effects"},
        "Effects.save": {"self": effects, "folder": folder / "effects"},
        "Effects.table": {"self": effects, "n": 1},
        "Effects.top": {"self": effects, "n": 1},
        "Gap.percent": {"self": pp.Gap([node], ones, ones), "model": ones},
        "Knockout.score": {"self": knockout, "kept": ends, "without": ["0.0@END"]},
        "Node.parse": {"text": "0.0@END"},
        "Prompts.__getitem__": {"self": prompts, "rows": [0]},
        "Run.__getitem__": {"self": pp.run(model, prompts.orig, reads=ends), "node": "0.0@END"},
        "Search.best": {"self": search, "value": len, "nodes": [node]},
        "Search.size": {"self": search, "n": 1},
        "Tokens.__getitem__": {"self": prompts.orig, "rows": [0]},
        "Tokens.at": {"self": prompts.orig, "where": "END"},
    }


def clear(effects: pp.Effects) -> pp.Effects:
    """Effects in which the first head stands out."""
    base = np.linspace(1, 2, 8)
    patched = np.tile(base, (len(effects.senders), 1))
    patched[0] -= 1
    return pp.Effects(effects.senders, base, patched, effects.about)


def called(name: str, given: dict[str, Any]) -> tuple[str, str]:
    """What came of a call: "done", "refused", or "stumbled", and the words."""
    function: Any = pp
    for part in name.split("."):
        function = getattr(function, part)
    given = {k: v() if k == "hf_model" and inspect.isfunction(v) else v for k, v in given.items()}
    me = [given.pop("self")] if "self" in given else []
    if name.endswith("__getitem__"):
        me.append(given.popitem()[1])
    try:
        found = function(*me, **given)
        return "done", str(next(found)) if isinstance(found, Iterator) else str(found)
    except pp.PathPatchError as error:
        return "refused", str(error)
    except Exception as error:
        return "stumbled", repr(error)


def everything(folder: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """(function, argument, what came, what became of it, the words), the right call first."""
    for name, given in right_calls(folder).items():
        yield name, "", "", *called(name, given)
        for argument in [argument for argument in given if argument != "self"]:
            odd = ODD | (GENERATORS if argument == "generator" else {})
            for words, value in odd.items():
                yield name, argument, words, *called(name, {**given, argument: value})


def main(say: Callable[[str], object] = print) -> None:
    warnings.simplefilter("ignore")
    quiet = contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), quiet:
        found = list(everything(Path(folder)))
    say(json.dumps(found))


if __name__ == "__main__":
    main()
