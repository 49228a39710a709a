"""Check of chapter 6: a key or value that several heads share (6.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from exercises.checks.cases import Case, check
from exercises.checks.runs import run
from exercises.room.inputs import machine_model, random_prompts, tiny
from pathpatch import LOGITS, Node, Prompts, make_prompts
from pathpatch.handmade.ioi_machine import machine_pairs
from pathpatch.nodes import Model, heads, mlps

PLACES = ("IO", "S1", "S2", "END")
Model_ = tuple[str, Model]  # as it is written, and itself


def _draw(random: Random) -> Iterator[Case]:
    """Groups of three readers (llama), of one (gpt2), and of two (a machine)."""
    small, tall, plain = (
        _tiny("llama", 2, random),
        _tiny("llama", random.randint(4, 6), random),
        _tiny("gpt2", random.randint(3, 5), random),
    )
    while True:
        places: list[str | int] = random.sample([*PLACES, random.randint(2, 7)], 5)
        # 1 is the number of a shared vector too; 2 is not; the third is of the other group
        heads = 1, 2, random.choice((3, 4, 5))
        one, other = random.sample("kv", 2)
        before = random.choice(("embed", "mlp_out"))
        yield _case(small, random, "z", heads[0], one, places[0])
        yield _case(plain, random, "z", random.choice((1, 2)), other, places[1])
        yield _case(tall, random, "z", heads[1], random.choice("kv"), places[2], far=True)
        yield _grouped(random)
        yield _case(tall, random, before, heads[2], other, places[3], far=True)
        yield _case(plain, random, "z", random.randrange(4), one, places[4], far=True)
        yield _case(tall, random, "z", random.randrange(6), one, places[0], elsewhere=True)


def _tiny(kind: str, layers: int, random: Random) -> Model_:
    seed = random.randint(0, 99)
    return f"tiny_model({kind!r}, seed={seed}, layers={layers})", tiny(kind, layers, seed)


def _case(
    of: Model_,
    random: Random,
    kind: str,
    head: int,
    door: str,
    at: str | int,
    far: bool = False,
    elsewhere: bool = False,
) -> Case:
    """far: heads lie between sender and receiver. elsewhere: they are at different positions."""
    model = of[1]
    prompts = random_prompts(model, random, random.randint(1, 5))
    layer = random.randrange(1 + far, model.cfg.n_layers)
    first = random.randrange(layer - far)
    there = random.choice([place for place in PLACES if place != at]) if elsewhere else at
    name = f"{first}.{random.randrange(model.cfg.n_heads)}" if kind == "z" else f"{first}.{kind}"
    name = kind if kind == "embed" else name
    asked = (f"{name}@{there}", layer, head, door, at)
    return _asked(of, prompts, asked)


def _grouped(random: Random) -> Case:
    """From the name that stands there to what the movers find it by, or copy."""
    of = "ioi_machine('grouped').model", machine_model("grouped")
    rows = random.sample(list(machine_pairs("abc")), random.randint(2, 4))
    prompts = make_prompts(of[1].tokenizer, rows)
    at, kind = random.choice((("IO", "v"), ("S1", "k")))
    return _asked(of, prompts, (f"embed@{at}", 2, random.randrange(2), kind, at))


def _asked(of: Model_, prompts: Prompts, asked: tuple[str, int, int, str, str | int]) -> Case:
    shown = f"patch_shared({of[0]}, prompts, {', '.join(map(repr, asked))})"
    return Case(shown, (of[1], prompts, *asked))


@check(
    _draw,
    7,
    advice="Which query heads read this vector? `Node.heads(model)` lists them.",
)
def patch_shared(model, prompts, sender, layer, head, kind, at, *, slip):
    count, group = model.cfg.n_heads, model.cfg.query_heads_per_kv
    vectors, number, first = count // group, head // group, head - head % group
    h, orig, new = Node.parse(sender), prompts.orig, prompts.new
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    door = kind
    if slip("the other one of key and value is set"):
        door = {"k": "v", "v": "k"}[kind]
    if slip("the key is set, whatever is asked for"):
        door = "k"
    if slip("the value is set, whatever is asked for"):
        door = "v"
    place = at
    if slip("the vector is set at END, and not at the position that is asked for"):
        place = "END"
    if slip("the vector is set at S2, whatever position is asked for"):
        place = "S2"
    if slip("the vector takes in what the sender does at its own position; another one is asked "
            "for"):  # fmt: skip
        place = h.at

    who: Sequence[int] = range(first, first + group)
    if slip("only the copy that this query head reads is set, and its neighbours keep the old one"):
        who = [head]
    if slip("the number of the query head is taken for that of the shared vector"):
        who = range(head * group, head * group + group)  # there may be no such heads
    if slip("the vector is the one of the remainder: readers of a shared vector are neighbours"):
        who = range(head % vectors * group, head % vectors * group + group)
    if slip("the heads that leave the same remainder are set; readers of a shared vector are "
            "neighbours"):  # fmt: skip
        who = range(head % vectors, count, vectors)
    if slip("the head is divided by the number of shared vectors, and not by that of readers"):
        wrong = min(head // vectors, vectors - 1)
        who = range(wrong * group, wrong * group + group)
    if slip("the place of the head in its group is taken for the number of the vector"):
        who = range(head % group * group, head % group * group + group)
    if slip("the readers are counted from this head on, and not from the first one of its group"):
        who = range(head, min(head + group, count))
    if slip("the last reader of the group is left out"):
        who = range(first, first + group - 1)
    if slip("a group is taken to be of three, in every model"):
        who = range(head - head % 3, min(head - head % 3 + 3, count))
    if slip("a group is taken to be of two, in every model"):
        who = range(head - head % 2, head - head % 2 + 2)
    if slip("the first vector of the layer is set, whatever head is asked for"):
        who = range(group)
    if slip("the vector of the group next to it is set"):
        other = (number + 1) % vectors
        who = range(other * group, other * group + group)
    if slip("all shared vectors of the layer are set"):
        who = range(count)
    receivers = [Node(door, layer, i, at=place) for i in who]
    if slip("the query of this head is set, and not its key or value"):
        receivers = [Node("q", layer, head, at=place)]
    if slip("both the key and the value are set"):
        receivers = [replace(r, kind=one) for r in receivers for one in "kv"]

    frozen = heads(model)
    if slip("no head between the two is frozen, so that they react to the sender"):
        frozen = []
    if slip("the MLPs are frozen too: they belong to the direct path"):
        frozen = [*frozen, *mlps(model)]
    if slip("the sender is patched at all positions, and not at its own"):
        h = h.everywhere()
    a = run(model, new, reads=[h, *frozen])
    b = run(model, orig, reads=[h, *frozen, LOGITS])
    freeze, patch = {node: b[node] for node in frozen}, {h: a[h]}
    if slip("the heads are frozen to their values on x_new"):
        freeze = {node: a[node] for node in frozen}
    if slip("the change of the sender is patched in, and not its new value"):
        patch = {h: a[h] - b[h]}
    writes = freeze | patch
    if slip("the freeze comes after the patch and undoes it"):
        writes = patch | freeze
    logits = b[LOGITS]
    rounds = [receivers]
    if slip("each copy is set in a pass of its own, and the changes are added up"):
        rounds = [[r] for r in receivers]
    found = logits
    for some in rounds:
        c = run(model, new if slip("pass C is run on x_new") else orig, reads=some, writes=writes)
        stored = {r: c[r] for r in some}
        if slip("the receivers get their values of pass A, where everything is new"):
            stored = dict(run(model, new, reads=some))
        if slip("the sender is patched in pass D too; there it is as on x_orig"):
            stored = patch | stored
        tokens = new if slip("pass D is run on x_new") else orig
        found = found + run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS] - logits
    if slip("nothing arrives at END: these are the logits of pass B"):
        return logits
    if slip("the sender is patched and everything reacts: that is activation patching"):
        return run(model, orig, reads=[LOGITS], writes=patch)[LOGITS]
    if slip("the logits of pass C are returned, and there is no pass D"):
        return run(model, orig, reads=[LOGITS], writes=writes)[LOGITS]
    if slip("the change of the logits is returned, and not the logits themselves"):
        return found - logits
    return found
