// Elements and numbers as text.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element. Properties that start with `on` are listeners, `class` and names with a dash or of ARIA are
 * attributes, `data` is a map, anything else a property. Children are text or elements; null is left out.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "class" || name === "role" || name === "for" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** A description list from pairs; pairs without a value are left out. */
export function facts(pairs, className = "facts") {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: className }, known.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** A probability with three decimals, never rounded to 0 or 1. */
export function probability(p) {
  if (p === null || p === undefined) return "–";
  if (p > 0 && p < 0.0005) return "< 0.001";
  if (p < 1 && p >= 0.9995) return "> 0.999";
  return p.toFixed(3);
}

/** A share as a percentage with one decimal. */
export const percent = (x) => `${(100 * x).toFixed(1)} %`;

/** An estimate with its interval where there is one. */
export function rate(value) {
  if (!value) return "not stated";
  const known = value.low !== null && value.low !== undefined;
  const bound = (x) => (100 * x).toFixed(1);
  return known ? `${percent(value.estimate)} (${bound(value.low)} to ${bound(value.high)})` : percent(value.estimate);
}

/** A number of bytes for people. */
export function bytes(number) {
  if (number < 1024) return `${number} bytes`;
  const kilo = number / 1024;
  return kilo < 1024 ? `${kilo.toFixed(0)} KiB` : `${(kilo / 1024).toFixed(1)} MiB`;
}

/** "1 image", "2 images". */
export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

/** Hands a text to the browser as a file to save. */
export function save(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
