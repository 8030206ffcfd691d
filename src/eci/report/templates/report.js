"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);

  // An element with attributes and children; children that are strings become text, never markup.
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  const thousands = (number) => number.toLocaleString("en");
  const options = (pairs) => pairs.map(([value, text]) => make("option", { value }, text));

  // ---- tables: a button in each head sorts; long ones have a filter

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const original = [...body.rows];
    const key = (row, place) => {
      const cell = row.cells[place];
      return "v" in cell.dataset ? cell.dataset.v : cell.textContent.trim();
    };
    heads.forEach((head, place) => {
      const label = head.textContent.trim();
      const numeric = !["text", "light"].includes(head.className);
      const button = make("button", { type: "button", "aria-label": `Sort by ${label || "rank"}` }, ...head.childNodes);
      button.addEventListener("click", () => {
        const next = { none: numeric && label ? "descending" : "ascending", ascending: "descending", descending: "ascending" };
        const direction = next[head.getAttribute("aria-sort") || "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const rows = original.map((row) => [key(row, place), row]);
        rows.sort(([a], [b]) => {
          if (a === "" || b === "") return (a === "") - (b === "");
          return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b));
        });
        body.append(...rows.map(([, row]) => row));
      });
      head.replaceChildren(button);
    });
    if (original.length > (table.closest(".ranking") ? 25 : 12)) {
      const input = make("input", { type: "search", placeholder: "Filter rows" });
      const words = original.map((row) => row.textContent.toLowerCase());
      input.addEventListener("input", () => {
        const wanted = input.value.trim().toLowerCase();
        original.forEach((row, place) => { row.hidden = !words[place].includes(wanted); });
      });
      const box = table.closest(".edges");
      box.before(make("label", { class: "filter" }, make("span", {}, "Filter "), input));
    }
  }

  // Which edges of a table hide more of it.
  function edges() {
    const look = (box) => {
      box.parentElement.classList.toggle("before", box.scrollLeft > 1);
      box.parentElement.classList.toggle("after", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    };
    const sizes = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target.closest(".scroll"))));
    document.querySelectorAll(".edges > .scroll").forEach((box) => {
      box.addEventListener("scroll", () => look(box), { passive: true });
      sizes.observe(box);
      sizes.observe(box.firstElementChild);
      look(box);
    });
  }

  // ---- figures: drawn when in sight, or when there is nothing else to do

  const views = new Map();

  // Pixels of a letter, more or less; and what the longest of some names takes.
  const LETTER = 6.5;
  const widest = (names) => LETTER * names.reduce((most, name) => Math.max(most, String(name).length), 0);

  // A title in as many lines as it needs.
  function lines(text, width) {
    const found = [];
    for (const word of text.split(" ")) {
      const last = found.at(-1);
      if (last !== undefined && widest([`${last} ${word}`]) <= width) found[found.length - 1] = `${last} ${word}`;
      else found.push(word);
    }
    return found.length > 1 ? found : text;
  }

  // Every channel of a figure, however deep.
  function channels(part) {
    const own = Object.entries(part.encoding || {});
    return [...own, ...[...(part.layer || []), part.spec].filter(Boolean).flatMap(channels)];
  }

  // A figure with legends, names and titles that have room in the width.
  function fitted(spec, width) {
    const fit = structuredClone(spec);
    const all = channels(fit);
    const names = (channel) => (Array.isArray(channel.sort) ? channel.sort : []);
    const limit = Math.min(190, Math.max(90, 0.36 * width));
    const upright = all.filter(([axis]) => axis === "y").flatMap(([, channel]) => names(channel));
    const taken = upright.length ? Math.min(limit, widest(upright)) + 14 : 58;
    const whole = fit.facet ? width : Math.min(spec.width + 140, width);
    const room = whole - taken;
    fit.config.axis.labelLimit = limit;
    fit.config.axisX.titleLimit = fit.config.legend.titleLimit = room;
    fit.config.title.limit = width - 10;
    for (const [axis, channel] of all) {
      const { legend, scale } = channel;
      if (legend && scale && scale.domain) {
        legend.labelLimit = Math.min(170, room - 40);
        const sizes = scale.domain.map((name) => Math.min(legend.labelLimit, widest([name])) + 30);
        // In one row each name takes its own width; in several, columns are as wide as the widest.
        const row = sizes.length <= legend.columns && sizes.reduce((sum, size) => sum + size, 0) <= room;
        if (!row) legend.columns = Math.max(1, Math.min(legend.columns, Math.floor(room / Math.max(...sizes))));
        if (legend.title) legend.title = lines(legend.title, room);
      }
      if (typeof channel.title === "string") {
        if (axis === "x") channel.title = lines(channel.title, room);
        if (axis === "y") channel.title = lines(channel.title, 300);
      }
      if (axis === "x" && names(channel).length && !fit.facet) {
        const step = Math.min(spec.width, room) / names(channel).length;
        if (step < widest(names(channel)) + 8) channel.axis.labelAngle = step < 18 ? -90 : -40;
        if (step < 14) channel.axis.labelFontSize = Math.max(6, 0.75 * step);
      }
    }
    if (fit.facet && fit.spec) {
      // Axis labels of the first panel take their share.
      const least = fit.spec.layer ? 150 : 190;
      fit.columns = Math.max(1, Math.min(fit.columns, Math.floor(room / least)));
      fit.spec.width = Math.max(90, Math.floor(room / fit.columns - 28));
    } else {
      fit.autosize = { type: "fit-x", contains: "padding" };
      fit.width = whole;
      // Half of the last label, which Vega does not see coming.
      fit.padding = { left: 5, top: 5, bottom: 5, right: 18 };
    }
    return fit;
  }

  async function draw(figure) {
    const key = figure.dataset.key;
    const box = figure.querySelector(".drawing");
    const width = box.clientWidth;
    figure.dataset.width = width;
    const spec = fitted(page.figures[key], width);
    views.get(key)?.finalize();
    const bind = figure.querySelector(".bind") || make("div", { class: "bind" });
    bind.replaceChildren();
    const result = await vegaEmbed(box, spec, { actions: false, renderer: "svg", bind, tooltip: { theme: "custom" } });
    views.set(key, result);
    // What is chosen stays chosen when the figure is drawn anew, and when it is saved.
    for (const param of page.figures[key].params || []) {
      if (param.bind) result.view.addSignalListener(param.name, (_, value) => { param.value = value; });
    }
    const controls = figure.querySelector(".controls");
    if (!bind.isConnected) controls.prepend(bind);
    if (!controls.querySelector(".export")) {
      for (const kind of ["svg", "png"]) {
        const label = `Save ${figure.querySelector("h3").textContent} as ${kind.toUpperCase()}`;
        controls.append(make("button", { type: "button", class: "export", "aria-label": label, onclick: () => save(key, kind) }, kind.toUpperCase()));
      }
    }
    if (key === "pair" && page.explorer) {
      result.view.addEventListener("click", (_, item) => { if (item && item.datum && "query" in item.datum) explore.show(item.datum.query); });
    }
    figure.dataset.drawn = "yes";
  }

  async function save(key, kind) {
    const spec = JSON.parse(JSON.stringify(page.figures[key]).replaceAll("currentColor", "#1c1f24"));
    spec.background = "white";
    // A file has no table beside it: the key to its numbers is in the drawing.
    for (const param of spec.params || []) if (param.name === "keyed") param.value = true;
    const { view } = await vegaEmbed(make("div"), spec, { actions: false, renderer: "svg" });
    const address = await view.toImageURL(kind, 2);
    make("a", { href: address, download: `${key}.${kind}` }).click();
    view.finalize();
  }

  function figures() {
    const waiting = [...document.querySelectorAll("figure.chart")];
    let line = Promise.resolve();
    const enqueue = (figure) => {
      const place = waiting.indexOf(figure);
      if (place < 0) return;
      waiting.splice(place, 1);
      // A figure that fails harms no other.
      line = line.then(() => draw(figure)).catch((error) => {
        figure.querySelector(".drawing").textContent = `This figure cannot be drawn here (${error.message}); its table is below.`;
        console.error(error);
      });
    };
    const seen = new IntersectionObserver((entries) => {
      entries.filter((entry) => entry.isIntersecting).forEach((entry) => enqueue(entry.target));
    }, { rootMargin: "300px" });
    waiting.forEach((figure) => seen.observe(figure));
    const idle = window.requestIdleCallback || ((work) => setTimeout(work, 60));
    const next = () => {
      if (!waiting.length) return;
      enqueue(waiting[0]);
      line.then(() => idle(next));
    };
    idle(next);
    let timer = 0;
    new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        for (const figure of document.querySelectorAll("figure.chart[data-drawn]")) {
          const width = figure.querySelector(".drawing").clientWidth;
          if (width && Math.abs(width - Number(figure.dataset.width)) > 8) line = line.then(() => draw(figure));
        }
      }, 150);
    }).observe(document.querySelector("main"));
  }

  // ---- two sources, query by query

  function pairs() {
    const figure = document.getElementById("figure-pair");
    const data = page.explorer;
    if (!figure || !data) return;
    const kinds = [["hardest", "hardest negative"], ["signal", "mean of the negatives"], ["margin", "margin"]];
    const meant = { hardest: "the cosine of its hardest negative", signal: "the mean cosine of its negatives", margin: "the margin of its positive over the hardest negative" };
    const caption = figure.querySelector("figcaption p");
    const named = data.sources.map((source, place) => [place, source]);
    const select = (label, pairs_, chosen) => {
      const box = make("select", {}, ...options(pairs_));
      box.value = chosen;
      box.addEventListener("change", update);
      figure.querySelector(".controls").append(make("label", {}, `${label} `, box));
      return box;
    };
    const kind = select("Show", kinds, "hardest");
    const across = select("across", named, 0);
    const upwards = select("upwards", named, Math.min(1, named.length - 1));
    function column(source) {
      const { best, hardest, signal } = data.figures;
      if (kind.value === "signal") return signal[source];
      if (kind.value === "hardest") return hardest[source];
      return hardest[source].map((value, query) => (value === null ? null : Math.max(0, best[query] - value)));
    }
    function update() {
      const x = column(Number(across.value));
      const y = column(Number(upwards.value));
      const values = [];
      x.forEach((value, query) => {
        if (value !== null && y[query] !== null) values.push({ x: value / 1000, y: y[query] / 1000, query });
      });
      const spec = page.figures.pair;
      const told = kinds.find(([name]) => name === kind.value)[1];
      const [points, diagonal] = spec.layer;
      points.data = { values };
      points.encoding.x.title = `${data.sources[across.value]}: ${told}`;
      points.encoding.y.title = `${data.sources[upwards.value]}: ${told}`;
      const low = Math.max(...["x", "y"].map((axis) => values.reduce((least, point) => Math.min(least, point[axis]), Infinity)));
      const high = Math.min(...["x", "y"].map((axis) => values.reduce((most, point) => Math.max(most, point[axis]), -Infinity)));
      diagonal.data = { values: low < high ? [{ x: low, y: low }, { x: high, y: high }] : [] };
      const many = `${thousands(values.length)} queries with negatives of both`;
      caption.textContent = `A point a query: ${meant[kind.value]} by ${data.sources[across.value]} to the right, by ${data.sources[upwards.value]} upwards, about the diagonal; ${many}.`;
      spec.description = `${figure.querySelector("h3").textContent}. ${caption.textContent}`;
      spec.title.text = many;
      if (figure.dataset.drawn) draw(figure);
    }
    update();
  }

  // ---- rows

  const plain = (text) => (Array.isArray(text) ? text[0] : text);

  // Text with what is searched for marked, as nodes.
  function marked(text, wanted) {
    if (!wanted) return [text];
    const low = text.toLowerCase();
    // Lower case may have another length; then nothing is marked.
    if (low.length !== text.length) return [text];
    const nodes = [];
    let from = 0;
    for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
      nodes.push(text.slice(from, at), make("mark", {}, text.slice(at, at + wanted.length)));
      from = at + wanted.length;
    }
    return [...nodes, text.slice(from)];
  }

  function told(text, wanted) {
    const cut = Array.isArray(text);
    return make("bdi", {}, ...marked(plain(text), wanted), cut ? make("span", { class: "cut" }, ` … (${thousands(text[1])} characters)`) : null);
  }

  // A source in which something was found is brought into its card, unless one is in sight.
  function reveal(box) {
    const row = box.parentElement;
    if (row.scrollLeft) return;
    const first = row.querySelector(".source.hit");
    if (box !== first) return;
    const over = box.getBoundingClientRect().right - row.getBoundingClientRect().right;
    if (over > 1) row.scrollLeft = over;
  }

  // A list of cards, a page of them at a time; `held` says how many there are, `rest` where there are more.
  function leafing(card, many, held, rest = "") {
    const size = 10;
    let found = [];
    let start = 0;
    const status = make("span", { role: "status", id: "status" });
    const list = make("div", { id: "list" });
    const last = () => Math.max(0, Math.floor((found.length - 1) / size) * size);
    const step = (label, text, move) => make("button", { type: "button", "aria-label": label, onclick: () => { start = move(); render(); list.scrollIntoView({ block: "nearest" }); } }, text);
    const steps = [
      step("First page", "«", () => 0),
      step("Previous page", "‹ Previous", () => Math.max(0, start - size)),
      step("Next page", "Next ›", () => Math.min(last(), start + size)),
      step("Last page", "»", last),
    ];
    const whole = make("input", { type: "checkbox", id: "whole" });
    whole.addEventListener("change", () => list.classList.toggle("whole", whole.checked));
    function render() {
      const here = found.slice(start, start + size);
      list.replaceChildren(...here.map(card));
      status.textContent = found.length
        ? `${many} ${thousands(start + 1)}–${thousands(start + here.length)} of ${thousands(found.length)}`
        : `None of the ${held} of this page fits${rest}.`;
      list.querySelectorAll(".source.hit").forEach(reveal);
      steps[0].disabled = steps[1].disabled = start === 0;
      steps[2].disabled = steps[3].disabled = start >= last();
    }
    return {
      list, render,
      paper: make("p", { class: "on-paper note" }),
      longer: make("label", {}, whole, "Longer texts"),
      pager: make("div", { class: "pager" }, ...steps, status),
      put(entries, at = 0) { found = entries; start = Math.floor(at / size) * size; render(); },
    };
  }

  const explore = { show() {} };

  function explorer() {
    const data = page.explorer;
    if (!data || !data.queries) return;
    const box = document.getElementById("explorer");
    const lowered = data.documents.map((text) => plain(text).toLowerCase());
    const asked = data.queries.map(([label, query]) => `${plain(label)}\n${plain(query)}`.toLowerCase());
    let wanted = "";
    const beyond = data.told < data.total ? `; the Parquet file has ${thousands(data.total)}` : "";
    const leaves = leafing(card, "Queries", `${thousands(data.told)} queries`, beyond);
    const stem = decodeURIComponent(location.pathname.split("/").at(-1)).replace(/\.[^.]*$/, "") || "PAGE";

    document.getElementById("rows-lead").textContent =
      `${thousands(data.told)} of ${thousands(data.total)} queries, drawn at random, each with the hardest ` +
      `${data.negatives === 1 ? "negative" : `${data.negatives} negatives`} of every source and the first ` +
      `${thousands(data.characters)} characters of a text. ` +
      (data.held > data.told ? `Of ${thousands(data.held - data.told)} more the page holds figures without texts. ` : "") +
      `All of it is in the Parquet file of this page, usually ${stem}.rows.parquet beside it.`;

    const search = make("input", { type: "search", id: "search", placeholder: `Words in the ${thousands(data.told)} queries of this page` });
    const source = make("select", { id: "of-source" }, ...options([["", "any source"], ...data.sources.map((name, place) => [place, name])]));
    const flag = make("select", { id: "flag" }, ...options([["", "any or none"], ...data.flags.map(([name], place) => [1 << place, name.replaceAll("_", " ")])]));
    const order = make("select", { id: "order" }, ...options([["drawn", "as drawn"], ["hard", "hardest negative first"], ["easy", "easiest first"]]));
    const chosen = new Set(data.sources.keys());
    if (data.sources.length > 4) [...chosen].slice(4).forEach((place) => chosen.delete(place));
    const boxes = data.sources.map((name, place) => {
      const input = make("input", { type: "checkbox", checked: chosen.has(place) });
      input.addEventListener("change", () => { tick(place, input.checked); leaves.render(); });
      return make("label", {}, input, make("bdi", {}, name));
    });
    function tick(place, on) {
      if (on) chosen.add(place); else chosen.delete(place);
      boxes[place].firstElementChild.checked = on;
      const shown = data.sources.filter((_, at) => chosen.has(at));
      leaves.paper.textContent = "On paper: the first three of these queries" +
        (shown.length < data.sources.length ? `, with ${shown.length} of ${data.sources.length} sources (${shown.join(", ") || "none"}). ` : ". ") +
        "The page itself shows the others.";
    }
    let timer = 0;
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(select, 120); });
    [source, flag, order].forEach((control) => control.addEventListener("change", select));
    let hits = null;
    let bit = 0;

    function select() {
      wanted = search.value.trim().toLowerCase();
      hits = wanted ? lowered.map((text) => text.includes(wanted)) : null;
      bit = Number(flag.value) || 0;
      if (source.value !== "") tick(Number(source.value), true);
      const only = source.value === "" ? null : Number(source.value);
      let found = [];
      data.queries.forEach((row, query) => {
        const parts = only === null ? row[3] : [row[3][only]];
        const there = parts.filter((part) => part);
        if (!there.length && (only !== null || bit)) return;
        if (bit && !there.some((part) => part[1] & bit)) return;
        if (hits && !asked[query].includes(wanted) && !row[2].some(([document_]) => hits[document_]) &&
            !there.some((part) => part[2].some(([document_]) => hits[document_]))) return;
        found.push(query);
      });
      if (order.value !== "drawn") {
        const { best, hardest } = data.figures;
        const over = (query) => {
          const known = (only === null ? hardest : [hardest[only]]).map((column) => column[query]).filter((value) => value !== null);
          return known.length ? Math.max(...known) - best[query] : null;
        };
        const sign = order.value === "hard" ? -1 : 1;
        const keyed = found.map((query) => [over(query), query]);
        keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * (a - b)));
        found = keyed.map(([, query]) => query);
      }
      leaves.put(found);
    }

    function documentOf([number, cosine, bits]) {
      // The first flag says the second, too.
      const flags = data.flags.filter((_, place) => bits & (1 << place) && !(place === 1 && bits & 1));
      return make("p", { class: "doc" },
        make("span", { class: "cosine", title: "cosine with the query" }, (cosine / 1000).toFixed(3)),
        ...flags.map(([name, meaning]) => make("span", { class: "flag", title: meaning }, name.replaceAll("_", " "))),
        told(data.documents[number], wanted));
    }

    function card(query) {
      const [label, text, positives, sources] = data.queries[query];
      const only = source.value === "" ? null : Number(source.value);
      const flagged = (part) => Boolean(bit && part && part[1] & bit);
      // Where what was asked for is found is shown, ticked or not.
      const found = sources.map((part, place) => (only === null || only === place) &&
        (flagged(part) || Boolean(hits && part && part[2].some(([document_]) => hits[document_]))));
      const columns = [...sources.keys()].filter((place) => chosen.has(place) || found[place]).map((place) => {
        const part = sources[place];
        const unseen = flagged(part) && !part[2].some(([, , bits]) => bits & bit);
        return make("div", { class: found[place] || place === only ? "source hit" : "source" },
          make("h4", {}, make("bdi", {}, data.sources[place]), part ? ` · ${part[0]} negative${part[0] === 1 ? "" : "s"}` : ""),
          ...(part ? part[2].map(documentOf) : [make("p", { class: "doc cut" }, "none for this query")]),
          unseen ? make("p", { class: "doc cut" }, "The flag is on a negative that is not shown here.") : null);
      });
      return make("article", { "data-query": query },
        make("h3", {}, told(text, wanted)),
        make("div", { class: "id" }, make("bdi", {}, plain(label))),
        make("div", { class: "positives" }, ...positives.map((entry) => documentOf([...entry, 0]))),
        make("div", { class: "sources", tabindex: 0, role: "group", "aria-label": "Negatives by source" }, ...columns));
    }

    explore.show = (query) => {
      if (query >= data.queries.length) return;
      search.value = source.value = flag.value = "";
      order.value = "drawn";
      leaves.put([...data.queries.keys()], query);
      leaves.list.querySelector(`[data-query="${query}"]`).scrollIntoView({ block: "start" });
    };

    box.replaceChildren(
      make("div", { class: "bar-controls" },
        make("div", { class: "controls" },
          make("label", {}, "Search ", search), make("label", {}, "Source ", source),
          make("label", {}, "Flag ", flag), make("label", {}, "Order ", order),
          leaves.longer),
        make("fieldset", {}, make("legend", {}, "Sources side by side"), ...boxes)),
      leaves.paper,
      leaves.pager,
      leaves.list);
    chosen.forEach((place) => tick(place, true));
    select();
  }

  // ---- negatives of an audit, one a row

  function cases() {
    const data = page.explorer;
    if (!data || !data.cases) return;
    let wanted = "";
    const leaves = leafing(card, "Rows", data.cases.length === 1 ? "1 row" : `${thousands(data.cases.length)} rows`, data.left ? `; the result has ${thousands(data.left)} more` : "");
    leaves.paper.textContent = "On paper: the first three of these rows. The page itself shows the others.";
    document.getElementById("rows-lead").textContent =
      `The ${data.cases.length === 1 ? "row" : `${thousands(data.cases.length)} rows`} with the most severe faults, each by its worst negative, ` +
      `and the first ${thousands(data.characters)} characters of a text. ` +
      (data.left ? `${thousands(data.left)} more of the result find no room here. ` : "") +
      "An issue has a score from 0, severe, to 0.5, where it begins. Rows and negatives are counted from 0, as in the table of --scores.";
    const search = make("input", { type: "search", id: "search", placeholder: `Words in the ${thousands(data.cases.length)} rows of this page` });
    const source = make("select", { id: "of-source" }, ...options([["", "any source"], ...data.sources.map((name, at) => [at, name])]));
    const issue = make("select", { id: "issue" }, ...options([["", "any issue"], ...data.issues.map(([name], at) => [at, name.replaceAll("_", " ")])]));
    const verdict = make("select", { id: "verdict" }, ...options([["", "any or none"], ...data.verdicts.map((word) => [word, word])]));
    const order = make("select", { id: "order" }, ...options([["worst", "worst first"], ["issue", "lowest score of the issue"], ["row", "as in the rows"]]));
    const words = data.cases.map((entry) => [entry.label, entry.query, entry.negative, ...entry.positives].map(plain).join("\n").toLowerCase());
    let timer = 0;
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(select, 120); });
    [source, issue, verdict, order].forEach((control) => control.addEventListener("change", select));

    function select() {
      wanted = search.value.trim().toLowerCase();
      const score = (entry) => (issue.value === "" ? Math.min(...entry.issues.map(([, value]) => value)) : entry.issues.find(([at]) => at === Number(issue.value))[1]);
      const found = [...data.cases.keys()].filter((at) => {
        const entry = data.cases[at];
        return words[at].includes(wanted) && (source.value === "" || entry.source === Number(source.value)) &&
          (issue.value === "" || entry.issues.some(([name]) => name === Number(issue.value))) &&
          (verdict.value === "" || (entry.verdict && entry.verdict[0] === verdict.value));
      });
      const by = { issue: (entry) => score(entry), row: (entry) => entry.row }[order.value];
      if (by) found.sort((a, b) => by(data.cases[a]) - by(data.cases[b]));
      leaves.put(found);
    }

    function card(at) {
      const entry = data.cases[at];
      const flags = entry.issues.map(([number, score]) => {
        const [name, meaning, fault] = data.issues[number];
        return make("span", { class: fault ? "flag" : "flag sign", title: meaning }, `${name.replaceAll("_", " ")} ${score.toFixed(2)}`);
      });
      const more = entry.more ? make("p", { class: "doc cut" }, `and ${thousands(entry.more)} more`) : null;
      const judged = entry.verdict
        ? make("p", { class: "judged" }, make("b", {}, `Judge: ${entry.verdict[0]} `), entry.verdict[1] ? told(entry.verdict[1], wanted) : null)
        : null;
      return make("article", { "data-case": at },
        make("h3", {}, told(entry.query, wanted)),
        make("div", { class: "id" }, `row ${entry.row}`, ...(entry.label ? [" · ", make("bdi", {}, plain(entry.label))] : []),
          ` · negative ${entry.place}`, ...(entry.id ? [" · ", make("bdi", {}, plain(entry.id))] : [])),
        make("div", { class: "flags" }, ...flags),
        make("div", { class: "facing" },
          make("div", { class: "positives" }, make("h4", {}, entry.positives.length === 1 ? "Labelled positive" : "Labelled positives"),
            ...entry.positives.map((text) => make("p", { class: "doc" }, told(text, wanted))), more),
          make("div", { class: "suspect" }, make("h4", {}, "Negative of ", make("bdi", {}, data.sources[entry.source])),
            make("p", { class: "doc" }, plain(entry.negative) ? told(entry.negative, wanted) : "(no text)"), judged)));
    }

    document.getElementById("explorer").replaceChildren(
      make("div", { class: "bar-controls" },
        make("div", { class: "controls" },
          make("label", {}, "Search ", search), make("label", {}, "Source ", source), make("label", {}, "Issue ", issue),
          data.verdicts.length ? make("label", {}, "Judge ", verdict) : null,
          make("label", {}, "Order ", order), leaves.longer)),
      leaves.paper,
      leaves.pager,
      leaves.list);
    select();
  }

  document.querySelectorAll("figure.table table").forEach(sortable);
  edges();
  pairs();
  explorer();
  cases();
  figures();
  // What is folded away would be missing on paper.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll(".reading details, #figure-against .behind")].filter((entry) => !entry.open);
    unfolded.forEach((entry) => { entry.open = true; });
  });
  window.addEventListener("afterprint", () => unfolded.forEach((entry) => { entry.open = false; }));
  document.documentElement.dataset.ready = "yes";
})();
