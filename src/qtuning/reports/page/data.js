// The data of a report: its columns of numbers, and the epochs that they fall into.

function decoded(payload) {
  for (const [name, column] of Object.entries(payload.visits)) {
    payload.visits[name] = arrayOf(column);
  }
  payload.turn_ends = arrayOf(payload.turn_ends);
  for (const column of payload.columns) column.values = arrayOf(column.values);
  for (const text of payload.texts) {
    if (text.nll) text.nll = arrayOf(text.nll);
    if (text.entropy) text.entropy = arrayOf(text.entropy);
    if (text.ends) text.ends = arrayOf(text.ends);
    if (text.kept) text.kept = arrayOf(text.kept);
  }
  payload.textOf = new Map(payload.texts.map((text) => [text.sample, text]));
  return payload;
}

// The visits of one epoch, from `start` on, as the pools that competed.
class Epoch {
  constructor(visits, start, end) {
    this.start = start;
    this.end = end;
    this.size = end - start;
    this.pools = [];
    for (let from = start, i = start; i < end; i++) {
      if (i + 1 === end || visits.step[i + 1] !== visits.step[i]) {
        const part = [from, i + 1];
        this.pools.push(new Pool(from - start, visits.ppl.slice(...part), visits.entropy.slice(...part)));
        from = i + 1;
      }
    }
  }

  static all(visits) {
    const found = [];
    const n = visits.step.length;
    for (let from = 0, i = 0; i < n; i++) {
      if (i + 1 === n || visits.epoch[i + 1] !== visits.epoch[i]) {
        found.push(new Epoch(visits, from, i + 1));
        from = i + 1;
      }
    }
    return found;
  }

  // What was decided, as it is on record. The thresholds are not: they are those of the rule, where
  // it finds the same quadrants.
  recorded(visits, sampleRatio) {
    const part = (name) => visits[name].subarray(this.start, this.end);
    const made = {
      kept: part("kept"), quadrant: part("quadrant"), filled: part("filled"),
      tokens: part("tokens_kept"), thresholds: null,
    };
    if (this.pools.length === 1) {
      const found = this.pools[0].select(sampleRatio);
      if (found.quadrant.every((q, i) => q === made.quadrant[i])) made.thresholds = found.thresholds;
    }
    return made;
  }

  // What the rule decides at these ratios, pool by pool; `turnEnds` is by sample.
  decide(visits, turnEnds, sampleRatio, tokenRatio) {
    const made = {
      kept: new Uint8Array(this.size), quadrant: new Uint8Array(this.size),
      filled: new Uint8Array(this.size), tokens: new Uint32Array(this.size), thresholds: null,
    };
    for (const pool of this.pools) {
      const found = pool.select(sampleRatio);
      for (const name of ["kept", "quadrant", "filled"]) made[name].set(found[name], pool.start);
      if (this.pools.length === 1) made.thresholds = found.thresholds;
    }
    for (let i = 0; i < this.size; i++) {
      if (!made.kept[i]) continue;
      const n = visits.n_tokens[this.start + i];
      const pruned = made.quadrant[i] === Q2 && !made.filled[i];
      const ends = turnEnds[visits.sample[this.start + i]];
      made.tokens[i] = pruned ? tokenCount(n, tokenRatio, ends) : n;
    }
    return made;
  }
}

function count(values, of = 1) {
  let n = 0;
  for (const value of values) if (value === of) n++;
  return n;
}

function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
