"""The interactive figure: what it computes beside what Python computes, and how it is used."""

import contextlib
import io
import json
import re
from pathlib import Path
from random import Random

import explorer_picture
import pytest
import torch
from conftest import AUDIT, machine
from explorer import DEFAULT, explorer, page_data
from export import export_machine

from pathpatch import (
    LOGITS,
    Node,
    activation_patch,
    heads,
    logit_diff,
    mlps,
    path_patch,
    run,
    toy,
)
from pathpatch.handmade.ioi_variants import VARIANTS

STATIC = Path(__file__).parents[2] / "book" / "_static"
FILES = ("explorer_machine.js", "explorer.js", "explorer.css", "custom.css", "page.js")
EXACT = 1e-9
DATA = page_data()
LABELS = ("IO", "S1", "S2", "END")
# Go to the link of a state; done when all who listen have heard of it.
GO_TO = """state => new Promise((done) => {
  window.addEventListener("hashchange", () => setTimeout(done), { once: true });
  location.hash = Explorer.toHash(state);
})"""


# ---- States ----


def random_ends(random: Random, name: str) -> tuple[list[str], list[str]]:
    """Senders and receivers: half of the time those of a true effect, else anything."""
    known = [
        [[str(Node.parse(node)) for node in nodes.split("+")] for nodes in (e.senders, e.receivers)]
        for e in VARIANTS[name].effects
        if e.receivers
    ]
    known = [ends for ends in known if all(len({n.split("@")[1] for n in e}) == 1 for e in ends)]
    if random.random() < 0.5:
        return random.choice(known)
    every = [str(Node.parse(head)) for head in DATA["machines"][name]["heads"]]
    outs = ["embed", *every, *["1.mlp_out"] * (name == "mlp")]
    ins = [node.replace(".z", f".{kind}") for node in every for kind in "qkv"]
    h_at, r_at = random.choices(LABELS, k=2)
    h = [f"{node}@{h_at}" for node in random.sample(outs, random.choice([1, 2, 3]))]
    receivers = [f"{node}@{r_at}" for node in random.sample(ins, random.choice([1, 2, 4]))]
    return h, receivers + ["logits@END"] * random.choice([0, 0, 1])


def random_state(random: Random) -> dict:
    name = random.choice(list(DATA["machines"]))
    first, second = random.sample(DATA["names"], 2)
    h, receivers = random_ends(random, name)
    return {
        "machine": name,
        "io": first,
        "s": second,
        "order": random.choice(["ABBA", "BABA"]),
        "template": random.choice("01"),
        "new": random.choice(["abc", "flip", "exchange"]),
        "direction": random.choice(["noising", "denoising"]),
        "h": h,
        "R": receivers,
        "frozen": random.choice(["heads", "heads+mlps"]),
        "treatment": random.choice(["path", "path", *explorer_picture.TREATMENTS]),
        "pass": random.choice("ABD"),
    }


def states(n: int, seed: int) -> list[dict]:
    random = Random(seed)
    return [random_state(random) for _ in range(n)]


def pair_of(state: dict):
    """The prompts of a state, found by their text."""
    made = machine(state["machine"])
    order = {"ABBA": ("io", "s", "s"), "BABA": ("s", "io", "s")}[state["order"]]
    first, second, third = (state[who] for who in order)
    met = ("met", "went out")[int(state["template"])]
    text = f"When {first} and {second} {met}, {third} spoke to"
    prompts = made.prompts[state["new"]]
    i = [pair.clean for pair in prompts.pairs].index(text)
    pair = prompts[i : i + 1]
    return pair if state["direction"] == "noising" else pair.swapped()


