"""How fast and how large sweeps are, as ratios within one run: make bench.

Every ratio compares two things that this process does one after the other, so that the speed of the
machine cancels out. The table is printed, and written to out/bench.json. `bench.py sample` measures
the first ratio only.
"""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import psutil
import torch

from pathpatch import (
    Plan,
    Prompts,
    SweepOptions,
    embedding_std,
    fact_prompts,
    gaussian_noise,
    grid,
    heads,
    ioi_prompts,
    load_facts,
    load_model,
    logit_diff,
    mlps,
    path_sweep,
    plan,
)
from pathpatch.engine.cost import plan_spec
from pathpatch.engine.fast import patch_all
from pathpatch.engine.literal import literal_passes
from pathpatch.engine.spec import Corruption, Spec
from pathpatch.engine.total import patch_nodes
from pathpatch.engine.traces import _on_subject
from pathpatch.engine.work import forward_multiply_adds
from pathpatch.models.load import wrap
from pathpatch.nodes import Model
from pathpatch.tasks.ioi import TEMPLATES

OUT = Path(__file__).resolve().parent.parent / "out" / "bench.json"
PROMPTS, SUBSET, MANY = 26, 8, 1000
JOBS = {  # name: position of the senders, receivers, least ratio to the literal form
    "every head to the logits": ("END", ["logits"], 30),
    "every head to the queries of 23.3, 29.1 and 23.0": (
        "END",
        ["23.3.q@END", "29.1.q@END", "23.0.q@END"],
        40,
    ),
    "every head to the values of 20.0 and 17.4 at S2": ("S2", ["20.0.v@S2", "17.4.v@S2"], 10),
}


