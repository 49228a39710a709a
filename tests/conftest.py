"""Shared models and prompts. Models are loaded once; no test reaches the network."""

import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

from dataclasses import dataclass
from random import Random

import oracle
import pytest
import torch
from hypothesis import settings

from pathpatch import Prompts, Tokens, ioi_prompts, load_model, tiny_model
from pathpatch.models import Model
from pathpatch.tiny import tiny_hf, tiny_tokenizer

# The same examples in every run: what passes here passes for you.
settings.register_profile("repository", derandomize=True, database=None, deadline=None)
settings.load_profile("repository")
torch.set_num_threads(1)  # on tiny models more threads only wait for one another


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


@pytest.fixture(scope="session")
def smollm2() -> Model:
    return load_model("smollm2")


def ends(logits: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """[batch, pos, vocab] -> [batch, vocab] at END."""
    return logits[torch.arange(len(tokens)), tokens.at("END")]


def as_oracle(node, tokens: Tokens):
    """A library node as the oracle's tuple."""
    kind = f"kv.{node.kind}" if node.shared else node.kind
    at = None if node.at is None else tokens.at(node.at)
    return (kind, node.layer, node.head, at)


def chromium() -> str | None:
    """The browser for the tests of pages, where the system has one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


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


def pytest_terminal_summary(terminalreporter):
    skipped = [report.nodeid for report in terminalreporter.stats.get("skipped", [])]
    if chromium() is None and any(name.startswith("tests/browser/") for name in skipped):
        text = "BROWSER TESTS DID NOT RUN: no Chromium found (on Debian: apt install chromium)"
        terminalreporter.write_sep("!", text, red=True, bold=True)
