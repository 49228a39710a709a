"""The table of families in the book is what a fresh run gives: a sample here, all in the audit.

PATHPATCH_AUDIT=1 tries every row. `python tests/families/table.py` writes the table.
"""

import json
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # beside this file, for its neighbours
import table
from conftest import AUDIT

ROWS = json.loads(table.FILE.read_text(encoding="utf-8"))
SAMPLE = ["GPTJForCausalLM", "Gemma2ForCausalLM", "MixtralForCausalLM", "Olmo2ForCausalLM"]
SAMPLE += ["GPTNeoXForCausalLM", "Phi3ForCausalLM"]
# Their literal form was right before there was a table.
MUST = """GPT2LMHeadModel LlamaForCausalLM GPTNeoXForCausalLM GPTJForCausalLM OPTForCausalLM
BloomForCausalLM MistralForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM MixtralForCausalLM
PhiForCausalLM OlmoForCausalLM StableLmForCausalLM Starcoder2ForCausalLM SmolLM3ForCausalLM
NemotronForCausalLM GlmForCausalLM Exaone4ForCausalLM""".split()


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if AUDIT or row["family"] in SAMPLE],
    ids=lambda row: f"{row['family']}-{row['kv_heads']}",
)
def test_a_row_is_what_a_fresh_run_gives(row):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of families that nobody here uses otherwise
        found = table.row(row["family"], row["kv_heads"])
    told = ("result", "fast", "deaf")
    assert {key: found[key] for key in told} == {key: row[key] for key in told}, found["why"]


def test_no_family_is_wrong():
    """A family that gives other numbers than the original must be refused."""
    assert not [row for row in ROWS if row["result"] == "wrong" or row["fast"] == "wrong"]


@pytest.mark.parametrize("family", MUST)
def test_what_was_right_stays_right(family: str):
    assert {row["result"] for row in ROWS if row["family"] == family} == {"right"}
