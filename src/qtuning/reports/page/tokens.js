// A row as its tokens: the trained ones marked, and what cannot be seen made visible.

// Control, format and private characters, half surrogates, and all kinds of spaces.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}]/u;
const PLAIN = /^ ?[^\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}]+$/u;
const LOOKS = {
  " ": "·", "\n": "↵", "\t": "⇥", "\r": "\\r", "\u00a0": "⍽", "\u00ad": "shy", "\u200c": "zwnj", "\u200d": "zwj",
};

function look(char) {
  const text = LOOKS[char] ?? `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return make("i", { class: text.length > 1 ? "mark named" : "mark" }, text);
}

// The text of a token with looks for what cannot be seen. A space between two words stays one;
// `open` says that the text before ended in a space, or that there is none.
function visible(token, open) {
  if (token === "") return [make("i", { class: "mark" }, "∅")];
  if (PLAIN.test(token) && !(open && token[0] === " ")) return [token];
  const chars = [...token], parts = [];
  let plain = "";
  chars.forEach((char, i) => {
    const between = char === " " && i + 1 < chars.length && !/\s/.test(chars[i + 1])
      && !(i ? /\s/.test(chars[i - 1]) : open);
    if (between || !UNSEEN.test(char)) {
      plain += char;
      return;
    }
    parts.push(plain, look(char));
    plain = char === "\n" ? "\n" : "";
  });
  return [...parts, plain];
}

// All tokens of a row, in runs of not trained and trained ones.
function rowTokens(row) {
  const view = make("div", { class: "tokens cuts", dir: "auto" });
  let at = 0, number = 1, open = true;
  row.runs.forEach((length, i) => {
    if (!length) return;
    const trained = i % 2 === 1;
    const run = trained ? make("mark", { class: "trained" }) : make("span", {});
    for (const end = at + length; at < end; at++) {
      const token = row.tokens[at];
      const part = token === "" ? ": a part of the character that follows" : "";
      const weight = row.weights && trained ? `, weight ${row.weights[at]}` : "";
      const width = row.widths?.[at] ?? 1;
      const which = width > 1 ? `tokens ${grouped(number)} to ${grouped(number + width - 1)}, an image` : `token ${grouped(number)}`;
      const title = `${which}, ${trained ? "trained" : "not trained"}${weight}${part}`;
      number += width;
      run.append(make("span", { title, class: width > 1 ? "folded" : null }, ...visible(token, open)));
      open = token === "" ? open : /\s$/.test(token);
    }
    view.append(run);
  });
  return view;
}
