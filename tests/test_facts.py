"""Facts: the file, the subject's tokens, and that SmolLM2 completes every one."""

import json

import pytest
import torch

from pathpatch import LOGITS, Fact, PathPatchError, answer_prob, fact_prompts, load_facts, run
from pathpatch.engine.blocks import blocks
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model
from pathpatch.prompts import FIRST, LAST, NEXT

FACT = Fact("Then, {} gave a ring to", "Mary and John", " Anna", "Paul and Lucy", " Susan")
GOLDEN = "fdda80fae126f4fca36652b5ebf90399be1f88f06bcbf9ea8363dfa8e77411da"  # SmolLM2's fingerprint


def test_the_subject_is_found_in_the_tokens():
    facts = [FACT, Fact("{} went to", "Friends Mary", " Anna", "Friends John", " Paul")]
    facts.append(Fact("Then, {}", "Mary", " Anna", "John", " Paul"))
    tokenizer = tiny_tokenizer()
    prompts = fact_prompts(tokenizer, facts[:2])
    assert prompts.orig.at(FIRST).tolist() == [2, 0]
    assert prompts.orig.at(LAST).tolist() == [4, 1]
    assert prompts.orig.at(NEXT).tolist() == [5, 2]
    words = [tokenizer.decode([i]) for i in prompts.orig.ids[0, 2:5]]
    assert words == [" Mary", " and", " John"]
    assert [pair.group for pair in prompts.pairs] == [FACT.template, "{} went to"]
    assert (prompts.pairs[0].answer, prompts.pairs[0].foil) == (" Anna", " Susan")
    tight = Fact("Then,{} went to", " Mary", " Anna", " John", " Paul")  # nothing before it
    assert fact_prompts(tokenizer, [tight]).orig.at(FIRST).tolist() == [2]
    at_the_end = fact_prompts(tokenizer, facts[2:])
    assert at_the_end.orig.at(LAST).tolist() == at_the_end.orig.at("END").tolist()
    with pytest.raises(PathPatchError, match=f"no position '{NEXT}'"):
        at_the_end.orig.at(NEXT)


def test_subjects_of_unequal_length_are_refused():
    fact = Fact("Then, {} gave a ring to", "Mary and John", " Anna", "Paul", " Susan")
    with pytest.raises(PathPatchError, match=r"clean has 9 tokens, corrupt 7"):
        fact_prompts(tiny_tokenizer(), [fact])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"template": "no subject"}, r"item 0: the template needs one \{\} .* got 'no subject'"),
        ({"template": "{} and {}"}, r"the template needs one \{\}"),
        ({"subjct": "x"}, "unknown key 'subjct'; did you mean 'subject'"),
        ({"answer": 3}, "'answer' must be a str, got int"),
        ({"probability": "high"}, "'probability' must be a float"),
    ],
)
def test_bad_files_are_refused(tmp_path, row, words):
    good = {key: getattr(FACT, key) for key in ("template", "subject", "answer", "other", "foil")}
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([good]))
    assert [fact.subject for fact in load_facts(path)] == [FACT.subject]
    path.write_text(json.dumps([{**good, **row}]))
    with pytest.raises(PathPatchError, match=words):
        load_facts(path)
    path.write_text("[{}]")
    with pytest.raises(PathPatchError, match="missing template, subject, answer, other, foil"):
        load_facts(path)


def test_the_facts_of_the_library():
    facts = load_facts()
    assert len(facts) >= 60
    assert len({(fact.template, fact.subject) for fact in facts}) == len(facts)
    for fact in facts:
        assert 0.1 < fact.probability < 1
        assert fact.answer != fact.foil
        assert fact.subject != fact.other
        assert fact.answer.startswith(" ") and fact.foil.startswith(" ")


@pytest.mark.slow
def test_smollm2_completes_every_fact(smollm2: Model):
    assert fingerprint(smollm2) == GOLDEN
    facts = load_facts()
    prompts = fact_prompts(smollm2.tokenizer, facts)
    parts, done = blocks(smollm2, prompts), 0
    for part in parts:
        logits = run(smollm2, part.orig, reads=[LOGITS])[LOGITS]
        assert torch.equal(logits.argmax(-1), part.answer)
        recorded = torch.tensor([fact.probability for fact in facts[done : done + len(part)]])
        assert (answer_prob(logits, part) - recorded).abs().max() < 1e-3
        done += len(part)
    assert done == len(facts)
