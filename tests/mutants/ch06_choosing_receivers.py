"""Answers to the exercises of chapter 6. Those to 6.1 are wrong in form alone."""

from functools import cache

from exercises.planted import planted
from mutants.answers import right, wrong
from pathpatch import (
    Node,
    activation_patch,
    activation_sweep,
    grid,
    heads,
    mlps,
    path_patch,
    path_sweep,
    run,
)

# ---- 6.1 an open question ----

LONG = "one two three four five six seven eight nine ten " * 4
PLAN = {
    "question": "b",
    "senders": ["16.0.z@S2"],
    "receivers": ["17.4.q@S2"],
    "direction": "noising",
    "because": LONG,
    "against": LONG,
}


@right("6.1")
def a_plan_for_another_question():
    return dict(PLAN)


@right("6.1")
def a_plan_with_an_embedding():
    return PLAN | {"question": "c", "senders": ["embed@S2"], "receivers": ["23.3.v@S2"]}


@wrong("6.1", "a dict with the keys")
def forgot_the_direction():
    return {key: value for key, value in PLAN.items() if key != "direction"}


@wrong("6.1", 'choose "a", "b" or "c"')
def asked_a_question_of_ones_own():
    return PLAN | {"question": "does it help?"}


@wrong("6.1", "senders is []; expected a list of nodes")
def named_no_senders():
    return PLAN | {"senders": []}


@wrong("6.1", "receivers is '17.4.q@S2'; expected a list of nodes")
def wrote_a_node_and_not_a_list():
    return PLAN | {"receivers": "17.4.q@S2"}


@wrong("6.1", "At which one, and why?")
def left_out_the_position():
    return PLAN | {"receivers": ["17.4.q"]}


@wrong("6.1", "cannot be one of them; q, k, v, resid_post, logits can")
def took_the_whole_head():
    return PLAN | {"receivers": ["17.4@S2"]}


@wrong("6.1", "cannot read 'head 16.0' as a node")
def wrote_the_head_in_words():
    return PLAN | {"senders": ["head 16.0"]}


@wrong("6.1", "say noising or denoising")
def named_no_direction():
    return PLAN | {"direction": "both"}


@wrong("6.1", "against has 2 words")
def wrote_too_little():
    return PLAN | {"against": "no effect"}


# ---- 6.2 a shared key or value ----


@right("6.2")
def by_all_copies(model, prompts, sender, layer, head, kind, at):
    """Every query head that shares the vector has a copy; set them all."""
    group = model.cfg.query_heads_per_kv
    first = head - head % group
    readers = [f"{layer}.{n}.{kind}@{at}" for n in range(first, first + group)]
    frozen = {node: run(model, prompts.orig, reads=[node])[node] for node in heads(model)}
    h = Node.parse(sender)
    patch = {h: run(model, prompts.new, reads=[h])[h]}
    c = run(model, prompts.orig, reads=readers, writes=frozen | patch)
    return run(model, prompts.orig, reads=["logits@END"], writes=dict(c))["logits@END"]


def patched(model, prompts, sender, *receivers, frozen=None):
    return path_patch(model, prompts, senders=[sender], receivers=receivers, frozen=frozen)


def shared_number(model, head):
    return head // model.cfg.query_heads_per_kv


