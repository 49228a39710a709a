"""Prompt pairs and prompt files: what comes out, and every way to be refused."""

import json
from random import Random

import pytest
import torch

from pathpatch import Pair, PathPatchError, ioi_prompts, load_prompts, make_prompts
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.tasks.ioi import NAMES, ORDERS, TEMPLATES, single_token_names

TOKENIZER = tiny_tokenizer()
GOOD = {
    "clean": "When Mary and John went to the store, John gave a ring to",
    "corrupt": "When Anna and Paul went to the store, Kate gave a ring to",
    "answer": " Mary",
    "foil": " John",
    "positions": {"S2": 9},
}


def write(tmp_path, rows) -> str:
    path = tmp_path / "prompts.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return str(path)


def test_a_prompt_file_becomes_tokens(tmp_path):
    prompts = load_prompts(write(tmp_path, [GOOD]), TOKENIZER)
    assert TOKENIZER.decode(prompts.orig.ids[0]) == GOOD["clean"]
    assert TOKENIZER.decode(prompts.new.ids[0]) == GOOD["corrupt"]
    assert TOKENIZER.decode(prompts.answer) == " Mary"
    assert TOKENIZER.decode(prompts.orig.ids[0, prompts.orig.at("S2")]) == " John"
    assert prompts.orig.at("END").tolist() == [prompts.orig.ids.shape[1] - 1]


def bad(**change) -> list[dict]:
    return [GOOD, {**GOOD, **change}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the list of prompts is empty"),
        ("[{", "Expecting property name"),
        ({"clean": "a"}, "expected a JSON list of objects, got dict"),
        (["text"], "item 0: expected an object, got str"),
        (bad(clear="x"), "item 1: unknown key 'clear'; did you mean 'clean'"),
        (bad(foil=3), "item 1: 'foil' must be a str, got int"),
        (bad(positions=[1]), "item 1: 'positions' must be a dict, got list"),
        (bad(positions={"S2": True}), "'positions': 'S2' must be a whole number"),
        (bad(positions={"S2": 99}), "pair 1: position 'S2' = 99 is outside the 14 tokens"),
        (bad(positions={"S2": -1}), "pair 1: position 'S2' = -1 is outside"),
        (bad(positions={"END": 3}), "pair 1: END is always the last token, 13, not 3"),
        ([{"clean": "x"}], "item 0: missing corrupt, answer, foil"),
        (bad(corrupt=GOOD["clean"]), "pair 1: clean and corrupt are empty or identical"),
        (bad(clean="", corrupt=""), "pair 1: clean and corrupt are empty or identical"),
        (bad(answer=" Mary John"), "pair 1: answer ' Mary John' must be one token, is 2"),
        (bad(foil=" Zebedee"), "pair 1: foil ' Zebedee' is not in the tokenizer's vocabulary"),
        (bad(foil=""), "pair 1: foil '' must be one token, is 0"),
        (bad(foil=" Mary"), "pair 1: answer and foil are the same token"),
        (bad(corrupt="When Anna went"), "pair 1: clean has 14 tokens, corrupt 3"),
    ],
)
def test_refuses(tmp_path, rows, words):
    with pytest.raises(PathPatchError, match=words):
        load_prompts(write(tmp_path, rows), TOKENIZER)


def test_lists_all_offending_pairs(tmp_path):
    rows = [{**GOOD, "corrupt": "When Anna went"}, GOOD, {**GOOD, "clean": "Then"}]
    with pytest.raises(PathPatchError, match=r"(?s)3 problem\(s\).*pair 0: .*pair 2: "):
        load_prompts(write(tmp_path, rows), TOKENIZER)


def test_refuses_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PathPatchError, match=r"cannot read prompts from .*none"):
        load_prompts(tmp_path / "none.json", TOKENIZER)