def by_python(state: dict) -> dict:
    """For each pass the logit difference and, but for D, the values of h and R as they are read."""
    model, x = machine(state["machine"]).model, pair_of(state)
    h, receivers = (list(map(Node.parse, state[key])) for key in "hR")
    frozen = heads(model) + (mlps(model) if state["frozen"] == "heads+mlps" else [])
    reads = [*h, *receivers, LOGITS]
    a = run(model, x.new, reads=reads)
    b = run(model, x.orig, reads=[*frozen, *reads])
    found = {"A": a, "B": b}
    set_h, set_r = {n: a[n] for n in h}, {n: a[n] for n in receivers}
    treatment = state["treatment"]
    if treatment == "path":
        found["C"] = run(model, x.orig, reads=reads, writes={n: b[n] for n in frozen} | set_h)
        ends = {"senders": h, "receivers": receivers, "frozen": frozen}
        logits = path_patch(model, x, **ends)
    elif treatment == "activation":
        logits = activation_patch(model, x, nodes=h)
    elif LOGITS in receivers:
        logits = (b if treatment == "freeze" else a)[LOGITS]  # who sets the logits has the result
    else:
        held = {n: b[n] for n in receivers}
        writes = {"overwrite": set_r, "freeze": set_h | held, "both": set_h | set_r}[treatment]
        logits = run(model, x.orig, reads=[LOGITS], writes=writes)[LOGITS]
    passes = {
        name: {
            "difference": logit_diff(values[LOGITS], x).item(),
            "values": {str(node): values[node][0].tolist() for node in [*h, *receivers]},
        }
        for name, values in found.items()
    }
    return passes | {"D": {"difference": logit_diff(logits, x).item(), "values": {}}}


# ---- Pages ----


def write_page(folder: Path, **state) -> str:
    for name in FILES:
        (folder / name).write_text((STATIC / name).read_text(encoding="utf-8"), encoding="utf-8")
    styles = "".join(f'<link rel="stylesheet" href="{n}">' for n in FILES if n.endswith("css"))
    scripts = "".join(f'<script src="{name}"></script>' for name in FILES if name.endswith("js"))
    page = folder / "page.html"
    page.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>A page</title>'
        "<style>html[data-theme=dark] body { background: #121212; color: #fff }</style>"
        f"{styles}{scripts}</head><body><main><h1>A page</h1>"
        f'<a href="#explorer?machine=keys&pass=B">a state</a>{explorer(**state).data}'
        "</main></body></html>",
        encoding="utf-8",
    )
    return page.as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("page"))


@pytest.fixture
def page(browser, address):
    """A page of the figure; an error of its script, or a request, fails the test."""
    with browser.new_page(viewport={"width": 1200, "height": 1000}) as opened:
        problems = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda message: problems.append(message.text))
        opened.on("request", lambda r: r.url.startswith("file:") or problems.append(r.url))
        opened.goto(address)
        yield opened
        assert not problems


def result(page) -> str:
    return page.locator(".result").inner_text()


def number(x: float) -> str:
    return f"{round(x, 2):g}".replace("-", "\N{MINUS SIGN}")


def expected_result(state: dict) -> str:
    found = by_python(state)
    name = f"Pass {state['pass']}"
    if state["pass"] == "D" and state["treatment"] != "path":
        name = "Patched run"
    text = f"{name}: logit difference {number(found[state['pass']]['difference'])}"
    if state["pass"] != "D":
        return f"{text}."
    change = found["D"]["difference"] - found["B"]["difference"]
    sign = "+" if round(change, 2) > 0 else ""
    return f"{text}. Baseline {number(found['B']['difference'])}, change {sign}{number(change)}."


BY_SCRIPT = """states => {
  const data = JSON.parse(document.querySelector(".explorer script").textContent);
  return states.map((state) => {
    const { positions } = IOI.prompts(data, state);
    const here = (node) => node.replace(/@(.+)/, (_, at) => `@${positions[at]}`);
    return Object.fromEntries(Object.entries(IOI.passes(data, state)).map(([name, pass]) => [name, {
      difference: pass.difference,
      values: Object.fromEntries([...state.h, ...state.R].map((n) => [n, pass.read[here(n)]])),
    }]));
  });
}"""


