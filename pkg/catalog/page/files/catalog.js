// Search, filter and sort the tables, and copy what is to be copied. The pages
// are whole without it.
"use strict";

(() => {
  const byID = (id) => document.getElementById(id);
  const said = byID("said");
  const say = (text) => { said.textContent = ""; setTimeout(() => { said.textContent = text; }, 50); };
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text, wanted) => wanted.every((w) => text.includes(w));

  // Buttons that copy.
  const copy = async (text, pre) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // A page that was opened as a file, or over HTTP, may not: it is marked
      // instead, for the keyboard.
      const range = document.createRange();
      range.selectNodeContents(pre);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      return document.execCommand("copy");
    }
  };
  for (const pre of document.querySelectorAll("pre[data-copy]")) {
    const box = document.createElement("div");
    box.className = "copy " + pre.className;
    pre.replaceWith(box);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + pre.getAttribute("aria-label"));
    box.append(pre, button);
    button.addEventListener("click", async () => {
      const ok = await copy(pre.textContent, pre);
      button.textContent = ok ? "Copied" : "Marked";
      say(ok ? "Copied" : "Marked, to be copied");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  // Search in a table.
  for (const input of document.querySelectorAll("input[data-finds]")) {
    const rows = [...byID(input.dataset.finds).tBodies[0].rows];
    input.closest("p").hidden = false;
    input.addEventListener("input", () => {
      const wanted = words(input.value);
      let n = 0;
      for (const row of rows) {
        row.hidden = !has(row.textContent.toLowerCase(), wanted);
        n += row.hidden ? 0 : 1;
      }
      say(n + " of " + rows.length);
    });
  }

  // The table of images.
  const table = byID("images");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const form = byID("filters");
  const fields = ["q", "release", "signer", "kind"].map(byID).filter(Boolean);
  const sortBy = byID("sort");
  const texts = new Map(rows.map((r) => [r, r.textContent.toLowerCase()]));
  const numbers = ["release", "size", "created"];
  let key = "release";
  let down = false;

  const value = (id) => byID(id)?.value ?? "";
  const wants = (row) => {
    const { number, signed, names, kind } = row.dataset;
    const signer = value("signer");
    return has(texts.get(row), words(value("q"))) &&
      (value("release") === "" || number === value("release")) &&
      (value("kind") === "" || kind === value("kind")) &&
      (signer === "" || signed === signer || signer.startsWith("name:") && names.split(", ").includes(signer.slice(5)));
  };

  const remember = () => {
    const state = new URLSearchParams();
    for (const f of fields) if (f.value) state.set(f.id, f.value);
    if (key !== "release" || down) state.set("sort", (down ? "-" : "") + key);
    const text = state.toString();
    try {
      history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
    } catch { /* a page that was opened as a file need not remember */ }
  };

  const show = () => {
    let n = 0;
    for (const row of rows) {
      row.hidden = !wants(row);
      n += row.hidden ? 0 : 1;
    }
    byID("shown").textContent = n === rows.length ? n + " shown" : n + " of " + rows.length + " shown";
    byID("none").hidden = n > 0;
    table.hidden = n === 0;
    remember();
  };

  const order = () => {
    const sign = down ? -1 : 1;
    const first = (a, b) => {
      const x = a.dataset[key], y = b.dataset[key];
      if (key === "release") return sign * (x - y);
      if (numbers.includes(key)) return sign * (y - x); // the largest first
      return sign * x.localeCompare(y, "en", { numeric: true });
    };
    const broken = (row) => row.dataset.kind === "broken" ? 1 : 0;
    body.append(...rows.sort((a, b) => broken(a) - broken(b) || first(a, b) || a.dataset.release - b.dataset.release));
    for (const th of table.tHead.rows[0].cells) {
      if (!th.dataset.key) continue;
      if (th.dataset.key === key) th.setAttribute("aria-sort", numbers.includes(key) !== down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    sortBy.value = key;
    remember();
  };

  for (const th of table.tHead.rows[0].cells) {
    if (!th.dataset.key) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      down = key === th.dataset.key && !down;
      key = th.dataset.key;
      order();
    });
  }
  form.addEventListener("submit", (e) => e.preventDefault());
  for (const f of fields) f.addEventListener("input", show);
  sortBy.addEventListener("input", () => { key = sortBy.value; down = false; order(); });
  byID("reset").addEventListener("click", () => {
    for (const f of fields) f.value = "";
    show();
    fields[0].focus();
  });

  const state = new URLSearchParams(location.hash.slice(1));
  for (const f of fields) if (state.get(f.id)) f.value = state.get(f.id);
  const sorted = state.get("sort") ?? "release";
  down = sorted.startsWith("-");
  if ([...sortBy.options].some((o) => o.value === sorted.replace("-", ""))) key = sorted.replace("-", "");
  form.hidden = false;
  order();
  show();
})();
