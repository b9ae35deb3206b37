"use strict";
// Everything shown is made with textContent, never from markup: names in the data are not trusted.
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const LAYERS = D.layers.name.length;
  const text = (place) => D.texts[place];

  // Infinities come as text, since JSON has no such number.
  const NUMERIC = ["total", "own", "inherited", "largest", "mean", "cosine", "saturated", "used"];
  const real = (x) => (typeof x === "string" ? Number(x) : x);
  for (const seen of D.seen) for (const key of NUMERIC) seen[key] = seen[key].map(real);
  for (const c of D.candidates) {
    c.db = real(c.db);
    c.score = real(c.score);
  }

  const look = (number) => {
    const s = D.charts.series;
    if (number === 0) return { color: s.truth, fill: s.truth, shape: "circle", dash: [1, 0], round: 0 };
    const n = s.colors.length;
    const place = (number - 1) % n;
    const round = Math.floor((number - 1) / n);
    return {
      color: s.colors[place],
      fill: round % 2 ? "transparent" : s.colors[place],
      shape: s.shapes[(place + round) % n],
      dash: s.dashes[round % s.dashes.length],
      round,
    };
  };

  // ---- elements -------------------------------------------------------------------------------

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((c) => c !== null && c !== undefined));
    return element;
  }

  const marks = [...document.querySelectorAll(".summary tbody .mark")];
  const mark = (number) => marks[number].cloneNode(true);
  const option = (value, label) => make("option", { value }, label);

  // ---- numbers in words -----------------------------------------------------------------------

  const NONE = "–";
  const isNumber = (x) => x !== null && x !== undefined && !Number.isNaN(x);
  function dB(x) {
    if (!isNumber(x)) return NONE;
    if (x === Infinity) return "exact";
    if (x === -Infinity) return "−∞";
    return x.toFixed(1).replace("-", "−");
  }
  function short(x, digits = 3) {
    if (!isNumber(x)) return NONE;
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
    return String(Number(x.toPrecision(digits))).replace("-", "−");
  }
  function percent(x) {
    if (!isNumber(x)) return NONE;
    const many = 100 * x;
    return (many > 0 && many < 0.1 ? short(many, 2) : many.toFixed(1)) + " %";
  }
  function size(bytes) {
    for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (bytes >= factor) return `${Number((bytes / factor).toPrecision(3))} ${unit}`;
    }
    return `${bytes} B`;
  }
  function span(ends) {
    if (!ends) return NONE;
    return ends.length === 1 ? short(ends[0], 4) : `${short(ends[0])} … ${short(ends[1])} (${ends[2]})`;
  }
  /** Of a fused operator's name, which lists all that went into it, the first part. */
  function brief(name) {
    const parts = name.split(";").filter(Boolean);
    if (parts.length < 2) return name || "no name";
    return `${parts[0]} (and ${parts.length - 1} more)`;
  }
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  // What the table of layers can show: label, how a value is written, how much a cell is tinted.
  const low = (x) => (x === Infinity ? 0 : Math.min(0.5, Math.max(0, (30 - x) / 70)));
  const METRICS = {
    total: { label: "SQNR of the total error, dB", write: dB, heat: low },
    own: { label: "SQNR of the operator's own error, dB", write: dB, heat: low },
    inherited: { label: "SQNR of the inherited error, dB", write: dB, heat: low },
    largest: { label: "largest error", write: short },
    mean: { label: "mean absolute error", write: short },
    cosine: { label: "cosine", write: (x) => (isNumber(x) ? x.toFixed(5) : NONE), heat: (x) => Math.min(0.55, 8 * (1 - x)) },
    saturated: { label: "saturated", write: percent, heat: (x) => Math.min(0.55, 20 * x) },
    used: { label: "codes used", write: percent, heat: (x) => Math.max(0, 0.5 - x) },
    dtype: { label: "stored as", write: (x) => x ?? NONE },
    scale: { label: "scale", write: (x) => short(x, 4) },
    zero: { label: "zero point", write: (x) => short(x, 6) },
  };
  function value(candidate, layer, metric) {
    const x = D.seen[candidate][metric][layer];
    if (metric === "dtype") return x === null ? null : text(x);
    return Array.isArray(x) ? x[0] : x;
  }

  // ---- theme ----------------------------------------------------------------------------------

  const root = document.documentElement;
  $("theme").addEventListener("click", () => {
    const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const now = root.dataset.theme ?? preferred;
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // ---- charts ---------------------------------------------------------------------------------

  const drawn = new Map();
  async function draw(element, spec, rows) {
    const ticket = Symbol("draw");
    const before = drawn.get(element);
    drawn.set(element, { ticket, view: before?.view });
    const whole = {
      ...spec,
      data: { values: rows },
      width: "container",
      autosize: { type: "fit-x", contains: "padding" },
      config: { ...D.charts.config, legend: { ...D.charts.config.legend, disable: true } },
    };
    const target = document.createElement("div");
    target.className = "chart";
    target.style.visibility = "hidden";
    element.append(target); // measured where it will stand
    target.style.width = `${element.clientWidth}px`;
    target.style.position = "absolute";
    const result = await vegaEmbed(target, whole, {
      mode: "vega-lite",
      renderer: "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: element.id || "chart",
    });
    if (drawn.get(element)?.ticket !== ticket) {
      result.finalize();
      target.remove();
      return null;
    }
    before?.view?.finalize();
    for (const child of [...element.children]) if (child !== target) child.remove();
    target.style = "";
    drawn.set(element, { ticket, view: result.view });
    return result.view;
  }
  const spec = (name) => structuredClone(D.charts[name]);
  const redraws = [];
  let waiting = 0;
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => redraws.forEach((f) => f()), 150);
  });

  /** Give every encoding by candidate the candidates' own colours, shapes and dashes. */
  function dressed(made, numbers) {
    const domain = numbers.map((n) => D.candidates[n].name);
    for (const part of [made, ...(made.layer ?? [])]) {
      for (const [channel, key] of [["color", "color"], ["shape", "shape"], ["strokeDash", "dash"], ["fill", "fill"]]) {
        const encoding = part.encoding?.[channel];
        if (encoding) encoding.scale = { domain, range: numbers.map((n) => look(n)[key]) };
      }
    }
    return made;
  }

  // ---- tables that were written into the page: sort by a click on a heading -------------------

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = make("button", { type: "button" }, ...heading.childNodes);
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = !heading.classList.contains("text");
        const now = heading.getAttribute("aria-sort");
        const down = now ? now === "ascending" : numeric;
        for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column];
          if (!numeric) return cell.textContent.trim().toLowerCase();
          const given = cell.dataset.value;
          return given === "" || given === undefined ? null : Number(given.replace("inf", "Infinity"));
        };
        body.append(...[...body.rows].sort((a, b) => ordered(key(a), key(b), down)));
      });
    });
  }
  /** Order of two keys; what is missing comes last either way. */
  function ordered(a, b, down) {
    const none = (x) => x === null || x === undefined || Number.isNaN(x);
    if (none(a) || none(b)) return none(a) - none(b);
    const order = a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  }
  document.querySelectorAll("table.sortable").forEach(sortable);

  // ---- trade-off ------------------------------------------------------------------------------

  const FAR = 8; // times the least cost: from there on the axis is logarithmic
  function tradeoff() {
    const qualities = Object.keys(D.titles).filter((q) => D.fronts[`${q}|bytes`]);
    if (!qualities.length) return;
    $("tradeoff").hidden = false;
    $("quality").append(...qualities.map((q) => option(q, D.titles[q])));
    $("path").append(...D.paths.map((p) => option(p, p)));
    $("path").value = D.paths.find((p) => p.endsWith("xnnpack")) ?? D.paths[0]; // what users get
    $("path-label").hidden = !D.paths.length;
    const shown = D.candidates.map((_, n) => n).filter((n) => !D.candidates[n].error);
    $("tradeoff-key").append(...shown.map((n) => make("li", {}, mark(n), D.candidates[n].name)));

    function panel(id, quality, cost) {
      const label = cost === "bytes" ? "size of the file" : `${cost}, one sample`;
      const front = D.fronts[`${quality}|${cost}`] ?? [];
      const both = D.fronts[`${quality}|bytes|${$("path").value}`] ?? [];
      const rows = shown.flatMap((n) => {
        const c = D.candidates[n];
        const [good, least, most] = Array.isArray(c[quality]) ? c[quality] : [c[quality]];
        const price = cost === "bytes" ? c.bytes : c.latency[cost];
        if (!isNumber(good) || !Number.isFinite(good) || !isNumber(price)) return [];
        const said = quality === "db" ? `${dB(good)} dB` : quality === "score" ? short(good, 4) : percent(good);
        return [{
          candidate: c.name, good, low: least, high: most, cost: price, front: front.includes(n), both: both.includes(n),
          quality: isNumber(least) ? `${said} (${percent(least)} to ${percent(most)})` : said,
          price: cost === "bytes" ? size(price) : `${short(price)} ms`, place: front.includes(n) ? "on it" : "no",
        }];
      });
      const made = dressed(spec("tradeoff"), shown);
      made.encoding.y.axis.title = D.titles[quality];
      if (quality === "accuracy" || quality === "agreement") made.encoding.y.axis.format = ".1~%";
      made.encoding.x.axis.title = cost === "bytes" ? `${label} (bytes)` : `${label} (ms)`;
      made.encoding.x.axis.format = cost === "bytes" ? "~s" : "~g";
      const prices = rows.map((row) => row.cost);
      if (Math.max(...prices) > FAR * Math.min(...prices)) made.encoding.x.scale = { type: "log", nice: false, padding: 24 };
      draw($(id), made, rows);
    }
    const update = () => {
      panel("by-size", $("quality").value, "bytes");
      if (D.paths.length) panel("by-time", $("quality").value, $("path").value);
    };
    $("by-time").parentNode.hidden = !D.paths.length;
    $("quality").addEventListener("change", update);
    $("path").addEventListener("change", update);
    redraws.push(update);
    update();
  }

  // ---- worst layers ---------------------------------------------------------------------------

  const FIRST = 8;
  const NEAR = 6; // dB: who is named beside the worst candidate
  function worst() {
    if (!D.worst.length) return;
    $("worst").hidden = false;
    const those = [...new Set(D.worst.map(([c]) => c))].sort((a, b) => a - b);
    $("worst-of").append(option("", "all candidates"), ...those.map((c) => option(c, D.candidates[c + 1].name)));
    let all = false;

    function update() {
      const only = $("worst-of").value;
      const groups = new Map(); // layer -> its worst candidate first
      for (const [c, layer] of D.worst) {
        if (only !== "" && Number(only) !== c) continue;
        if (!groups.has(layer)) groups.set(layer, []);
        groups.get(layer).push(c);
      }
      const entries = [...groups];
      $("worst-list").replaceChildren(...(all ? entries : entries.slice(0, FIRST)).map(([layer, cs]) => {
        const [c] = cs;
        const own = D.seen[c].own[layer];
        const level = (n) => D.seen[n].own[layer] ?? D.seen[n].total[layer];
        const near = cs.filter((n) => level(n) <= level(c) + NEAR);
        const total = D.seen[c].total[layer];
        const why = (D.seen[c].reasons[layer] || []).map(text);
        const where = ` ${D.layers.operator[layer]}`;
        return make("li", {}, make("button", { type: "button", onclick: () => pick(layer, true) },
          make("span", { class: "what" }, text(D.layers.op[layer]) + where, make("small", { title: D.layers.name[layer] }, brief(D.layers.name[layer]))),
          make("span", { class: "because" }, why.length ? why.join("; ") : make("i", {}, "no single cause found"),
            make("span", { class: "who" }, near.map((n) => make("span", {}, mark(n + 1), D.candidates[n + 1].name)))),
          make("span", { class: "db" }, isNumber(own) ? `${dB(own)} dB` : `${dB(total)} dB`,
            make("small", {}, isNumber(own) ? `own, total ${dB(total)}` : "total"))));
      }));
      const rest = entries.length - FIRST;
      $("worst-more").hidden = rest <= 0;
      $("worst-more").textContent = all ? `Show the first ${FIRST}` : `Show ${rest} more`;
    }
    $("worst-of").addEventListener("change", update);
    $("worst-more").addEventListener("click", () => { all = !all; update(); });
    update();
  }

  // ---- layers: candidates and kind of error, which chart and table share ----------------------

  const state = { hidden: new Set(), part: "total", picked: null, sort: "layer", down: false };
  const usable = D.seen.map((s, c) => c).filter((c) => D.seen[c].total.some((x) => x !== null));
  const visible = () => usable.filter((c) => !state.hidden.has(c));

  function controls() {
    for (const c of usable) {
      const box = make("input", { type: "checkbox", checked: true, onchange: () => {
        if (box.checked) state.hidden.delete(c);
        else state.hidden.add(c);
        redraw();
      } });
      $("chips").append(make("label", { title: D.candidates[c + 1].name }, box, mark(c + 1), make("span", {}, D.candidates[c + 1].name)));
    }
    if (usable.length > 2) {
      $("chips").append(make("button", { type: "button", onclick: () => {
        const boxes = [...$("chips").querySelectorAll("input")];
        const on = state.hidden.size > 0;
        boxes.forEach((box) => { box.checked = on; });
        state.hidden = new Set(on ? [] : usable);
        redraw();
      } }, "all or none"));
    }
    for (const part of ["total", "own", "inherited"]) {
      $("part").append(make("label", {}, make("input", {
        type: "radio", name: "part", value: part, checked: part === state.part,
        onchange: () => {
          if (["total", "own", "inherited"].includes($("metric").value)) $("metric").value = part;
          state.part = part;
          redraw();
        },
      }), part));
    }
    const kinds = [...new Set(D.layers.op)].map(text).sort();
    $("operator").append(option("", "all"), ...kinds.map((k) => option(k, k)));
    $("metric").append(...Object.entries(METRICS).map(([key, m]) => option(key, m.label)));
    for (const id of ["find", "operator", "metric", "remarked"]) $(id).addEventListener("input", table);
  }
  function redraw() {
    lines();
    table();
    if (state.picked !== null) detail(state.picked);
  }

  let lineView = null;
  async function lines() {
    const ops = D.layers.op.map(text);
    const index = ops.map((_, i) => i);
    const rows = visible().map((c) => ({
      candidate: D.candidates[c + 1].name, layer: index, name: D.layers.name, op: ops, db: D.seen[c][state.part],
    }));
    const finite = rows.flatMap((row) => row.db.filter((x) => isNumber(x) && Number.isFinite(x)));
    const made = dressed(spec("layers"), usable.map((c) => c + 1));
    const set = (name, x) => { made.params.find((p) => p.name === name).value = x; };
    set("lowest", finite.length ? Math.min(...finite) : 0);
    set("highest", finite.length ? Math.max(...finite) : 1);
    set("picked", state.picked ?? -1);
    made.layer[1].encoding.y.axis.title = `SQNR of the ${state.part} error (dB)`;
    made.encoding.x.scale.domain = [0, Math.max(1, LAYERS - 1)];
    if (rows.length * LAYERS > 1500) Object.assign(made.layer[2].mark, { size: 6, strokeWidth: 0.8 });
    const view = await draw($("by-layer"), made, rows);
    if (!view) return;
    lineView = view;
    view.addEventListener("click", (_, item) => {
      if (Number.isInteger(item?.datum?.layer)) pick(item.datum.layer, true);
    });
  }

  // ---- table of layers ------------------------------------------------------------------------

  function rowsShown() {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const op = $("operator").value;
    const candidates = visible();
    const found = [];
    for (let i = 0; i < LAYERS; i++) {
      const kind = text(D.layers.op[i]);
      if (op && kind !== op) continue;
      if ($("remarked").checked && !candidates.some((c) => D.seen[c].reasons[i])) continue;
      const all = `${D.layers.operator[i]} ${kind} ${D.layers.name[i]} ${text(D.layers.shape[i])}`.toLowerCase();
      if (words.every((w) => all.includes(w))) found.push(i);
    }
    if (state.sort !== "layer" || state.down) {
      const metric = $("metric").value;
      const key = state.sort === "layer" ? (i) => i : (i) => value(state.sort, i, metric);
      found.sort((a, b) => ordered(key(a), key(b), state.down) || a - b);
    }
    return found;
  }

  function table() {
    const metric = $("metric").value;
    const { write, heat } = METRICS[metric];
    const candidates = visible();
    if (state.sort !== "layer" && !candidates.includes(state.sort)) state.sort = "layer";
    const heading = (key, ...label) => make("th", {
      scope: "col", "aria-sort": state.sort === key && (state.down ? "descending" : "ascending"),
    }, make("button", { type: "button", onclick: () => {
      state.down = state.sort === key ? !state.down : false;
      state.sort = key;
      table();
      $("table").tHead.querySelector("[aria-sort] button")?.focus();
    } }, ...label));
    $("table").tHead.replaceChildren(make("tr", {}, heading("layer", "Layer"),
      candidates.map((c) => heading(c, mark(c + 1), " ", D.candidates[c + 1].name))));
    const shown = rowsShown();
    $("table").tBodies[0].replaceChildren(...shown.map((i) => {
      const cells = candidates.map((c) => {
        const x = value(c, i, metric);
        const tint = heat && isNumber(x) ? heat(x) : 0;
        return make("td", { class: isNumber(x) ? null : "none", style: tint > 0.01 ? `--heat:${tint.toFixed(2)}` : null }, write(x));
      });
      return make("tr", { "data-layer": i, "aria-selected": i === state.picked ? "true" : "false" },
        make("th", { scope: "row" }, make("button", { type: "button" }, `${D.layers.operator[i]} ${text(D.layers.op[i])}`,
          make("small", { title: D.layers.name[i] }, brief(D.layers.name[i])))), cells);
    }));
    $("count").textContent = `${shown.length.toLocaleString("en")} of ${many(LAYERS, "layer")}; choose one to see its histograms`;
  }
  $("table").tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) pick(Number(row.dataset.layer), true);
  });
  $("table").addEventListener("keydown", (event) => {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const row = event.target.closest("tbody tr");
    if (!step || !row) return;
    row[step]?.querySelector("button").focus();
    event.preventDefault();
  });

  // ---- one layer ------------------------------------------------------------------------------

  function pick(layer, show) {
    state.picked = layer;
    for (const row of $("table").tBodies[0].rows) {
      row.setAttribute("aria-selected", Number(row.dataset.layer) === layer ? "true" : "false");
    }
    lineView?.signal("picked", layer).runAsync();
    detail(layer);
    if (show) $("detail").scrollIntoView({ block: "nearest" });
  }

  function bins(histogram) {
    const [edges, counts] = histogram;
    const first = edges[0];
    const step = (edges[edges.length - 1] - first) / counts.length;
    const even = edges.length === 2;
    return counts.map((count, i) => ({
      from: even ? first + i * step : edges[i], to: even ? first + (i + 1) * step : edges[i + 1], count,
    }));
  }

  let logarithmic = true;
  function detail(i) {
    const seen = visible().filter((c) => D.seen[c].total[i] !== null);
    const absent = visible().filter((c) => D.seen[c].total[i] === null);
    const head = (label, kind) => make("th", { scope: "col", class: kind }, label);
    const body = seen.flatMap((c) => {
      const s = D.seen[c];
      const stored = [value(c, i, "dtype")];
      if (s.scale[i]) stored.push(`scale ${span(s.scale[i])}`, `zero point ${span(s.zero[i])}`);
      const errors = `error: mean ${short(s.mean[i])}, largest ${short(s.largest[i])}; cosine ${METRICS.cosine.write(s.cosine[i])}`;
      return [
        make("tr", {},
          make("th", { scope: "row", class: "text" }, mark(c + 1), " ", D.candidates[c + 1].name),
          ["total", "own", "inherited"].map((k) => make("td", {}, dB(s[k][i]))),
          make("td", {}, percent(s.saturated[i])), make("td", {}, percent(s.used[i]))),
        make("tr", { class: "more" }, make("td", { class: "text", colspan: 6 }, stored.join(", "), make("br"), errors)),
      ];
    });
    const remarks = seen.flatMap((c) => (D.seen[c].reasons[i] || []).map((r) => [c, text(r)]));
    for (const c of seen) if (D.seen[c].why[i] !== null) remarks.push([c, `not fed alone: ${text(D.seen[c].why[i])}`]);
    for (const c of absent) remarks.push([c, `no counterpart${D.seen[c].why[i] === null ? "" : `: ${text(D.seen[c].why[i])}`}`]);

    const steps = (by) => {
      const rows = [...$("table").tBodies[0].rows].map((r) => Number(r.dataset.layer));
      const next = rows[rows.indexOf(i) + by];
      const id = by < 0 ? "above" : "below";
      return make("button", {
        type: "button", class: "plain", id, disabled: next === undefined, "aria-label": `Layer ${id}`,
        onclick: () => { pick(next); $(id).focus(); },
      }, by < 0 ? "↑" : "↓");
    };
    const parts = [
      make("div", { class: "pager" }, make("h3", {}, `${D.layers.operator[i]} ${text(D.layers.op[i])}`), make("span", {}, steps(-1), " ", steps(1))),
      make("p", { class: "where" }, D.layers.name[i] || "no name", " · ", text(D.layers.shape[i])),
    ];
    if (remarks.length) {
      parts.push(make("ul", { class: "remarks" }, remarks.map(([c, said]) => make("li", {}, mark(c + 1), make("span", {}, said)))));
    }
    const ranges = seen.filter((c) => D.seen[c].range[i]).map((c) => {
      const [from, to] = D.seen[c].range[i];
      return { candidate: D.candidates[c + 1].name, from, to };
    });
    const values = D.layers.values[i] ? bins(D.layers.values[i]) : [];
    const coded = seen.filter((c) => D.seen[c].codes[i]);
    const later = [];
    if (values.length || coded.length) {
      const box = make("input", {
        type: "checkbox", id: "logarithmic", checked: logarithmic,
        onchange: () => { logarithmic = box.checked; detail(i); $("logarithmic").focus(); },
      });
      parts.push(make("h4", {}, "Values and ranges"), make("div", { class: "controls" }, make("label", {}, box, "logarithmic counts")));
    }
    const scaled = (made, rows) => {
      if (logarithmic) {
        const most = Math.log10(Math.max(1, ...rows.map((r) => r.count)));
        const step = Math.max(1, Math.ceil(most / 3));
        made.encoding.y.scale = { type: "symlog" };
        made.encoding.y.axis.values = [0, ...Array.from({ length: 1 + Math.floor(most / step) }, (_, k) => 10 ** (k * step))].filter((x) => x !== 1 || most < 1);
      }
      return made;
    };
    const ends = [...values, ...ranges];
    if (ends.length) {
      const domain = [Math.min(...ends.map((r) => r.from)), Math.max(...ends.map((r) => r.to))];
      if (domain[0] === domain[1]) domain[1] += 1;
      if (values.length) {
        const chart = make("div", { class: "chart", id: "chart-values" });
        parts.push(make("figure", {}, chart));
        const made = scaled(spec("values"), values);
        made.encoding.x.scale.domain = domain;
        if (ranges.length) Object.assign(made.encoding.x.axis, { title: null, labels: false, ticks: false });
        later.push(() => draw(chart, made, values));
      }
      if (ranges.length) {
        const chart = make("div", { class: "chart", id: "chart-ranges" });
        parts.push(make("figure", {}, chart));
        const made = dressed(spec("ranges"), usable.map((c) => c + 1));
        made.encoding.x.scale.domain = domain;
        made.height = 16 * ranges.length;
        made.encoding.x.axis.title = null;
        later.push(() => draw(chart, made, ranges));
      }
      parts.push(make("p", { class: "caption" }, values.length ? "Grey: the float values, in real units. " : "",
        ranges.length ? "Bars: what the integers can represent." : ""));
    }
    if (coded.length) {
      const grid = make("div", { class: "codes" });
      parts.push(make("h4", {}, "Codes"), grid);
      for (const c of coded) {
        const chart = make("div", { class: "chart", id: `chart-codes-${c}` });
        grid.append(make("figure", {}, make("figcaption", {}, mark(c + 1), D.candidates[c + 1].name), chart));
        const rows = bins(D.seen[c].codes[i]);
        const made = scaled(spec("codes"), rows);
        made.mark.color = look(c + 1).color;
        later.push(() => draw(chart, made, rows));
      }
    }
    if (body.length) {
      parts.push(make("h4", {}, "Numbers"), make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {},
        head("Candidate", "text"), head("Total dB"), head("Own dB"), head("Inherited dB"),
        head("Saturated"), head("Codes used"))),
      make("tbody", {}, body))));
    }
    for (const old of drawn.keys()) if (!old.isConnected || $("detail").contains(old)) {
      drawn.get(old).view?.finalize();
      drawn.delete(old);
    }
    $("detail").replaceChildren(...parts);
    later.forEach((f) => f());
  }

  // ---- begin ----------------------------------------------------------------------------------

  tradeoff();
  worst();
  if (LAYERS && usable.length) {
    $("layers").hidden = false;
    controls();
    state.picked = D.worst.length ? D.worst[0][1] : 0;
    redraw();
    redraws.push(lines, () => detail(state.picked));
  }
  for (const link of document.querySelectorAll("nav a")) {
    const target = document.querySelector(link.getAttribute("href"));
    if (!target || target.hidden) link.remove();
  }
  root.dataset.ready = "true";
})();
