"""One rule for answers: tokens(prompt + answer) = tokens(prompt) + [answer]. And labels."""

from dataclasses import replace
from random import Random

import pytest
from test_prompts import GOOD, TOKENIZER
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pathpatch import Fact, Pair, PathPatchError, fact_prompts, ioi_prompts, make_prompts
from pathpatch.prompts import FIRST, LAST, NEXT
from pathpatch.tasks.ioi import NAMES, PLACES, TEMPLATES, THINGS, single_token_names
from pathpatch.tasks.pairs import LABEL

PAIR = Pair(**GOOD)


def code_tokenizer(*, after: str = ""):
    """Splits as tokenizers for code do: "()" is one token, each digit is one, white space too."""
    words = ["<unk>", "</s>", "print", "(", ")", "()", "2", "3", "5", "7", "8", " ", "\n"]
    words += [" +", " =", "A", "B", "C", "D", ":", " A", " C"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    pattern = Regex(r"print|\(\)|[()]|\d| [+=A-D]|[A-D:]| |\n")
    core.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    core.decoder = decoders.Fuse()
    if after:
        core.post_processor = processors.TemplateProcessing(f"$A {after}", None, [(after, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="</s>")


def llama_tokenizer():
    """Tokenizes as Llama 2 does: spaces are marks on the next word, one is put before the text,
    and BOS before that. So " Mary" by itself is two tokens."""
    texts = [t.format(*"   ", place="", thing="") for t in TEMPLATES]
    words = {word.strip(",.") for text in texts for word in text.split()} | {*NAMES, *PLACES}
    pieces = ["▁", ",", ".", "s", *sorted(f"▁{word}" for word in words | {*THINGS} if word)]
    vocabulary = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        *((piece, -(len(piece) ** 0.5)) for piece in pieces),
    ]
    core = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>")


@pytest.mark.parametrize(
    ("clean", "corrupt", "answer", "foil"),
    [
        ("A:\n", "C:\n", "B", "D"),  # chat templates end in this way
        ("2 + 5 = ", "3 + 5 = ", "7", "8"),
        ("A\n ", "C\n ", " A", " C"),  # an indented line of code
        ("print(", "print2", "A", "B"),
        ("print(2", "print(3", ")", "()"),
    ],
)
def test_what_the_tokenizer_goes_on_with_is_accepted(clean, corrupt, answer, foil):
    tokenizer = code_tokenizer()
    prompts = make_prompts(tokenizer, [Pair(clean, corrupt, answer, foil)])
    # the vocabulary is written above: what stands in it is one token
    assert tokenizer.convert_ids_to_tokens(prompts.answer.tolist()) == [answer]
    assert tokenizer.convert_ids_to_tokens(prompts.foil.tolist()) == [foil]


def test_an_answer_that_goes_on_with_a_word_is_taken_with_a_caution():
    """As 'get' + 'Value', which is right; or a forgotten space, which is not."""
    words = r"the answer runs into the word before it in 1 pair.s., .0.: .2A. . .B.; a"
    with pytest.warns(UserWarning, match=words):
        prompts = make_prompts(code_tokenizer(), [Pair("2A", "3A", "B", "2")])
    assert code_tokenizer().convert_ids_to_tokens(prompts.answer.tolist()) == ["B"]


@pytest.mark.parametrize("field", ["clean", "corrupt", "answer", "foil"])
def test_half_a_character_is_refused(field):
    pair = Pair("print(", "print2", "A", "B")
    with pytest.raises(PathPatchError, match=r"pair 0: .* holds half of a character .a lone surr"):
        make_prompts(code_tokenizer(), [replace(pair, **{field: "a\ud800"})])


@pytest.mark.parametrize(
    ("clean", "corrupt", "answer", "words"),
    [
        ("print(", "print2", ")", r"answer '\)' runs into .* 'print\(': .* become \['\(\)'\]"),
        ("2 =", "3 =", " 7", r"answer ' 7' must be one token, is 2: \[' ', '7'\]. For several"),
        ("2 + 5 = ", "3 + 5 = ", "A", r"runs into the end .* become \[' A'\]; where a space"),
        ("A ", "C ", " A", "clean ends in a space, which would be a token before the answer's"),
        ("A:", "A?", "B", "corrupt has words outside the tokenizer's vocabulary"),
    ],
)
def test_what_would_be_other_tokens_is_refused(clean, corrupt, answer, words):
    with pytest.raises(PathPatchError, match=words):
        make_prompts(code_tokenizer(), [Pair(clean, corrupt, answer, "2")])


def test_an_answer_is_the_same_token_after_both_prompts():
    """After "(" the answer merges, after "2" it does not: the corrupt prompt is asked too."""
    with pytest.raises(PathPatchError, match=r"answer '\)' runs into the end of the prompt"):
        make_prompts(code_tokenizer(), [Pair("print2", "print(", ")", "A")])


def test_a_token_after_the_text_is_seen():
    with pytest.raises(PathPatchError, match=r"puts '</s>' after clean, where END is"):
        make_prompts(code_tokenizer(after="</s>"), [Pair("A:", "C:", "B", "D")])


def test_ioi_and_facts_with_a_tokenizer_like_that_of_llama():
    tokenizer = llama_tokenizer()
    assert tokenizer.tokenize(" Mary") == ["▁", "▁Mary"]  # why no name was found
    assert single_token_names(tokenizer) == NAMES
    prompts = ioi_prompts(tokenizer, 30, Random(0))
    for i, pair in enumerate(prompts.pairs):
        pieces = tokenizer.convert_ids_to_tokens(prompts.orig.ids[i].tolist())
        io, s = (word.replace(" ", "▁") for word in (pair.answer, pair.foil))
        assert [pieces[int(prompts.orig.at(k)[i])] for k in ("IO", "S1", "S2")] == [io, s, s]
        assert pieces[int(prompts.orig.at("END")[i])] == "▁to"
        assert pieces[0] == "<s>"
        found = tokenizer.convert_ids_to_tokens([int(prompts.answer[i]), int(prompts.foil[i])])
        assert found == [io, s]
    fact = Fact("Then, {} gave a ring to", "Mary and John", " Anna", "Paul and Lucy", " Susan")
    facts = fact_prompts(tokenizer, [fact])  # <s> Then , Mary and John gave
    assert [int(facts.orig.at(k)) for k in (FIRST, LAST, NEXT)] == [3, 5, 6]


def test_a_second_bos_is_refused():
    """A chat template writes BOS into the text; the tokenizer puts it there too."""
    texts = ("<s>" + GOOD["clean"], "<s>" + GOOD["corrupt"])
    with pytest.raises(PathPatchError, match="clean starts with BOS twice"):
        make_prompts(llama_tokenizer(), [Pair(*texts, " Mary", " John")])


@pytest.mark.parametrize("label", ["S2", "S1+1", "END", "subject_last", "verb-stem", "größe"])
def test_labels(label):
    assert LABEL.fullmatch(label)
    index = 13 if label == "END" else 9
    prompts = make_prompts(TOKENIZER, [replace(PAIR, positions={label: index})])
    assert prompts.orig.at(label).tolist() == [index]


@pytest.mark.parametrize(
    "label", ["3", "../x", "", "a/b", "a,b", "S 2", "S1+1.2", "a+embed", "-1", "S2@", "S.1", "S2\n"]
)
def test_labels_that_mean_something_else_are_refused(label):
    with pytest.raises(PathPatchError, match="cannot be a label: a label is a word"):
        make_prompts(TOKENIZER, [replace(PAIR, positions={label: 9})])


def test_positions_are_whole_numbers_and_say_the_tokens():
    prompts = make_prompts(TOKENIZER, [replace(PAIR, positions={"S2": 9})])
    assert prompts.orig.at("S2").tolist() == prompts.orig.at(9).tolist() == [9]
    with pytest.raises(PathPatchError, match=r"position -1 is outside a prompt"):
        prompts.orig.at(-1)
    with pytest.raises(PathPatchError, match=r"outside the 14 tokens \['When', ' Mary', ' and'"):
        make_prompts(TOKENIZER, [replace(PAIR, positions={"S2": 99})])
    with pytest.raises(PathPatchError, match=r"the last token, 13, not 9 \(' John'\)"):
        make_prompts(TOKENIZER, [replace(PAIR, positions={"END": 9})])


@pytest.mark.parametrize("template", ["{0} and {1}, {name}", "{0} and {1} {", "{0} {1} {2} {3}"])
def test_braces_in_a_template_of_ioi(template):
    with pytest.raises(PathPatchError, match="and every other brace twice; got "):
        ioi_prompts(TOKENIZER, 2, Random(0), templates=[template])
    with pytest.raises(PathPatchError, match=r"5 one-token names and a template; got \d+ and 0"):
        ioi_prompts(TOKENIZER, 2, Random(0), templates=[])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subject": ""}, "fact 0: subject and other must not be empty, got '' and 'John'"),
        ({"other": " "}, "fact 0: subject and other must not be empty"),
        ({"template": "{x} went to"}, r"fact 0: the template needs one \{\} for the subject"),
    ],
)
def test_facts_without_a_subject(change, words):
    with pytest.raises(PathPatchError, match=words):
        fact_prompts(
            TOKENIZER,
            [replace(Fact("Then, {} said to", "Mary", " Anna", "John", " Paul"), **change)],
        )


def test_braces_of_the_text_itself():
    """Only {} is the subject: a set in mathematics or code may stand beside it."""
    fact = Fact("A{}:{2}", "A", "B", "C", "D")
    words = [*"ABCD:{}2", "<unk>"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    prompts = fact_prompts(tokenizer, [fact])
    assert prompts.pairs[0].clean == "AA:{2}"
    assert prompts.orig.at(FIRST).tolist() == [1]
