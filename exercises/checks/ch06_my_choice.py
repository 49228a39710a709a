"""Check of chapter 6: an open question (6.1), of which a machine can see this much.

Whether the plan is a good one, the marking scheme says. Here: could somebody run it, is it about
the question that was chosen, and do the two texts say something of one's own about it?
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from exercises.catalogue import exercises, pages
from exercises.checks.cases import Wrong, examined, with_keys
from exercises.checks.compare import describe
from pathpatch import LOGITS, Node, PathPatchError
from pathpatch.nodes import node_set
from pathpatch.paths import RECEIVERS, SENDERS

ASKED = ("question", "senders", "receivers", "direction", "because", "against")
WORDS, DIFFERENT = 40, 22  # at least, in each of the two texts
LAYERS, HEADS, SHARED = 30, 9, 3  # of SmolLM2
LABELS = ("IO", "S1", "S1+1", "S2", "END")
READERS = {"a": (23, 0), "b": (17, 4), "c": (23, 3)}  # the head whose input is asked about
WRITERS = {"a": (20, 0), "b": (16, 0)}  # the head that may act on it
RUN = 5  # words in a row that count as said before


@examined
def my_choice(found: Any) -> None:
    plan = with_keys(found, ASKED)
    question = plan["question"]
    if not (isinstance(question, str) and question in READERS):
        raise Wrong(f'question is {describe(question)}; choose "a", "b" or "c"')
    senders = _nodes("senders", plan["senders"], SENDERS)
    receivers = _nodes("receivers", plan["receivers"], RECEIVERS)
    _about_the_question(question, senders, receivers)
    _in_order(senders, receivers)
    _elsewhere(senders, receivers)
    if plan["direction"] not in ("noising", "denoising"):
        raise Wrong(f"direction is {describe(plan['direction'])}; say noising or denoising")
    because, against = plan["because"], plan["against"]
    _own_text("because", because, [_page()])
    _own_text("against", against, [_page(), because])
    _says("because", because, 3, _names([*senders, *receivers]) | TREATMENT)
    _says("against", against, 2, _names([*senders, *receivers]) | TREATMENT | RESULT)
    _says("against", against, 1, RESULT)


# ---- the nodes ----


def _nodes(role: str, given: Any, kinds: Iterable[str]) -> list[Node]:
    if not isinstance(given, list | tuple) or not given:
        raise Wrong(f"{role} is {describe(given)}; expected a list of nodes")
    found: list[Node] = []
    for name in given:
        try:
            found += node_set(str(name))
        except PathPatchError as error:
            raise Wrong(f"{role}: {error}") from error
    for node in found:
        _possible(role, node, kinds)
    return found


def _possible(role: str, node: Node, kinds: Iterable[str]) -> None:
    """Raises: Wrong for a node that SmolLM2 or the task does not have, or of another role."""
    heads = SHARED if node.shared else HEADS
    for what, number, limit in (("layer", node.layer, LAYERS), ("head", node.head, heads)):
        if number is not None and number >= limit:
            shared = "key/value " if node.shared and what == "head" else ""
            raise Wrong(f"{role}: SmolLM2 has no {node}: its {shared}{what}s are 0 to {limit - 1}")
    if node.kind not in kinds:
        raise Wrong(f"{role}: {node} cannot be one of them; {', '.join(kinds)} can")
    if node.at is None:
        raise Wrong(f"{role}: {node} has no position. At which one, and why?")
    if node.at not in LABELS:
        raise Wrong(f"{role}: {node} is at no position of the task: {', '.join(LABELS)}")
    if node.kind == "logits" and node != LOGITS:
        raise Wrong(f"{role}: {node} says nothing about the answer. Where is it predicted?")


def _about_the_question(question: str, senders: list[Node], receivers: list[Node]) -> None:
    asked, acts = READERS[question], WRITERS.get(question)
    if not any(asked in _heads(node) for node in receivers):
        others = [q for q in READERS for r in receivers if READERS[q] in _heads(r)]
        name = _head(*asked)
        if others:
            raise Wrong(f"the receiver belongs to question {others[0]}, and you chose {question}. "
                        "Whose looking or saying does your question ask about?")  # fmt: skip
        raise Wrong(f"none of the receivers is an input of {name}. What could a patch that leaves "
                    f"its inputs alone tell about question {question}?")  # fmt: skip
    if acts and not any(acts in _heads(node) for node in senders):
        raise Wrong(f"question {question} asks what {_head(*acts)} does, and it is not among the "
                    "senders. What would then change on the way?")  # fmt: skip


def _heads(node: Node) -> list[tuple[int | None, int]]:
    """The query heads that a node belongs to; a shared one belongs to several."""
    if node.head is None:
        return []
    group = HEADS // SHARED if node.shared else 1
    return [(node.layer, i) for i in range(node.head * group, (node.head + 1) * group)]


def _head(layer: int | None, head: int) -> str:
    return f"{layer}.{head}"


def _in_order(senders: list[Node], receivers: list[Node]) -> None:
    for sender in senders:
        if not any(_reaches(sender, receiver) for receiver in receivers):
            ends = f"{receivers[0]}" if len(receivers) == 1 else "any receiver"
            raise Wrong(f"{sender} is not before {ends}. In which layer must a sender be?")
    for receiver in receivers:
        if not any(_reaches(sender, receiver) for sender in senders):
            raise Wrong(f"no sender is before {receiver}. In which layer must a sender be?")


def _reaches(sender: Node, receiver: Node) -> bool:
    """Whether the one is computed before the other; positions are another matter."""
    if sender.layer is None or receiver.layer is None:
        return True
    if receiver.kind == "mlp_in":  # the heads of its layer come before it
        return sender.layer < receiver.layer + (sender.kind == "z")
    return sender.layer < receiver.layer + (receiver.kind == "resid_post")


def _elsewhere(senders: list[Node], receivers: list[Node]) -> None:
    """All heads are frozen, so an effect from another position is exactly zero."""
    if not {node.at for node in senders} & {node.at for node in receivers}:
        raise Wrong(f"the receivers are at {receivers[0].at}, and the senders are not. What would "
                    "carry anything there, when all heads are frozen?")  # fmt: skip


# ---- the texts ----

TREATMENT = set(
    "sender senders receiver receivers query queries key keys value values head heads position "
    "attention attend attends look looks freeze freezes frozen held hold holds fixed patch "
    "patched patching path pass direct noising denoising".split()
)
RESULT = set(
    "effect effects logit logits difference metric change changes changed increase increases "
    "decrease decreases rise rises fall falls drop drops lower higher larger smaller small large "
    "positive negative sign zero half tenth percent attention attend attends look looks total "
    "probability same less more".split()
)
FILLER = set(
    "lorem ipsum dolor sit amet consectetur consectetuer adipiscing adipisicing elit sed eiusmod "
    "tempor incididunt ut labore dolore magna aliqua enim minim veniam quis nostrud exercitation "
    "ullamco laboris nisi aliquip commodo consequat duis aute irure reprehenderit voluptate velit "
    "esse cillum fugiat nulla pariatur excepteur sint occaecat cupidatat proident sunt culpa qui "
    "officia deserunt mollit anim est laborum".split()
)


def _words(text: str) -> set[str]:
    return set(_listed(text))


def _listed(text: str) -> list[str]:
    """The words of a text, in lower case; node names keep their dots, and lose their position."""
    return re.findall(r"\w+(?:[.+']\w+)*", text.lower())


@cache
def _page() -> str:
    """What the exercise says itself."""
    exercise = exercises()["6.1"]
    return "\n".join([pages()[exercise.stem], *exercise.hints, *exercise.helps])


def _own_text(name: str, text: Any, said: list[str]) -> None:
    """Raises: Wrong for a text that is short, or repeats itself or what was said before."""
    if not isinstance(text, str):
        raise Wrong(f"{name} is {describe(text)}; expected a text")
    words = [word for word in _listed(text) if word not in FILLER]
    if 2 * len(words) < len(_listed(text)):
        raise Wrong(f"{name} is a filler text. Say it in words of your own")
    scheme = f"the scheme needs about {WORDS} or more"
    if len(words) < WORDS:
        raise Wrong(f"{name} has {len(words)} words; {scheme}")
    seen = {tuple(old[i : i + RUN]) for old in map(_listed, said) for i in range(len(old))}
    copied, again = [False] * len(words), [False] * len(words)
    for i in range(len(words) - RUN + 1):
        here = tuple(words[i : i + RUN])
        for j in range(i, i + RUN):
            copied[j] |= here in seen
            again[j] |= here in {tuple(words[k : k + RUN]) for k in range(i)}
    if len(words) - sum(copied) < WORDS:
        raise Wrong(f"{name} has {len(words) - sum(copied)} words that are not those of the "
                    f"exercise or of your other text; {scheme}")  # fmt: skip
    own = len(words) - sum(map(max, copied, again))
    if own < WORDS:
        raise Wrong(f"{name} has {own} words that it does not repeat; {scheme}")
    if len(set(words)) < DIFFERENT:
        raise Wrong(f"{name} has {len(set(words))} different words. What does it say?")


def _names(nodes: list[Node]) -> set[str]:
    """How a text may speak of the nodes: by head, kind, position or in full."""
    names = {str(node).lower() for node in nodes} | {str(node.at).lower() for node in nodes}
    for node in nodes:
        names |= {_head(*pair) for pair in _heads(node)}
        names |= {f"{str(node.everywhere()).lower()}", node.kind.replace("_out", "")}
    return names | {"embedding", "embeddings"}


def _says(name: str, text: str, count: int, words: set[str]) -> None:
    found = _words(text) & words
    if len(found) >= count:
        return
    what = {
        "because": "of your senders and receivers: which heads, through which input, at which "
        "position, and what is held?",
        "against": "of a result: which effect, how large, of which sign?",
    }
    raise Wrong(f"{name} says nothing that I can find {what[name]}")
