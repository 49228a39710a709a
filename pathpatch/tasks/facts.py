"""Facts: a sentence about a subject that the next token completes.

"The Eiffel Tower is in the city of" -> " Paris". Every fact names a second subject with as many
tokens, and what would be right for it, so that a subject can also be replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError, as_list
from pathpatch.prompts import FIRST, LAST, NEXT, Pair, Prompts
from pathpatch.tasks.pairs import make_prompts
from pathpatch.tasks.rows import as_kind, read_rows

FORM = (
    "A fact has template (with one {}), subject, answer, and what it is compared with: other, a "
    "subject of as many tokens, and foil, what is right for that. The form of ROME's known_1000 "
    "has no such comparison: answer is its attribute after a space, other and foil come from a "
    "second fact of the same relation"
)
FACTS = Path(__file__).parent / "facts.json"  # SmolLM2 completes all of these


@dataclass(frozen=True)
class Fact:
    """The template with the subject in place of {} is followed by answer, with other by foil."""

    template: str  # with one {}
    subject: str
    answer: str
    other: str
    foil: str
    probability: float = float("nan")  # of the answer, as SmolLM2 gave it


def load_facts(path: str | Path = FACTS) -> list[Fact]:
    """Read a list of facts (see `read_rows`) with the fields of `Fact`: by default our own.

    Raises: PathPatchError for a file that is missing or not of this form.
    """
    facts = as_kind(read_rows(path, "facts"), Fact, path, FORM)
    for i, fact in enumerate(facts):
        if problem := _problem(fact):
            raise PathPatchError(f"{path}, item {i}: {problem}")
    return facts


def _problem(fact: Fact) -> str:
    if not isinstance(fact, Fact):
        return f"expected a Fact, got {type(fact).__name__}"
    if fact.template.count("{}") != 1:
        return f"the template needs one {{}} for the subject, got {fact.template!r}"
    if not fact.subject.strip() or not fact.other.strip():
        return f"subject and other must not be empty, got {fact.subject!r} and {fact.other!r}"
    return ""


def fact_prompts(tokenizer: Any, facts: Sequence[Fact]) -> Prompts:
    """Clean: the fact. Corrupt: the other subject. Each pair's group is its template.

    The positions subject_first and subject_last enclose the subject's tokens in each prompt;
    subject_next is the token after it, where there is one.

    Raises: PathPatchError as `make_prompts` does, for subjects of unequal length among others.
    Book: chapter 4.
    """
    pairs = []
    for i, fact in enumerate(as_list(facts, "facts")):
        if problem := _problem(fact):
            raise PathPatchError(f"fact {i}: {problem}")
        clean, corrupt = (fact.template.replace("{}", s) for s in (fact.subject, fact.other))
        start = fact.template.index("{}")
        found = tokenizer(clean, return_offsets_mapping=True)
        spans = enumerate(found["offset_mapping"])
        inside = [i for i, (a, b) in spans if a < start + len(fact.subject) and b > start and a < b]
        positions = {FIRST: inside[0], LAST: inside[-1], NEXT: inside[-1] + 1}
        if positions[NEXT] == len(found["input_ids"]):
            del positions[NEXT]
        pairs.append(Pair(clean, corrupt, fact.answer, fact.foil, positions, fact.template))
    return make_prompts(tokenizer, pairs)