def seconds(function: Callable[[], object], repeat: int = 1) -> float:
    """The least of some runs: other work on the machine only ever adds time."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def against_literal(model: Model, prompts: Prompts, results: dict, jobs: dict = JOBS) -> None:
    """Path patching by both engines."""
    for name, (at, receivers, least) in jobs.items():
        planned = plan(model, prompts, senders=heads(model, at), receivers=receivers)
        compare(model, prompts, results, name, planned, least)


def patched_against_literal(model: Model, prompts: Prompts, results: dict) -> None:
    """Activation patching, and causal tracing with ten draws, by both engines.

    Of noise a draw is a column by itself, like a prompt.
    """
    facts = [fact for fact in load_facts() if len(fact.subject.split()) > 1][::30]
    some, draws = fact_prompts(model.tokenizer, facts[:3]), 10
    scale = 3 * embedding_std(model, [fact.subject for fact in load_facts()])
    noise = gaussian_noise(model, some.orig, scale, torch.Generator().manual_seed(0), draws)
    noisy = Corruption(_on_subject(some.orig, noise, noise.shape[-1]).flatten(0, 1), [])
    columns = some[list(range(len(some))) * draws]
    everywhere = range(int(prompts.orig.at("END").min()) + 1)
    three = ["subject_first", "subject_last", "END"]
    for name, asked, nodes, corruption, least in (
        ("patch heads at END", prompts, heads(model, "END"), None, 15),
        ("patch states", prompts, grid(model, "resid_post", everywhere), None, 3),
        ("restore states at three positions", columns, grid(model, "resid_post", three), noisy, 3),
    ):
        sets = [[node] for node in nodes]
        spec = Spec(sets, [], [], "nothing", logit_diff, corruption=corruption)
        planned = plan_spec(model, asked, spec, SweepOptions())
        compare(model, asked, results, name, planned, least)


def compare(
    model: Model, prompts: Prompts, results: dict, name: str, planned: Plan, least: int
) -> None:
    """The engines on the same question; the literal one on a few senders, extrapolated."""
    spec, n = planned.spec, len(planned.spec.senders)
    engine = patch_all if spec.receivers else patch_nodes
    some = replace(spec, senders=spec.senders[n // (2 * SUBSET) :: n // SUBSET][:SUBSET])
    with torch.no_grad():
        fast = seconds(lambda: list(engine(model, prompts, spec)[1]), 3)
        _, passes = literal_passes(model, prompts, some)
        each = [seconds(lambda: next(passes)) for _ in some.senders]
    literal = float(np.median(each)) * n
    plain = matmul_seconds(planned.multiply_adds)
    results[name] = {
        "fast_seconds": fast,
        "literal_seconds_extrapolated": literal,
        "literal_senders_timed": len(some.senders),
        "ratio": literal / fast,
        "wanted": least,
        "multiply_adds": planned.multiply_adds,
        "ratio_to_plain_matmuls": fast / plain,
        "planned_seconds": planned.seconds,
    }
    print(
        f"{name}: {fast:.2f} s, literal {literal:.0f} s (from {len(some.senders)} senders): "
        f"{literal / fast:.0f} times (wanted {least}); {fast / plain:.2f} times plain matrix "
        f"multiplications; plan said {planned.seconds:.1f} s",
        flush=True,
    )


def matmul_seconds(multiply_adds: float) -> float:
    """Plain matrix multiplications with the shapes of an MLP; a part of them is timed."""
    x, w = torch.randn(2048, 576), torch.randn(576, 1536)
    part = 40
    each = seconds(lambda: [x @ w for _ in range(part)], 3) / (part * x.numel() * w.shape[1])
    return each * multiply_adds


def against_transformer_lens(model: Model, prompts: Prompts, results: dict) -> None:
    """Every earlier head to one head's query, MLPs frozen, all positions, clean into corrupt.

    Their function goes from one head to all later ones, a forward pass each: it is timed from head
    28.0 to the nine heads of layer 29, and extrapolated.
    """
    from transformer_lens import patching

    ids, other = prompts.new.ids, prompts.orig.ids
    _, clean = model.run_with_cache(other, names_filter="blocks.28.attn.hook_z")
    _, corrupt = model.run_with_cache(ids, names_filter="blocks.28.attn.hook_z")
    rows, end = torch.arange(len(prompts)), prompts.orig.at("END")
    table = []

    def theirs() -> None:
        table.append(
            patching.get_act_patch_direct_path(
                model,
                ids,
                clean,
                corrupt,
                lambda logits: logit_diff(logits[rows, end], prompts).mean(),
                src_layer=28,
                src_head=0,
                verbose=False,
            )
        )

    each = seconds(theirs, 2) / model.cfg.n_heads
    swapped, frozen = prompts.swapped(), heads(model) + mlps(model)
    for receiver, least in (("29.1.q", 50), ("23.3.q", None)):
        layer = int(receiver.split(".")[0])
        senders = [node for node in heads(model) if node.layer < layer]
        planned = plan(model, swapped, senders=senders, receivers=[receiver], frozen=frozen)
        ours = seconds(lambda s=planned.spec: list(patch_all(model, swapped, s)[1]), 2)
        name = f"every earlier head to {receiver}, MLPs frozen, against TransformerLens"
        ratio = each * len(senders) / ours
        results[name] = {
            "fast_seconds": ours,
            "their_seconds_extrapolated": each * len(senders),
            "ratio": ratio,
            "wanted": least,
        }
        if layer == 29:
            index = [str(node) for node in senders].index("28.0.z")
            _, found = patch_all(model, swapped, planned.spec)
            value = next(part[rows.index(index)] for rows, part in found if index in rows)
            difference = abs(float(value.mean() - table[0][29, 1]))
            results[name]["difference_at_28.0"] = difference
            if difference > 1e-4:
                sys.exit(f"the two disagree about 28.0 to 29.1.q by {difference:.1e} logits")
        print(f"{name}: {ours:.2f} s, theirs {each * len(senders):.0f} s: {ratio:.0f} times")


def exactness(model: Model, prompts: Prompts, results: dict) -> None:
    """The largest difference in float32 over every head and prompt, all senders run literally."""
    for name, (at, receivers, _) in JOBS.items():
        asked = {"senders": heads(model, at), "receivers": receivers}
        fast = path_sweep(model, prompts, **asked)
        literal = path_sweep(model, prompts, **asked, options=SweepOptions("literal"))
        largest = float(np.abs(fast.patched - literal.patched).max())
        moved = float(np.abs(literal.change).max())
        results[name] |= {"largest_difference": largest, "largest_change": moved}
        print(f"{name}: largest difference {largest:.1e} logits, largest change {moved:.2f}")


def growth(model: Model, results: dict) -> None:
    """Time of heads to the logits in four small series, beside the formula of chapter 11."""
    template = TEMPLATES[0]
    longer = [f"{'Well, ' * k}{template}" for k in (0, 8, 16, 32)]
    series: dict[str, list] = {"prompts": [], "length": [], "layers": [], "senders": []}
    for n in (8, 16, 32, 64):
        series["prompts"].append((n, model, ioi(model, n, [template]), 1))
    for text in longer:
        prompts = ioi(model, 16, [text])
        series["length"].append((prompts.orig.ids.shape[1], model, prompts, 1))
    for layers in (6, 12, 18, 24):
        small = shallow(model, layers)
        series["layers"].append((layers, small, ioi(small, 16, [template]), 1))
    for step in (8, 4, 2, 1):
        prompts = ioi(model, 16, [template])
        series["senders"].append((len(heads(model)[::step]), model, prompts, step))
    for name, rows in series.items():
        found = []
        for size, small, prompts, step in rows:
            asked = {"senders": heads(small, "END")[::step], "receivers": ["logits"]}
            planned = plan(small, prompts, **asked)
            parts = [prompts[i : i + 32] for i in range(0, len(prompts), 32)]
            took = seconds(
                lambda m=small, p=parts, s=planned.spec: [list(patch_all(m, q, s)[1]) for q in p], 2
            )
            found.append((size, took, planned.multiply_adds))
        x, took, work = (np.array(column, dtype=float) for column in zip(*found, strict=True))
        slope, start = np.polyfit(work, took, 1)
        off = np.abs(slope * work + start - took) / took
        power, expected = (np.polyfit(np.log(x), np.log(y), 1)[0] for y in (took, work))
        results[f"growth with {name}"] = {
            "sizes": x.tolist(),
            "seconds": took.tolist(),
            "multiply_adds": work.tolist(),
            "exponent_measured": power,
            "exponent_of_the_formula": expected,
            "largest_relative_error_of_the_linear_fit": float(off.max()),
        }
        print(
            f"growth with {name} {x.astype(int).tolist()}: {np.round(took, 2).tolist()} s, "
            f"exponent {power:.2f} (formula {expected:.2f}), seconds = a + b multiply-adds "
            f"within {off.max():.0%}",
            flush=True,
        )


def shallow(model: Model, layers: int) -> Model:
    """SmolLM2 cut off after some layers: it does nothing useful, at the same cost for a layer."""
    from transformers import AutoModelForCausalLM

    from pathpatch.models.smollm2 import smollm2_folder

    hf_model = AutoModelForCausalLM.from_pretrained(smollm2_folder(), num_hidden_layers=layers)
    return wrap(hf_model, model.tokenizer, f"smollm2-{layers}")


def ioi(model: Model, n: int, templates: list[str]) -> Prompts:
    return ioi_prompts(model.tokenizer, n, Random(0), templates)


def peak(limit: float) -> None:
    """In a process of its own: sweep many prompts and print the peak memory above the model."""
    model, process, stop = load_model(), psutil.Process(), threading.Event()
    prompts = ioi(model, MANY, TEMPLATES)
    asked = {
        "senders": heads(model, "END"),
        "receivers": ["logits"],
        "options": SweepOptions(memory=limit),
    }
    planned = plan(model, prompts, **asked)
    before, seen = process.memory_info().rss, [0]

    def watch() -> None:
        while not stop.wait(0.01):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    took = seconds(lambda: path_sweep(model, prompts, **asked))
    stop.set()
    watcher.join()
    found = {
        "prompts": MANY,
        "limit_gib": limit,
        "planned_gib": planned.memory,
        "peak_above_model_gib": (max(seen) - before) / 2**30,
        "seconds": took,
    }
    print(json.dumps(found))


def memory(results: dict) -> None:
    for limit in (2.0, 0.25):
        command = [sys.executable, __file__, "peak", str(limit)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        results[f"memory, limit {limit} GiB"] = found
        print(
            f"{MANY} prompts, every head to the logits, limit {limit} GiB: peak "
            f"{found['peak_above_model_gib']:.2f} GiB above the model (planned at most "
            f"{found['planned_gib']:.2f}), {found['seconds']:.0f} s",
            flush=True,
        )


def main(sample: bool) -> None:
    torch.set_num_threads(2)
    model = load_model()
    prompts = ioi(model, PROMPTS, TEMPLATES[:1])
    forward = seconds(lambda: model(prompts.orig.ids), 3)
    print(f"{PROMPTS} prompts of {prompts.orig.ids.shape[1]} tokens, SmolLM2-135M, 2 threads")
    results: dict = {
        "machine": {"system": platform.platform(), "torch": torch.__version__, "threads": 2},
        "forward_pass_seconds": forward,
        "forward_pass_multiply_adds": forward_multiply_adds(model, prompts),
    }
    if sample:
        against_literal(model, prompts, results, dict([*JOBS.items()][:1]))
    else:
        against_literal(model, prompts, results)
        patched_against_literal(model, prompts, results)
        against_transformer_lens(model, prompts, results)
        growth(model, results)  # from here on other work on the machine does no harm
        exactness(model, prompts, results)
        memory(results)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1))
    missed = [k for k, v in results.items() if isinstance(v, dict) and missed_target(v)]
    print(f"written: {OUT.relative_to(OUT.parent.parent)}")
    if missed and not sample:  # beside other work a ratio says little
        sys.exit(f"below the wanted ratio, or over the planned memory: {'; '.join(missed)}")


def missed_target(found: dict) -> bool:
    if "planned_gib" in found:
        return found["peak_above_model_gib"] > found["planned_gib"]
    return bool(found.get("wanted")) and found["ratio"] < found["wanted"]


if __name__ == "__main__":
    peak(float(sys.argv[2])) if sys.argv[1:2] == ["peak"] else main("sample" in sys.argv)
