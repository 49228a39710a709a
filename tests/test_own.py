"""Prompt files of every kind, and what the labels in them point at."""

import gzip
import json
import re

import pytest
from test_prompts import GOOD, TOKENIZER

from pathpatch import Circuit, Effects, PathPatchError, load_facts, load_prompts
from pathpatch.cli.commands import main
from pathpatch.files import as_path

ROW = "clean,corrupt,answer,foil,positions.S2,group\n"
CELLS = f'"{GOOD["clean"]}","{GOOD["corrupt"]}", Mary, John,9,\n'
TABS = ROW.replace(",", "\t") + "\t".join(
    [GOOD["clean"], GOOD["corrupt"], " Mary", " John", "9", ""]
)
NO_LABEL = CELLS.replace("9", "")


def write(folder, name, text) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def ids(text: str) -> list[int]:
    return TOKENIZER(text)["input_ids"]


IDS = {
    **{side: ids(GOOD[side]) for side in ("clean", "corrupt")},
    **{word: ids(GOOD[word])[0] for word in ("answer", "foil")},
    "positions": {"S2": 9},
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps([GOOD])),
        ("mark.json", b"\xef\xbb\xbf" + json.dumps([GOOD]).encode()),
        ("a.jsonl", json.dumps(GOOD) + "\n\n"),
        ("a.csv", ROW + CELLS),
        ("mark.CSV", b"\xef\xbb\xbf" + (ROW + CELLS).replace("\n", "\r\n").encode()),
        ("ids.json", json.dumps([IDS])),
        ("a.ndjson", json.dumps(GOOD)),
        ("a.tsv", TABS),
        ("empty.csv", ROW + CELLS + ",,,,,\n,,,,,\n"),
    ],
)
def test_one_pair_in_every_form(tmp_path, name, text):
    prompts = load_prompts(write(tmp_path, name, text), TOKENIZER)
    assert prompts.orig.ids.tolist() == [IDS["clean"]]
    assert prompts.new.ids.tolist() == [IDS["corrupt"]]
    assert (prompts.answer.tolist(), prompts.foil.tolist()) == ([IDS["answer"]], [IDS["foil"]])
    assert prompts.orig.at("S2").tolist() == [9]
    assert prompts.pairs[0].clean == GOOD["clean"]


def test_an_empty_cell_is_a_key_left_out(tmp_path):
    prompts = load_prompts(write(tmp_path, "a.csv", ROW + CELLS + NO_LABEL), TOKENIZER)
    assert prompts.orig.positions["S2"].tolist() == [9, -1]


LISTS = {**GOOD, "foil": [" John", " Anna"]}
MIXED = {**IDS, "answer": 10**6}
NOT_TEXT = {**IDS, "clean": IDS["clean"][::-1]}
ROME = {"known_id": 0, "subject": "Mary", "attribute": "Anna", "template": "{} said to"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", json.dumps([LISTS]), "'foil' must be a str, got list.*give one pair for each"),
        ("a.json", json.dumps([MIXED]), "item 0: clean with the answer: token ids are whole"),
        ("a.json", json.dumps([NOT_TEXT]), "item 0: clean: .* build `Prompts` of two `Tokens`"),
        ("a.json", '[{"clean": "a", "clean": "b"}]', "an object says clean twice"),
        ("a.json", json.dumps([{"prompt": "x"}]), "unknown key 'prompt'.*A pair has clean, cor"),
        ("a.jsonl", json.dumps(GOOD) + "\n{", "cannot read prompts from .*: line 2: Expecting"),
        ("a.csv", "", "missing|empty"),
        ("a.csv", ROW, "the list of prompts is empty"),
        ("a.csv", ROW + "a,b\n", "row 0 has 2 cells, the header 6"),
        ("a.csv", ROW + CELLS.replace("9", "x"), "'positions': 'S2' must be a whole number, got"),
        ("a.csv", ROW.replace("corrupt", "clean"), "two columns of one name"),
        ("a.csv", '"a', "cannot read prompts from .*"),
        ("a.json", b"\xff\xfe[", "cannot read prompts from .*: it is not UTF-8 text; save it as"),
        ("a.json", json.dumps([GOOD]).encode("utf-16"), "it is not UTF-8 text; save it as UTF-8"),
        ("a.csv", (ROW + CELLS.replace("a", "\xe4")).encode("latin-1"), "it is not UTF-8 text"),
        ("a.json.gz", gzip.compress(b"[]", mtime=0), "unpack it, if it is compressed"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "cannot read prompts from .*: lists in lists"),
        ("a.jsonl", "[" * 100_000 + "]" * 100_000, "cannot read prompts from .*: lists in lists"),
        ("a.csv", ROW.replace(",", ";"), "its columns are separated by ';'; save it with ','"),
        ("a.tsv", ROW, r"its columns are separated by ','; save it with '.t'"),
        (
            "a.csv",
            ROW + '"' + "a" * 200_000,
            "field larger .*; a quotation mark that is not closed",
        ),
        (
            "a.json",
            '[{"clean": "\\ud800", "corrupt": "b", "answer": " x", "foil": " y"}]',
            "lone surr",
        ),
    ],
)
def test_other_forms_are_refused(tmp_path, name, text, words):
    with pytest.raises(PathPatchError, match="(?s)" + words):
        load_prompts(write(tmp_path, name, text), TOKENIZER)


