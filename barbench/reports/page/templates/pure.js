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

/* The rows of a set of expressions that a wish leaves, in its order. IoUs are per mille, rounded: what is right is told
   by the first outcome. Of a wish, "" is any: a, b (places of methods), relation (of b to a), low, high (IoU of a in percent), outcome (of a), category,
   size, rivals ("3" is three and more), words, order. */
function matchingRows(set, wish) {
  const a = set.iou[wish.a];
  const b = wish.b === "" ? null : set.iou[wish.b];
  const right = (place, row) => set.outcome[place][row] === 0;
  const relations = {
    "": () => true,
    "right-wrong": (row) => right(wish.a, row) && !right(wish.b, row),
    "wrong-right": (row) => !right(wish.a, row) && right(wish.b, row),
    "wrong-wrong": (row) => !right(wish.a, row) && !right(wish.b, row),
  };
  const words = wish.words.toLowerCase().split(/\s+/).filter(Boolean);
  const is = (values, row, value) => value === "" || !values || values[row] === Number(value);
  const fitting = a.map((_, row) => row).filter((row) =>
    (wish.low === "" || a[row] >= 10 * wish.low) &&
    (wish.high === "" || a[row] <= 10 * wish.high) &&
    (!b || relations[wish.relation](row)) &&
    is(set.outcome[wish.a], row, wish.outcome) &&
    is(set.category, row, wish.category) &&
    is(set.size, row, wish.size) &&
    (wish.rivals === "" || !set.rivals || Math.min(set.rivals[row], 3) === Number(wish.rivals)) &&
    words.every((word) => set.text?.[row].toLowerCase().includes(word)));
  const orders = {
    file: () => 0,
    worst: (row) => a[row],
    best: (row) => -a[row],
    difference: (row) => (b ? b[row] - a[row] : a[row]),
  };
  return inOrder(fitting, orders[wish.order], 1);
}

if (typeof module !== "undefined") module.exports = { columnKey, fits, shownColumns, inOrder, matchingRows };
