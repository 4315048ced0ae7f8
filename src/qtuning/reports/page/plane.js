// The Error-Uncertainty plane on a canvas: log perplexity, or the gain, to the right, entropy upwards.

const MARKS = { [Q1]: "triangle", [Q2]: "circle", [Q3]: "square", [Q4]: "diamond", [BAND]: "cross" };
const MARGIN = { left: 54, right: 14, top: 14, bottom: 44 };

class Plane {
  // `gain` is by sample; null where it is not known.
  constructor(canvas, visits, gain) {
    Object.assign(this, { canvas, visits, gain, focus: null, byGain: null });
    this.across(false);
  }

  across(byGain) {
    if (byGain === this.byGain) return;
    this.byGain = byGain;
    const { visits } = this;
    const all = [...visits.ppl.keys()].filter((i) => isFinite(this.value(i)) && isFinite(visits.entropy[i]));
    this.x = extent(all.map((i) => this.value(i)));
    this.y = extent(all.map((i) => visits.entropy[i]));
  }

  show(epoch, result, colourOf, density) {
    Object.assign(this, { epoch, result, colourOf, density });
    this.draw();
  }

  // Where a visit lies to the right.
  value(i) {
    return this.byGain ? this.gain[this.visits.sample[i]] : Math.log10(this.visits.ppl[i]);
  }

  size() {
    const box = this.canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    return { width: box.width, height: box.height, scale };
  }

  place(i) {
    return [this.toX(this.value(i)), this.toY(this.visits.entropy[i])];
  }

  toX(value) {
    return MARGIN.left + (value - this.x[0]) / (this.x[1] - this.x[0]) * this.inner.width;
  }

  toY(value) {
    return MARGIN.top + (this.y[1] - value) / (this.y[1] - this.y[0]) * this.inner.height;
  }

  draw() {
    const { width, height, scale } = this.size();
    if (!width) return;
    this.inner = {
      width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom,
    };
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    this.drawAxes(pen, width, height);
    if (this.density) this.drawDensity(pen);
    this.drawThresholds(pen, width, height);
    this.drawPoints(pen);
    if (this.focus !== null) this.drawFocus(pen);
  }

  drawAxes(pen, width, height) {
    pen.strokeStyle = css("--grid");
    pen.fillStyle = css("--muted");
    pen.lineWidth = 1;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const tick of this.byGain ? ticks(...this.x, 8) : logTicks(...this.x)) {
      const x = this.toX(this.byGain ? tick : Math.log10(tick));
      line(pen, x, MARGIN.top, x, height - MARGIN.bottom);
      pen.fillText(short(tick), x, height - MARGIN.bottom + 5);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks(...this.y, 6)) {
      const y = this.toY(tick);
      line(pen, MARGIN.left, y, width - MARGIN.right, y);
      pen.fillText(short(tick), MARGIN.left - 6, y);
    }
    pen.fillStyle = css("--text");
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    const name = this.byGain ? "gain by the prompt, in nats"
      : "perplexity of the answer (error), log scale";
    pen.fillText(name, MARGIN.left + this.inner.width / 2, height - 4);
    pen.save();
    pen.translate(14, MARGIN.top + this.inner.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("mean entropy in nats (uncertainty)", 0, 0);
    pen.restore();
  }

  drawDensity(pen) {
    const step = 10, counts = new Map();
    const columns = Math.ceil(this.inner.width / step);
    let most = 0;
    for (let i = this.epoch.start; i < this.epoch.end; i++) {
      const [x, y] = this.place(i);
      if (!isFinite(x) || !isFinite(y)) continue;
      const cell = Math.floor((x - MARGIN.left) / step) + columns * Math.floor((y - MARGIN.top) / step);
      const n = (counts.get(cell) || 0) + 1;
      counts.set(cell, n);
      most = Math.max(most, n);
    }
    pen.fillStyle = css("--density");
    for (const [cell, n] of counts) {
      pen.globalAlpha = 0.08 + 0.82 * Math.log1p(n) / Math.log1p(most);
      pen.fillRect(MARGIN.left + cell % columns * step, MARGIN.top + Math.floor(cell / columns) * step, step, step);
    }
    pen.globalAlpha = 1;
  }

  drawThresholds(pen, width, height) {
    const cut = this.result.thresholds;
    this.labels = null;
    if (!cut || this.byGain) return;
    pen.strokeStyle = css("--text");
    pen.setLineDash([5, 4]);
    const [left, right] = [cut.pplLo, cut.pplHi].map((v) => this.toX(Math.log10(v)));
    const [bottom, top] = [cut.entLo, cut.entHi].map((v) => this.toY(v));
    for (const x of [left, right]) line(pen, x, MARGIN.top, x, height - MARGIN.bottom);
    for (const y of [bottom, top]) line(pen, MARGIN.left, y, width - MARGIN.right, y);
    pen.setLineDash([]);
    pen.font = "bold 12px system-ui, sans-serif";
    const inset = 6, r = width - MARGIN.right - inset, b = height - MARGIN.bottom - inset;
    const corners = [
      [Q1, "Q1 harmful noise", r, MARGIN.top + inset, "right", "top"],
      [Q2, "Q2 valuable misconceptions", r, b, "right", "bottom"],
      [Q3, "Q3 redundant knowledge", MARGIN.left + inset, b, "left", "bottom"],
      [Q4, "Q4 calibration data", MARGIN.left + inset, MARGIN.top + inset, "left", "top"],
    ];
    this.labels = () => {
      for (const [quadrant, whole, x, y, align, baseline] of corners) {
        const name = width < 560 ? whole.slice(0, 2) : whole;
        pen.textAlign = align;
        pen.textBaseline = baseline;
        pen.strokeStyle = css("--card");
        pen.lineWidth = 4;
        pen.strokeText(name, x, y);
        pen.lineWidth = 1;
        pen.fillStyle = css(`--q${quadrant}`);
        pen.fillText(name, x, y);
      }
      pen.font = "12px system-ui, sans-serif";
    };
  }