@wrong("6.2", "only the copy that this query head reads")
def patched_one_copy(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.{head}.{kind}@{at}")


@wrong("6.2", "readers of a shared vector are neighbours")
def took_the_remainder(model, prompts, sender, layer, head, kind, at):
    number = head % (model.cfg.n_heads // model.cfg.query_heads_per_kv)
    return patched(model, prompts, sender, f"{layer}.kv{number}.{kind}@{at}")


@wrong("6.2", "the head is divided by the number of shared vectors")
def divided_by_the_number_of_vectors(model, prompts, sender, layer, head, kind, at):
    vectors = model.cfg.n_heads // model.cfg.query_heads_per_kv
    number = min(head // vectors, vectors - 1)
    receiver = Node(kind, layer, number, shared=True, at=at)
    return patched(model, prompts, sender, receiver)


@wrong("6.2", "key/value head 2 of node 1.kv2.v@S2 is out of range")
def divided_and_fell_out_of_range(model, prompts, sender, layer, head, kind, at):
    number = head // (model.cfg.n_heads // model.cfg.query_heads_per_kv)
    return patched(model, prompts, sender, Node(kind, layer, number, shared=True, at=at))


@wrong("6.2", "key/value head 4 of node 1.kv4.v@S2 is out of range")
def took_the_query_head_for_the_shared_one(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.kv{head}.{kind}@{at}")


@wrong("6.2", "all shared vectors of the layer")
def set_the_whole_layer(model, prompts, sender, layer, head, kind, at):
    every = [Node(kind, layer, n, at=at) for n in range(model.cfg.n_heads)]
    return patched(model, prompts, sender, *every)


@wrong("6.2", "it is the query")
def patched_the_query(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.{head}.q@{at}")


@wrong("6.2", "the other one of key and value")
def always_patched_the_key(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.kv{shared_number(model, head)}.k@{at}")


@wrong("6.2", "both the key and the value are set")
def patched_key_and_value(model, prompts, sender, layer, head, kind, at):
    n = shared_number(model, head)
    return patched(model, prompts, sender, f"{layer}.kv{n}.k@{at}", f"{layer}.kv{n}.v@{at}")


@wrong("6.2", "the MLPs are frozen too")
def froze_the_mlps_too(model, prompts, sender, layer, head, kind, at):
    receiver = f"{layer}.kv{shared_number(model, head)}.{kind}@{at}"
    frozen = [*heads(model), *mlps(model)]
    return patched(model, prompts, sender, receiver, frozen=frozen)


@wrong("6.2", "x_orig and x_new have changed places")
def denoised(model, prompts, sender, layer, head, kind, at):
    receiver = f"{layer}.kv{shared_number(model, head)}.{kind}@{at}"
    return patched(model, prompts.swapped(), sender, receiver)


@wrong("6.2", "that is activation patching")
def patched_the_sender_alone(model, prompts, sender, layer, head, kind, at):
    return activation_patch(model, prompts, nodes=[sender])


@wrong("6.2", "expected is a tensor of shape")
def returned_one_number_for_each_prompt(model, prompts, sender, layer, head, kind, at):
    receiver = f"{layer}.kv{shared_number(model, head)}.{kind}@{at}"
    return path_sweep(model, prompts, senders=[sender], receivers=[receiver]).mean()


# ---- 6.3 a planted circuit ----

KEY = "grace"
LABELS = ("IO", "S1", "S2", "END")


def edges_to(made, receiver):
    """Two prompts are enough: in these machines an effect is the same on all."""
    some, at = made.prompts["abc"][:2], Node.parse(receiver).at
    effects = path_sweep(made.model, some, senders=heads(made.model, at), receivers=[receiver])
    means = zip(effects.names, effects.mean(), strict=True)
    return {(h, receiver): float(x) for h, x in means if abs(x) > 1e-6}


def walk(key=KEY, labels=LABELS):
    """Every head and every door, one after the other."""
    return key, dict(walked(key, labels))


@cache
def walked(key, labels):
    made = planted(key)
    found = edges_to(made, "logits@END")
    for at in labels:
        for node in [node for door in "qkv" for node in grid(made.model, door, [at])]:
            found |= edges_to(made, str(node))
    return found


@right("6.3")
def sweep_everything():
    return walk()


@right("6.3")
def with_another_key():
    return walk("Hypatia of Alexandria", labels=("S2", "END"))


@wrong("6.3", "another door")
def named_the_query_for_every_door():
    key, found = walk()
    return key, {
        (h, r.replace(".v@", ".q@").replace(".k@", ".q@")): x for (h, r), x in found.items()
    }


@wrong("6.3", "missing, one of them to a head of layer 1")
def looked_at_end_alone():
    key, found = walk()
    return key, {pair: x for pair, x in found.items() if pair[1].endswith("@END")}


@wrong("6.3", "missing, one of them to the logits")
def forgot_the_logits():
    key, found = walk()
    return key, {pair: x for pair, x in found.items() if pair[1] != "logits@END"}


@wrong("6.3", "reaches this only through other heads")
def patched_activations():
    key, found = walk()
    made = planted(key)
    for at in LABELS:
        nodes = heads(made.model, at)
        effects = activation_sweep(made.model, made.prompts["abc"][:2], nodes=nodes)
        means = zip(effects.names, effects.mean(), strict=True)
        found |= {(h, "logits@END"): float(x) for h, x in means if abs(x) > 1e-6}
    return key, found


@wrong("6.3", "patched minus before")
def turned_the_signs_round():
    key, found = walk()
    return key, {pair: -x for pair, x in found.items()}


@wrong("6.3", "but its effect is not")
def counted_in_percent():
    key, found = walk()
    whole = sum(abs(x) for x in found.values())
    return key, {pair: 100 * x / whole for pair, x in found.items()}


@wrong("6.3", "writes where nobody reads")
def listed_every_head_of_the_last_layer():
    key, found = walk()
    return key, {(f"2.{n}.z@END", "logits@END"): -1.0 for n in range(4)} | found


@wrong("6.3", "missing")
def dropped_small_effects():
    key, found = walk()
    return key, {pair: x for pair, x in found.items() if abs(x) > 3.5}


@wrong("6.3", "but at another position")
def wrote_the_wrong_position():
    key, found = walk()
    return key, {(h.replace("S2", "S1"), r.replace("S2", "S1")): x for (h, r), x in found.items()}


@wrong("6.3", "it must look like")
def joined_the_ends_with_an_arrow():
    key, found = walk()
    return key, {f"{h} -> {r}": x for (h, r), x in found.items()}


@wrong("6.3", "your key, and a dict of edges")
def returned_the_edges_alone():
    return walk()[1]


@wrong("6.3", "are found")
def handed_in_the_circuit_of_another_key():
    return "somebody else", walk()[1]


@wrong("6.3", "expected a number")
def gave_all_prompts():
    key, found = walk()
    return key, {pair: [x, x] for pair, x in found.items()}


@wrong("6.3", "the key is 7")
def numbered_the_key():
    return 7, {}
