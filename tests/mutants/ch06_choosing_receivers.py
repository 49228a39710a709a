"""Answers to the exercises of chapter 6. Those to 6.1 are wrong in form alone."""

from functools import cache

import torch

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

PLAN = {
    "question": "b",
    "senders": ["16.0.z@S1+1"],
    "receivers": ["17.4.k@S1+1"],
    "direction": "noising",
    "because": "17.4 stands at S2 and has to be told where to look. A place is found by its key, "
    "so what 16.0 leaves at S1+1 must enter there. Its query comes from S2, its value is copied "
    "only after the place is found. With all other heads frozen nothing can take a detour.",
    "against": "If the logit difference fell by less than a tenth of what patching 16.0 does in "
    "total, or if the attention of 17.4 from S2 to that token stayed where it was, I would give "
    "the idea up. The same if its value at this place had a larger effect than the key.",
}
C_BECAUSE = (
    "What 23.3 says is copied from where it looks, and that is S2. Its value there is made of the "
    "embedding of the name and of whatever earlier layers added. I patch the embedding alone, and "
    "hold every head, so that only the identity of the name differs; the place it looks at is "
    "given by query and key, which stay."
)
C_AGAINST = (
    "23.3 would then lower another name, so the difference should rise by about as much as it "
    "falls when 23.3 is patched whole. If it rises by less than half of this, most of what it says "
    "is not the name itself but a mark that other heads left at that token."
)


@right("6.1")
def a_plan_for_another_question():
    return dict(PLAN)


@right("6.1")
def a_plan_with_an_embedding():
    return PLAN | {
        "question": "c",
        "senders": ["embed@S2"],
        "receivers": ["23.3.v@S2"],
        "because": C_BECAUSE,
        "against": C_AGAINST,
    }


@right("6.1")
def a_plan_with_several_senders_and_a_shared_vector():
    return PLAN | {
        "question": "c",
        "senders": ("embed@S2+0.mlp_out@S2", Node.parse("8.1@S2")),
        "receivers": [Node.parse("23.kv1.v@S2")],
        "direction": "denoising",
        "because": C_BECAUSE,
        "against": C_AGAINST,
    }


@right("6.1")
def a_plan_with_a_comparison():
    """The key as a control: it cannot see what is written at END."""
    return {
        "question": "a",
        "senders": ["20.0@END", "20.0@IO"],
        "receivers": ["23.0.q@END", "23.0.k@IO"],
        "direction": "denoising",
        "because": "I want to know if 20.0 alone is enough to turn 23.0 round on a prompt where no "
        "name comes twice. It writes at END, therefore its message can only enter by the query; "
        "the second receiver is a control, and I expect no share of it, since nothing is written "
        "at the first names. MLPs are recomputed, heads are held.",
        "against": "Less than a third of the gap between the prompts comes back through the query, "
        "or as much comes back through the control. Then some other head tells 23.0 where to look "
        "and 20.0 only adds a little to what is known there anyway.",
    }


@wrong("6.1", "none of the receivers is an input of 17.4")
def measured_at_the_logits():
    return PLAN | {"receivers": ["logits@END"]}


@wrong("6.1", "the receiver belongs to question a, and you chose b")
def took_the_receiver_of_another_question():
    return PLAN | {"senders": ["16.0@END"], "receivers": ["23.0.q@END"]}


@wrong("6.1", "it is not among the senders")
def forgot_the_head_that_is_asked_about():
    return PLAN | {"senders": ["15.2@S1+1"]}


@wrong("6.1", "its layers are 0 to 29")
def counted_layers_of_another_model():
    return PLAN | {"senders": ["99.77.z@S1+1"]}


@wrong("6.1", "its key/value heads are 0 to 2")
def took_the_query_heads_number_for_the_shared_vectors():
    return PLAN | {"receivers": ["17.kv4.k@S1+1"]}


@wrong("6.1", "at no position of the task")
def made_up_a_position():
    return PLAN | {"senders": ["16.0@S3"]}


@wrong("6.1", "20.1.z@S1+1 is not before 17.4.k@S1+1")
def sent_from_above():
    return PLAN | {"senders": ["16.0@S1+1", "20.1@S1+1"]}


