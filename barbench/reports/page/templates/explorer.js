
/* The explorer of expressions: filters, and a card for each expression that they leave, some at a time. */
const AT_ONCE = 24;

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/* An element with attributes and children; what is null is left out. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/* An image under one of `count` masks that lie side by side in a picture. */
function stack(image, mask, alt, place = 0, count = 1) {
  const style = `width: ${100 * count}%; left: ${-100 * place}%`;
  const layer = mask ? make("img", { src: mask, alt: "", class: "mask", loading: "lazy", style }) : null;
  return make("div", { class: "stack" }, make("img", { src: image, alt, loading: "lazy" }), layer);
}

function card(content, set, row) {
  const picture = set.picture && content.images[set.picture[row]];
  const truth = set.truth && content.truths[set.truth[row]];
  const facts = [`sentence ${set.sentence[row]}`, `image ${set.image[row]}`, `${content.sizes[set.size[row]]} of the image`];
  if (set.categories) facts.splice(2, 0, set.categories[set.category[row]]);
  if (set.rivals) facts.push(`${set.rivals[row]} rival${set.rivals[row] === 1 ? "" : "s"}`);
  const [strip, drawn] = set.masks?.[row] ?? [null, []];
  const methods = set.methods.map((name, place) => {
    const score = set.iou[place][row] / 10;
    const at = drawn.indexOf(place);
    return make("li", { style: `--score: ${score}%` },
      make("span", {}, name),
      make("span", { class: "muted" }, content.outcomes[set.outcome[place][row]]),
      make("b", {}, score.toFixed(1)),
      picture && at >= 0 ? stack(picture, strip, `Mask of ${name}`, at, drawn.length) : null);
  });
  return make("li", { class: "card" },
    picture ? stack(picture, truth, "Image with the object that is meant") : null,
    make("div", {},
      set.text ? make("q", {}, set.text[row]) : null,
      make("p", { class: "note" }, facts.join(" · ")),
      make("ul", { class: "methods" }, ...methods)));
}

function fill(select, names, first) {
  const options = names.map((name, place) => make("option", { value: place }, name));
  select.replaceChildren(...(first === null ? [] : [make("option", { value: "" }, first)]), ...options);
}

async function explore(section) {
  const content = await unpack(document.getElementById("expressions").textContent);
  const field = Object.fromEntries([...section.querySelectorAll("[name]")].map((each) => [each.name, each]));
  const list = section.querySelector(".cards");
  const more = section.querySelector(".more");
  let found = [];
  let shown = 0;
  const show = () => {
    const set = content.sets[field.set.value];
    const next = found.slice(shown, shown + AT_ONCE).map((row) => card(content, set, row));
    list.append(...next);
    shown += next.length;
    more.hidden = shown >= found.length;
  };
  const search = () => {
    const set = content.sets[field.set.value];
    const wish = Object.fromEntries(Object.entries(field).map(([name, control]) => [name, control.value]));
    found = matchingRows(set, wish);
    section.querySelector("output").textContent = `${found.length} of ${set.sentence.length}`;
    list.replaceChildren();
    shown = 0;
    show();
  };
  const choose = () => {
    const set = content.sets[field.set.value];
    fill(field.a, set.methods, null);
    const sums = set.iou.map((scores) => scores.reduce((sum, score) => sum + score, 0));
    field.a.value = sums.indexOf(Math.max(...sums));
    fill(field.b, set.methods, "no other");
    fill(field.category, set.categories ?? [], "all");
    for (const [name, there] of [["category", set.categories], ["rivals", set.rivals], ["words", set.text]])
      field[name].closest("label").hidden = !there;
    search();
  };
  fill(field.set, content.sets.map((set) => set.title), null);
  fill(field.outcome, content.outcomes, "all");
  fill(field.size, content.sizes, "all");
  for (const [name, control] of Object.entries(field)) control.addEventListener("input", name === "set" ? choose : search);
  more.addEventListener("click", show);
  section.querySelector("form").hidden = false;
  choose();
}
const explorer = document.getElementById("explorer");
if (explorer) explore(explorer);
