"use strict";

/* The name of a column as a search takes it: `Tuned (M)` is tuned, `val` under `mIoU` is miou-val. */
function columnKey(group, name) {
  return `${group} ${name}`.toLowerCase().replace(/\s*\([^)]*\)/g, "").trim().replace(/\s+/g, "-");
}

/* Whether a row, text by column key, has every word of a query: a word as in `snf`, a value as in `seed=1`, or a bound
   as in `tuned<1`. */
function fits(row, query) {
  return query.toLowerCase().split(/\s+/).filter(Boolean).every((word) => {
    const [, key, sign, value] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) ?? [];
    if (!sign) return Object.values(row).some((text) => text.toLowerCase().includes(word));
    if (!Object.hasOwn(row, key)) return false;
    const text = row[key].toLowerCase();
    if (sign === "=") return text === value;
    const [x, y] = [parseFloat(text.replaceAll(",", "")), parseFloat(value)];
    return { "<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y }[sign];
  });
}

/* Which columns, given as {group, name}, are shown for a metric and a split; "" is any, and other columns always are. */
function shownColumns(columns, metric, split) {
  return columns.map(({ group, name }) => !group || ((!metric || group === metric) && (!split || name === split)));
}

/* Rows in the order of a key, cells without a number last; `key` gives a number or a text. */
function inOrder(rows, key, direction) {
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const numbers = (typeof x === "number") + (typeof y === "number");
    if (numbers === 1) return typeof x === "number" ? -1 : 1;
    return direction * (numbers === 2 ? x - y : x.localeCompare(y));
  };
  return [...rows].sort(compare);
}

if (typeof module !== "undefined") module.exports = { columnKey, fits, shownColumns, inOrder };
