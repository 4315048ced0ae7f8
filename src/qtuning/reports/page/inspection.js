// The page of an inspection: what was found, the figures, and the rows as tokens.

const LEVELS = { error: "✖ error", warning: "▲ warning", note: "● note" };
const CLASSES = { error: "error", warning: "warning", note: "notice" }; // of the style
const A_PAGE = 25, AT_FIRST = 12;
// Rows after this many tokens on one page of the list are shown when asked for.
const MOST_TOKENS = 8000;

const ORDERS = {
  given: null,
  row: (a, b) => a.row - b.row,
  longest: (a, b) => b.length - a.length || a.row - b.row,
  least: (a, b) => a.trained - b.trained || a.row - b.row,
};

function figure(value) {
  if (value === null) return "–";
  if (typeof value === "string") return make("bdi", {}, value);
  if (Number.isInteger(value)) return grouped(value);
  return Math.abs(value) < 1 ? String(Number(value.toPrecision(3)))
    : value.toLocaleString("en-US", { maximumFractionDigits: 2 });
}

class InspectionPage {
  constructor(payload) {
    this.payload = payload;
    this.rows = payload.rows;
    this.byRow = new Map();
    for (const row of this.rows) {
      row.trained = row.runs.reduce((sum, n, i) => sum + (i % 2 ? n : 0), 0);
      row.shown = row.widths ? row.widths.reduce((sum, n) => sum + n, 0) : row.tokens.length;
      row.length = row.shown + row.cut;
      if (!this.byRow.has(row.row)) this.byRow.set(row.row, row);
    }
    this.levelOf = new Map(payload.findings.map((one) => [one.name, one]));
    this.fill();
    this.listen();
    this.find();
  }

  // What does not change.
  fill() {
    const { payload, rows } = this;
    byId("about").append(facts([["tokenizer", payload.model]]));
    const count = (level) => payload.findings.filter((one) => one.level === level).length;
    byId("counts").append(...Object.entries(LEVELS).map(([level, label]) =>
      make("div", { class: `card ${CLASSES[level]}` }, make("b", {}, String(count(level))), make("span", {}, `${label}${count(level) === 1 ? "" : "s"}`))));
    byId("findings-list").append(...(payload.findings.length ? payload.findings.map((one) => this.finding(one))
      : [make("p", { class: "note" }, "Nothing was found.")]));
    this.section("figures", payload.facts.map(([heading, pairs]) =>
      this.block(heading, table(["", ""], pairs.map(([name, value]) => [make("bdi", {}, name), figure(value)]), 0))));
    this.section("tables", payload.tables.filter(([, { lines }]) => lines.length).map(([heading, made]) => this.block(heading, this.table(made))));
    byId("controls").hidden = byId("list").hidden = !rows.length;
    byId("held").textContent = rows.length === payload.total ? `All ${grouped(payload.total)} rows are in this page.`
      : `${grouped(rows.length)} of ${grouped(payload.total)} rows are in this page: more would make it too large${rows.some((row) => row.images) ? ", or take too long to read" : ""}.`;
    for (const { name } of payload.findings) {
      const n = this.named(name);
      if (n) byId("finding").append(make("option", { value: name }, `${name} (${grouped(n)})`));
    }
    byId("finding-row").hidden = byId("only-row").hidden = byId("finding").length < 2;
  }

  section(id, blocks) {
    byId(id).hidden = document.querySelector(`nav [href="#${id}"]`).hidden = !blocks.length;
    byId(id).append(make("div", { class: "blocks" }, ...blocks));
  }

  block(heading, content) {
    return make("div", { class: "wide" }, make("h3", {}, make("bdi", {}, heading)), content);
  }

  // A table; in a column called "row" are numbers of rows, which can be opened.
  table({ names, lines }) {
    const cells = (line) => line.map((value, i) =>
      names[i] === "row" && typeof value === "number" ? this.link(value) : figure(value));
    const made = (some) => table(names, some.map(cells), 0);
    const holder = make("div", {}, made(lines.slice(0, AT_FIRST)));
    if (lines.length > AT_FIRST) {
      holder.append(make("button", { type: "button", class: "more", onclick: () => holder.replaceChildren(made(lines)) }, `All ${grouped(lines.length)}`));
    }
    return holder;
  }

  finding(one) {
    const here = this.named(one.name);
    const links = one.rows.flatMap((number, i) =>
      [make("span", { class: "together" }, this.link(number), i + 1 < one.rows.length ? "," : ""), " "]);
    return make("article", { class: `finding ${CLASSES[one.level]}` },
      make("h3", {}, make("b", { class: "level" }, LEVELS[one.level]), " ", make("code", {}, one.name), ` ${grouped(one.count)}`),
      make("p", {}, make("bdi", {}, one.what)),
      one.advice ? make("p", { class: "advice" }, make("b", {}, "What to do: "), make("bdi", {}, one.advice)) : null,
      links.length ? make("p", { class: "note" },
        here ? make("button", { type: "button", onclick: () => this.showOnly(one.name) }, here < one.count ? `Show ${grouped(here)} of its rows` : "Show its rows") : null, " ",
        "first rows: ", ...links) : null);
  }

