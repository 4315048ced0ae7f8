// Puts the page together and answers to the reader.

const QUADRANT_TEXT = [
  [Q1, "Q1", "harmful noise", "high error, high uncertainty"],
  [Q2, "Q2", "valuable misconceptions", "high error, low uncertainty"],
  [Q3, "Q3", "redundant knowledge", "low error, low uncertainty"],
  [Q4, "Q4", "calibration data", "low error, high uncertainty"],
  [BAND, "band", "middle band", "neither high nor low"],
];
const SCALE = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];

class Page {
  constructor(payload) {
    this.payload = payload;
    this.epochs = Epoch.all(payload.visits);
    this.state = {
      epoch: this.epochs.length - 1, recorded: true, sampleRatio: payload.sample_ratio,
      tokenRatio: payload.token_ratio, colour: "", across: "", density: payload.visits.ppl.length > 20000,
      shadeBy: "nll",
    };
    this.samples = new Samples(payload, (sample) => this.open(sample));
    this.plane = payload.plane ? new Plane(byId("plane"), payload.visits, this.gain?.values ?? null) : null;
    this.visitsOf = new Map();
    payload.visits.sample.forEach((sample, visit) => {
      if (!this.visitsOf.has(sample)) this.visitsOf.set(sample, []);
      this.visitsOf.get(sample).push(visit);
    });
    this.fill();
    this.listen();
    this.update();
  }

  get epoch() {
    return this.epochs[this.state.epoch];
  }

  get gain() {
    return this.payload.gain === null ? null : this.payload.columns[this.payload.gain];
  }

  result(epoch = this.epoch) {
    const { recorded, sampleRatio, tokenRatio } = this.state;
    return recorded ? epoch.recorded(this.payload.visits, sampleRatio)
      : epoch.decide(this.payload.visits, this.payload.turn_ends, sampleRatio, tokenRatio);
  }

  // What does not change with the sliders.
  fill() {
    const p = this.payload;
    byId("facts").replaceChildren(facts(p.facts));
    for (const note of p.notes) byId("notes").append(make("li", {}, note));
    for (const column of p.columns) byId("colour").append(make("option", { value: column.name }, column.name));
    this.epochs.forEach((epoch, i) => {
      byId("epoch").append(make("option", { value: i }, `${p.visits.epoch[epoch.start] + 1} of ${this.epochs.length}`));
    });
    byId("epoch").value = this.state.epoch;
    byId("epoch-row").hidden = this.epochs.length < 2;
    byId("across-row").hidden = !this.gain;
    byId("controls").hidden = byId("plane-section").hidden = !p.plane;
    byId("decide").hidden = !p.redecide;
    this.section("shares", p.shares && stacked(p.shares.steps, p.shares.layers,
      ["Q1", "Q2", "Q3", "Q4", "middle band"], ["q1", "q2", "q3", "q4", "q0"], "optimizer step", "share of the candidates"));
    const names = ["middle band", "Q1", "Q2", "Q3", "Q4"];
    this.section("migration", p.migration && make("div", {}, ...p.migration.map(({ from, to, counts }) =>
      make("div", {}, make("h3", {}, `epoch ${from + 1} to ${to + 1}`), make("div", { class: "wide" }, migration(counts, names))))));
    const open = (sample) => this.open(sample);
    this.section("losses", p.losses && lossView(p.losses, open));
    this.section("fates", p.fates && fateView(p.fates, open));
    this.section("probe", p.probe && make("div", { class: "two" },
      lineWithBand(p.probe.steps, ...p.probe.ppl, "optimizer step", "perplexity, geometric mean"),
      lineWithBand(p.probe.steps, ...p.probe.entropy, "optimizer step", "entropy (nats)")));
    this.section("kinds", p.kinds && make("div", {}, make("div", { class: "wide" }, shareBars(p.kinds.rows)), make("p", { class: "note" }, p.kinds.note)));
    this.section("agreement", p.agreement && make("div", {}, facts(p.agreement.facts),
      make("div", { class: "wide" }, migration(p.agreement.quadrants.counts, p.agreement.quadrants.names, "A \\ B")),
      make("h3", {}, "Decided differently, largest change of perplexity first"),
      make("div", { class: "wide" }, this.samples.list(p.agreement.samples,
      p.agreement.header, (sample) => p.agreement.values[sample]))));
    const numbers = (sample) => {
      const [ppl, entropy] = p.scores_of_worst[sample];
      return [ppl.toPrecision(4), entropy === null ? "–" : entropy.toFixed(2)];
    };
    this.section("worst", p.worst.length && make("div", { class: "wide" }, this.samples.list(p.worst, ["perplexity", "entropy"], numbers)));
    const gains = (sample) => [this.gain.values[sample].toFixed(1), p.columns[p.gain + 1].values[sample].toFixed(2), this.lastPpl(sample)];
    this.section("least", p.least.length && make("div", { class: "wide" }, this.samples.list(p.least, ["gain", "a token", "perplexity"], gains)));
    this.section("often", p.often && make("div", { class: "wide" }, this.samples.list(p.often.samples, ["dropped"],
      (sample) => [`${p.often.dropped[sample]} of ${p.often.visits[sample]}`])));
  }

