// The interactive figure of the IOI machine: controls, a diagram, tables, a link, a line of Python.
// explorer_machine.js computes; book/explorer.py writes the data and the picture for a page
// without JavaScript, which this script replaces.
const Explorer = (() => {
  "use strict";
  const LABELS = ["IO", "S1", "S2", "END"];
  const TREATMENTS = {
    none: "none",
    path: "path patch h to R",
    activation: "activation patch h",
    overwrite: "overwrite R",
    freeze: "patch h, freeze R",
    both: "patch h and R",
  };
  const CHOICES = {
    order: { ABBA: "IO, S, S", BABA: "S, IO, S" },
    new: {
      abc: "three other names",
      flip: "S2 becomes the other name",
      exchange: "the first two names change places",
    },
    direction: {
      noising: "noising: patch the IOI prompt",
      denoising: "denoising: patch the other prompt",
    },
    frozen: { heads: "recomputed", "heads+mlps": "frozen" },
    treatment: Object.fromEntries(Object.entries(TREATMENTS).slice(1)),
  };

  // ---- State: everything the figure shows follows from it, and it is the link ----

  const headsOf = (model) => Object.keys(model.heads);
  const mlpsOf = (model) =>
    [...Array(model.n_layers).keys()].filter((i) => model.weights[`layers.${i}.mlp.fc_in.weight`]);
  const position = (nodes) => nodes.find((node) => !node.startsWith("logits"))?.split("@")[1] ?? "END";
  const senderKinds = (model) => [
    "embed",
    ...headsOf(model).map((head) => `${head}.z`),
    ...mlpsOf(model).map((layer) => `${layer}.mlp_out`),
  ];
  const receiverKinds = (model) =>
    headsOf(model).flatMap((head) => ["q", "k", "v"].map((kind) => `${head}.${kind}`));

  // A state with what a link says, where that makes sense, and the default for the rest.
  function sound(data, asked, defaults) {
    const state = { ...defaults };
    const known = {
      machine: Object.keys(data.machines),
      io: data.names,
      s: data.names,
      template: data.templates.map((_, i) => String(i)),
      pass: ["A", "B", "C", "D"],
      ...Object.fromEntries(Object.entries(CHOICES).map(([key, of]) => [key, Object.keys(of)])),
    };
    for (const key in known) if (known[key].includes(asked[key])) state[key] = asked[key];
    if (state.io === state.s) state.s = data.names.find((name) => name !== state.io);
    if (state.treatment !== "path" && state.pass === "C") state.pass = "D";
    const model = data.machines[state.machine];
    const places = (nodes, kinds) => {
      const at = LABELS.includes(position(nodes)) ? position(nodes) : "END";
      return kinds.filter((kind) => nodes.some((node) => node.split("@")[0] === kind)).map((kind) => `${kind}@${at}`);
    };
    const receivers = (nodes) => [
      ...places(nodes, receiverKinds(model)),
      ...(nodes.includes("logits@END") ? ["logits@END"] : []),
    ];
    const first = (...lists) => lists.find((list) => list.length);
    const [h, R] = [asked.h ?? [], asked.R ?? []];
    state.h = first(places(h, senderKinds(model)), places(defaults.h, senderKinds(model)), ["1.0.z@END"]);
    state.R = first(receivers(R), receivers(defaults.R), ["logits@END"]);
    return state;
  }

  const KEYS = "machine io s order template new direction h R frozen treatment pass".split(" ");

  function toHash(state) {
    const value = (key) => encodeURIComponent([].concat(state[key]).join(","));
    const pairs = KEYS.map((key) => `${key}=${value(key)}`).join("&");
    return `#explorer?${pairs.replaceAll("%40", "@").replaceAll("%2C", ",")}`;
  }

  function fromHash(hash) {
    if (!hash.startsWith("#explorer?")) return null;
    const asked = Object.fromEntries(new URLSearchParams(hash.slice("#explorer?".length)));
    for (const key of ["h", "R"]) if (key in asked) asked[key] = asked[key].split(",");
    return asked;
  }

  // ---- Words: what a vector says ----

  const round = (x) => String(Math.round(100 * x) / 100).replace("-", "−");
  const signed = (x) => (Math.round(100 * x) > 0 ? `+${round(x)}` : round(x));

  // The coordinates of a part of a vector that are not 0, by name: "say Anna 4". A 1 goes unsaid,
  // unless the part is measured in other numbers too.
  function say(data, view, numbers, measured = false) {
    const names = view === "word" ? data.words.map((word) => word.trim()) : data.names;
    const name = (i) => ({ 1: "", 8: names[i] })[numbers.length] ?? `place ${i}`;
    const amount = (x) => (Math.abs(x - 1) < 1e-9 && !measured ? "" : round(x));
    const said = numbers.flatMap((x, i) => (Math.abs(x) < 1e-9 ? [] : [`${name(i)}\u00a0${amount(x)}`.trim()]));
    return said.length ? [`${view} ${said.join(", ")}`.trim()] : [];
  }

  function words(data, model, name, vector) {
    const [layer, number, kind] = name.split(".");
    if (!kind) {
      const spaces = Object.entries(model.spaces);
      return spaces.flatMap(([space, [start, size]]) => say(data, space, vector.slice(start, start + size)));
    }
    const { match, copy } = model.heads[`${layer}.${number}`];
    const [view, into, factor] = copy;
    const size = model.spaces[into][1];
    if (kind === "z") return say(data, into, vector.slice(0, size), factor !== 1);
    if (kind === "v") return say(data, view, vector.slice(0, size).map((x) => x / factor));
    return match.flatMap(([start, width, , key, strength]) => {
      const part = vector.slice(start, start + width);
      if (key === "first") return []; // the same everywhere: where a head rests
      if (kind === "k") return say(data, key, part);
      const sought = part.map((x) => x / (strength * model.sharp));
      return say(data, width > 1 ? "" : key, sought).map((text) => `${strength > 0 ? "seeks" : "avoids"} ${text}`);
    });
  }

  const join = (parts, by) => parts.filter(Boolean).join(by);
  const differs = (x, y) => x.some((value, i) => Math.abs(value - y[i]) > 1e-9);

  // ---- Scene: which nodes are shown, and for each pass what they hold and what was done to them ----

  function scene(data, state) {
    const found = IOI.passes(data, state);
    const { positions, ...answers } = IOI.prompts(data, state);
    const columns = Object.keys(positions).sort((one, other) => positions[one] - positions[other]);
    const boxes = bands(data.machines[state.machine], state, columns, (name, at) =>
      Object.values(found).some((run) => run.used[`${name}@${positions[at]}`].some(Boolean)),
    ).flatMap((band, row) => band.map(([name, at]) => ({ name, at, row })));
    const ends = { sender: state.h, receiver: state.R };
    for (const box of boxes) {
      box.title = box.name === "embed" ? box.at : box.name.replace(/\.z$/, "").replace(".mlp_out", " MLP");
      box.role = Object.keys(ends).find((role) => ends[role].includes(`${box.name}@${box.at}`)) ?? "";
      const inPass = (pass) => [pass, content(data, state, box, { pass, found, positions, ...answers })];
      box.passes = Object.fromEntries(Object.keys(found).map(inPass));
    }
    return { boxes, found, columns };
  }

  // The nodes to show, from below: the tokens, a band for each layer, the logits. Heads and MLPs
  // stand where the circuit has them, and wherever they send or write something.
  function bands(model, state, columns, writes) {
    const layers = [...Array(model.n_layers).keys()];
    const everywhere = (name) => columns.map((at) => [name, at]);
    const shown = (name) => everywhere(name).filter(([, at]) =>
      at === (name.startsWith("0.") ? "S2" : "END") || state.h.includes(`${name}@${at}`) || writes(name, at));
    const inLayer = (layer) => [
      ...headsOf(model).filter((head) => head.startsWith(`${layer}.`)).flatMap((head) => [
        ...state.R.filter((node) => node.startsWith(`${head}.`)).map((node) => node.split("@")),
        ...shown(`${head}.z`),
      ]),
      ...mlpsOf(model).filter((number) => number === layer).flatMap((number) => shown(`${number}.mlp_out`)),
    ];
    return [everywhere("embed"), ...layers.map(inLayer), [["logits", "END"]]];
  }

  // What a box says in a pass, and how it is painted.
  function content(data, state, { name, at, role }, { pass, found, positions, answer, foil }) {
    const run = found[pass];
    const node = `${name}@${positions[at]}`;
    const [vector, origin] = [run.used[node], run.origin[node]];
    const stored = Object.values(found).some((other) => other.origin[node] === pass);
    const [isHead, isToken] = [name.endsWith(".z"), name === "embed"];
    // Where a head looks says nothing about an output that was put there.
    const attention = (isHead && !origin && run.look[node.replace(".z", "")]) || [];
    const label = (token) => Object.keys(positions).find((key) => positions[key] === token) ?? `token ${token}`;
    const looked = attention.flatMap((weight, token) => (token && weight > 0.01 ? [[label(token), weight]] : []));
    const logit = (word) => `${data.words[word - 1].trim()} ${round(vector[word])}`;
    const said = () => words(data, data.machines[state.machine], name, vector).join(", ");
    return {
      status: origin ? (origin === "B" ? "frozen to B" : `patched from ${origin}`)
        : stored ? "stored"
        : isToken ? ""
        : "AB".includes(pass) ? "computed" : "recomputed",
      looked,
      looks: name === "logits" ? `${logit(answer)}, ${logit(foil)}`
        : looked.length ? `looks at ${looked.map(([where]) => where).join(", ")}`
        : isHead && !origin ? "rests" : "",
      says: name === "logits" ? `difference ${round(run.difference)}`
        : isToken ? (origin ? `as ${said()}` : data.words[run.ids[positions[at]] - 1].trim())
        : said() || (isHead ? "writes nothing" : "nothing"),
      paint: origin === "B" ? "frozen" : origin || stored ? role : "",
      hatched: pass === "A" || origin === "A",
      changed: pass !== "A" && differs(vector, found.B.used[node]),
    };
  }

  // ---- Diagram ----

  const WIDTHS = [66, 66, 90, 129]; // of the columns, 360 in all with the gaps
  const [GAP, LINE] = [3, 14];

  function el(tag, attributes = {}, ...children) {
    const svg = /^(svg|g|rect|text|path|line|circle|pattern|defs|marker)$/.test(tag);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "click") made.addEventListener(key, value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  // How many letters fit in a line. Values may be bold, which is wider.
  const letters = (width, bold) => Math.floor((width - 5) / (bold ? 6.2 : 5.7));
  const keep = (text, width) => (text.length <= letters(width) ? text.replaceAll(" ", "\u00a0") : text);

  function wrap(text, room) {
    const lines = [""];
    for (const word of text.split(/(?<= )/)) {
      if (lines.at(-1) && `${lines.at(-1)}${word}`.trim().length > room) lines.push("");
      lines[lines.length - 1] += word;
    }
    return lines.map((line) => line.trim());
  }

  function place({ boxes, columns }) {
    let top = 0;
    const left = (i) => WIDTHS.slice(0, i).reduce((sum, w) => sum + w + GAP, 0);
    for (let row = 0; boxes.some((box) => box.row >= row); row += 1) {
      const heights = columns.map(() => 0);
      for (const box of boxes.filter((other) => other.row === row)) {
        const i = columns.indexOf(box.at);
        const lines = Object.values(box.passes).map(({ status, looks, says }) => ({
          title: wrap(join([box.title, keep(status, WIDTHS[i])], ": "), letters(WIDTHS[i])),
          text: [looks, says].filter(Boolean).flatMap((text) => wrap(text, letters(WIDTHS[i], true))),
        }));
        Object.keys(box.passes).forEach((pass, j) => Object.assign(box.passes[pass], lines[j]));
        box.height = 8 + LINE * Math.max(...lines.map(({ title, text }) => title.length + text.length));
        [box.x, box.width] = [left(i), WIDTHS[i]];
        box.bottom = top + heights[i];
        heights[i] += box.height + 9;
      }
      top += Math.max(...heights) + (Math.max(...heights) ? 12 : 0);
    }
    return top;
  }

  function draw(shown, pass) {
    const height = place(shown);
    const middle = (box) => height - box.bottom - box.height / 2;
    const center = (at) => {
      const box = shown.boxes.find((other) => other.row === 0 && other.at === at);
      return box.x + box.width / 2;
    };
    const lines = el("g");
    for (const at of shown.columns) {
      lines.append(el("line", { class: "stream", x1: center(at), x2: center(at), y1: 4, y2: height - 20 }));
    }
    for (const box of shown.boxes) {
      const { looked, changed } = box.passes[pass];
      const sources = looked.filter(([where]) => shown.columns.includes(where) && where !== box.at);
      sources.forEach(([where, weight], i) => {
        const y = middle(box) + 12 * (i - (sources.length - 1) / 2);
        const attention = { x1: center(where), x2: box.x - 1, y1: y, y2: y, "stroke-width": 1 + 1.5 * weight };
        const style = { class: `attention${changed ? " changed" : ""}`, "marker-end": "url(#explorer-arrow)" };
        lines.append(el("line", { ...style, ...attention }), el("circle", { cx: center(where), cy: y, r: 3.5 }));
      });
    }
    // A key or value that receives stands at another token than the head that reads it.
    for (const input of shown.boxes.filter((box) => /[kv]$/.test(box.name))) {
      const reads = ({ name, x }) => name === input.name.replace(/[kv]$/, "z") && x > input.x;
      for (const head of shown.boxes.filter(reads)) {
        const ends = { x1: input.x + input.width, y1: middle(input), x2: head.x - 1, y2: middle(head) };
        lines.append(el("line", { class: "wire", ...ends }));
      }
    }
    const parts = shown.boxes.map((box) => {
      const { title, text, paint, hatched, changed } = box.passes[pass];
      const [x, y] = [box.x, height - box.bottom - box.height];
      const shape = { x, y, width: box.width, height: box.height, rx: 4 };
      const start = y + box.height / 2 - (LINE * (title.length + text.length)) / 2 + 11;
      const row = (line, i, style) =>
        el("text", { x: x + box.width / 2, y: start + LINE * i, class: style }, line);
      return el(
        "g",
        { class: `node ${paint} ${box.role ? `is-${box.role}` : ""} ${changed ? "changed" : ""}` },
        el("rect", { class: "fill", ...shape }),
        ...(hatched ? [el("rect", { fill: "url(#explorer-hatch)", ...shape })] : []),
        el("rect", { class: "edge", ...shape }),
        ...title.map((line, i) => row(line, i, "title")),
        ...text.map((line, i) => row(line, title.length + i, "value")),
      );
    });
    const hatch = { id: "explorer-hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
    const arrow = { id: "explorer-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" };
    return el(
      "svg",
      { viewBox: `-2 -2 364 ${height + 4}`, role: "img", "aria-label": `Diagram of pass ${pass}. The table of values has what it shows.` },
      el("defs", {},
        el("pattern", hatch, el("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 7 })),
        el("marker", arrow, el("path", { d: "M0,0 L8,4 L0,8 z" }))),
      lines,
      ...parts,
    );
  }

  // ---- Tables, sentences, Python ----

  const STEPS = {
    A: "Run x_new and change nothing.",
    B: "Run x_orig and change nothing: the baseline.",
    C: "Run x_orig with FROZEN frozen to B and the sender patched from A. Store what the receivers would take.",
    path: "Run x_orig with only the receivers patched, from C. Recompute everything else, the sender too.",
    activation: "Run x_orig with the sender patched from A. Recompute everything above it.",
    overwrite: "Run x_orig with the receivers overwritten by their values in A. Recompute the rest.",
    freeze: "Run x_orig with the sender patched from A and the receivers held as in B. Recompute the rest.",
    both: "Run x_orig with the sender and the receivers patched from A. Recompute the rest.",
  };
  const passName = (state, pass) => (pass === "D" && state.treatment !== "path" ? "Patched run" : `Pass ${pass}`);

  const short = (node) => node.replace(".z@", "@");
  const list = (nodes) => nodes.map(short).join(" + ");
  const prompt = (data, ids) => ids.map((id) => data.words[id - 1]).join("");

  function explain(state) {
    const frozen = state.frozen === "heads" ? "all heads" : "all heads and MLPs";
    return STEPS[state.pass === "D" ? state.treatment : state.pass].replace("FROZEN", frozen);
  }

  function describe(data, state, found) {
    const frozen = state.treatment === "path" ? ` MLPs are ${CHOICES.frozen[state.frozen]}.` : "";
    return (
      `Machine “${state.machine}”. x_orig: “${prompt(data, found.B.ids)}”. x_new: “${prompt(data, found.A.ids)}”. ` +
      `Treatment: ${TREATMENTS[state.treatment]}, with h = ${list(state.h)} and R = ${list(state.R)}.${frozen}`
    );
  }

  function result(state, found) {
    const run = found[state.pass];
    const text = `${passName(state, state.pass)}: logit difference ${round(run.difference)}`;
    if (state.pass !== "D") return `${text}.`;
    return `${text}. Baseline ${round(found.B.difference)}, change ${signed(run.difference - found.B.difference)}.`;
  }

  function hint(state) {
    const [h, R] = [position(state.h), position(state.R)];
    if (state.treatment !== "path") return "";
    const inputs = state.R.filter((node) => !node.startsWith("logits"));
    const at = inputs.length < state.R.length ? [...(inputs.length ? [R] : []), "END"] : [R];
    if (!at.includes(h)) return `h is at ${h}, R at ${at.join(" and ")}: no direct path leaves its position, so nothing can change.`;
    const layer = (node) => (node.startsWith("embed") ? -1 : parseInt(node, 10));
    const highest = Math.max(...state.R.map((node) => (node.startsWith("logits") ? Infinity : layer(node))));
    if (Math.min(...state.h.map(layer)) >= highest) return "h is not below R: nothing it writes can reach R.";
    return "";
  }

  function valueTable(state, shown) {
    const passes = Object.keys(shown.found);
    const cell = (box, pass) => {
      const { status, looks, says, paint, hatched, changed } = box.passes[pass];
      const value = join([looks, says], "; ");
      const what = changed ? el("b", {}, value, el("span", { class: "unseen" }, " (not as in B)")) : value;
      const style = `${paint} ${hatched ? "hatched" : ""} ${pass === state.pass ? "current" : ""}`;
      return el("td", { class: style }, el("small", {}, status), " ", what);
    };
    const name = (box) => (box.name === "embed" ? `token at ${box.at}` : short(`${box.name}@${box.at}`));
    const roles = { sender: "h", receiver: "R" };
    return [
      el("caption", {}, "Values of each node in each pass. Bold: not as in pass B."),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "node"),
        ...passes.map((pass) => el("th", { scope: "col", class: pass === state.pass ? "current" : "" }, passName(state, pass))))),
      el("tbody", {}, ...shown.boxes.map((box) => el("tr", {},
        el("th", { scope: "row" }, name(box), ...(box.role ? [` (${roles[box.role]})`] : [])),
        ...passes.map((pass) => cell(box, pass))))),
    ];
  }

  function treatmentTable(data, state) {
    const rows = Object.entries(TREATMENTS).map(([treatment, text]) => {
      const { B, D } = IOI.passes(data, { ...state, treatment });
      const current = treatment === state.treatment;
      return el("tr", current ? { class: "current", "aria-current": "true" } : {},
        el("th", { scope: "row" }, text),
        el("td", {}, round(D.difference)),
        el("td", {}, signed(D.difference - B.difference)));
    });
    const head = ["treatment", "logit difference", "change"].map((text) => el("th", { scope: "col" }, text));
    return [
      el("caption", {}, "The same h and R, treated in five ways."),
      el("thead", {}, el("tr", {}, ...head)),
      el("tbody", {}, ...rows),
    ];
  }

  // Which of the machine's prompts this is: they are made by nested loops over IO, S, order, template.
  function promptIndex(data, state) {
    const others = data.names.filter((name) => name !== state.io);
    const pair = data.names.indexOf(state.io) * others.length + others.indexOf(state.s);
    const orders = Object.keys(data.orders);
    return (pair * orders.length + orders.indexOf(state.order)) * data.templates.length + Number(state.template);
  }

  function python(data, state) {
    const i = promptIndex(data, state);
    const nodes = (names) => `[${names.map((name) => `"${name}"`).join(", ")}]`;
    const values = (run, names) => `{Node.parse(n): ${run}[n] for n in ${names}}`;
    const line = {
      path: "path_patch(model, x, senders=h, receivers=R, frozen=frozen)",
      activation: "activation_patch(model, x, nodes=h)",
      overwrite: "activation_patch(model, x, nodes=R)",
      freeze: `run(model, x.orig, reads=[LOGITS], writes=${values("a", "h")} | ${values("b", "R")})[LOGITS]`,
      both: "activation_patch(model, x, nodes=h + R)",
    };
    if (state.R.includes("logits@END")) {
      // The metric is read off the logits: who sets them needs no run.
      Object.assign(line, { overwrite: "a[LOGITS]", freeze: "b[LOGITS]", both: "a[LOGITS]" });
    }
    const swapped = state.direction === "denoising" ? ".swapped()" : "";
    return [
      "from pathpatch import (",
      "    LOGITS, Node, activation_patch, heads, ioi_machine, logit_diff, mlps, path_patch, run",
      ")",
      "",
      `made = ioi_machine("${state.machine}")`,
      `model, x = made.model, made.prompts["${state.new}"][${i}:${i + 1}]${swapped}`,
      `h, R = ${nodes(state.h)}, ${nodes(state.R)}`,
      `frozen = heads(model)${state.frozen === "heads" ? "" : " + mlps(model)"}`,
      "a = run(model, x.new, reads=[*h, *R])",
      "b = run(model, x.orig, reads=[*R, LOGITS])",
      `logits = ${line[state.treatment]}`,
      "print(logit_diff(logits, x).item(), logit_diff(b[LOGITS], x).item())",
    ].join("\n");
  }

  // ---- Controls ----

  const option = ([value, text]) => el("option", { value }, text);
  const select = (name, text, choices) =>
    el("label", {}, `${text} `, el("select", { name }, ...Object.entries(choices).map(option)));
  const same = (list) => Object.fromEntries(list.map((item) => [item, item]));
  const tick = (name, value, text) =>
    el("label", { class: "tick" }, el("input", { type: "checkbox", name, value }), ` ${text}`);
  const radio = (name, value, text) =>
    el("label", { class: "tick" }, el("input", { type: "radio", name, value }), ` ${text}`);
  const group = (text, ...inside) => el("fieldset", {}, el("legend", {}, text), ...inside);

  function senderTicks(model) {
    const text = (kind) => kind.replace(/\.z$/, "").replace("embed", "token").replace(".mlp_out", " MLP");
    return senderKinds(model).map((kind) => tick("h", kind, text(kind)));
  }

  function receiverTicks(model) {
    const kinds = ["q", "k", "v"];
    const box = (head, kind) =>
      el("input", { type: "checkbox", name: "R", value: `${head}.${kind}`, "aria-label": `${kind} of head ${head}` });
    const rows = headsOf(model).map((head) =>
      el("tr", {}, el("th", { scope: "row" }, head), ...kinds.map((kind) => el("td", {}, box(head, kind)))));
    const head = ["head", ...kinds].map((text) => el("th", { scope: "col" }, text));
    return [
      el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
      tick("R", "logits", "logits at END"),
    ];
  }

  function controls(data) {
    const sentences = Object.fromEntries(data.templates.map(({ text }, i) => [i, text]));
    const radios = (key) => Object.entries(CHOICES[key]).map(([value, text]) => radio(key, value, text));
    return el("div", { class: "controls" },
      group("Treatment", ...radios("treatment")),
      group("Sender h", select("h-at", "at", same(LABELS)), el("div", { class: "senders" })),
      group("Receivers R", select("R-at", "at", same(LABELS)), el("div", { class: "receivers" })),
      group("MLPs in pass C", el("span", { class: "no-mlps" }, "(this machine has none)"), ...radios("frozen")),
      group("Machine and prompts",
        select("machine", "Machine", same(Object.keys(data.machines))),
        el("p", { class: "circuit" }),
        select("io", "IO", same(data.names)),
        select("s", "S", same(data.names)),
        select("order", "Order", CHOICES.order),
        select("template", "Sentence", sentences),
        select("new", "x_new", CHOICES.new),
        select("direction", "Direction", CHOICES.direction)));
  }

  // What the controls say, as a state.
  function readControls(form) {
    const fields = new FormData(form);
    const asked = Object.fromEntries(fields);
    asked.h = fields.getAll("h").map((kind) => `${kind}@${asked["h-at"]}`);
    asked.R = fields.getAll("R").map((kind) => (kind === "logits" ? "logits@END" : `${kind}@${asked["R-at"]}`));
    return asked;
  }

  function writeControls(form, state) {
    for (const input of form.elements) {
      const { name, type, value } = input;
      if (name === "h-at") input.value = position(state.h);
      else if (name === "R-at") input.value = state.R.some((n) => n[0] !== "l") ? position(state.R) : input.value;
      else if (name === "h" || name === "R") input.checked = state[name].some((node) => node.split("@")[0] === value);
      else if (type === "radio") input.checked = state[name] === value;
      else if (name in state) input.value = state[name];
    }
  }

  // ---- The figure: one form, and what it shows ----

  const KEY = { sender: "sender", receiver: "receiver", frozen: "frozen", "": "computed", hatched: "from x_new" };

  function page(data, copied) {
    const parts = {
      steps: ["A", "B", "C", "D"].map((pass) => radio("pass", pass, pass)),
      next: el("button", { type: "button" }, "Next pass"),
      explain: el("p", { class: "explain" }),
      result: el("p", { class: "result", role: "status" }),
      hint: el("p", { class: "hint" }),
      picture: el("div", { class: "picture" }),
      caption: el("figcaption"),
      values: el("table", { class: "values" }),
      treatments: el("table", { class: "treatments" }),
      code: el("code"),
      note: el("p", { class: "note", role: "status" }),
    };
    const button = (text, what) => el("button", { type: "button", click: () => copied(what) }, text);
    const legend = Object.entries(KEY).map(([style, text]) =>
      el("li", {}, el("span", { class: `swatch ${style}` }), ` ${text}`));
    const form = el("form", { class: "live", "aria-label": "The IOI machine, interactive" },
      el("div", { class: "view" },
        el("fieldset", { class: "steps" }, el("legend", {}, "Pass"), ...parts.steps, parts.next),
        parts.result, parts.explain, parts.hint, parts.note,
        el("figure", {}, parts.picture, el("ul", { class: "key" }, ...legend), parts.caption),
        el("p", { class: "copies" }, button("Copy link", "link"), button("Copy Python", "Python"))),
      controls(data),
      el("div", { class: "scroll", role: "region", "aria-label": "Values", tabindex: "0" }, parts.values),
      el("div", { class: "below" }, parts.treatments,
        el("details", {}, el("summary", {}, "The same in Python"), el("pre", { tabindex: "0" }, parts.code))));
    form.addEventListener("submit", (event) => event.preventDefault());
    return { form, parts };
  }

  function show(data, state, form, parts) {
    const shown = scene(data, state);
    const path = state.treatment === "path";
    parts.steps[2].hidden = !path;
    parts.steps[3].lastChild.textContent = path ? " D" : " Patched run";
    parts.explain.textContent = explain(state);
    parts.result.textContent = result(state, shown.found);
    parts.hint.textContent = hint(state);
    parts.caption.textContent = describe(data, state, shown.found);
    parts.picture.replaceChildren(draw(shown, state.pass));
    fit(parts.picture);
    parts.values.replaceChildren(...valueTable(state, shown));
    parts.treatments.replaceChildren(...treatmentTable(data, state));
    parts.code.textContent = python(data, state);
    form.querySelector(".circuit").textContent = data.machines[state.machine].circuit;
    form.querySelector(".no-mlps").hidden = mlpsOf(data.machines[state.machine]).length > 0;
    writeControls(form, state);
  }

  function fit(picture) { // fonts differ: press words together that would leave their box
    for (const text of picture.querySelectorAll("g.node text")) {
      const room = text.parentNode.querySelector(".edge").getBBox().width - 2;
      if (text.getComputedTextLength() <= room) continue;
      text.setAttribute("textLength", room);
      text.setAttribute("lengthAdjust", "spacingAndGlyphs");
    }
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const defaults = JSON.parse(root.dataset.state);
    let state = sound(data, fromHash(location.hash) ?? defaults, defaults);
    const link = () => location.href.split("#")[0] + toHash(state);
    const { form, parts } = page(data, async (what) => {
      try {
        await navigator.clipboard.writeText(what === "link" ? link() : python(data, state));
        parts.note.textContent = `Copied the ${what}.`;
      } catch {
        history.replaceState(null, "", toHash(state));
        parts.note.textContent = "The browser does not let this page copy. " +
          (what === "link" ? "The link is in the address bar." : "The code is at the end of this figure.");
      }
    });

    function build() { // what can be ticked depends on the machine
      form.querySelector(".senders").replaceChildren(...senderTicks(data.machines[state.machine]));
      form.querySelector(".receivers").replaceChildren(...receiverTicks(data.machines[state.machine]));
    }
    function go(asked) {
      const { machine } = state;
      state = sound(data, asked, { ...defaults, ...state });
      if (state.machine !== machine) build();
      show(data, state, form, parts);
      const missing = [["h", "sender"], ["R", "receiver"]].filter(([key]) => asked[key]?.length === 0);
      parts.note.textContent = missing.map(([, what]) => `There must be at least one ${what}.`).join(" ");
      history.replaceState(null, "", toHash(state));
    }

    form.addEventListener("change", ({ target }) => {
      const asked = readControls(form);
      // Who picks the name that the other one has swaps the two.
      if (asked.io === asked.s) asked[target.name === "io" ? "s" : "io"] = state[target.name];
      go(asked);
    });
    parts.next.addEventListener("click", () => {
      const passes = state.treatment === "path" ? "ABCD" : "ABD";
      go({ ...state, pass: passes[(passes.indexOf(state.pass) + 1) % passes.length] });
    });
    window.addEventListener("hashchange", () => { // a link in the text
      const asked = fromHash(location.hash);
      if (asked) go(asked);
      if (asked) root.scrollIntoView();
    });

    root.querySelector(".static").replaceWith(form); // first: what is not on the page has no size
    build();
    show(data, state, form, parts);
    if (fromHash(location.hash)) root.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".explorer").forEach(start));
  return { fromHash, python, sound, toHash };
})();
