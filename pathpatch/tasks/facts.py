"""Facts: a sentence about a subject that the next token completes.

"The Eiffel Tower is in the city of" -> " Paris". Every fact names a second subject with as many
tokens, and what would be right for it, so that a subject can also be replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError
from pathpatch.files import read_rows
from pathpatch.prompts import FIRST, LAST, NEXT, Pair, Prompts, make_prompts

FACTS = Path(__file__).parent / "facts.json"  # SmolLM2 completes all of these


@dataclass(frozen=True)
class Fact:
    """template.format(subject) is followed by answer, template.format(other) by foil."""

    template: str  # with one {}
    subject: str
    answer: str
    other: str
    foil: str
    probability: float = float("nan")  # of the answer, as SmolLM2 gave it


def load_facts(path: str | Path = FACTS) -> list[Fact]:
    """Read a JSON list of objects with the fields of `Fact`; by default the library's own facts.

    Raises: PathPatchError for a file that is missing, not JSON, or not of this form.
    """
    facts = read_rows(path, "facts", Fact)
    for i, fact in enumerate(facts):
        if fact.template.count("{}") != 1 or fact.template.count("{") != 1:
            raise PathPatchError(
                f"{path}, item {i}: the template needs one {{}} for the subject, "
                f"got {fact.template!r}"
            )
    return facts


def fact_prompts(tokenizer: Any, facts: Sequence[Fact]) -> Prompts:
    """Clean: the fact. Corrupt: the other subject. Each pair's group is its template.

    The positions subject_first and subject_last enclose the subject's tokens in each prompt;
    subject_next is the token after it, where there is one.

    Raises: PathPatchError as `make_prompts` does, for subjects of unequal length among others.
    Book: chapter 4.
    """
    pairs = []
    for fact in facts:
        clean, corrupt = (fact.template.format(name) for name in (fact.subject, fact.other))
        start = fact.template.index("{}")
        found = tokenizer(clean, return_offsets_mapping=True)
        spans = enumerate(found["offset_mapping"])
        inside = [i for i, (a, b) in spans if a < start + len(fact.subject) and b > start and a < b]
        positions = {FIRST: inside[0], LAST: inside[-1], NEXT: inside[-1] + 1}
        if positions[NEXT] == len(found["input_ids"]):
            del positions[NEXT]
        pairs.append(Pair(clean, corrupt, fact.answer, fact.foil, positions, fact.template))
    return make_prompts(tokenizer, pairs)