  lastPpl(sample) {
    const visits = this.visitsOf.get(sample);
    return visits ? this.payload.visits.ppl[visits.at(-1)].toPrecision(4) : "–";
  }

  section(id, content) {
    byId(id).hidden = !content;
    if (content) byId(id).append(content);
  }

  listen() {
    const ratio = (name, key) => {
      for (const input of [byId(name), byId(`${name}-number`)]) {
        input.addEventListener("input", () => {
          const value = Number(input.value) / 100;
          if (!(value > 0 && value <= 1)) return;
          this.change({ [key]: value, recorded: false });
        });
      }
    };
    ratio("sample-ratio", "sampleRatio");
    ratio("token-ratio", "tokenRatio");
    byId("reset").addEventListener("click", () => this.change({
      recorded: true, sampleRatio: this.payload.sample_ratio, tokenRatio: this.payload.token_ratio }));
    byId("epoch").addEventListener("change", (event) => this.change({ epoch: Number(event.target.value) }));
    byId("across").addEventListener("change", (event) => this.change({ across: event.target.value }));
    byId("colour").addEventListener("change", (event) => this.change({ colour: event.target.value }));
    byId("density").checked = this.state.density;
    byId("density").addEventListener("change", (event) => this.change({ density: event.target.checked }));
    byId("search").addEventListener("input", (event) => this.search(event.target.value));
    for (const input of document.querySelectorAll("input[name=shade]")) {
      input.addEventListener("change", () => { this.state.shadeBy = input.value; this.open(this.opened); });
    }
    byId("close").addEventListener("click", () => byId("sample").close());
    window.addEventListener("resize", () => this.plane && this.plane.draw());
    if (this.plane) this.listenToPlane(byId("plane"));
  }

