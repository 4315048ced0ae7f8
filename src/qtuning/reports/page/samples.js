// Lists of samples, the search, and one sample opened.

const NAMES = { [BAND]: "middle band", [Q1]: "Q1", [Q2]: "Q2", [Q3]: "Q3", [Q4]: "Q4" };
const SHOWN = 50, AT_FIRST = 12;

function beginning(text, length = 90) {
  const whole = text ? `${text.prompt} ${text.answer}` : "";
  const line = whole.slice(0, 4 * length).replace(/\s+/g, " ").trim();
  return line.length > length ? `${line.slice(0, length)}…` : line;
}

class Samples {
  constructor(payload, open) {
    this.payload = payload;
    this.open = open;
    this.lower = payload.texts.map((text) =>
      `${payload.ids[text.sample]}\n${text.prompt}\n${text.answer}`.toLowerCase());
  }

  // Samples whose id or text holds the words; of many, those with text first.
  search(words) {
    const wanted = words.toLowerCase().trim();
    if (!wanted) return [];
    const found = new Set();
    this.lower.forEach((text, i) => { if (text.includes(wanted)) found.add(this.payload.texts[i].sample); });
    this.payload.ids.forEach((id, i) => { if (id.toLowerCase().includes(wanted)) found.add(i); });
    return [...found];
  }

  list(rows, header, values) {
    const line = (sample) => [
      make("button", { class: "link", type: "button", onclick: () => this.open(sample) }, this.payload.ids[sample]),
      make("bdi", { class: "beginning" }, beginning(this.payload.textOf.get(sample))),
      ...values(sample),
    ];
    const names = ["sample", "begins", ...header], shown = rows.slice(0, SHOWN);
    const holder = make("div", {}, table(names, shown.slice(0, AT_FIRST).map(line), 0));
    if (shown.length > AT_FIRST) {
      holder.append(make("button", {
        type: "button", class: "more",
        onclick: () => holder.replaceChildren(table(names, shown.map(line), 0)),
      }, `All ${shown.length}`));
    }
    return holder;
  }
}

function shade(value, highest) {
  return Math.min(1, Math.max(0, value / highest));
}

// The answer's tokens, shaded by NLL or entropy; what is pruned is struck through.
function tokenView(text, by, keep) {
  const values = by === "entropy" ? text.entropy : text.nll;
  const highest = by === "entropy" ? 5 : 6;
  const view = make("div", { class: "tokens", dir: "auto" });
  text.tokens.forEach((piece, i) => {
    const pruned = !keep[i];
    const token = make(pruned ? "del" : "span", {
      class: "token",
      title: `NLL ${text.nll[i].toFixed(3)}, entropy ${text.entropy[i].toFixed(3)} nats${pruned ? ", pruned" : ""}`,
    }, piece === "" ? "∅" : piece);
    token.style.setProperty("--shade", shade(values[i], highest));
    view.append(token);
  });
  return view;
}

// What a run decided last on each turn of a sample's conversation; nothing of whole samples.
function turnsBeside(payload, sample) {
  const kind = payload.columns.find(({ name }) => name === "kind of turn");
  if (!kind) return [];
  const parts = (id) => id.match(/^([^]*)@(\d+)$/) || [id, id, "0"];
  if (!payload.turnsOf) {
    payload.turnsOf = new Map();
    payload.lastOf = new Map();
    payload.ids.forEach((id, i) => {
      const name = parts(id)[1];
      if (!payload.turnsOf.has(name)) payload.turnsOf.set(name, []);
      payload.turnsOf.get(name).push(i);
    });
    payload.visits.sample.forEach((one, visit) => payload.lastOf.set(one, visit));
  }
  const number = (i) => Number(parts(payload.ids[i])[2]);
  const turns = payload.turnsOf.get(parts(payload.ids[sample])[1]).toSorted((a, b) => number(a) - number(b));
  const said = turns.filter((i) => payload.lastOf.has(i)).map((i) =>
    `${number(i)} ${columnText(kind, i)}: ${payload.visits.kept[payload.lastOf.get(i)] ? "kept" : "dropped"}`);
  return [["turns of the conversation", said.join(" · ")]];
}

function sampleView(payload, sample, visits, state) {
  const text = payload.textOf.get(sample);
  const parts = [];
  const v = payload.visits;
  for (const { visit, result, at } of visits) {
    const quadrant = result.quadrant[at], kept = result.kept[at];
    const fate = !kept ? "dropped" : result.filled[at] ? "kept to fill the budget" : "kept";
    parts.push(facts([
      ...(visits.length > 1 ? [["epoch", String(v.epoch[visit] + 1)]] : []),
      ["quadrant", NAMES[quadrant]], ["decision", fate],
      ["perplexity", v.ppl[visit].toPrecision(5)], ["entropy", `${v.entropy[visit].toFixed(3)} nats`],
      ["answer tokens", `${grouped(result.tokens[at])} of ${grouped(v.n_tokens[visit])} trained on`],
    ]));
  }
  const meta = payload.columns.slice(1).map((column) => [column.name, columnText(column, sample)]);
  meta.push(...turnsBeside(payload, sample));
  if (meta.length) parts.push(facts(meta));
  if (!text) {
    parts.push(make("p", { class: "note" },
      `Its text is not in this page, which holds those of ${grouped(payload.texts.length)} samples.`));
    return parts;
  }
  if (text.prompt) parts.push(make("h3", {}, "Prompt"), make("pre", { dir: "auto" }, text.prompt));
  if (text.images) {
    parts.push(make("h3", {}, "Images"), pictures(text.images));
  }
  parts.push(make("h3", {}, "Answer"));
  if (text.tokens) {
    const last = visits.at(-1);
    const quadrant = last ? last.result.quadrant[last.at] : BAND;
    const pruned = last && last.result.kept[last.at] && quadrant === Q2 && !last.result.filled[last.at];
    const keep = state.recorded && text.kept ? text.kept
      : pruned ? keepTokens(text.nll, state.tokenRatio, text.ends) : text.tokens.map(() => 1);
    parts.push(tokenView(text, state.shadeBy, keep));
  } else parts.push(make("pre", { dir: "auto" }, text.answer));
  if (text.cut) parts.push(make("p", { class: "note" }, `Cut here: it has ${grouped(text.cut)} characters.`));
  return parts;
}

function columnText(column, sample) {
  const value = column.values[sample];
  if (column.names) return column.names[value];
  return isFinite(value) ? String(Number(value.toPrecision(6))) : "–";
}
