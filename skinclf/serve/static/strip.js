// A strip of dots: where the images lie between 0 and 1, with the threshold as a line.

import { byId, fill, make } from "./dom.js";

const BINS = 64;
const HEIGHT = 56;
const DOT = 9;

/** Draws the strip whenever the session changes. */
export function showStrip(session) {
  session.addEventListener("change", () => draw(session));
}

function draw(session) {
  const known = session.entries.filter((entry) => typeof entry.row?.probability_malignant === "number");
  if (known.length === 0 || session.threshold === null) {
    fill(byId("strip"));
    return;
  }
  const bins = Map.groupBy ? Map.groupBy(known, bin) : grouped(known);
  const step = Math.min(DOT, HEIGHT / Math.max(...[...bins.values()].map((members) => members.length)));
  const dots = [...bins.values()].flatMap((members) => {
    const sorted = members.toSorted((a, b) => a.row.probability_malignant - b.row.probability_malignant);
    return sorted.map((entry, level) => {
      const dot = make("span", { class: session.decision(entry).flagged ? "dot flagged" : "dot" });
      dot.style.left = `${100 * entry.row.probability_malignant}%`;
      dot.style.bottom = `${level * step}px`;
      return dot;
    });
  });
  const lines = session.thresholds.map((point) => {
    const line = make("span", { class: point === session.threshold ? "line current" : "line" });
    line.style.left = `${100 * point.value}%`;
    return line;
  });
  const plot = make("div", { class: "plot" }, lines, dots);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) => make("span", {}, at === 0 || at === 1 ? String(at) : at.toFixed(2)));
  fill(
    byId("strip"),
    make(
      "figure",
      { class: "strip", role: "img", "aria-label": "Images by probability of malignancy, with the threshold as a line" },
      plot,
      make("div", { class: "ticks" }, ticks),
      make(
        "figcaption",
        { class: "small" },
        "P(malignant) of each image. ",
        make("span", { class: "key" }, make("span", { class: "dot flagged" }), " flagged "),
        make("span", { class: "key" }, make("span", { class: "dot" }), " not flagged "),
        make("span", { class: "key" }, make("span", { class: "line current" }), " this threshold"),
      ),
    ),
  );
}

const bin = (entry) => Math.min(BINS - 1, Math.floor(entry.row.probability_malignant * BINS));

function grouped(entries) {
  const bins = new Map();
  for (const entry of entries) bins.set(bin(entry), [...(bins.get(bin(entry)) ?? []), entry]);
  return bins;
}
