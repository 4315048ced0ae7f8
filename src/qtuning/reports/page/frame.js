// What every page has: its payload, the buttons at its head, and a word if it cannot be shown.

// The payload is gzipped JSON in base64; columns of numbers in it are base64 again.
const ARRAYS = {
  f8: Float64Array, f4: Float32Array, u4: Uint32Array, i4: Int32Array, u2: Uint16Array,
  u1: Uint8Array,
};

function bytesOf(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function arrayOf({ type, data }) {
  return new ARRAYS[type](bytesOf(data).buffer);
}

async function unpacked() {
  const packed = bytesOf(byId("payload").textContent.trim());
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function switchTheme() {
  const root = document.documentElement, dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = (root.dataset.theme || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
}

// Show a page: `make` puts it together, and returns what to do when the colours change, or nothing.
async function showPage(make) {
  try {
    const payload = await unpacked();
    document.title = `${payload.title} – ${document.title}`;
    byId("title").textContent = payload.title;
    const recolour = make(payload) ?? (() => {});
    byId("theme").addEventListener("click", () => { switchTheme(); recolour(); });
    byId("print").addEventListener("click", () => window.print());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    byId("main").setAttribute("aria-busy", "false");
  } catch (error) {
    byId("failed").hidden = false;
    byId("failed").textContent = `This page could not be shown: ${error}. It needs a browser of 2023 or newer.`;
    throw error;
  }
}