# ---- The engine ----


def test_220_random_states_are_as_python_computes_them(page):
    asked = states(220, seed=1)
    changed = 0
    for state, found in zip(asked, page.evaluate(BY_SCRIPT, asked), strict=True):
        expected = by_python(state)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert abs(found[name]["difference"] - values["difference"]) < EXACT, (state, name)
            for node, vector in values["values"].items():
                gap = torch.tensor(found[name]["values"][node]) - torch.tensor(vector)
                assert gap.abs().max() < EXACT, (state, name, node)
        changed += expected["D"]["difference"] != expected["B"]["difference"]
    assert changed > 80  # the states are not idle


@pytest.mark.parametrize("name", DATA["machines"])
def test_every_node_of_every_machine(page, name: str):
    state = {**DEFAULT, "machine": name, "treatment": "none"}
    made, x = machine(name), pair_of(state)
    read = """state => {
      const data = JSON.parse(document.querySelector(".explorer script").textContent);
      return IOI.passes(data, state).B.read;
    }"""
    kinds = [Node.parse(f"{h}.{kind}") for h in DATA["machines"][name]["heads"] for kind in "qkvz"]
    kinds += [Node.parse("embed")] + [Node.parse("1.mlp_out")] * (name == "mlp")
    expected = run(made.model, x.orig, reads=kinds)
    found = page.evaluate(read, state)
    for node in kinds:
        values = expected[node][0, : int(x.orig.at("END")) + 1]
        for at, vector in enumerate(values.tolist()):
            assert found[f"{node}@{at}"] == pytest.approx(vector, abs=EXACT)


@pytest.mark.parametrize("name", ["mlp", "and", "or"])
def test_mlps_with_a_bias_that_are_sometimes_silent(page, name: str):
    made = toy(name)
    x = next(iter(made.prompts.values())).orig
    found = page.evaluate(
        "([model, ids]) => IOI.forward(model, ids).read",
        [export_machine(made.design), x.ids[0].tolist()],
    )
    expected = run(made.model, x, reads=["0.mlp_out", "0.0.z", LOGITS])
    for at, vector in enumerate(expected["0.mlp_out"][0].tolist()):
        assert found[f"0.mlp_out@{at}"] == pytest.approx(vector, abs=EXACT)
    end = int(x.at("END"))
    assert found[f"logits@{end}"] == pytest.approx(expected[LOGITS][0].tolist(), abs=EXACT)


def test_a_write_to_no_node_is_an_error(page):
    script = """() => {
      const data = JSON.parse(document.querySelector(".explorer script").textContent);
      const writes = {"7.0.z@1": [1]};
      try { IOI.forward(data.machines.token, [1, 2], writes); } catch (e) { return e.message; }
    }"""
    assert page.evaluate(script) == "there is no node 7.0.z@1"


# ---- The figure shows what was computed ----


def use(page, state: dict) -> None:
    """Set every control of the figure, as a reader does."""
    for name in ("machine", "order", "template", "new", "direction"):
        page.select_option(f"select[name={name}]", state[name])
    for name in ("io", "s", "io"):  # to pick the other's name swaps the two
        page.select_option(f"select[name={name}]", state[name])
    for key in ("h", "R"):
        nodes = [node.split("@") for node in state[key] if node != "logits@END"]
        wanted = {name for name, _ in nodes} | ({"logits"} if "logits@END" in state[key] else set())
        for on in (True, False):  # first all that are wanted: one must stay
            ticked = page.locator(f"input[name={key}]:checked").evaluate_all(
                "boxes => boxes.map((box) => box.value)"
            )
            for value in wanted - set(ticked) if on else set(ticked) - wanted:
                page.set_checked(f"input[name={key}][value='{value}']", on)
        if nodes:
            page.select_option(f"select[name={key}-at]", nodes[0][1])
    page.check(f"input[name=frozen][value='{state['frozen']}']")
    page.check(f"input[name=treatment][value={state['treatment']}]")
    page.check(f"input[name=pass][value={state['pass']}]")


