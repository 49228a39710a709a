"""The interactive figure of the IOI machine, for a cell of a page.

    from explorer import explorer
    explorer(h=["1.0.z@END"], R=["2.0.q@END"])

This writes the machines' weights into the page, and a picture of the same state for readers without
JavaScript. `_static/explorer.js` puts the interactive figure in the picture's place.
"""

import json
import re
from html import escape
from typing import Any

from explorer_picture import picture
from export import export_machine
from IPython.display import HTML

from pathpatch.handmade.ioi_machine import NAMES, TEMPLATES, TOKEN
from pathpatch.handmade.ioi_variants import VARIANTS
from pathpatch.models.tiny import word_tokenizer
from pathpatch.tasks.ioi import ORDERS

CIRCUITS = {
    "token": "0.0 writes at S2 which name it has seen before. 1.0 copies that to END as inhibited. "
    "2.0 and 2.1 look at those of the first two names that are not inhibited, and say them.",
    **{name: VARIANTS[name].circuit for name in ("mlp", "keys", "position", "negative", "backup")},
}
DEFAULT = {
    "machine": "token",
    "io": "Anna",
    "s": "Brian",
    "order": "ABBA",
    "template": "0",
    "new": "abc",
    "direction": "noising",
    "h": ["1.0.z@END"],
    "R": ["2.0.q@END"],
    "frozen": "heads",
    "treatment": "path",
    "pass": "D",
}


def explorer(**changes: Any) -> HTML:
    """The figure, in the default state but for these changes. One on a page."""
    state = {**DEFAULT, **changes}
    assert state.keys() == DEFAULT.keys(), f"unknown: {set(changes) - set(DEFAULT)}"
    data = json.dumps(page_data(), separators=(",", ":"))
    return HTML(
        f'<div class="explorer" id="explorer" data-state="{escape(json.dumps(state))}">'
        f'<script type="application/json">{data}</script>{picture(state)}</div>'
    )


def page_data() -> dict[str, Any]:
    """What the script needs: the machines, and how their prompts are made."""
    read = word_tokenizer(TOKEN.words)
    templates = [
        {
            "text": text.replace("{}", "…"),
            "ids": read(text.format(*NAMES))["input_ids"],
            "slots": slots,
        }
        for text, slots in TEMPLATES.items()
    ]
    machines = {
        name: {**export_machine(VARIANTS[name]), "circuit": re.sub("[`*]", "", circuit)}
        for name, circuit in CIRCUITS.items()
    }
    names = {"names": NAMES, "words": TOKEN.words, "orders": ORDERS}
    return {**names, "templates": templates, "machines": machines}
