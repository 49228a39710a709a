// The IOI machine: its forward pass, and the passes A, B, C and D, as in the library's forward.py
// and paths.py. A node is a string: "1.0.z@8" is the output of head 0 in layer 1 at token 8.
const IOI = (() => {
  "use strict";
  const add = (x, y) => x.map((value, i) => value + y[i]);
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);

  // A matrix is [rows, columns, row, column, value, length, row, ...]: after the sizes, each four
  // are a value that is repeated down a diagonal or, if length is negative, along a row.
  function eachEntry(matrix, use) {
    for (let i = 2; i < matrix.length; i += 4) {
      const [row, column, value, length] = matrix.slice(i, i + 4);
      for (let j = 0; j < Math.abs(length); j += 1) use(length > 0 ? row + j : row, column + j, value);
    }
  }

  function times(matrix, x) {
    const y = Array(matrix[0]).fill(0);
    eachEntry(matrix, (row, column, value) => { y[row] += value * x[column]; });
    return y;
  }

  function rowOf(matrix, index) {
    const y = Array(matrix[1]).fill(0);
    eachEntry(matrix, (row, column, value) => { if (row === index) y[column] = value; });
    return y;
  }

  function softmax(scores) {
    const powers = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  // One forward pass, with values to overwrite: {node: vector}. Returns three maps from nodes:
  // `read`, as computed, before a write replaces it; `used`, what the pass went on with; `look`,
  // for a head at a token ("1.0@8"), how much it attends to each token.
  function forward(model, ids, writes = {}) {
    const [read, used, look] = [{}, {}, {}];
    const w = (name) => model.weights[name];
    const linear = (name, x) => {
      const [y, bias] = [times(w(`${name}.weight`), x), w(`${name}.bias`)];
      return bias ? add(y, times(bias, [1])) : y; // what is all 0 is not in the data
    };
    const at = (name, token, vector) => {
      const node = `${name}@${token}`;
      read[node] = vector;
      return (used[node] = writes[node] ?? vector);
    };
    let stream = ids.map((id, token) =>
      add(at("embed", token, rowOf(w("tok_embed.weight"), id)), rowOf(w("pos.weight"), token)),
    );
    for (let layer = 0; layer < model.n_layers; layer += 1) {
      const numbers = [...Array(model.n_heads).keys()];
      const part = (vector, head) =>
        vector.slice(head * model.d_head, (head + 1) * model.d_head);
      const [q, k, v] = ["q", "k", "v"].map((kind) =>
        stream.map((x, token) => {
          const vector = linear(`layers.${layer}.attn.${kind}`, x);
          return numbers.map((i) => at(`${layer}.${i}.${kind}`, token, part(vector, i)));
        }),
      );
      stream = stream.map((x, token) => {
        const z = numbers.map((i) => {
          const before = k.slice(0, token + 1); // a token sees itself and those before it
          const scores = before.map((key) => dot(q[token][i], key[i]) / Math.sqrt(model.d_head));
          const pattern = (look[`${layer}.${i}@${token}`] = softmax(scores));
          const copied = v[0][i].map((_, j) => dot(pattern, pattern.map((_, t) => v[t][i][j])));
          return at(`${layer}.${i}.z`, token, copied);
        });
        return add(x, linear(`layers.${layer}.attn.o`, z.flat()));
      });
      if (!w(`layers.${layer}.mlp.fc_in.weight`)) continue;
      stream = stream.map((x, token) => {
        const units = linear(`layers.${layer}.mlp.fc_in`, x).map((unit) => Math.max(unit, 0));
        const out = linear(`layers.${layer}.mlp.fc_out`, units);
        return add(x, at(`${layer}.mlp_out`, token, out));
      });
    }
    at("logits", ids.length - 1, times(w("head.weight"), stream.at(-1)));
    for (const node in writes) if (!(node in read)) throw Error(`there is no node ${node}`);
    return { read, used, look };
  }

  // x_orig, which gets patched, and x_new; answer, foil and positions are the same for both.
  function prompts(data, state) {
    const { io, s } = state;
    const [first, second, third] = data.orders[state.order].map((who) => (who === "IO" ? io : s));
    const others = data.names.filter((name) => name !== io && name !== s);
    const corrupt = {
      abc: others.slice(0, 3),
      flip: [first, second, io],
      exchange: [second, first, third],
    }[state.new];
    const { ids, slots } = data.templates[state.template];
    const id = (name) => data.words.indexOf(` ${name}`) + 1; // 0: a word that is not known
    const fill = (names) => ids.map((word, i) => (slots.includes(i) ? id(names[slots.indexOf(i)]) : word));
    const pair = [fill([first, second, third]), fill(corrupt)];
    const [orig, other] = state.direction === "denoising" ? pair.reverse() : pair;
    const labels = data.orders[state.order][0] === "IO" ? ["IO", "S1", "S2"] : ["S1", "IO", "S2"];
    const positions = Object.fromEntries(labels.map((label, i) => [label, slots[i]]));
    return { orig, other, answer: id(io), foil: id(s), positions: { ...positions, END: ids.length - 1 } };
  }

  // The passes of a treatment: {A, B, C, D}. Without a path patch there is no C, and D is x_orig
  // with other nodes overwritten. A pass also has `origin`, which says for each node that was
  // overwritten from which pass its value is, and `difference`, the logit difference.
  function passes(data, state) {
    const model = data.machines[state.machine];
    const { orig, other, answer, foil, positions } = prompts(data, state);
    const here = (node) => node.replace(/@(.+)/, (_, label) => `@${positions[label]}`);
    const [h, R] = [state.h.map(here), state.R.map(here)];
    const run = (ids, ...parts) => {
      const [writes, origin] = [{}, {}];
      for (const [name, source, nodes] of parts) {
        for (const node of nodes) [writes[node], origin[node]] = [source.read[node], name];
      }
      const found = forward(model, ids, writes);
      const logits = found.used[`logits@${positions.END}`];
      return { ...found, ids, origin, difference: logits[answer] - logits[foil] };
    };
    const [A, B] = [run(other), run(orig)];
    if (state.treatment === "path") {
      const kinds = state.frozen === "heads" ? /\.z@/ : /\.(z|mlp_out)@/;
      const frozen = Object.keys(B.read).filter((node) => kinds.test(node));
      const C = run(orig, ["B", B, frozen], ["A", A, h]); // h comes second: it is not frozen
      return { A, B, C, D: run(orig, ["C", C, R]) };
    }
    const parts = {
      none: [],
      activation: [["A", A, h]],
      overwrite: [["A", A, R]],
      freeze: [["A", A, h], ["B", B, R]],
      both: [["A", A, h], ["A", A, R]],
    };
    return { A, B, D: run(orig, ...parts[state.treatment]) };
  }

  return { forward, passes, prompts };
})();