def in_order(state: dict) -> dict:
    return {**state, "h": sorted(state["h"]), "R": sorted(state["R"])}


def test_states_set_by_hand(page):
    for state in states(20 if AUDIT else 6, seed=2):
        use(page, state)
        assert result(page) == expected_result(state), state
        linked = page.evaluate("Explorer.fromHash(location.hash)")
        assert in_order(linked) == in_order(state)


def test_the_link_brings_the_state_back(page, address):
    asked = states(200, seed=3)
    round_trip = "states => states.map((state) => Explorer.fromHash(Explorer.toHash(state)))"
    assert page.evaluate(round_trip, asked) == asked
    for state in asked[:6]:
        link = page.evaluate("state => Explorer.toHash(state)", state)
        page.goto("about:blank")
        page.goto(address + link)
        assert result(page) == expected_result(state)
        assert page.locator("select[name=io]").input_value() == state["io"]
        on = page.locator("input[name=h]:checked").evaluate_all(
            "all => all.map((box) => box.value)"
        )
        at = page.locator("select[name=h-at]").input_value()
        assert sorted(f"{name}@{at}" for name in on) == sorted(state["h"])


def test_a_link_in_the_text_and_a_broken_link(page, address):
    page.get_by_role("link", name="a state").click()
    page.locator("select[name=machine] option:checked[value=keys]").wait_for(state="attached")
    assert result(page) == "Pass B: logit difference 6."
    page.goto("about:blank")
    page.goto(address + "#explorer?machine=nonsense&h=9.9.z@END&R=&io=Brian&pass=E")
    assert page.locator("select[name=machine]").input_value() == DEFAULT["machine"]
    assert page.locator("select[name=s]").input_value() == "Anna"  # not twice the same name
    assert result(page) == f"Pass D: logit difference 2. Baseline 6, change {number(-4)}."


def test_tables_agree_with_the_picture_that_python_draws(page):
    for state in states(16, seed=4):
        page.evaluate(GO_TO, state)
        cells = page.locator(".values tbody tr").evaluate_all(
            "rows => rows.map((row) => [...row.children].map((cell) => cell.innerText))"
        )
        rows = {name.split(" (")[0]: [" ".join(c.split()) for c in rest] for name, *rest in cells}
        made, x = (
            machine(state["machine"]),
            explorer_picture.find_prompt(machine(state["machine"]), state),
        )
        nodes = explorer_picture.nodes(made.design, state)
        done = explorer_picture.passes(made, state, nodes)
        for node in nodes:
            title = f"token at {node.at}" if node.kind == "embed" else str(node).replace(".z@", "@")
            for shown, name in zip(rows[title], done, strict=True):
                said = " ".join(explorer_picture.cell(made, x, node, name, done)).split()
                changed = "changed" in explorer_picture.paint(node, name, done, state)
                assert shown == " ".join(said) + " (not as in B)" * changed, (
                    state,
                    str(node),
                    name,
                )


def test_the_five_treatments(page):
    labels = dict(explorer_picture.TREATMENTS)
    for state in states(6, seed=5):
        page.goto("about:blank")
        use_link(page, state)
        rows = page.locator(".treatments tbody tr").evaluate_all(
            "rows => rows.map((row) => [...row.children].map((cell) => cell.innerText))"
        )
        shown = {name: difference for name, difference, _ in rows}
        for key, label in labels.items():
            found = by_python({**state, "treatment": key})["D"]["difference"]
            assert shown.pop(label) == number(found), (state, label)
        assert list(shown) == ["none"]


def use_link(page, state: dict) -> None:
    page.go_back()
    link = page.evaluate("state => Explorer.toHash(state)", state)
    page.evaluate("link => { location.hash = link }", link)
    page.reload()


