"""A sweep on the workers of an executor gives what it gives here, also when a worker dies."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster

from pathpatch import (
    PathPatchError,
    Prompts,
    SweepOptions,
    heads,
    ioi_prompts,
    load_model,
    path_sweep,
    tiny_model,
)
from pathpatch.engine.jobs import Parcel
from pathpatch.nodes import Model

RECEIVERS = ["2.0.q@END", "1.3.v@S2"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A real scheduler and two worker processes on this machine."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("tiny-llama")


def prompts(model: Model, n: int) -> Prompts:
    return ioi_prompts(model.tokenizer, n, Random(0))


def ask(model: Model, n: int, options: SweepOptions) -> np.ndarray:
    found = path_sweep(
        model, prompts(model, n), senders=heads(model), receivers=RECEIVERS, options=options
    )
    return np.vstack([found.base, found.patched])


@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_a_dask_cluster_gives_the_same_numbers(client: Client, model: Model, engine: str):
    here = ask(model, 80, SweepOptions(engine))
    there = ask(model, 80, SweepOptions(engine, executor=client.get_executor()))
    assert np.array_equal(here, there)
    assert np.abs(here[1:] - here[0]).max() > 1e-3


def test_a_worker_that_is_killed_costs_time_only(client: Client, model: Model, tmp_path):
    n = 320
    here = ask(model, n, SweepOptions("literal"))
    victim = next(iter(client.run(os.getpid).values()))
    killed = []

    def kill() -> None:
        while len(list(tmp_path.glob("blocks/*.npy"))) < 2:
            time.sleep(0.01)
        killed.append(len(list(tmp_path.glob("blocks/*.npy"))))
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    there = ask(model, n, SweepOptions("literal", folder=tmp_path, executor=client.get_executor()))
    killer.join()
    assert 2 <= killed[0] < 30, "the worker died while there was work to do"
    assert victim not in client.run(os.getpid).values()
    assert np.array_equal(here, there)


def test_threads_take_turns(model: Model):
    with ThreadPoolExecutor(4) as pool:
        there = ask(model, 80, SweepOptions("literal", executor=pool))
    assert np.array_equal(there, ask(model, 80, SweepOptions("literal")))


def test_a_pool_of_processes(model: Model):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (1,)) as pool:
        assert np.array_equal(
            ask(model, 40, SweepOptions(executor=pool)), ask(model, 40, SweepOptions())
        )


def test_a_model_that_its_name_does_not_bring_is_refused(client: Client):
    other = tiny_model("llama", seed=5)
    with pytest.raises(PathPatchError, match="gets other weights than the sweep was asked about"):
        ask(other, 4, SweepOptions(executor=client.get_executor()))
    recipe = Parcel(other).__reduce__()[1][1]
    assert recipe[:2] == ("tiny-llama", torch.float64)
