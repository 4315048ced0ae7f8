// The rule of qtuning.select_samples and qtuning.keep_tokens in the same float64 arithmetic, so
// that the page decides what the core decides (arXiv:2509.23873, Algorithm 1).

const BAND = 0, Q1 = 1, Q2 = 2, Q3 = 3, Q4 = 4;
const BISECT_STEPS = 10, HIGHEST_ALPHA = 0.49, NEIGHBOR_LAMBDA = 0.5;

function keepCount(n, ratio) {
  return Math.min(n, Math.max(1, Math.floor(ratio * n + 1e-9)));
}

function argsort(values) {
  const order = Uint32Array.from(values.keys());
  return order.sort((a, b) => values[a] - values[b] || a - b);
}

function quantile(ordered, g) {
  return ordered[Math.max(0, Math.ceil(g * ordered.length - 1e-9) - 1)];
}

// How many of the ordered values come before `value`; with `equal`, also those equal to it.
function before(ordered, value, equal) {
  let low = 0, high = ordered.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ordered[middle] < value || (equal && ordered[middle] === value)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Places that are low end at the first number, those that are high begin at the second.
function ends(ordered, lo, hi) {
  const low = before(ordered, lo, true), high = before(ordered, hi, false);
  if (high >= low) return [low, high];
  return lo > (hi + lo) / 2 ? [high, high] : [low, low];
}

// What a pool needs for every budget: sorted once.
class Pool {
  constructor(start, ppl, entropy) {
    this.start = start;
    this.size = ppl.length;
    this.finite = [...ppl.keys()].filter((i) => isFinite(ppl[i]) && isFinite(entropy[i]));
    this.ppl = Float64Array.from(this.finite, (i) => ppl[i]);
    this.entropy = Float64Array.from(this.finite, (i) => entropy[i]);
    this.byPpl = argsort(this.ppl);
    this.byEntropy = argsort(this.entropy);
    this.orderedPpl = Float64Array.from(this.byPpl, (i) => this.ppl[i]);
    this.orderedEntropy = Float64Array.from(this.byEntropy, (i) => this.entropy[i]);
    this.placePpl = placesOf(this.byPpl);
    this.placeEntropy = placesOf(this.byEntropy);
  }

  // {kept, quadrant, filled} by place in the pool, and the thresholds.
  select(ratio) {
    const n = this.finite.length;
    const out = {
      kept: new Uint8Array(this.size),
      quadrant: new Uint8Array(this.size),
      filled: new Uint8Array(this.size),
      thresholds: null,
    };
    if (!n) return out;
    const k = Math.min(keepCount(this.size, ratio), n);
    const { thresholds, quadrant } = this.bisect(k, ratio);
    const side = difference(normalised(this.ppl), normalised(this.entropy));
    const named = quadrant.map((q) => (q === Q2 || q === Q4 ? 1 : 0));
    const bySupport = argsort(side.map((s) => -Math.abs(s)));
    const chosen = [...bySupport.filter((i) => named[i]), ...bySupport.filter((i) => !named[i])];
    for (const i of chosen.slice(0, k)) {
      out.kept[this.finite[i]] = 1;
      out.filled[this.finite[i]] = named[i] ? 0 : 1;
    }
    this.finite.forEach((place, i) => { out.quadrant[place] = quadrant[i]; });
    out.thresholds = thresholds;
    return out;
  }

  bisect(k, ratio) {
    const n = this.finite.length;
    let low = 0, high = HIGHEST_ALPHA, best = null;
    for (let step = 0; step < BISECT_STEPS; step++) {
      const alpha = (low + high) / 2;
      const cut = {
        alpha,
        pplLo: quantile(this.orderedPpl, alpha), pplHi: quantile(this.orderedPpl, 1 - alpha),
        entLo: quantile(this.orderedEntropy, alpha), entHi: quantile(this.orderedEntropy, 1 - alpha),
      };
      const error = ends(this.orderedPpl, cut.pplLo, cut.pplHi);
      const uncertainty = ends(this.orderedEntropy, cut.entLo, cut.entHi);
      const quadrant = this.quadrants(error, uncertainty);
      let count = 0;
      for (const q of quadrant) if (q === Q2 || q === Q4) count++;
      // The nearest to k; on a tie the fuller, then the later.
      const distance = Math.abs(count - k);
      if (!best || distance < best.distance || (distance === best.distance && count >= best.count)) {
        best = { distance, count, thresholds: cut, quadrant };
      }
      if (count / n < ratio) low = alpha;
      else high = alpha;
    }
    return best;
  }

  quadrants(error, uncertainty) {
    return Uint8Array.from(this.placePpl, (place, i) => {
      const other = this.placeEntropy[i];
      const low = other < uncertainty[0], up = other >= uncertainty[1];
      if (place < error[0]) return low ? Q3 : up ? Q4 : BAND;
      if (place >= error[1]) return low ? Q2 : up ? Q1 : BAND;
      return BAND;
    });
  }
}

function placesOf(order) {
  const places = new Uint32Array(order.length);
  order.forEach((i, place) => { places[i] = place; });
  return places;
}

function normalised(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { low = Math.min(low, v); high = Math.max(high, v); }
  return low === high ? values.map(() => 0.5) : values.map((v) => (v - low) / (high - low));
}

function difference(a, b) {
  return a.map((value, i) => value - b[i]);
}

// How many answer tokens of a pruned sample keep their label; `ends` of them end a turn.
function tokenCount(n, ratio, ends) {
  return Math.max(keepCount(n, ratio), ends);
}

// Which answer tokens of a pruned sample keep their label; those at `ends` always do.
function keepTokens(nll, ratio, ends) {
  const ppl = Float64Array.from(nll, Math.exp), last = ppl.length - 1;
  const scores = ppl.map((p, i) =>
    NEIGHBOR_LAMBDA * (ppl[Math.max(0, i - 1)] + ppl[Math.min(last, i + 1)])
    + (1 - NEIGHBOR_LAMBDA) * p);
  for (const i of ends) scores[i] = -Infinity;
  const keep = new Uint8Array(ppl.length);
  const n = tokenCount(ppl.length, ratio, ends.length);
  for (const i of argsort(scores).slice(0, n)) keep[i] = 1;
  return keep;
}