def test_the_python_line_computes_the_same(page):
    for state in [{**s, "pass": "D"} for s in states(12, seed=6)]:
        script = """state => Explorer.python(
          JSON.parse(document.querySelector(".explorer script").textContent), state)"""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(page.evaluate(script, state), names := {})
        assert names["x"].pairs == pair_of(state).pairs  # other pairs often have the same numbers
        after, before = map(float, printed.getvalue().split())
        (found,) = page.evaluate(BY_SCRIPT, [state])
        assert after == pytest.approx(found["D"]["difference"], abs=EXACT), state
        assert before == pytest.approx(found["B"]["difference"], abs=EXACT)


def test_words_stay_inside_their_boxes(page):
    overflow = """() => [...document.querySelectorAll(".explorer svg g.node")].flatMap((node) => {
      const box = node.querySelector(".edge").getBBox();
      return [...node.querySelectorAll("text")].filter((text) => {
        const { x, y, width, height } = text.getBBox();
        return x < box.x - 1 || x + width > box.x + box.width + 1 || y < box.y - 1 ||
          y + height > box.y + box.height + 1;
      }).map((text) => text.textContent);
    })"""
    for state in states(40, seed=7):
        page.evaluate(GO_TO, state)
        assert page.evaluate(overflow) == [], state


# ---- Mouse, keyboard, screen reader ----


def test_every_control_by_mouse(page):
    for name in ("A", "B", "C", "D"):
        page.locator(".steps label", has_text=re.compile(rf"^ ?{name}$")).click()
        assert result(page).startswith(f"Pass {name}:")
    page.get_by_role("button", name="Next pass").click()
    assert result(page).startswith("Pass A:")
    for treatment in reversed(explorer_picture.TREATMENTS.values()):
        page.get_by_text(treatment, exact=True).first.click()
        assert page.locator(".treatments tr.current th").inner_text() == treatment
    for text in ("frozen", "recomputed"):
        page.locator(".controls").get_by_text(text, exact=True).click()
        assert f"MLPs are {text}." in page.locator("figcaption").inner_text()
    for key in ("h", "R"):
        for box in page.locator(f"input[name={key}]").all():
            before, hash_before = box.is_checked(), page.evaluate("location.hash")
            box.click()
            if before and len(page.locator(f"input[name={key}]:checked").all()) == 1:
                continue  # the last one stays
            assert box.is_checked() != before and page.evaluate("location.hash") != hash_before
    page.locator("summary").click()
    assert "path_patch" in page.locator("pre").inner_text()


def test_the_last_sender_and_receiver_stay(page):
    for key, what in (("h", "sender"), ("R", "receiver")):
        only = page.locator(f"input[name={key}]:checked")
        only.click()
        assert only.is_checked()
        assert page.locator(".note").inner_text() == f"There must be at least one {what}."


def test_every_control_by_keyboard(page):
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        active = """() => { const at = document.activeElement;
          return [at.tagName, at.name ?? "", at.value ?? "", at.textContent.slice(0, 9)] }"""
        tag, name, value, text = page.evaluate(active)
        if tag == "BODY":
            break
        reached.append((tag, name))
        before = page.evaluate("location.hash")
        visible = "getComputedStyle(document.activeElement).outlineStyle"
        if tag == "SELECT":
            last = page.evaluate(
                "document.activeElement.selectedIndex + 1 === document.activeElement.length"
            )
            page.keyboard.press("ArrowUp" if last else "ArrowDown")
        elif tag == "INPUT" and name in ("h", "R"):
            page.keyboard.press("Space")
            if not page.locator(".note").inner_text():
                assert page.evaluate("location.hash") != before, (name, value)
            page.keyboard.press("Space")
        elif tag == "INPUT":
            page.keyboard.press("ArrowUp")
        elif tag in ("BUTTON", "SUMMARY"):
            page.keyboard.press("Enter")
        if tag == "SELECT" or (tag == "INPUT" and name not in ("h", "R")):
            assert page.evaluate("location.hash") != before, (name, value)
            assert page.evaluate("document.activeElement.name") == name  # the focus stays
        if tag != "A":
            assert page.evaluate(visible) != "none", (tag, name, text)
    names = {name for _, name in reached}
    assert names >= {"pass", "treatment", "h-at", "h", "R-at", "R", "frozen", "machine", "io", "s"}
    assert names >= {"order", "template", "new", "direction"}
    tags = [tag for tag, _ in reached]
    assert tags.count("BUTTON") == 3 and "SUMMARY" in tags and "DIV" in tags
    assert page.locator("details").get_attribute("open") is not None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility_rules(page, theme: str):
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    page.locator("summary").click()
    for name in ("A", "C", "D"):
        page.check(f"input[name=pass][value={name}]")
        found = Axe().run(page, context=".explorer", options={"preload": False})
        assert found.violations_count == 0, found.generate_report()


