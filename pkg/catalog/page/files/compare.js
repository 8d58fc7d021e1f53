// What differs between any two images of a folder. difference.go makes the same
// of two neighbours: a test holds the two against each other.
"use strict";

const esxiImg = (() => {
  const byID = (id) => document.getElementById(id);
  const isID = (text) => /^[0-9a-f]{32}$/.test(text);
  const policy = window.trustedTypes?.createPolicy("esxi-img", {
    createScriptURL: (id) => {
      if (!isID(id)) throw new TypeError("not an image");
      return "data/" + id + ".js";
    },
  });
  const images = new Map();
  const most = 5000; // rows of a table

  // Loading: each image's data is a program that calls take.
  const take = (id, data) => images.set(id, data);
  const load = (id) => new Promise((resolve, reject) => {
    if (images.has(id)) return resolve(images.get(id));
    if (!isID(id)) return reject(new Error("There is no such image."));
    const script = document.createElement("script");
    script.addEventListener("load", () => images.has(id) ? resolve(images.get(id)) : reject(new Error("An image’s data is damaged.")));
    script.addEventListener("error", () => reject(new Error("One of the two images cannot be read: its page says why.")));
    script.src = policy ? policy.createScriptURL(id) : "data/" + id + ".js";
    document.head.append(script);
  });

  // Comparing.
  const orDash = (s) => s === "" ? "–" : String(s);
  const byText = (a, b) => a < b ? -1 : a > b ? 1 : 0;

  const parts = (s) => s.match(/[0-9]+|[A-Za-z]+/g) ?? [];
  const compareParts = (a, b) => {
    const x = parts(a), y = parts(b);
    for (let i = 0; i < Math.min(x.length, y.length); i++) {
      const p = /^[0-9]/.test(x[i]), q = /^[0-9]/.test(y[i]);
      if (p !== q) return p ? 1 : -1;
      const m = p ? BigInt(x[i]) : x[i], n = p ? BigInt(y[i]) : y[i];
      if (m !== n) return m < n ? -1 : 1;
    }
    return x.length - y.length;
  };
  const cut = (s) => { const i = s.indexOf("-"); return i < 0 ? [s, ""] : [s.slice(0, i), s.slice(i + 1)]; };
  const compareVersions = (a, b) => {
    const [v, r] = cut(a), [w, q] = cut(b);
    return compareParts(v, w) || compareParts(r, q);
  };

  const compareProperties = (a, b) => {
    const out = [];
    for (const [name, value, secret] of a) {
      const other = b.find((p) => p[0] === name);
      if (!other || other[1] === value) continue;
      if (secret || other[2]) out.push([name, value ? "set" : "", !other[1] ? "" : value ? "another one" : "set"]);
      else out.push([name, value, other[1]]);
    }
    return out;
  };

  const group = (list) => {
    const m = new Map();
    for (const v of list) m.set(v.name, [...m.get(v.name) ?? [], v]);
    for (const same of m.values()) same.sort((x, y) => compareVersions(x.version, y.version));
    return m;
  };
  const pairVIBs = (name, a, b) => {
    const out = [], left = [], right = [...b];
    for (const x of a) {
      const i = right.findIndex((y) => y.version === x.version);
      if (i < 0) { left.push(x); continue; }
      if (right[i].vendor !== x.vendor || right[i].acceptance !== x.acceptance) out.push({ change: "changed", name, a: x, b: right[i] });
      right.splice(i, 1);
    }
    const both = Math.min(left.length, right.length);
    for (let i = 0; i < both; i++) {
      const c = compareVersions(left[i].version, right[i].version);
      out.push({ change: c > 0 ? "downgraded" : c === 0 ? "changed" : "upgraded", name, a: left[i], b: right[i] });
    }
    for (const x of left.slice(both)) out.push({ change: "removed", name, a: x });
    for (const y of right.slice(both)) out.push({ change: "added", name, b: y });
    return out;
  };
  const compareVIBs = (a, b) => {
    const inA = group(a), inB = group(b);
    const names = [...new Set([...inA.keys(), ...inB.keys()])].sort(byText);
    return names.flatMap((n) => pairVIBs(n, inA.get(n) ?? [], inB.get(n) ?? [])
      .sort((x, y) => byText((x.a ?? x.b).version, (y.a ?? y.b).version)));
  };

  const byPath = (files) => {
    const m = new Map();
    for (const f of files) {
      let key = f.path.toLowerCase();
      if (m.has(key)) key = f.path + "\0";
      m.set(key, f);
    }
    return m;
  };
  const compareFiles = (a, b) => {
    const inA = byPath(a), inB = byPath(b), out = [];
    for (const [key, x] of inA) {
      const y = inB.get(key);
      if (!y) out.push({ change: "removed", path: x.path, a: x.size, b: "", role: x.role, vib: x.vib });
      else if (x.size !== y.size || x.sha256 !== y.sha256) out.push({ change: "changed", path: y.path, a: x.size, b: y.size, role: y.role, vib: y.vib || x.vib });
    }
    for (const [key, y] of inB) if (!inA.has(key)) out.push({ change: "added", path: y.path, a: "", b: y.size, role: y.role, vib: y.vib });
    return out.sort((x, y) => byText(x.path, y.path));
  };

  const common = (list, other) => {
    const count = new Map(), both = [], rest = [];
    for (const s of other) count.set(s, (count.get(s) ?? 0) + 1);
    for (const s of list) {
      const n = count.get(s) ?? 0;
      if (n > 0) { count.set(s, n - 1); both.push(s); } else rest.push(s);
    }
    return [both, rest];
  };
  const same = (a, b) => a.length === b.length && a.every((s, i) => s === b[i]);
  const compareBoot = (a, b) => {
    const find = (list, path) => list.find((x) => x.path.toLowerCase() === path.toLowerCase());
    const rows = [];
    let n = { added: 0, removed: 0, changed: 0 };
    const row = (path, what, change, value) => {
      const r = rows.find((x) => x[0] === what && x[1] === change && x[2] === orDash(value));
      if (r) r[3] += ", " + path;
      else rows.push([orDash(what), change, orDash(value), orDash(path)]);
    };
    for (const x of a) {
      const y = find(b, x.path);
      if (!y) { row(x.path, "file", "removed", ""); n.removed++; continue; }
      const before = [];
      for (const name of ["title", "kernel"]) {
        if (x[name] !== y[name]) before.push([name, "removed", x[name]], [name, "added", y[name]]);
      }
      for (const [name, p, q] of [["kernelopt", x.kernelopts, y.kernelopts], ["module", x.modules, y.modules]]) {
        if (same(p, q)) continue;
        const [left, removed] = common(p, q), [right, added] = common(q, p);
        for (const v of removed) before.push([name, "removed", v]);
        for (const v of added) before.push([name, "added", v]);
        if (!same(left, right)) before.push([name, "reordered", ""]);
      }
      if (before.length) n.changed++;
      for (const [what, change, value] of before) row(y.path, what, change, value);
    }
    for (const y of b) if (!find(a, y.path)) { row(y.path, "file", "added", ""); n.added++; }
    return [rows, n];
  };

  // A unified difference of two texts: of what is between the first lines, which
  // both have, the longest common lines are kept.
  const lines = (text) => text === "" ? [] : text.replace(/\n$/, "").split("\n");
  const compareText = (a, b) => {
    if (a === b) return [];
    const x = lines(a), y = lines(b);
    let head = 0;
    while (head < x.length && head < y.length && x[head] === y[head]) head++;
    return hunks([...x.slice(0, head).map((s) => [" ", s]), ...middle(x.slice(head), y.slice(head))]);
  };
  const middle = (p, q) => {
    const out = [];
    if (p.length * q.length <= 4e6) {
      const w = q.length + 1, best = new Uint16Array((p.length + 1) * w);
      for (let i = p.length - 1; i >= 0; i--) {
        for (let j = q.length - 1; j >= 0; j--) {
          best[i * w + j] = p[i] === q[j] ? best[(i + 1) * w + j + 1] + 1 : Math.max(best[(i + 1) * w + j], best[i * w + j + 1]);
        }
      }
      let i = 0, j = 0;
      while (i < p.length && j < q.length) {
        if (p[i] === q[j]) { out.push([" ", p[i]]); i++; j++; }
        else if (best[(i + 1) * w + j] >= best[i * w + j + 1]) out.push(["-", p[i++]]);
        else out.push(["+", q[j++]]);
      }
      p = p.slice(i); q = q.slice(j);
    }
    return [...out, ...p.map((s) => ["-", s]), ...q.map((s) => ["+", s])];
  };
  const hunks = (steps) => {
    const context = 3, out = ["--- a/KS.CFG", "+++ b/KS.CFG"];
    let at = 0, a = 0, b = 0; // lines before steps[at]
    while (at < steps.length) {
      let first = at;
      while (first < steps.length && steps[first][0] === " ") first++;
      if (first === steps.length) break;
      const from = Math.max(at, first - context);
      for (let i = at; i < from; i++) { a++; b++; }
      let end = first, quiet = 0;
      for (let i = first; i < steps.length && quiet <= 2 * context; i++) {
        if (steps[i][0] === " ") quiet++; else { quiet = 0; end = i + 1; }
      }
      const to = Math.min(steps.length, end + context);
      const part = steps.slice(from, to);
      const n = part.filter((s) => s[0] !== "+").length, m = part.filter((s) => s[0] !== "-").length;
      out.push(`@@ -${n ? a + 1 : a},${n} +${m ? b + 1 : b},${m} @@`);
      for (const [sign, s] of part) out.push(sign + s);
      a += n; b += m; at = to;
    }
    return out;
  };

  // Showing: texts only ever become text.
  const make = (name, attributes, ...children) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes ?? {})) e.setAttribute(k, v);
    e.append(...children);
    return e;
  };
  const isChange = (s) => ["added", "removed", "upgraded", "downgraded", "changed", "reordered"].includes(s);
  const table = (caption, heads, rows, folded) => {
    if (!rows.length) return [];
    const more = rows.length - most;
    const box = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      make("table", null,
        make("thead", null, make("tr", null, ...heads.map((h) => make("th", { scope: "col" }, h)))),
        make("tbody", null, ...rows.slice(0, most).map((r) => make("tr", null, ...r.map((c, i) =>
          i === 0 ? make("th", { scope: "row" }, c) : heads[i] === "Change" && isChange(c) ? make("td", null, make("span", { class: "badge " + c }, c)) : make("td", null, c)))))));
    const rest = more > 0 ? [make("p", { class: "dim" }, more + " more are not shown.")] : [];
    if (folded) return [make("details", null, make("summary", null, caption + " (" + Math.min(rows.length, most) + ")"), box, ...rest)];
    return [make("h3", null, caption), box, ...rest];
  };
  const counted = (list) => ["added", "removed", "upgraded", "downgraded", "changed"]
    .map((k) => [list.filter((c) => c === k).length, k]).filter(([n]) => n > 0).map(([n, k]) => n + " " + k).join(", ");

  const compare = (a, b) => {
    const props = compareProperties(a.properties ?? [], b.properties ?? []);
    const vibs = compareVIBs(a.vibs ?? [], b.vibs ?? []);
    const files = compareFiles(a.files ?? [], b.files ?? []);
    const unknown = a.bootUnknown || b.bootUnknown;
    const [boot, n] = unknown ? [[], {}] : compareBoot(a.boot ?? [], b.boot ?? []);
    const kick = compareText(a.kickstart, b.kickstart);
    const changed = new Set(vibs.map((v) => v.name));
    const fileRow = (f) => [f.path, f.change, String(f.a) || "–", String(f.b) || "–", orDash(f.role), orDash(f.vib)];
    const turned = (v, name) => !v.b ? orDash(v.a[name]) : !v.a || v.a[name] === v.b[name] ? orDash(v.b[name]) : orDash(v.b[name]) + " (was " + orDash(v.a[name]) + ")";
    const summary = [
      ["VIBs", counted(vibs.map((v) => v.change))], ["Files", counted(files.map((f) => f.change))],
      ["boot.cfg", ["added", "removed", "changed"].filter((k) => n[k]).map((k) => n[k] + " " + k).join(", ")],
      ["Kickstart", kick.length ? "changed" : ""],
    ].filter(([, text]) => text);
    const veiled = !kick.length && a.kickstartID !== b.kickstartID;
    const different = props.length || vibs.length || files.length || n.added || n.removed || n.changed || kick.length || veiled;
    const side = (s) => s.name + (s.release ? ", ESXi " + s.release : "");
    const fileHeads = ["File", "Change", "Size in A", "Size in B", "Role", "VIB"];
    const lineClass = (s) => /^(---|\+\+\+) /.test(s) ? "c" : s.startsWith("@@") ? "s" : s[0] === "-" ? "del" : s[0] === "+" ? "add" : "";
    return make("section", { class: "difference", "aria-labelledby": "difference" },
      make("h2", { id: "difference", tabindex: "-1" }, "What changes"),
      make("dl", { class: "facts" },
        make("div", null, make("dt", null, "A"), make("dd", null, side(a))), make("div", null, make("dt", null, "B"), make("dd", null, side(b)))),
      ...different ? [] : [make("p", { class: "note ok" }, "Nothing differs.")],
      ...summary.length ? [make("ul", { class: "summary" }, ...summary.map(([k, v]) => make("li", null, k + ": " + v)))] : [],
      ...unknown ? [make("p", { class: "note" }, "boot.cfg of one of the two cannot be read, and is not compared.")] : [],
      ...table("Properties", ["Property", "A", "B"], props.map((r) => r.map(orDash))),
      ...table("VIBs", ["VIB", "Change", "Version in A", "Version in B", "Vendor", "Acceptance"],
        vibs.map((v) => [v.name, v.change, orDash(v.a?.version ?? ""), orDash(v.b?.version ?? ""), turned(v, "vendor"), turned(v, "acceptance")])),
      ...table("Files", fileHeads, files.filter((f) => !f.vib || !changed.has(f.vib)).map(fileRow)),
      ...table("Files of VIBs that change", fileHeads, files.filter((f) => f.vib && changed.has(f.vib)).map(fileRow), true),
      ...table("boot.cfg", ["What", "Change", "Value", "In"], boot),
      ...kick.length ? [make("h3", null, "Kickstart"), make("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "Kickstart" },
        make("code", null, ...kick.map((s) => make("span", { class: "l" }, lineClass(s) ? make("span", { class: lineClass(s) }, s) : s, "\n"))))] : [],
      ...veiled ? [make("p", { class: "note" }, "The kickstarts differ in passwords or keys, which are not shown.")] : []);
  };

  const show = async (a, b) => {
    const result = byID("result");
    result.replaceChildren(make("p", { class: "dim" }, "Loading …"));
    try {
      const [x, y] = await Promise.all([load(a), load(b)]);
      result.replaceChildren(compare(x, y));
      byID("said").textContent = "Compared";
    } catch (err) {
      result.replaceChildren(make("p", { class: "note bad", role: "alert" }, err.message));
    }
  };

  addEventListener("DOMContentLoaded", () => {
    const form = byID("choose");
    form.hidden = false;
    const a = form.elements.namedItem("a"), b = form.elements.namedItem("b");
    if (b.options.length > 1) b.selectedIndex = 0, a.selectedIndex = 1;
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      try {
        history.replaceState(null, "", "?a=" + a.value + "&b=" + b.value);
      } catch { /* a page that was opened as a file need not remember */ }
      show(a.value, b.value);
    });
    const asked = new URLSearchParams(location.search);
    for (const [field, name] of [[a, "a"], [b, "b"]]) if (isID(asked.get(name) ?? "")) field.value = asked.get(name);
    // With the next older one, else with the next newer.
    if (asked.has("b") && !asked.has("a")) a.selectedIndex = b.selectedIndex + (b.selectedIndex + 1 < b.options.length ? 1 : -1);
    if (asked.has("a") && asked.has("b")) show(asked.get("a"), asked.get("b"));
  });

  return { take };
})();
