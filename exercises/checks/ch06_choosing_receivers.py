"""Checks of chapter 6: an open question (6.1), and a shared key or value (6.2)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from exercises.checks.cases import Case, Wrong, checks, with_keys
from exercises.checks.labs import lab, machine
from pathpatch import LOGITS, Node, PathPatchError, Prompts, activation_patch, path_patch, run
from pathpatch.nodes import Model, heads, mlps
from pathpatch.paths import RECEIVERS, SENDERS

# ---- 6.1 an open question ----

ASKED = ("question", "senders", "receivers", "direction", "because", "against")
WORDS = 40  # at least, in each of the two texts


@checks
def my_choice() -> Iterator[Case]:
    def in_form(function: Any) -> dict[str, str]:
        found = with_keys(function(), ASKED)
        if found["question"] not in ("a", "b", "c"):
            raise Wrong(f'question is {found["question"]!r}; choose "a", "b" or "c"')
        for role, kinds in (("senders", SENDERS), ("receivers", RECEIVERS)):
            if not isinstance(found[role], list) or not found[role]:
                raise Wrong(f"{role} is {found[role]!r}; expected a list of nodes")
            for name in found[role]:
                try:
                    node = Node.parse(str(name))
                except PathPatchError as error:
                    raise Wrong(f"{role}: {error}") from error
                if node.kind not in kinds:
                    raise Wrong(f"{role}: {node} cannot be one of them; {', '.join(kinds)} can")
                if node.at is None:
                    raise Wrong(f"{role}: {node} has no position. At which one, and why?")
        if found["direction"] not in ("noising", "denoising"):
            raise Wrong(f"direction is {found['direction']!r}; say noising or denoising")
        for text in ("because", "against"):
            count = len(str(found[text]).split())
            if count < WORDS:
                raise Wrong(f"{text} has {count} words; the scheme needs about {WORDS} or more")
        return {}

    yield Case("my_choice()", in_form, {})


# ---- 6.2 a shared key or value ----


SHARED = (  # model, sender, (layer, head, kind)
    ("llama", "0.3@S2", (1, 4, "v")),
    ("llama", "0.1@S2", (2, 2, "k")),
    ("llama", "1.5@S2", (2, 3, "v")),
    ("gpt2", "0.1@S2", (1, 3, "k")),
    ("grouped", "0.0@S2", (1, 1, "v")),
)


@checks
def patch_shared() -> Iterator[Case]:
    for kind, sender, asked in SHARED:
        model, prompts = _model(kind)
        name = "ioi_machine('grouped').model" if kind == "grouped" else f"tiny_model({kind!r})"
        yield Case(
            f"patch_shared({name}, prompts, {sender!r}, {str(asked)[1:-1]}, 'S2')",
            lambda f, ends=(model, prompts, sender, *asked): f(*ends, "S2"),
            _through(model, prompts, sender, _vector(model, *asked)),
            lambda ends=(kind, sender, *asked): _wrong_vectors(*ends),
            "Which query heads read this vector? `Node.heads(model)` lists them.",
            (model, prompts),
        )


def _model(kind: str) -> tuple[Model, Prompts]:
    if kind != "grouped":
        return lab(kind)
    return machine(kind).model, machine(kind).prompts["abc"][::32]


def _vector(model: Model, layer: int, head: int, door: str) -> Node:
    return Node(door, layer, head // model.cfg.query_heads_per_kv, shared=True, at="S2")


def _through(
    model: Model, prompts: Prompts, sender: str, *receivers: Node, edges: bool = False
) -> Tensor:
    frozen = [*heads(model), *(mlps(model) if edges else [])]
    return path_patch(model, prompts, senders=[sender], receivers=receivers, frozen=frozen)


@cache
def _wrong_vectors(kind: str, sender: str, layer: int, head: int, door: str) -> dict[str, Tensor]:
    model, prompts = _model(kind)
    group, right = model.cfg.query_heads_per_kv, _vector(model, layer, head, door)
    shared = model.cfg.n_heads // group

    def to(*receivers: Node) -> Tensor:
        return _through(model, prompts, sender, *receivers)

    wrong = {
        "only the copy that this query head reads is set, and its neighbours keep the old one": (
            to(Node(door, layer, head, at="S2"))
        ),
        "the vector is shared by heads of equal remainder; readers of a shared vector are "
        "neighbours": to(replace(right, head=head % shared)),
        "all shared vectors of the layer are set": to(
            *(replace(right, head=i) for i in range(shared))
        ),
        "it is the query, and not the key or value, that is set": to(
            Node("q", layer, head, at="S2")
        ),
        f"the other one of key and value is set, and not {door!r}": to(
            replace(right, kind={"k": "v", "v": "k"}[door])
        ),
        "both the key and the value are set": to(*(replace(right, kind=one) for one in "kv")),
        "nothing is patched: these are the logits of pass B": run(
            model, prompts.orig, reads=[LOGITS]
        )[LOGITS],
        "the MLPs are frozen too: they belong to the direct path": _through(
            model, prompts, sender, right, edges=True
        ),
        "x_orig and x_new have changed places": _through(model, prompts.swapped(), sender, right),
        "the sender is patched and everything reacts: that is activation patching": (
            activation_patch(model, prompts, nodes=[sender])
        ),
    }
    if head // shared < shared:
        words = "the head is divided by the number of shared vectors, and not by that of readers"
        wrong[words] = to(replace(right, head=head // shared))
    return wrong