def test_names_and_live_results(page):
    assert page.get_by_role("status").first.inner_text() == result(page)
    assert page.get_by_role("table", name="Values of each node").is_visible()
    assert page.get_by_role("row", name="1.0@END (h)").get_by_role("cell").count() == 4
    assert "pass D" in page.get_by_role("img").get_attribute("aria-label")
    for control in page.locator(".explorer :is(select, input)").all():
        assert control.evaluate(
            "c => c.labels.length + (c.getAttribute('aria-label') ?? '').length"
        )


# ---- Screens, paper, no script, size ----


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_no_page_scrolls_sideways(page, width: int):
    page.set_viewport_size({"width": width, "height": 800})
    for state in [{**DEFAULT, "machine": "mlp"}, *states(5, seed=8)]:
        page.evaluate(GO_TO, state)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def colours(page) -> list[str]:
    return page.evaluate(
        """() => [".explorer .fill", ".explorer .node.receiver .fill"].map(
          (box) => getComputedStyle(document.querySelector(box)).fill)"""
    )


def test_dark_by_theme_by_system_and_never_on_paper(page):
    light = colours(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = colours(page)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(media="print")
    assert colours(page) == light
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("document.documentElement.removeAttribute('data-theme')")
    assert colours(page) == dark
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert colours(page) == light


def test_paper_has_the_state_and_no_controls(page):
    page.check("input[name=pass][value=C]")
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible() and not page.locator(".steps").is_visible()
    for shown in (".result", "figure svg", "figcaption", ".values", ".treatments"):
        assert page.locator(shown).is_visible()
    assert result(page).startswith("Pass C:")
    assert page.locator(".scroll").evaluate("box => box.scrollWidth <= box.clientWidth + 1")


@pytest.mark.parametrize("treatment", ["path", "overwrite"])
def test_without_a_script_there_is_a_picture(browser, tmp_path, treatment: str):
    where = write_page(tmp_path, treatment=treatment)
    with browser.new_context(java_script_enabled=False) as context, context.new_page() as page:
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(where)
        assert page.locator("figure svg").is_visible() and not page.locator(".live").count()
        label = page.locator("figure svg").get_attribute("aria-label")
        assert "A 0, B 6" in label and "D 2." in label
        assert "h = 1.0@END and R = 2.0.q@END" in page.locator("figcaption").inner_text()
        said = page.locator("figure svg text").all_text_contents()
        assert {"1.0@END", "Pass B"} <= set(said)
        assert ("frozen to B" in said) == (treatment == "path")


def test_small_and_from_here():
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in FILES[:3]]
    data = re.search(r"<script[^>]*>(.*)</script>", explorer().data)[1]
    assert json.loads(data)["machines"].keys() == DATA["machines"].keys()
    assert sum(len(text.encode()) for text in [*texts, data]) <= 60_000
    for text in [*texts, explorer().data]:
        assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))
    assert len(texts[0].splitlines()) < 150
