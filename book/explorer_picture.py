"""The picture that stands in for the interactive figure where no JavaScript runs: what each node
holds in each pass, and what was done to it. Computed by the library, in the figure's own words."""

from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from torch import Tensor

from pathpatch import (
    LOGITS,
    HandMade,
    Node,
    Prompts,
    Run,
    heads,
    ioi_machine,
    logit_diff,
    mlps,
    run,
)
from pathpatch.handmade.designs import SHARP, Design
from pathpatch.handmade.ioi_machine import FILLERS, NAMES, TEMPLATES, TOKEN

State = dict[str, Any]
TREATMENTS = {
    "path": "path patch h to R",
    "activation": "activation patch h",
    "overwrite": "overwrite R",
    "freeze": "patch h, freeze R",
    "both": "patch h and R",
}
WIDTH, GAP, LINE = 360, 4, 14  # in units of the picture


@dataclass(frozen=True)
class DrawnPass:
    """One pass: what it read, which nodes were set and from which pass, what it went on with."""

    read: Run
    origin: dict[Node, str]
    values: dict[Node, Tensor]
    difference: float


def find_prompt(made: HandMade, state: State) -> Prompts:
    """The prompt pair of a state, in its direction."""
    s2 = list(TEMPLATES.values())[int(state["template"])][-1]
    wanted = (f" {state['io']}", f" {state['s']}", state["order"], s2)
    prompts = made.prompts[state["new"]]
    found = [(p.answer, p.foil, p.group, p.positions["S2"]) for p in prompts.pairs].index(wanted)
    pair = prompts[found : found + 1]
    return pair if state["direction"] == "noising" else pair.swapped()


def plan(made: HandMade, state: State) -> dict[str, dict[Node, str]]:
    """For each pass, the nodes that are set and the pass that their values come from."""
    h, receivers = (list(map(Node.parse, state[key])) for key in "hR")
    set_h, set_r = dict.fromkeys(h, "A"), dict.fromkeys(receivers, "A")
    plans: dict[str, dict[Node, str]] = {"A": {}, "B": {}}
    if state["treatment"] == "path":
        frozen = heads(made.model) + (mlps(made.model) if state["frozen"] != "heads" else [])
        plans["C"] = dict.fromkeys(frozen, "B") | set_h
    plans["D"] = {
        "path": dict.fromkeys(receivers, "C"),
        "activation": set_h,
        "overwrite": set_r,
        "freeze": set_h | dict.fromkeys(receivers, "B"),
        "both": set_h | set_r,
    }[state["treatment"]]
    return plans


def passes(made: HandMade, state: State, shown: list[Node]) -> dict[str, DrawnPass]:
    """Passes A, B, C and D; without a path patch there is no C, and D is the patched run."""
    x, done = find_prompt(made, state), dict[str, DrawnPass]()
    rows = [Node("pattern", n.layer, n.head, at=n.at) for n in shown if n.kind == "z"]
    for name, origin in plan(made, state).items():
        handed = {node: done[source].read[node] for node, source in origin.items()}
        writes = {node: value for node, value in handed.items() if node.kind != "logits"}
        tokens = x.new if name == "A" else x.orig
        reads = [*heads(made.model), *mlps(made.model), *shown, *rows]
        read = run(made.model, tokens, reads=reads, writes=writes)
        # `run` reads before it writes; here we want what the pass went on with.
        origin = {n: origin.get(n, origin.get(n.everywhere())) for n in shown}
        origin = {n: source for n, source in origin.items() if source}
        values = {n: done[origin[n]].read[n] if n in origin else read[n] for n in shown}
        difference = logit_diff(values[LOGITS], x).item()
        done[name] = DrawnPass(read, origin, {n: v[0] for n, v in values.items()}, difference)
    return done


def nodes(design: Design, state: State) -> list[Node]:
    """The nodes of the picture, from the prompt to the logits."""
    found = {Node("z", h.layer, h.head, at="END" if h.layer else "S2") for h in design.heads}
    found |= {Node("mlp_out", unit.layer, at="END") for unit in design.units}
    found |= {LOGITS, *map(Node.parse, [*state["h"], *state["R"]])}

    def order(node: Node) -> tuple[Any, ...]:
        layer = {"embed": -1, "logits": 99}.get(node.kind, node.layer)
        inside = ("q", "k", "v", "z").index(node.kind) if node.head is not None else 0
        return layer, node.head is None, node.head or 0, inside, str(node)

    return sorted(found, key=order)


