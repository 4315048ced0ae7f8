// Building the page: text only ever enters as text nodes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

function percent(part, whole, digits = 1) {
  return whole ? `${(100 * part / whole).toFixed(digits)}%` : "–";
}

function grouped(n) {
  return n.toLocaleString("en-US");
}

function table(header, rows, heads = 1) {
  const cells = (row, tag) => row.map((value, i) =>
    value instanceof Node ? make("td", {}, value)
      : make(i < heads ? "th" : tag, i < heads ? { scope: tag === "th" ? "col" : "row" } : { class: "number" }, value));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...cells(header, "th"))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row, "td")))));
}

function facts(pairs) {
  return make("dl", { class: "facts" }, ...pairs.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, make("bdi", {}, value)))));
}

// Pictures, drawn small; what is not shown is said.
function pictures(images) {
  return make("div", { class: "pictures" }, ...images.map((one) => one.src
    ? make("figure", {}, make("img", { src: one.src, alt: `image: ${one.alt}`, title: one.alt }), make("figcaption", {}, one.alt))
    : make("p", { class: "note" }, make("bdi", {}, one.said))));
}