  drawPoints(pen) {
    const { start, size } = this.epoch;
    const radius = size > 20000 ? 1.2 : size > 3000 ? 2 : size > 600 ? 3 : 4.5;
    // What is kept lies on top.
    for (const layer of [0, 1]) {
      for (let i = 0; i < size; i++) {
        if (this.result.kept[i] !== layer || (this.density && !layer)) continue;
        const [x, y] = this.place(start + i);
        if (!isFinite(x) || !isFinite(y)) continue;
        pen.strokeStyle = pen.fillStyle = this.colourOf(start + i, this.result.quadrant[i]);
        pen.globalAlpha = layer ? 0.95 : size > 20000 ? 0.35 : 0.6;
        mark(pen, MARKS[this.result.quadrant[i]], x, y, radius * (layer ? 1.15 : 0.9), layer === 1);
        if (this.result.filled[i] && size <= 20000) {
          pen.strokeStyle = css("--text");
          circle(pen, x, y, radius + 2.5);
          pen.stroke();
        }
      }
    }
    pen.globalAlpha = 1;
    if (this.labels) this.labels();
  }

  drawFocus(pen) {
    const [x, y] = this.place(this.focus);
    pen.strokeStyle = css("--accent");
    pen.lineWidth = 2.5;
    circle(pen, x, y, 9);
    pen.stroke();
    pen.lineWidth = 1;
  }

  // The visit nearest to a point of the canvas, or null.
  nearest(x, y, within = 18) {
    let best = null, least = within * within;
    for (let i = this.epoch.start; i < this.epoch.end; i++) {
      const [px, py] = this.place(i);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance <= least) [best, least] = [i, distance];
    }
    return best;
  }

  // The nearest visit in a direction from the one in focus, for the arrow keys.
  next(dx, dy) {
    if (this.focus === null) return this.epoch.start;
    const [x, y] = this.place(this.focus);
    let best = this.focus, least = Infinity;
    for (let i = this.epoch.start; i < this.epoch.end; i++) {
      const [px, py] = this.place(i);
      const along = (px - x) * dx + (py - y) * dy;
      const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      const cost = along + 2 * across;
      if (along > 0.5 && cost < least) [best, least] = [i, cost];
    }
    return best;
  }
}

function mark(pen, shape, x, y, r, solid) {
  pen.beginPath();
  if (shape === "circle") pen.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === "square") pen.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
  else if (shape === "diamond") polygon(pen, [x, y - r * 1.25], [x + r * 1.25, y], [x, y + r * 1.25], [x - r * 1.25, y]);
  else if (shape === "triangle") polygon(pen, [x, y - r * 1.15], [x + r * 1.1, y + r * 0.85], [x - r * 1.1, y + r * 0.85]);
  else {
    const arm = solid ? r : r * 0.8;
    line(pen, x - arm, y - arm, x + arm, y + arm);
    line(pen, x - arm, y + arm, x + arm, y - arm);
    return;
  }
  if (solid) pen.fill();
  else pen.stroke();
}

function polygon(pen, first, ...others) {
  pen.moveTo(...first);
  for (const point of others) pen.lineTo(...point);
  pen.closePath();
}

function circle(pen, x, y, r) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { low = Math.min(low, v); high = Math.max(high, v); }
  if (!isFinite(low)) return [0, 1];
  const room = (high - low || 1) * 0.04;
  return [low - room, high + room];
}

function ticks(low, high, n) {
  const raw = (high - low) / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((f) => f * power >= raw) * power;
  const found = [];
  for (let v = Math.ceil(low / step); v * step <= high; v++) found.push(v * step);
  return found;
}

function logTicks(low, high) {
  const found = [], several = high - low < 2.2;
  for (let power = Math.floor(low); power <= high; power++) {
    for (const f of several ? [1, 2, 5] : [1]) {
      const v = f * 10 ** power;
      if (Math.log10(v) >= low && Math.log10(v) <= high) found.push(v);
    }
  }
  return found;
}

function short(value) {
  const rounded = Number(value.toPrecision(3)), size = Math.abs(rounded);
  if (size >= 1e12 || (size < 1e-3 && size > 0)) return rounded.toExponential();
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= 10 * unit || (size >= unit && unit > 1e3)) return `${Number((rounded / unit).toPrecision(3))}${name}`;
  }
  return String(rounded);
}