  // How many rows in this page a finding names.
  named(name) {
    return this.rows.filter((row) => row.findings.includes(name)).length;
  }

  // The number of a row, which opens it if it is in this page.
  link(number, before = "") {
    const row = this.byRow.get(number);
    return row ? make("button", { class: "link", type: "button", "aria-label": before ? null : `row ${number}`, onclick: () => this.open(row) }, `${before}${number}`)
      : make("span", { title: "not in this page" }, String(number));
  }

  listen() {
    for (const [id, event] of [["search", "input"], ["finding", "change"], ["order", "change"], ["only", "change"]]) {
      byId(id).addEventListener(event, () => this.find());
    }
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    for (const button of document.querySelectorAll(".back")) button.addEventListener("click", () => this.turn(-A_PAGE));
    for (const button of document.querySelectorAll(".on")) button.addEventListener("click", () => this.turn(A_PAGE));
    byId("close").addEventListener("click", () => byId("sample").close());
  }

  showOnly(name) {
    byId("search").value = "";
    byId("finding").value = name;
    this.find();
    byId("rows-title").focus();
    byId("rows").scrollIntoView();
  }

  // The rows that are asked for; one whose number is searched comes first.
  find() {
    const words = byId("search").value.trim().toLowerCase(), name = byId("finding").value;
    const number = Number(/^(?:row )?#?([\d,]+)$/.exec(words)?.[1].replaceAll(",", ""));
    this.found = this.rows.filter((row) => (!byId("only").checked || row.findings.length)
      && (!name || row.findings.includes(name)) && (!words || row.row === number || this.holds(row, words)));
    const order = ORDERS[byId("order").value];
    if (order) this.found.sort(order);
    const exact = this.found.findIndex((row) => row.row === number);
    if (exact > 0) this.found.unshift(...this.found.splice(exact, 1));
    this.at = 0;
    this.show();
  }

  holds(row, words) {
    row.lower ??= `${row.id}\n${row.tokens.join("")}`.toLowerCase();
    return row.lower.includes(words);
  }

  turn(by) {
    this.at += by;
    this.show();
    byId("rows-title").focus({ preventScroll: true });
    byId("count").scrollIntoView({ block: "nearest" });
  }

  show() {
    const { found, at } = this, end = Math.min(at + A_PAGE, found.length);
    byId("count").textContent = found.length ? `${grouped(at + 1)} to ${grouped(end)} of ${grouped(found.length)} rows` : "No row";
    for (const button of document.querySelectorAll(".back")) button.disabled = at === 0;
    for (const button of document.querySelectorAll(".on")) button.disabled = end === found.length;
    byId("below").hidden = found.length <= A_PAGE;
    let tokens = 0;
    byId("list").replaceChildren(...found.slice(at, end).map((row) => {
      tokens += row.tokens.length;
      const body = make("div", {});
      const fill = () => body.replaceChildren(...this.body(row));
      if (tokens <= MOST_TOKENS || row === found[at]) fill();
      else body.append(make("button", { type: "button", class: "more", onclick: fill }, `Show its ${grouped(row.tokens.length)} tokens`));
      return make("article", { class: "row" }, make("h3", {}, this.link(row.row, "Row "), ...this.head(row)), body);
    }));
  }

  // Beside the number of a row: name, counts and what names it.
  head(row) {
    const share = row.shown ? ` (${percent(row.trained, row.shown)})` : "";
    const tokens = `${grouped(row.trained)} of ${grouped(row.shown)} ${row.cut ? "shown tokens" : "tokens"} trained${share}`;
    return [
      make("bdi", { class: "name" }, row.id), make("span", { class: row.trained || row.cut ? null : "error level" }, tokens),
      ...row.findings.map((name) => make("span", { class: `badge ${CLASSES[this.levelOf.get(name)?.level ?? "note"]}` },
        `${LEVELS[this.levelOf.get(name)?.level ?? "note"][0]} ${name}`))];
  }

  body(row) {
    return [
      row.images ? pictures(row.images) : null,
      row.tokens.length ? rowTokens(row) : make("p", { class: "note" }, row.images ? "It was not made into tokens." : "It has no tokens."),
      row.cut ? make("p", { class: "note" }, `${grouped(row.cut)} more ${row.cut === 1 ? "token" : "tokens"} of it ${row.cut === 1 ? "is" : "are"} not shown.`) : null,
    ].filter((part) => part !== null);
  }

  // One row by itself, with what its findings say.
  open(row) {
    byId("sample-title").textContent = `Row ${row.row}`;
    const said = row.findings.map((name) => this.levelOf.get(name)).filter(Boolean);
    byId("sample-body").replaceChildren(
      make("h3", { class: "row-head" }, ...this.head(row)),
      ...said.map((one) => make("p", { class: `finding ${CLASSES[one.level]}` }, make("bdi", {}, one.what), " ", make("bdi", { class: "advice" }, one.advice))),
      ...this.body(row));
    if (!byId("sample").open) byId("sample").showModal();
    byId("sample").scrollTop = 0;
  }
}

showPage((payload) => { new InspectionPage(payload); });