# ---- Words: what a vector says, as in explorer.js ----


def number(x: float) -> str:
    """Two digits at most, with a real minus sign."""
    return f"{round(x, 2):g}".replace("-", "\N{MINUS SIGN}")


def in_words(view: str, vector: list[float], measured: bool = False) -> str:
    """The coordinates that are not 0, by name: "say Anna 4". A 1 goes unsaid, mostly."""
    said, known = [], [word.strip() for word in FILLERS] if view == "word" else NAMES
    for i, x in enumerate(vector):
        name = {1: "", 8: known[i % 8]}.get(len(vector), f"place {i}")
        amount = "" if abs(x - 1) < 1e-9 and not measured else number(x)
        if abs(x) > 1e-9:
            said.append(f"{name}\N{NO-BREAK SPACE}{amount}".strip())
    return f"{view} {', '.join(said)}".strip() if said else ""


def words(design: Design, d_head: int, node: Node, vector: Tensor) -> str:
    """What a node holds."""
    numbers = vector.tolist()
    if node.head is None:
        parts = [in_words(space, vector[design.where(space)].tolist()) for space in design.spaces]
        return ", ".join(filter(None, parts))
    head = next(h for h in design.heads if (h.layer, h.head) == (node.layer, node.head))
    view, into, times = head.copy or ("", "", 1)
    size = design.spaces[into]
    if node.kind == "z":
        return in_words(into, numbers[:size], times != 1)
    if node.kind == "v":
        return in_words(view, [x / times for x in numbers[:size]])
    parts, start = [], 0
    for _, key, strength in head.match:
        width = design.view(key).shape[1]
        part, start = numbers[start : start + width], start + width
        if key == "first":
            continue  # the same everywhere: where a head rests
        if node.kind == "k":
            parts.append(in_words(key, part))
        else:
            sought = [x / (strength * SHARP * d_head**0.5) for x in part]
            found = in_words("" if width > 1 else key, sought)
            parts.append(found and f"{'seeks' if strength > 0 else 'avoids'} {found}")
    return ", ".join(filter(None, parts))


def looks(x: Prompts, node: Node, found: DrawnPass) -> str:
    """Where a head looks, unless its output was set."""
    if node.kind != "z" or node in found.origin:
        return ""
    row = found.read[Node("pattern", node.layer, node.head, at=node.at)][0]
    label = {int(at): name for name, at in x.orig.positions.items() if name != "S1+1"}
    seen = [label.get(t, f"token {t}") for t, w in enumerate(row.tolist()) if t and w > 0.01]
    return f"looks at {', '.join(seen)}" if seen else "rests"


# ---- Drawing ----


def cell(
    made: HandMade, x: Prompts, node: Node, name: str, done: dict[str, DrawnPass]
) -> list[str]:
    """What was done to a node in a pass, and what it holds: lines of words."""
    found, vector = done[name], done[name].values[node]
    origin = found.origin.get(node)
    if node.kind == "logits":
        said = [
            f"{TOKEN.words[i - 1].strip()} {number(vector[i].item())}" for i in (x.answer, x.foil)
        ]
        text = f"{', '.join(said)}; difference {number(found.difference)}"
    elif node.kind == "embed" and not origin:
        tokens = x.new if name == "A" else x.orig
        text = TOKEN.words[int(tokens.ids[0, tokens.at(node.at)]) - 1].strip()
    else:
        nothing = "writes nothing" if node.kind == "z" else "nothing"
        said = words(made.design, made.model.cfg.d_head, node, vector) or nothing
        said = f"as {said}" if node.kind == "embed" else said
        text = "; ".join(filter(None, [looks(x, node, found), said]))
    return [status(node, name, done), text]