@wrong("6.1", "What would carry anything there")
def sent_from_another_position():
    text = "17.4 finds a place by its key, and 16.0 tells it that S came before, which is why "
    text += "I take this pair and no other one. It seems likely that both belong to one circuit "
    text += "of two heads, since the first of them is in the layer right below the second."
    against = "An effect of less than a tenth, or a positive sign where I say negative, would make "
    against += "me think again. Also if some other door of the same head had twice as large an "
    against += "effect on the logit difference, I would say that the idea was wrong from the start."
    return PLAN | {"senders": ["16.0@S1"], "because": text, "against": against}


LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco "
    "laboris nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor in reprehenderit in "
    "voluptate velit esse cillum dolore eu fugiat nulla pariatur."
)


@wrong("6.1", "because is a filler text")
def wrote_what_printers_write():
    return PLAN | {"because": LOREM, "against": LOREM}


@wrong("6.1", "that it does not repeat")
def said_one_thing_four_times():
    text = "The key of 17.4 at S1+1 is what is asked about, so I patch it from 16.0. "
    return PLAN | {"because": text * 4}


@wrong("6.1", "not those of the exercise or of your other text")
def gave_the_same_reason_twice():
    return PLAN | {"against": PLAN["because"]}


@wrong("6.1", "not those of the exercise or of your other text")
def copied_the_exercise():
    text = "Does 16.0 help 17.4 to find the token after S1? 17.4 looks from S2 at S1+1. Say which "
    text += "senders and receivers you would take, at which positions and in which direction; why "
    text += "these and no others; and which result would speak against the idea in the question."
    return PLAN | {"because": text}


@wrong("6.1", "says nothing that I can find of your senders and receivers")
def wrote_about_something_else():
    text = "On Sunday we went out to the lake with my brother and his two dogs, and although it "
    text += (
        "rained nearly all afternoon nobody wanted to leave before dark; then a friend drove us "
    )
    text += "home, where my aunt had made soup, bread and far too many small cakes for anyone."
    return PLAN | {"because": text}


@wrong("6.1", "against is 7; expected a text")
def wrote_a_number():
    return PLAN | {"against": 7}


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


@wrong("6.1", "cannot be one of them; q, k, v, mlp_in, resid_pre, resid_post, logits can")
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


@wrong("6.2", "and not by that of readers")
def divided_and_fell_out_of_range(model, prompts, sender, layer, head, kind, at):
    number = head // (model.cfg.n_heads // model.cfg.query_heads_per_kv)
    return patched(model, prompts, sender, Node(kind, layer, number, shared=True, at=at))


@wrong("6.2", "the number of the query head is taken for that of the shared vector")
def took_the_query_head_for_the_shared_one(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.kv{head}.{kind}@{at}")


@wrong("6.2", "all shared vectors of the layer")
def set_the_whole_layer(model, prompts, sender, layer, head, kind, at):
    every = [Node(kind, layer, n, at=at) for n in range(model.cfg.n_heads)]
    return patched(model, prompts, sender, *every)


@wrong("6.2", "the query of this head is set")
def patched_the_query(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.{head}.q@{at}")


@wrong("6.2", "the key is set, whatever is asked for")
def always_patched_the_key(model, prompts, sender, layer, head, kind, at):
    return patched(model, prompts, sender, f"{layer}.kv{shared_number(model, head)}.k@{at}")


@wrong("6.2", "the other one of key and value")
def exchanged_key_and_value(model, prompts, sender, layer, head, kind, at):
    other = {"k": "v", "v": "k"}[kind]
    return patched(model, prompts, sender, f"{layer}.kv{shared_number(model, head)}.{other}@{at}")


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


@wrong("6.3", "only heads carry anything elsewhere")
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


@wrong("6.3", "off by one factor")
def counted_in_percent():
    key, found = walk()
    whole = sum(abs(x) for x in found.values())
    return key, {pair: 100 * x / whole for pair, x in found.items()}


@wrong("6.3", "reaches this only through other heads")
def kept_the_position_and_froze_nothing():
    key, found = walk()
    made = planted(key)
    nodes = heads(made.model, "END")
    effects = activation_sweep(made.model, made.prompts["abc"][:2], nodes=nodes)
    means = zip(effects.names, effects.mean(), strict=True)
    return key, found | {(h, "logits@END"): float(x) for h, x in means if abs(x) > 1e-6}


@wrong("6.3", "but its effect is not")
def mistook_one_effect():
    key, found = walk()
    return key, found | {min(found): 1.5}


@right("6.3")
def as_a_list_of_nodes_and_tensors():
    key, found = walk()
    edges = [
        [(Node.parse(h), r.replace("logits@END", "logits")), torch.tensor(x)]
        for (h, r), x in found.items()
    ]
    return key, edges


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
