"""The checks of 4.2 and 4.3: a window that is restored, and modules that are severed."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch04_draws import FIRST, LAST, random_noise, span, where, with_subject
from exercises.checks.ch05_draws import Lab, few_labs
from exercises.checks.ch05_last_pass import ALL, at_end
from exercises.checks.ch05_passes import Slip
from exercises.checks.ch05_values import Values, averaged, labelled, of, of_first, passed, values
from pathpatch import Node, Tokens
from pathpatch.nodes import Model

EMBED = Node("embed")
MODULES = ("mlp_out", "attn_out")


def _noisy(lab: Lab, tokens: Tokens) -> Tensor:
    clean = values(lab.model, tokens, [EMBED])[EMBED]
    return clean + random_noise(lab.random, *clean.shape) * span(tokens)[..., None]


def _end(model: Model, tokens: Tokens, writes: Values, slip: Slip) -> Tensor:
    """The logits at END of the last run."""
    return at_end(tokens, passed(model, tokens, writes, [ALL])[ALL], slip)


def _compared(model: Model, tokens: Tokens, noisy: Tensor, found: Tensor, slip: Slip) -> Tensor:
    """What is returned in place of the logits of the restored run."""
    if slip("these are the logits of the clean run"):
        return _end(model, tokens, {}, slip)
    if slip("the change from the corrupted run is returned, and not the logits themselves"):
        return found - _end(model, tokens, {EMBED: noisy}, slip)
    if slip("the change from the clean run is returned, and not the logits themselves"):
        return found - _end(model, tokens, {}, slip)
    return found


# ---- 4.2 a window ----


def _windows(random: Random) -> Iterator[Case]:
    """Even sizes in the middle and at either end; an odd one; one larger than the model."""
    for first, deep, low in few_labs(random):
        one, other = random.sample(MODULES, 2)
        top = deep.layers - 1
        yield _window(deep, one, LAST, top - 1, 2, "paper")
        yield _window(deep, other, "END", 2, 2, "code")
        yield _window(first, one, FIRST, 0, 2, random.choice(("paper", "code")))
        yield _window(deep, one, LAST, 1, 4, "code")
        yield _window(deep, other, "END", top, 4, "paper")
        yield _window(first, other, "END", 1, random.choice((1, 3)), "code")
        yield _window(low, other, LAST, random.randrange(2), 6, "paper")


def _window(lab: Lab, kind: str, at: str, middle: int, size: int, version: str) -> Case:
    tokens = with_subject(lab)
    asked = f"{kind!r}, {at!r}, {middle}, {size}, {version!r}"
    args = (lab.model, tokens, _noisy(lab, tokens), kind, at, middle, size, version)
    return Case(f"restored_window({lab.shown}, tokens, noisy, {asked}), {where(tokens)}", args)


@check(_windows, 7, advice="Print the layers of your window, and count them.")
def restored_window(model, tokens, noisy, kind, at, middle, size, version, *, slip):
    tokens = labelled(tokens)
    inside = _layers(model.cfg.n_layers, middle, size, version, slip)
    if slip("the other one of MLPs and attention is restored"):
        kind = MODULES[1 - MODULES.index(kind)]
    if slip("the MLPs are restored, whatever is asked for"):
        kind = "mlp_out"
    if slip("states are restored, and not what modules write"):
        kind = "resid_post"
    nodes = [Node(kind, layer, at=at) for layer in inside]
    base = {EMBED: noisy}
    if slip("the window is restored in the clean run, and not in the corrupted one"):
        base = {}
    writes = base | _restored(model, tokens, nodes, noisy, slip)
    return _compared(model, tokens, noisy, _end(model, tokens, writes, slip), slip)


def _layers(count: int, middle: int, size: int, version: str, slip: Slip) -> list[int]:
    below, above = (size - 1) // 2, size // 2
    if slip("the paper's window and the code's have changed places"):
        version = {"paper": "code", "code": "paper"}[version]
    if slip("it is the paper's window, whatever the version"):
        version = "paper"
    if slip("it is the code's window, whatever the version"):
        version = "code"
    if version == "code":
        below, above = above, below
    if slip("an even window reaches as far down as up, and so is one layer too large"):
        below = above = size // 2
    if slip("an even window reaches as far down as up, and so is one layer too small"):
        below = above = (size - 1) // 2
    if slip("the window begins at its middle layer"):
        below, above = 0, size - 1
    if slip("the window ends at its middle layer"):
        below, above = size - 1, 0
    if slip("the window reaches `size` layers to either side"):
        below = above = size
    low, high = middle - below, middle + above
    if slip("the last layer of the window is left out: a range stops before its end"):
        high -= 1
    if slip("the first layer of the window is left out"):
        low += 1
    if slip("the middle layer alone is restored"):
        low = high = middle
    if slip("a window that would be cut off is moved, so that it keeps its size"):
        low, high = (low - min(low, 0), high - min(low, 0))
        over = max(high - count + 1, 0)
        low, high = low - over, high - over
    if slip("a window that begins below layer 0 wraps round: -1 is the last layer"):
        return [i % count for i in range(low, high + 1) if i < count]
    if slip("a slice that begins below 0 begins at the end, and so has other layers or none"):
        return list(range(count))[low : high + 1]
    if slip("layer 0 is left out of the window"):
        low = max(low, 1)
    if slip("the last layer of the model is left out of the window"):
        high = min(high, count - 2)
    return [i for i in range(low, high + 1) if 0 <= i < count]


def _restored(model: Model, tokens: Tokens, nodes: list[Node], noisy: Tensor, slip: Slip) -> Values:
    """Nodes with their values of the clean run."""
    if slip("every position is restored, and not the word alone"):
        nodes = [node.everywhere() for node in nodes]
    if slip("END is restored, and not the word"):
        nodes = [replace(node, at="END") for node in nodes]
    if slip("the last token of the subject is restored, whatever the word"):
        nodes = [replace(node, at=LAST) for node in nodes]
    if slip("every prompt is restored where the first one has the word"):
        nodes = [of(node) for node in nodes]
    if slip("nothing is restored, or what is restored comes from the corrupted run"):
        return passed(model, tokens, {EMBED: noisy}, nodes)
    found = values(model, tokens, nodes)
    if slip("every prompt gets the clean value of the first one"):
        found = {node: of_first(value) for node, value in found.items()}
    if slip("the clean values are averaged over the prompts"):
        found = {node: averaged(value) for node, value in found.items()}
    return found


# ---- 4.3 severed ----


def _cuts(random: Random) -> Iterator[Case]:
    for first, deep, low in few_labs(random):
        one, other = random.sample(MODULES, 2)
        yield _cut(deep, 0, LAST, one)
        yield _cut(first, 0, FIRST, other)
        yield _cut(low, 0, LAST, "mlp_out")
        yield _cut(deep, 1, FIRST, other)
        yield _cut(first, 1, "END", one)
        yield _cut(deep, 2, "END", one)


def _cut(lab: Lab, layer: int, at: str, kind: str) -> Case:
    tokens = with_subject(lab)
    shown = f"severed({lab.shown}, tokens, noisy, {layer}, {at!r}, {kind!r}), {where(tokens)}"
    return Case(shown, (lab.model, tokens, _noisy(lab, tokens), layer, at, kind))


@check(_cuts, 6, advice="For each node that you write: from which run is its value?")
def severed(model, tokens, noisy, layer, at, kind, *, slip):
    tokens = labelled(tokens)
    state, corrupted = [Node("resid_post", layer, at=at)], {EMBED: noisy}
    if slip("the state before the layer is restored, and not that after it"):
        state = [Node("resid_pre", layer, at=at)]
    if slip("what the MLP of the layer writes is restored, and not the state"):
        state = [Node("mlp_out", layer, at=at)]
    restored = _restored(model, tokens, state, noisy, slip)
    if slip("all is done in the clean run, and not in the corrupted one"):
        corrupted = {}
    writes = corrupted | _held(model, tokens, noisy, layer, at, kind, slip) | restored
    return _compared(model, tokens, noisy, _end(model, tokens, writes, slip), slip)


def _held(
    model: Model, tokens: Tokens, noisy: Tensor, layer: int, at: str, kind: str, slip: Slip
) -> Values:
    """The modules at the values at which they are held."""
    layers = list(range(model.cfg.n_layers))
    if slip("only the layer above the state is severed"):
        layers = [i for i in layers if i == layer + 1]
    if slip("the first layer above the state is not severed"):
        layers = [i for i in layers if i != layer + 1]
    if slip("the last layer is not severed"):
        layers = layers[:-1]
    if slip("only the first three layers are severed, however many the model has"):
        layers = layers[:3]
    kinds = [kind]
    if slip("the MLPs are severed, whatever is asked for"):
        kinds = ["mlp_out"]
    if slip("the attention is severed, whatever is asked for"):
        kinds = ["attn_out"]
    if slip("MLPs and attention are severed, and not one of them"):
        kinds = list(MODULES)
    nodes = [Node(one, i, at=at) for i in layers for one in kinds]
    if slip("the modules are severed at all positions, and not at the word alone"):
        nodes = [node.everywhere() for node in nodes]
    if slip("the modules are severed at END, and not at the word"):
        nodes = [replace(node, at="END") for node in nodes]
    if slip("the modules of every prompt are severed where the first one has the word"):
        nodes = [of(node) for node in nodes]
    if slip("nothing is severed, or only layers up to the state: there nothing has changed"):
        return {}
    if slip("the modules are held at their values in the clean run"):
        return values(model, tokens, nodes)
    if slip("the modules are set to zero, and not to their values in the corrupted run"):
        return {node: 0 * value for node, value in values(model, tokens, nodes).items()}
    found = passed(model, tokens, {EMBED: noisy}, nodes)
    if slip("every prompt gets the modules of the first one"):
        found = {node: of_first(value) for node, value in found.items()}
    if slip("the modules are averaged over the prompts"):
        found = {node: averaged(value) for node, value in found.items()}
    return found