  listenToPlane(canvas) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.plane.nearest(event.clientX - box.left, event.clientY - box.top);
    };
    canvas.addEventListener("pointermove", (event) => this.point(at(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => {
      const visit = at(event);
      if (visit !== null) this.open(this.payload.visits.sample[visit]);
    });
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if (arrows[event.key]) {
        event.preventDefault();
        this.point(this.plane.next(...arrows[event.key]));
      } else if (event.key === "Enter" && this.plane.focus !== null) {
        this.open(this.payload.visits.sample[this.plane.focus]);
      }
    });
  }

  // A sample under the pointer or chosen by the arrow keys.
  point(visit) {
    if (visit === this.plane.focus) return;
    this.plane.focus = visit;
    this.plane.draw();
    const tip = byId("tip");
    tip.hidden = visit === null;
    if (visit === null) return;
    const { payload } = this, sample = payload.visits.sample[visit], at = visit - this.epoch.start;
    tip.replaceChildren(
      make("b", {}, make("bdi", {}, payload.ids[sample])),
      make("span", {}, `${NAMES[this.shown.quadrant[at]]}, ${this.shown.kept[at] ? "kept" : "dropped"}; perplexity ${payload.visits.ppl[visit].toPrecision(4)}, entropy ${payload.visits.entropy[visit].toFixed(2)} nats, ${payload.visits.n_tokens[visit]} tokens`),
      make("bdi", { class: "beginning" }, beginning(payload.textOf.get(sample), 140)));
    const [x, y] = this.plane.place(visit), box = byId("plane").getBoundingClientRect();
    tip.style.left = `${Math.min(x + 12, box.width - 300)}px`;
    tip.style.top = `${y + 14}px`;
  }

  change(what) {
    Object.assign(this.state, what);
    this.point?.(null);
    this.update();
  }

  update() {
    const { state, payload } = this;
    this.shown = this.result();
    for (const [name, key] of [["sample-ratio", "sampleRatio"], ["token-ratio", "tokenRatio"]]) {
      byId(name).value = 100 * state[key];
      if (document.activeElement !== byId(`${name}-number`)) byId(`${name}-number`).value = +(100 * state[key]).toFixed(2);
    }
    byId("how").textContent = state.recorded ? payload.how
      : `decided in this page: q-tuning at ${+(100 * state.sampleRatio).toFixed(2)}% x ${+(100 * state.tokenRatio).toFixed(2)}%`;
    this.count();
    this.plane?.across(state.across === "gain");
    if (this.plane) this.plane.show(this.epoch, this.shown, this.colours(), state.density);
  }

  // The budget, and how many lie where.
  count() {
    const { epoch, shown } = this, n = epoch.size, visits = this.payload.visits;
    const lengths = visits.n_tokens.subarray(epoch.start, epoch.end);
    const kept = count(shown.kept), tokens = sum(shown.tokens), all = sum(lengths), filled = count(shown.filled);
    const card = (value, name, more) => make("div", { class: "card" }, make("b", {}, value), make("span", {}, name), make("small", {}, more));
    byId("budget").replaceChildren(
      card(grouped(kept), "samples kept", `${percent(kept, n)} of ${grouped(n)}`),
      card(grouped(tokens), "answer tokens trained on", `${percent(tokens, all)} of ${grouped(all)}; nominal ${percent(this.state.sampleRatio * this.state.tokenRatio, 1)}`),
      card(percent(filled, kept), "of them fill the budget", `${grouped(filled)} lie in neither Q2 nor Q4`),
      ...(this.payload.rho === null ? [] : [card(this.payload.rho.toFixed(2), "rank correlation", "of perplexity and entropy")]));
    byId("kept-count").value = kept;
    byId("token-count").value = tokens;
    const rows = QUADRANT_TEXT.map(([q, name, title, what]) => {
      let inside = 0, keptHere = 0, tokensHere = 0;
      for (let i = 0; i < n; i++) {
        if (shown.quadrant[i] !== q) continue;
        inside++;
        keptHere += shown.kept[i];
        tokensHere += shown.tokens[i];
      }
      const label = make("span", { class: `q q${q}` }, make("b", {}, name), ` ${title}`, make("small", {}, what));
      return [label, grouped(inside), percent(inside, n), grouped(keptHere), grouped(tokensHere)];
    });
    byId("quadrants").replaceChildren(table(["quadrant", "samples", "share", "kept", "tokens"], rows, 0));
  }

  colours() {
    const column = this.payload.columns.find(({ name }) => name === this.state.colour);
    const legendOf = byId("colours");
    if (!column) {
      legendOf.replaceChildren(legend(["kept: solid", "dropped: hollow", "ring: fills the budget"], ["solid", "hollow", "ring"]));
      const five = [BAND, Q1, Q2, Q3, Q4].map((q) => css(`--q${q}`));
      return (visit, quadrant) => five[quadrant];
    }
    const sampleOf = this.payload.visits.sample, eight = SCALE.map(css);
    if (column.names) {
      legendOf.replaceChildren(legend(column.names, column.names.map((_, i) => `c${i % SCALE.length}`)));
      return (visit) => eight[column.values[sampleOf[visit]] % SCALE.length];
    }
    const ordered = [...column.values].filter(isFinite).sort((a, b) => a - b);
    const cuts = [1, 2, 3, 4, 5].map((i) => ordered[Math.floor(i * ordered.length / 6)]);
    const ramp = [0, 1, 2, 3, 4, 5].map((i) => css(`--r${i}`));
    legendOf.replaceChildren(legend([`${short(ordered[0])} to ${short(cuts[0])}`, ...cuts.map((cut, i) => `to ${short(cuts[i + 1] ?? ordered.at(-1))}`)], ramp.map((_, i) => `r${i}`)));
    return (visit) => {
      const value = column.values[sampleOf[visit]];
      return isFinite(value) ? ramp[cuts.filter((cut) => value >= cut).length] : css("--muted");
    };
  }

  search(words) {
    const found = this.samples.search(words);
    const p = this.payload;
    byId("found").replaceChildren(...(words.trim() ? [
      make("p", { class: "note" }, `${grouped(found.length)} found${found.length > SHOWN ? `, ${SHOWN} shown` : ""}; searched: all names, and the texts of ${grouped(p.texts.length)} samples`),
      make("div", { class: "wide" }, this.samples.list(found, ["perplexity"], (sample) => [this.lastPpl(sample)])),
    ] : []));
  }

  open(sample) {
    this.opened = sample;
    const { payload } = this;
    const visits = (this.visitsOf.get(sample) || []).map((visit) => {
      const epoch = this.epochs.find((one) => visit < one.end);
      return { visit, at: visit - epoch.start, result: epoch === this.epoch ? this.shown : this.result(epoch) };
    });
    byId("sample-title").textContent = payload.ids[sample];
    byId("shading").hidden = !payload.textOf.get(sample)?.tokens;
    byId("sample-body").replaceChildren(...sampleView(payload, sample, visits, this.state));
    if (!byId("sample").open) byId("sample").showModal();
  }
}

showPage((payload) => {
  const page = new Page(decoded(payload));
  return () => page.update();
});