def test_a_label_that_some_prompts_lack_is_refused_when_it_is_used(tmp_path):
    rows = [GOOD, {key: value for key, value in GOOD.items() if key != "positions"}]
    prompts = load_prompts(write(tmp_path, rows), TOKENIZER)
    with pytest.raises(PathPatchError, match=r"position 'S2' is missing in prompts \[1\]"):
        prompts.orig.at("S2")
    assert prompts[:1].orig.at("S2").tolist() == [9]


def test_swapped_exchanges_the_runs_and_keeps_the_answer():
    prompts = ioi_prompts(TOKENIZER, 4, Random(0))
    other = prompts.swapped()
    assert torch.equal(other.orig.ids, prompts.new.ids)
    assert torch.equal(other.answer, prompts.answer)
    assert (prompts.direction, other.direction) == ("noising", "denoising")
    assert other.swapped() == prompts or torch.equal(other.swapped().orig.ids, prompts.orig.ids)


def test_a_space_at_the_end_is_refused():
    """It would become a token of its own, after which no name is likely."""
    pair = Pair(GOOD["clean"] + " ", GOOD["corrupt"] + " ", " Mary", " John")
    with pytest.raises(PathPatchError, match="clean ends in a space, which"):
        make_prompts(TOKENIZER, [pair])


def test_padding_repeats_the_last_token_on_the_right():
    short = Pair("When Mary", "When John", " Mary", " John")
    prompts = make_prompts(TOKENIZER, [short, Pair(**GOOD)])
    assert prompts.orig.ids.shape == (2, 14)
    assert set(prompts.orig.ids[0, 1:].tolist()) == {int(prompts.answer[0])}
    assert prompts.orig.at("END").tolist() == [1, 13]


# The IOI task


def test_ioi_prompts_use_every_template_in_both_orders():
    prompts = ioi_prompts(TOKENIZER, 30, Random(0))
    groups = {f"{order} {k + 1}" for order in ORDERS for k in range(len(TEMPLATES))}
    assert {pair.group for pair in prompts.pairs} == groups


def test_ioi_positions_token_by_token_and_names_distinct():
    prompts = ioi_prompts(TOKENIZER, 300, Random(1))
    rows = torch.arange(len(prompts))

    def words(side, label):
        return [TOKENIZER.decode([i]).strip() for i in side.ids[rows, side.at(label)]]

    clean, corrupt = prompts.orig, prompts.new
    io, s1, s2 = (words(clean, label) for label in ("IO", "S1", "S2"))
    assert s1 == s2
    assert [f" {name}" for name in io] == [pair.answer for pair in prompts.pairs]
    assert [f" {name}" for name in s1] == [pair.foil for pair in prompts.pairs]
    others = [words(corrupt, label) for label in ("IO", "S1", "S2")]
    for five in zip(io, s1, *others, strict=True):
        assert len(set(five)) == 5
    assert torch.equal(clean.at("S1+1"), clean.at("S1") + 1)
    assert set(words(clean, "END")) == {"to"}
    names = clean.ids != corrupt.ids
    assert names.sum(1).tolist() == [3] * 300  # only the names differ, padding does not


def test_ioi_prompts_depend_on_the_generator_alone():
    first, second = (ioi_prompts(TOKENIZER, 8, Random(5)) for _ in range(2))
    assert first.pairs == second.pairs != ioi_prompts(TOKENIZER, 8, Random(6)).pairs


def test_names_are_distinct_and_one_token():
    assert len(set(NAMES)) == len(NAMES) >= 90
    assert single_token_names(TOKENIZER) == NAMES


def test_refuses_no_prompts():
    with pytest.raises(
        PathPatchError, match="n, the number of prompts, must be a whole number from 1"
    ):
        ioi_prompts(TOKENIZER, 0, Random(0))


def test_refuses_a_template_that_repeats_a_name():
    with pytest.raises(PathPatchError, match="names are not where they should be"):
        ioi_prompts(TOKENIZER, 2, Random(0), templates=["Then, {0} and {1} gave {1} a ring to"])