def test_the_form_of_rome_says_what_is_missing(tmp_path):
    with pytest.raises(PathPatchError, match=r"(?s)unknown key 'known_id'.*ROME's known_1000"):
        load_facts(write(tmp_path, "facts.json", json.dumps([ROME])))
    fact = {"template": "{} said to", "subject": "Mary", "answer": " Anna", "other": "John"}
    whole = {**fact, "foil": " Paul", "probability": 0.5}
    assert load_facts(write(tmp_path, "facts.jsonl", json.dumps(whole)))[0].probability == 0.5


def test_what_is_no_path_is_named():
    words = "expected a path, such as 'out/sweep', got"
    for path in (None, 3, b"a.json", "", "a\0.json"):
        with pytest.raises(PathPatchError, match=words):
            as_path(path)
    for read in (lambda: load_prompts("", TOKENIZER), lambda: Circuit.load("a\0.json")):
        with pytest.raises(PathPatchError, match=words):
            read()


def test_a_folder_where_a_file_is_meant_and_the_other_way(tmp_path):
    file = write(tmp_path, "file", "x")
    for read in (lambda: load_prompts(tmp_path, TOKENIZER), lambda: load_facts(tmp_path)):
        with pytest.raises(PathPatchError, match=r"cannot read .* Is a directory"):
            read()
    for read in (lambda: Effects.load(file), lambda: Effects.load(tmp_path / "none")):
        with pytest.raises(PathPatchError, match="cannot read effects from "):
            read()
    for path in (tmp_path, tmp_path / "file" / "circuit.json"):
        with pytest.raises(PathPatchError, match=f"cannot write {re.escape(str(path))}: "):
            Circuit([]).save(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


SHIFTED = {**GOOD, "corrupt": "When Anna and Paul went to the house, to Kate a ring gave"}
KINDS = {**GOOD, "positions": {"S2": 9}, "corrupt": GOOD["corrupt"].replace(", Kate", " Kate,")}


@pytest.mark.parametrize(
    ("row", "label", "words"),
    [
        (KINDS, 9, "it is ' John' in x_orig and ',' in x_new, a word's start against no word"),
        (SHIFTED, 10, "one of them stands a place further in the other prompt"),
    ],
)
def test_labels_that_point_elsewhere_in_x_new_are_warned_of(tmp_path, row, label, words):
    if row is SHIFTED:  # " gave" stands at 10, and a place further in x_new
        row = {**row, "corrupt": "When Anna and Paul went to the store, Kate to gave ring a"}
    file = write(tmp_path, "a.json", json.dumps([GOOD, {**row, "positions": {"S2": label}}]))
    with pytest.warns(
        UserWarning, match="position 'S2' may not be what you mean in 1 pair"
    ) as said:
        load_prompts(file, TOKENIZER)
    assert len(said) == 1 and "[1]" in str(said[0].message) and words in str(said[0].message)


def test_a_piece_of_a_word_against_the_start_of_one(tmp_path):
    from test_pairs import llama_tokenizer

    good = {**GOOD, "positions": {}}
    row = {
        **good,
        "clean": "When Mary and Johns went to",
        "corrupt": "When Anna and Paul Kate went to",
    }
    file = write(tmp_path, "a.json", json.dumps([{**row, "positions": {"S1": 5}}]))
    with pytest.warns(UserWarning, match="'s' in x_orig .* a piece of a word against a word's st"):
        load_prompts(file, llama_tokenizer())


def test_check_prompts_shows_every_label_on_both_sides(tmp_path, capsys):
    file = write(tmp_path, "a.csv", ROW + CELLS)
    assert main(["check-prompts", file, "--model", "tiny-llama"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"pair 0: answer ' Mary', foil ' John' '{GOOD['clean']}'"
    assert lines[1:3] == ["9 S2 ' John' ' Kate'", "13 END ' to' ' to'"]
    assert main(["check-prompts", str(tmp_path), "--model", "tiny-llama"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: cannot read prompts from ") and not said.out


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_warning_is_one_line(tmp_path, capsys):
    file = write(tmp_path, "a.json", json.dumps([KINDS]))
    assert main(["check-prompts", file, "--model", "tiny-llama"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("warning: position 'S2' may not be what you mean in 1 pair(s), [0]")
    assert len(said.err.splitlines()) == 1
    assert "a word's start against no word" in said.out
