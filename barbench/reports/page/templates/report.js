/* What is in a column of a table, as text and as what it sorts by. */
function sortKey(column) {
  return (row) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
}
const bodyRows = (table) => [...table.querySelectorAll("tbody tr:not(.heading)")];
const lastHeaders = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];
const nameOf = (header) => header.querySelector("button").firstChild.textContent;

/* A row of a table as `fits` takes it; a cell with a number has it without its interval. */
function fieldsOf(row, keys) {
  const texts = [...row.cells].map((cell) => cell.firstChild?.textContent.trim() ?? "");
  return Object.fromEntries(keys.map((key, column) => [key, texts[column]]));
}

/* Sort a table by a column, each section within itself. */
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = lastHeaders(table);
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
        const key = next ? sortKey(column) : (row) => Number(row.dataset.place);
        const ordered = inOrder(rows, key, next === "descending" ? -1 : 1);
        body.append(...ordered);
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

/* Search the records. */
const search = document.getElementById("search");
const recordRows = [];
for (const list of document.querySelectorAll("details.records")) {
  const keys = lastHeaders(list.querySelector("table")).map((header) => columnKey("", nameOf(header)));
  for (const row of bodyRows(list)) recordRows.push({ row, list, fields: fieldsOf(row, keys) });
}
search.hidden = recordRows.length === 0;
search.querySelector("input").addEventListener("input", ({ target }) => {
  for (const list of document.querySelectorAll("details.records")) list.open = false;
  let found = 0;
  for (const { row, list, fields } of recordRows) {
    row.hidden = !fits(fields, target.value);
    found += !row.hidden;
    if (!row.hidden && target.value.trim()) list.open = true;
  }
  search.querySelector("output").textContent = target.value.trim() ? `${found} of ${recordRows.length}` : "";
});

/* Choose what a summary shows: a metric, a split, the methods that fit a query. */
for (const controls of document.querySelectorAll(".choose")) {
  const table = controls.parentElement.querySelector("table");
  const headers = lastHeaders(table);
  const columns = headers.map((header) => ({ group: header.dataset.group ?? "", name: nameOf(header) }));
  const keys = columns.map(({ group, name }) => columnKey(group, name));
  const rows = bodyRows(table).map((row) => ({ row, fields: fieldsOf(row, keys) }));
  const [metric, split] = controls.querySelectorAll("select");
  const query = controls.querySelector("input");
  const choose = () => {
    const shown = shownColumns(columns, metric.value, split.value);
    for (const { row } of rows) [...row.cells].forEach((cell, column) => (cell.hidden = !shown[column]));
    headers.forEach((header, column) => (header.hidden = !shown[column]));
    let start = 0;
    for (const group of table.tHead.rows[0].cells) {
      const count = Number(group.dataset.columns);
      const visible = shown.slice(start, start + count).filter(Boolean).length;
      group.hidden = visible === 0;
      if (visible) group.colSpan = visible;
      start += count;
    }
    for (const { row, fields } of rows) row.hidden = !fits(fields, query.value);
    const found = rows.filter(({ row }) => !row.hidden).length;
    controls.querySelector("output").textContent = query.value.trim() ? `${found} of ${rows.length}` : "";
  };
  for (const control of [metric, split, query]) control.addEventListener("input", choose);
  controls.hidden = false;
  choose();
}

/* A click on a name of a legend hides that method in all drawings of its set of conditions, or shows it again. */
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    const condition = button.closest("[data-condition]").dataset.condition;
    const key = button.dataset.mark;
    for (const part of document.querySelectorAll(`main > [data-condition="${condition}"]`)) {
      for (const other of part.querySelectorAll(`.legend button[data-mark="${key}"]`)) other.setAttribute("aria-pressed", pressed);
      for (const mark of part.querySelectorAll(`.plot [data-mark="${key}"]`)) mark.style.visibility = pressed ? "" : "hidden";
    }
  });
}

/* What a pointer on a mark says, at once and also for a finger; the browser's own tip comes late. */
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
function showTip(event) {
  const title = event.target.closest?.(".plot svg g:has(> title)")?.querySelector(":scope > title");
  tip.hidden = !title;
  if (!title) return;
  tip.textContent = title.textContent;
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${event.clientY + 16}px`;
}
document.addEventListener("pointerover", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });

/* Say where a table is wider than the page. */
for (const scroll of document.querySelectorAll(".scroll")) {
  const wide = scroll.parentElement;
  const measure = () => {
    const rest = scroll.scrollWidth - scroll.clientWidth;
    wide.classList.toggle("wider", rest > 1);
    wide.classList.toggle("more", rest - scroll.scrollLeft > 1);
  };
  scroll.addEventListener("scroll", measure, { passive: true });
  const watcher = new ResizeObserver(measure);
  watcher.observe(scroll);
  watcher.observe(scroll.firstElementChild);
}

/* Mark where the reader is in the table of contents. */
const links = new Map([...document.querySelectorAll("nav.toc a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
  const here = [...links.keys()].filter((id) => seen.has(id)).pop();
  for (const [id, link] of links) id === here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
}, { rootMargin: "-10% 0px -75% 0px" });
for (const id of links.keys()) watcher.observe(document.getElementById(id));
