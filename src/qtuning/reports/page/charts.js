// Charts in SVG; each also says its numbers in a table for those who cannot see it.

const CHART = { width: 640, height: 260, left: 52, right: 12, top: 12, bottom: 40 };

function frame(x, y, xLabel, yLabel) {
  const { width, height, left, right, top, bottom } = CHART;
  const toX = (v) => left + (v - x[0]) / (x[1] - x[0] || 1) * (width - left - right);
  const toY = (v) => top + (y[1] - v) / (y[1] - y[0] || 1) * (height - top - bottom);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yLabel} over ${xLabel}` });
  for (const tick of ticks(...y, 5)) {
    chart.append(
      svg("line", { class: "grid", x1: left, x2: width - right, y1: toY(tick), y2: toY(tick) }),
      svg("text", { class: "tick", x: left - 6, y: toY(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of ticks(...x, 8).filter((v) => Number.isInteger(v))) {
    chart.append(svg("text", { class: "tick", x: toX(tick), y: height - bottom + 16, "text-anchor": "middle" }, short(tick)));
  }
  chart.append(
    svg("text", { class: "axis", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, xLabel),
    svg("text", { class: "axis", x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(top + height - bottom) / 2})` }, yLabel));
  return { chart, toX, toY };
}

function legend(names, classes) {
  return make("p", { class: "legend" }, ...names.map((name, i) =>
    make("span", {}, make("i", { class: `swatch ${classes[i]}` }), name)));
}

// Shares that add up to one, one layer on the other.
function stacked(steps, layers, names, classes, xLabel, yLabel) {
  const x = steps.length > 1 ? [steps[0], steps.at(-1)] : [steps[0] - 1, steps[0] + 1];
  const { chart, toX, toY } = frame(x, [0, 1], xLabel, yLabel);
  const floor = steps.map(() => 0);
  layers.forEach((layer, which) => {
    const roof = floor.map((v, i) => v + layer[i]);
    const up = steps.map((s, i) => `${toX(s)},${toY(roof[i])}`);
    const down = steps.map((s, i) => `${toX(s)},${toY(floor[i])}`).reverse();
    chart.append(svg("polygon", { class: `area ${classes[which]}`, points: [...up, ...down].join(" ") }));
    roof.forEach((v, i) => { floor[i] = v; });
  });
  return make("figure", {}, chart, legend(names, classes));
}

// One line with the band between two others, e.g. mean and quartiles.
function lineWithBand(steps, middle, low, high, xLabel, yLabel) {
  const known = [...middle, ...low, ...high].filter(isFinite);
  const { chart, toX, toY } = frame([steps[0], steps.at(-1)], extent(known), xLabel, yLabel);
  const up = steps.map((s, i) => `${toX(s)},${toY(high[i])}`);
  const down = steps.map((s, i) => `${toX(s)},${toY(low[i])}`).reverse();
  chart.append(
    svg("polygon", { class: "band", points: [...up, ...down].join(" ") }),
    svg("polyline", { class: "curve", points: steps.map((s, i) => `${toX(s)},${toY(middle[i])}`).join(" ") }),
    ...steps.map((s, i) => svg("circle", { class: "dot", cx: toX(s), cy: toY(middle[i]), r: 3 })));
  return make("figure", {}, chart);
}

// Kept against pruned, a bar for each kind.
function shareBars(kinds) {
  const rows = kinds.map(({ name, kept, pruned }) => {
    const bar = make("div", { class: "bar", role: "img", "aria-label": `${percent(pruned, kept + pruned)} pruned` });
    for (const [n, kind] of [[kept, "kept"], [pruned, "pruned"]]) {
      const part = make("span", { class: kind });
      part.style.flexGrow = n;
      bar.append(part);
    }
    return [name, bar, percent(pruned, kept + pruned), grouped(kept), grouped(pruned)];
  });
  return table(["kind", "", "pruned", "tokens kept", "tokens pruned"], rows);
}

// From the quadrants of one visit to those of the next; a row adds up to all that left it.
function migration(counts, names, corner = "from \\ to") {
  const rows = counts.map((row, from) => {
    const all = sum(row);
    return [names[from], ...row.map((n) => {
      const cell = make("span", { class: "heat" }, all ? percent(n, all, 0) : "–");
      cell.style.setProperty("--heat", all ? n / all : 0);
      cell.title = grouped(n);
      return cell;
    }), grouped(all)];
  });
  return table([corner, ...names, "samples"], rows);
}