def status(node: Node, name: str, done: dict[str, DrawnPass]) -> str:
    """Set, stored, or neither."""
    if origin := done[name].origin.get(node):
        return "frozen to B" if origin == "B" else f"patched from {origin}"
    if any(other.origin.get(node) == name for other in done.values()):
        return "stored"
    return "" if node.kind == "embed" else "computed" if name in "AB" else "recomputed"


def paint(node: Node, name: str, done: dict[str, DrawnPass], state: State) -> str:
    """The classes of a box: its colours, hatching, and whether its value is not that of pass B."""
    origin = done[name].origin.get(node)
    role = {**dict.fromkeys(state["R"], "receiver"), **dict.fromkeys(state["h"], "sender")}
    mine = role.get(str(node), "")
    active = origin or status(node, name, done) == "stored"
    found = ["node", "frozen" if origin == "B" else mine if active else ""]
    found += [f"is-{mine}"] if mine else []
    if name != "A" and not done[name].values[node].allclose(done["B"].values[node], atol=1e-9):
        found.append("changed")
    return " ".join(filter(None, found))


def picture(state: State) -> str:
    """A <figure>: a row for each node, the prompt below and the logits on top; a box a pass."""
    made = ioi_machine(state["machine"])
    shown, x = nodes(made.design, state), find_prompt(made, state)
    done = passes(made, state, shown)
    width = (WIDTH + GAP) / len(done) - GAP
    room, top, parts = int((width - 5) / 6.2), 16, []
    for i, name in enumerate(done):
        title = name if name != "D" or state["treatment"] == "path" else "Patched run"
        parts.append(_text(i * (width + GAP) + width / 2, 11, f"Pass {title}"[:room], "value"))
    for node in reversed(shown):
        parts.append(_text(0, top + 14, _names([str(node)]), "row"))
        cells = {name: cell(made, x, node, name, done) for name in done}
        lines = {
            n: [wrap(done_to, room + 1), wrap(text, room)] for n, (done_to, text) in cells.items()
        }
        height = 6 + LINE * max(len(done_to) + len(text) for done_to, text in lines.values())
        for i, (name, (done_to, text)) in enumerate(lines.items()):
            origin = done[name].origin.get(node)
            hatched = name == "A" or origin == "A"
            box = (i * (width + GAP), top + 19, width, height)
            parts.append(_box(box, paint(node, name, done, state), hatched, done_to, text))
        top += height + 26
    results = ", ".join(f"{name} {number(found.difference)}" for name, found in done.items())
    caption = (
        f"Machine “{state['machine']}”, {TREATMENTS[state['treatment']]}, with h = "
        f"{_names(state['h'])} and R = {_names(state['R'])}. "
        f"x_orig: “{_prompt(x, orig=True)}”; x_new: “{_prompt(x, orig=False)}”. "
        "Red: sender. Yellow: receiver. Grey: frozen. Hatched: from x_new. Bold: not as in pass B."
    )
    label = f"What each node of the machine holds in each pass. Logit differences: {results}."
    return (
        f'<figure class="static"><svg viewBox="-2 0 {WIDTH + 4} {top}" role="img" '
        f'aria-label="{label}">'
        '<defs><pattern id="static-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line class="hatch" x1="0" x2="0" y1="0" y2="7"/></pattern>'
        f"</defs>{''.join(parts)}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _names(nodes: list[str]) -> str:
    return " + ".join(node.replace(".z@", "@") for node in nodes)


def _prompt(x: Prompts, orig: bool) -> str:
    return x.pairs[0].clean if orig == (x.direction == "noising") else x.pairs[0].corrupt


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}">{escape(words)}</text>'


def _box(
    at: tuple[float, ...], style: str, hatched: bool, done_to: list[str], text: list[str]
) -> str:
    x, y, width, height = at
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" '
    hatch = f'{shape}fill="url(#static-hatch)"/>' if hatched else ""
    lines = [(line, "title") for line in done_to] + [(line, "value") for line in text]
    start = y + height / 2 - LINE * len(lines) / 2 + 11
    rows = [
        _text(x + width / 2, start + LINE * i, line, kind) for i, (line, kind) in enumerate(lines)
    ]
    return (
        f'<g class="{style}">{shape}class="fill"/>{hatch}{shape}class="edge"/>{"".join(rows)}</g>'
    )
