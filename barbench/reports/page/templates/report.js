"use strict";

/* Sort a table by a column, each section within itself; cells without a number stay last. */
function sorted(rows, column, direction) {
  const key = (row) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const numbers = (typeof x === "number") + (typeof y === "number");
    if (numbers === 1) return typeof x === "number" ? -1 : 1;
    return direction * (numbers === 2 ? x - y : x.localeCompare(y));
  };
  return rows.sort(compare);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  for (const body of table.tBodies) [...body.rows].forEach((row, place) => (row.dataset.place = place));
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const text = header.classList.contains("left");
      const order = text ? ["ascending", "descending", null] : ["descending", "ascending", null];
      const next = order[(order.indexOf(header.getAttribute("aria-sort")) + 1) % order.length];
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) header.setAttribute("aria-sort", next);
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
        if (next) sorted(rows, column, next === "ascending" ? 1 : -1);
        else rows.sort((a, b) => a.dataset.place - b.dataset.place);
        body.append(...rows);
      }
    });
  });
}

/* Light, dark, or what the system says; remembered where the browser lets a file do so. */
const theme = document.getElementById("theme");
const themes = { auto: "light dark", light: "light", dark: "dark" };
function remembered(value) {
  try {
    if (value !== undefined) localStorage.setItem("barbench-theme", value);
    return localStorage.getItem("barbench-theme");
  } catch {
    return value;
  }
}
function show(name) {
  document.documentElement.style.colorScheme = themes[name];
  theme.querySelector("span").textContent = name;
}
show(remembered() in themes ? remembered() : "auto");
theme.hidden = false;
theme.addEventListener("click", () => {
  const names = Object.keys(themes);
  const next = names[(names.indexOf(theme.querySelector("span").textContent) + 1) % names.length];
  remembered(next);
  show(next);
});

/* One set of conditions, or all of them. */
const choice = document.getElementById("conditions");
if (choice) {
  const choose = () => {
    for (const part of document.querySelectorAll("[data-condition]"))
      part.hidden = choice.value !== "" && part.dataset.condition !== choice.value;
  };
  choice.addEventListener("change", choose);
  choose();
}

/* Search the records: a row is shown if it has every word, a value as in `snf` or a field as in `recipe.lr=0.001`. */
const search = document.getElementById("search");
const recordRows = [];
for (const list of document.querySelectorAll("details.records")) {
  const names = [...list.querySelectorAll("thead tr:last-child th")].map((head) => head.querySelector("button").firstChild.textContent);
  for (const row of list.querySelectorAll("tbody tr")) {
    const texts = [...row.cells].map((cell) => cell.textContent.trim().toLowerCase());
    const fields = texts.map((text, column) => `${names[column].toLowerCase()}=${text}`);
    recordRows.push({ row, list, texts, fields });
  }
}
search.hidden = recordRows.length === 0;
search.querySelector("input").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (record, word) => (word.includes("=") ? record.fields.includes(word) : record.texts.some((text) => text.includes(word)));
  let found = 0;
  for (const list of document.querySelectorAll("details.records")) list.open = false;
  for (const record of recordRows) {
    const fits = words.every((word) => has(record, word));
    record.row.hidden = !fits;
    found += fits;
    if (fits && words.length) record.list.open = true;
  }
  search.querySelector("output").textContent = words.length ? `${found} of ${recordRows.length}` : "";
});

/* Mark where the reader is in the table of contents. */
const links = new Map([...document.querySelectorAll("nav.toc a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
  const here = [...links.keys()].filter((id) => seen.has(id)).pop();
  for (const [id, link] of links) id === here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
}, { rootMargin: "-10% 0px -75% 0px" });
for (const id of links.keys()) watcher.observe(document.getElementById(id));
