// The course of a run: its losses with their spikes, and which samples were kept.

// A sample by name; a button where the page has it.
function mentioned({ name, place }, open) {
  return place === null ? make("bdi", {}, name)
    : make("button", { class: "link", type: "button", onclick: () => open(place) }, make("bdi", {}, name));
}

function lossLine({ steps, values, spikes }) {
  const seen = spikes.filter(({ loss }) => loss !== null);
  const { chart, toX, toY } = frame([steps[0], steps.at(-1)],
    extent([...values, ...seen.map(({ loss }) => loss)]), "optimizer step", "loss (nats a token)");
  chart.append(
    svg("polyline", { class: "curve", points: steps.map((s, i) => `${toX(s)},${toY(values[i])}`).join(" ") }),
    ...seen.map(({ step, steps, loss }) =>
      svg("circle", { class: "spike", cx: toX(step), cy: toY(loss), r: 4 }, svg("title", {}, `step ${steps}`))));
  return make("figure", {}, chart, seen.length ? legend(["loss", "spike"], ["q2", "q1"]) : null);
}

function lossView(losses, open) {
  const rows = losses.spikes.map(({ steps, cells, rows }) => [steps, ...cells,
    make("div", {}, ...rows.map(({ sample, lift }) => make("div", {}, mentioned(sample, open), ` ${lift}`)))]);
  const header = ["step", "loss", "median before", "z-score", "samples, and by how many nats they lift the loss"];
  return make("div", {}, lossLine(losses), make("p", { class: "note" }, losses.note),
    rows.length ? shortened(header, rows) : null);
}

function fateView({ counts, paths, n_paths }, open) {
  const names = ["never kept", "always kept", "flipping"];
  const all = sum(counts);
  const rows = paths.map(({ path, counts, example }) =>
    [make("span", {}, path), grouped(sum(counts)), ...counts.map(grouped), mentioned(example, open)]);
  return make("div", {},
    facts(names.map((name, i) => [name, `${grouped(counts[i])} (${percent(counts[i], all)})`])),
    make("p", { class: "note" }, `By the quadrants that samples went through${n_paths > rows.length ? `: ${rows.length} of ${grouped(n_paths)} paths` : ""}.`),
    shortened(["quadrants", "samples", ...names, "such as"], rows));
}

// A table whose first rows are shown at first.
function shortened(header, rows) {
  const holder = make("div", { class: "wide" }, table(header, rows.slice(0, AT_FIRST), 0));
  if (rows.length > AT_FIRST) {
    holder.append(make("button", {
      type: "button", class: "more", onclick: () => holder.replaceChildren(table(header, rows, 0)),
    }, `All ${rows.length}`));
  }
  return holder;
}
