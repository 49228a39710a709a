"""Checks of chapter 6: choosing receivers."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from exercises.cases import Case, Wrong, checks
from exercises.checks.ch05_four_passes import lab, passes
from exercises.planted import true_edges
from pathpatch import LOGITS, Node, PathPatchError, Prompts, Run, ioi_machine, path_patch
from pathpatch.models import Model
from pathpatch.nodes import heads
from pathpatch.paths import RECEIVERS, SENDERS

# ---- 6.1 an open question ----

ASKED = ("question", "senders", "receivers", "direction", "because", "against")
WORDS = 40  # at least, in each of the two texts


@checks
def my_choice() -> Iterator[Case]:
    def in_form(function: Any) -> dict[str, str]:
        found = function()
        if not isinstance(found, dict) or found.keys() != set(ASKED):
            raise Wrong(f"came back {found!r}\n  expected  a dict with the keys {list(ASKED)}")
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


@checks
def patch_shared() -> Iterator[Case]:
    grouped = ioi_machine("grouped")
    for name, (model, prompts), sender, (layer, head, kind) in (
        ("tiny_model('llama')", lab("llama"), "0.3@S2", (1, 4, "v")),
        ("tiny_model('llama')", lab("llama"), "0.1@S2", (2, 2, "k")),
        ("tiny_model('llama')", lab("llama"), "1.5@S2", (2, 3, "v")),
        ("tiny_model('gpt2')", lab("gpt2"), "0.1@S2", (1, 3, "k")),
        (
            "ioi_machine('grouped').model",
            (grouped.model, grouped.prompts["abc"][::32]),
            "0.0@S2",
            (1, 1, "v"),
        ),
    ):
        group, n_heads = model.cfg.query_heads_per_kv, model.cfg.n_heads
        shared = n_heads // group
        h = Node.parse(sender)
        a, b = passes(model, prompts, [h])

        def logits(
            *receivers: Node,
            m: Model = model,
            p: Prompts = prompts,
            a: Run = a,
            b: Run = b,
            h: Node = h,
        ) -> Tensor:
            ends = {"senders": [h], "receivers": receivers, "frozen": heads(m)}
            return path_patch(m, p.clean, b, a, **ends)

        def at(number: int, of: str = kind, layer: int = layer) -> Node:
            return Node(of, layer, number, shared=True, at="S2")

        wrong = {
            "only the copy that this query head reads is set, and its neighbours keep the old one": (
                logits(Node(kind, layer, head, at="S2"))
            ),
            "the vector is shared by heads of equal remainder; readers of a shared vector are "
            "neighbours": logits(at(head % shared)),
            "all shared vectors of the layer are set": logits(*map(at, range(shared))),
            "it is the query, and not the key or value, that is set": logits(
                Node("q", layer, head, at="S2")
            ),
            f"the other one of key and value is set, not {kind!r}": logits(
                at(head // group, "k" if kind == "v" else "v")
            ),
            "nothing is patched: these are the logits of pass B": b[LOGITS],
        }
        if head // shared < shared:
            words = (
                "the head is divided by the number of shared vectors, and not by that of readers"
            )
            wrong[words] = logits(at(head // shared))
        yield Case(
            f"patch_shared({name}, prompts, {sender!r}, {layer}, {head}, {kind!r}, 'S2')",
            lambda f, m=model, p=prompts, s=sender, x=layer, y=head, z=kind: f(
                m, p, s, x, y, z, "S2"
            ),
            logits(at(head // group)),
            wrong,
            "Which query heads read this vector? `Node.heads(model)` lists them.",
            model,
        )


# ---- 6.3 the capstone ----


@checks
def planted_circuit() -> Iterator[Case]:
    def compare(function: Any) -> dict[str, str]:
        found = function()
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
            raise Wrong(f"came back {found!r}\n  expected  your key, and a dict of edges")
        key, rows = found
        if not isinstance(key, str) or not key:
            raise Wrong(f"the key is {key!r}; expected the key that you were given, or your name")
        edges = {_pair(pair): float(change) for pair, change in rows.items()}
        true = true_edges(key)
        lines = [f"{len(edges.keys() & true.keys())} of {len(true)} edges are found."]
        lines += [_about(pair, true) for pair in edges.keys() - true.keys()]
        lines += [
            f"{pair[0]} -> {pair[1]} is an edge, but its effect is not {edges[pair]:g}."
            + (
                " The sign is turned round: patched minus before."
                if edges[pair] == -true[pair]
                else ""
            )
            for pair in edges.keys() & true.keys()
            if abs(edges[pair] - true[pair]) > 1e-6
        ]
        if missing := true.keys() - edges.keys():
            layer = max(-1 if p[1] == "logits@END" else int(p[1][0]) for p in missing)
            ends = [p for p in missing if p[1] == "logits@END"]
            where = "to the logits" if ends else f"to a head of layer {layer}"
            lines.append(f"{len(missing)} missing, one of them {where}: sweep all its inputs.")
        if len(lines) > 1:
            raise Wrong("\n  ".join(lines))
        return {}

    yield Case("planted_circuit()", compare, {})


def _pair(pair: Any) -> tuple[str, str]:
    try:
        one, other = pair
        return str(Node.parse(str(one))), str(Node.parse(str(other)))
    except (PathPatchError, TypeError, ValueError) as error:
        form = '("1.0.z@END", "2.0.q@END")'
        raise Wrong(f"an edge is {pair!r}; it must look like {form}") from error


def _about(pair: tuple[str, str], true: dict[tuple[str, str], float]) -> str:
    """Why an edge is none."""
    sender, receiver = map(Node.parse, pair)
    here = f"{pair[0]} -> {pair[1]} is no edge"
    for one, other in ((Node.parse(s), Node.parse(r)) for s, r in true):
        pairs_up = (one.layer, one.head, other.layer, other.head) == (
            sender.layer,
            sender.head,
            receiver.layer,
            receiver.head,
        )
        if pairs_up and other.kind != receiver.kind:
            return f"{here}: these two heads are joined, but through another door than {receiver.kind}."
        if pairs_up:
            return f"{here}: these two heads are joined, but at another position."
    senders, receivers = ({p[i].split(".z")[0].split("@")[0] for p in true} for i in (0, 1))
    name = f"{sender.layer}.{sender.head}"
    if name in senders:
        return (
            f"{here}: {name} belongs to the circuit, but reaches this only through other heads. "
            "Freeze them: that is what path patching is for."
        )
    return f"{here}: {name} writes where nobody reads. Does it change the logit difference?"
