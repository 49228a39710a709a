"""The indirect-object-identification (IOI) task.

"When Mary and John went to the store, John gave a drink to" -> " Mary".
Source: Wang et al. 2023, section 2 and App. E (templates). Book: chapter 2.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from pathpatch.errors import PathPatchError, as_list, check_number
from pathpatch.prompts import END, Pair, Prompts
from pathpatch.tasks.pairs import make_prompts, next_token, token_ids

# {0} {1} {2} are the three names as they appear. BABA: S, IO, S. ABBA: IO, S, S.
# The answer is IO, the name that comes once.
TEMPLATES = (
    "Then, {0} and {1} went to the {place}. {2} gave a {thing} to",
    "Then, {0} and {1} had a lot of fun at the {place}. {2} gave a {thing} to",
    "Then, {0} and {1} were working at the {place}. {2} decided to give a {thing} to",
    "Then, {0} and {1} were thinking about going to the {place}. {2} wanted to give a {thing} to",
    "Then, {0} and {1} had a long argument, and afterwards {2} said to",
    "After {0} and {1} went to the {place}, {2} gave a {thing} to",
    "When {0} and {1} got a {thing} at the {place}, {2} decided to give it to",
    "When {0} and {1} got a {thing} at the {place}, {2} decided to give the {thing} to",
    "While {0} and {1} were working at the {place}, {2} gave a {thing} to",
    "While {0} and {1} were commuting to the {place}, {2} gave a {thing} to",
    "After the lunch, {0} and {1} went to the {place}. {2} gave a {thing} to",
    "Afterwards, {0} and {1} went to the {place}. {2} gave a {thing} to",
    "Then, {0} and {1} had a long argument. Afterwards {2} said to",
    "The {place} {0} and {1} went to had a {thing}. {2} gave it to",
    "Friends {0} and {1} found a {thing} at the {place}. {2} gave it to",
)
MOST = 100_000  # prompts: more would take hours, and most would come twice
ORDERS = {"ABBA": ("IO", "S", "S"), "BABA": ("S", "IO", "S")}
PLACES = tuple("store garden restaurant school hospital office house station".split())
THINGS = tuple("ring kiss bone basketball computer necklace drink snack".split())
NAMES = tuple(
    "Aaron Adam Alan Albert Alex Alice Amanda Amy Andrea Andrew Angela Anna Anthony Arthur Barbara "
    "Benjamin Brian Carl Carol Caroline Catherine Charles Charlotte Christina Claire Daniel David "
    "Dennis Diana Donald Dorothy Edward Elizabeth Emily Emma Eric Eva Frank Gary George Hannah "
    "Harry Helen Henry Jack Jacob James Jane Jason Jennifer Jessica John Jonathan Joseph Joshua "
    "Julia Karen Kate Keith Kelly Kevin Laura Lauren Linda Lisa Louis Lucy Luke Maria Martin Mary "
    "Matthew Melissa Michael Michelle Nancy Nicholas Nicole Oliver Patricia Patrick Paul Peter "
    "Philip Rachel Rebecca Richard Robert Ryan Samuel Sandra Sarah Scott Sharon Simon Sophie "
    "Stephen Steven Susan Thomas Timothy".split()
)


def single_token_names(tokenizer: Any) -> tuple[str, ...]:
    """The names that are one token in the middle of a sentence, for this tokenizer."""
    return tuple(_name_ids(tokenizer))


def _name_ids(tokenizer: Any) -> dict[str, int]:
    found = {}
    for name in NAMES:
        with suppress(PathPatchError):
            found[name] = next_token(tokenizer, "Then", f" {name}")
    return found


def ioi_prompts(
    tokenizer: Any, n: int, generator: Random, templates: Sequence[str] = TEMPLATES
) -> Prompts:
    """n IOI prompts: clean from p_IOI, corrupt the matching prompt from p_ABC.

    Templates and orders take turns, so that any 2 * len(templates) neighbours hold each template
    in each order once. The five names of a pair (IO, S and the three of p_ABC) are drawn without
    replacement: a coincidence such as a repeated name in p_ABC cannot occur. The positions IO, S1,
    S1+1, S2 and END are found in the tokens and verified. Each pair's template is its
    number, such as "3", and its group that with the order, such as "ABBA 3".

    Raises: PathPatchError when the tokenizer has too few one-token names, or a position is not
    where it should be.
    """
    n = check_number("n, the number of prompts,", n, 1, MOST, whole=True)
    names, templates = _name_ids(tokenizer), as_list(templates, "templates")
    if len(names) < 5 or not templates:
        raise PathPatchError(
            f"IOI needs 5 one-token names and a template; got {len(names)} and {len(templates)}"
        )
    pairs = []
    for i in range(n):
        order = tuple(ORDERS)[i % 2]
        k = (i // 2) % len(templates)
        io, s, *others = generator.sample(list(names), 5)
        words = {"place": generator.choice(PLACES), "thing": generator.choice(THINGS)}
        slots = [{"IO": io, "S": s}[role] for role in ORDERS[order]]
        clean, corrupt = (_fill(templates[k], who, words) for who in (slots, others))
        pair = Pair(
            clean, corrupt, f" {io}", f" {s}", group=f"{order} {k + 1}", template=str(k + 1)
        )
        ids = [names[name] for name in (io, s, *others)]
        pairs.append(replace(pair, positions=_positions(tokenizer, pair, ids)))
    return make_prompts(tokenizer, pairs)


def _fill(template: str, names: Sequence[str], words: dict[str, str]) -> str:
    try:
        return template.format(*names, **words)
    except (LookupError, ValueError) as error:
        raise PathPatchError(
            f"a template has {{0}} {{1}} {{2}} for the names, perhaps {{place}} and {{thing}}, "
            f"and every other brace twice; got {template!r}"
        ) from error


def _positions(tokenizer: Any, pair: Pair, names: Sequence[int]) -> dict[str, int]:
    """Find IO, S1 and S2 in the tokens; verify that nothing but the names differs.

    names: the tokens of IO, S and the three names of the corrupt prompt.
    """
    clean, corrupt = token_ids(tokenizer, pair.clean), token_ids(tokenizer, pair.corrupt)
    io, s, *others = names
    found = [b for a, b in zip(clean, corrupt, strict=False) if a != b]
    if (clean.count(io), clean.count(s), found) != (1, 2, others):
        pieces = [tokenizer.decode([i]) for i in clean]
        raise PathPatchError(f"names are not where they should be: {pair.clean!r} as {pieces}")
    s1 = clean.index(s)
    s2 = clean.index(s, s1 + 1)
    return {"IO": clean.index(io), "S1": s1, "S1+1": s1 + 1, "S2": s2, END: len(clean) - 1}
