"""Shared models and prompts. Models are loaded once; no test reaches the network."""

import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import jaxtyping
import oracle
import pytest
import torch
from hypothesis import settings

from exercises import catalogue, progress
from pathpatch import HandMade, Prompts, Tokens, ioi_machine, ioi_prompts, load_model, tiny_model
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer
from pathpatch.nodes import Model

# The same examples in every run: what passes here passes for you. `make audit` draws new ones.
COMMON = {"database": None, "deadline": None, "print_blob": True}
settings.register_profile("repository", derandomize=True, **COMMON)
settings.register_profile("sample", max_examples=20, **COMMON)
settings.register_profile("audit", max_examples=1000, **COMMON)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repository")
settings.load_profile(PROFILE)
AUDIT = "PATHPATCH_AUDIT" in os.environ  # everything: every family, every number of other projects
torch.set_num_threads(1)  # on tiny models more threads only wait for one another


def examples(number: int) -> int:
    """How many examples a test draws, where it asks for this many: ten times as many in audits."""
    return {"repository": number, "sample": min(number, 20), "audit": 10 * number}[PROFILE]


@dataclass(frozen=True)
class Tiny:
    """A random model, its weights as the oracle reads them, and prompts of several lengths."""

    model: Model
    weights: oracle.Weights
    prompts: Prompts

    @property
    def group(self) -> int:
        return self.model.cfg.query_heads_per_kv


def make_tiny(kind: str, seed: int) -> Tiny:
    prompts = ioi_prompts(tiny_tokenizer(), 6, Random(seed))
    return Tiny(tiny_model(kind, seed), oracle.read_weights(tiny_hf(kind, seed)), prompts)


@pytest.fixture(scope="session", params=["gpt2", "llama"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return make_tiny(request.param, seed=2)


@pytest.fixture(scope="session")
def gpt2() -> Tiny:
    return make_tiny("gpt2", seed=2)


@pytest.fixture(scope="session")
def llama() -> Tiny:
    return make_tiny("llama", seed=2)


@cache
def machine(name: str = "token") -> HandMade:
    """`ioi_machine`, made once: it reads 1,300 prompts. No test changes it."""
    return ioi_machine(name)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    return load_model("smollm2")


@pytest.fixture
def as_users_run():
    """Without the checks of annotations that only these tests switch on."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def ends(logits: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """[batch, pos, vocab] -> [batch, vocab] at END."""
    return logits[torch.arange(len(tokens)), tokens.at("END")]


def as_oracle(node, tokens: Tokens):
    """A library node as the oracle's tuple."""
    kind = f"kv.{node.kind}" if node.shared else node.kind
    at = None if node.at is None else tokens.at(node.at)
    return (kind, node.layer, node.head, at)


@pytest.fixture
def own_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder of copies: fresh exercise files, and progress of its own."""
    for stem, text in catalogue.pages().items():
        (tmp_path / f"{stem}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(catalogue, "WORK", tmp_path)
    monkeypatch.setattr(progress, "FILE", tmp_path / "progress.json")
    return tmp_path


def chromium() -> str | None:
    """The browser for the tests of pages, where the system has one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def gpu() -> str | None:
    """The kind of GPU that torch finds here."""
    return next((kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()), None)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; without one the test is skipped, and the summary says so loudly."""
    if chromium() is None:
        pytest.skip("no Chromium found")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield running
        running.close()


COLUMNS = ("stub fails", "solution passes", "alternatives accepted", "mutants killed")
COLUMNS += ("mutants named",)


def exercise_rows(reports) -> dict[str, dict[str, list[bool]]]:
    """Exercise -> column -> what each test of tests/exercises/test_answers.py found."""
    rows: dict[str, dict[str, list[bool]]] = {}
    for report in reports:
        for name, found in report.user_properties:
            if isinstance(found, tuple) and found[0] in COLUMNS:
                rows.setdefault(name, {}).setdefault(found[0], []).append(found[1])
    return dict(sorted(rows.items(), key=lambda row: [int(part) for part in row[0].split(".")]))


# These take longest. They come first, so that no process works alone in the end.
LONG = (
    "tests/grading/",
    "test_peers.py",
    "test_a_sweep_that_was_killed_goes_on_where_it_stopped",
    "test_nothing_is_found_where_answer_and_foil_mean_nothing",
    "test_cluster.py",
    "test_smollm2.py",
    "test_facts.py",
    "test_fuzz.py",
    "test_total.py",
)


def pytest_collection_modifyitems(config, items):
    if not AUDIT:
        later = {item for item in items if item.get_closest_marker("audit")}
        cases: Counter = Counter()  # test -> how many of its cases came before
        for item in items:
            if sample := item.get_closest_marker("sample"):
                test = item.nodeid.split("[")[0]
                if cases[test] % sample.args[0]:
                    later.add(item)
                cases[test] += 1
        items[:] = [item for item in items if item not in later]
        config.hook.pytest_deselected(items=list(later))

    def turn(item) -> int:
        return next((i for i, name in enumerate(LONG) if name in item.nodeid), len(LONG))

    items.sort(key=turn)


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    called = [r for key in ("passed", "failed") for r in stats.get(key, []) if r.when == "call"]
    if rows := exercise_rows(called):
        terminalreporter.write_sep("-", "exercises")
        terminalreporter.write_line("     " + "".join(f"{name:>23}" for name in COLUMNS))
        for name, columns in rows.items():
            found = [columns.get(column, []) for column in COLUMNS]
            cells = [f"{sum(some)} of {len(some)}" for some in found]
            good = all(all(some) for some in found)
            line = f"{name:5}" + "".join(f"{cell:>23}" for cell in cells)
            terminalreporter.write_line(line, red=not good)
    skipped = [report.nodeid for report in stats.get("skipped", [])]
    if chromium() is None and any(name.startswith("tests/browser/") for name in skipped):
        text = "BROWSER TESTS DID NOT RUN: no Chromium found (on Debian: apt install chromium)"
        terminalreporter.write_sep("!", text, red=True, bold=True)
    if any(name.startswith("tests/gpu/") for name in skipped):
        text = "GPU TESTS DID NOT RUN: torch finds no GPU here (where there is one: make gpu-test)"
        terminalreporter.write_sep("!", text, red=True, bold=True)
