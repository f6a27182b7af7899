// The threshold panel: a slider over the stored operating points, what each costs, and where it comes from.

import { rule } from "./decision.js";
import { byId, facts, fill, make, percent, rate } from "./dom.js";

const GRADES = {
  guaranteed: "guaranteed: holds beyond these data with the stated confidence, for images like these",
  expected: "expected: holds on average over samples like these",
  empirical: "empirical: seen in these data, not guaranteed beyond them",
  none: "none: a bare number, without any data behind it",
};

// As wide as the layout in two columns, where there is room for everything.
const WIDE = "(min-width: 72rem)";

/** The grade in words. */
export const grade = (threshold) => GRADES[threshold.grade] ?? threshold.grade;

/** "sensitivity-0.90 (0.148)": name and value. */
export const titled = (threshold) =>
  threshold.name === "value" ? threshold.text : `${threshold.name} (${threshold.value.toFixed(3)})`;

/** What stands beside a decision: where the threshold comes from, and the model it belongs to. */
export function provenance(threshold, { model, labels, fused }) {
  const { n, n_malignant: malignant } = threshold;
  const share = n && malignant !== null && malignant !== undefined ? `, ${malignant.toLocaleString("en")} malignant (${percent(malignant / n)})` : "";
  return [
    ["Value", threshold.text],
    ["Name", threshold.name === "value" ? "none" : threshold.name],
    ["Grade", grade(threshold)],
    ["Target", threshold.target ?? "none"],
    ["Chosen on", n ? `${n.toLocaleString("en")} ${threshold.unit ?? "image"}s${share}` : "no data"],
    ["Data", threshold.data ?? (n ? "not stated" : null)],
    ["Date", threshold.date],
    ["Measured for", fused ? "the picture with age, sex and site" : null],
    ["Names the class", rule(threshold, labels)],
    ["Model", model?.name],
    ["Weights", model?.weights_sha256?.slice(0, 8)],
    ["Preprocessing", model?.preprocess],
  ];
}

/** Fills the panel once and follows the session. */
export function showThreshold(session) {
  const body = byId("threshold-body");
  let shown = null;
  session.addEventListener("change", () => {
    if (session.model === null) return;
    if (shown !== session.thresholds) {
      shown = session.thresholds;
      fill(body, panel(session));
    }
    if (session.threshold) update(session);
  });
}

function panel(session) {
  const { thresholds } = session;
  if (thresholds.length === 0) return make("p", {}, session.fused ? "No threshold was measured with age, sex and site." : "This model has no threshold.");
  const choose = (i) => session.choose(thresholds[i]);
  const slider = make("input", {
    id: "slider",
    type: "range",
    min: 0,
    max: thresholds.length - 1,
    step: 1,
    disabled: thresholds.length === 1,
    "aria-describedby": "slider-ends",
    oninput: (event) => choose(Number(event.target.value)),
  });
  return [
    session.fused ? make("p", { class: "small", id: "fused" }, "Measured with age, sex and site. They hold for the whole table, also for images without entries.") : null,
    make("p", { class: "chosen", id: "chosen" }),
    make("label", { for: "slider", class: "slider-label" }, "Operating point"),
    slider,
    make("p", { class: "ends small", id: "slider-ends" }, make("span", {}, "flags more"), make("span", {}, "flags fewer")),
    make("div", { id: "costs", class: "costs" }),
    make("p", { id: "rule", class: "small" }),
    make("p", { id: "basis", class: "small basis" }),
    make("details", { open: matchMedia(WIDE).matches }, make("summary", {}, "Where it comes from ", make("span", { id: "origin", class: "small" })), make("div", { id: "provenance" })),
    thresholds.length > 1 ? make("details", {}, make("summary", {}, "All operating points"), comparison(session, choose)) : null,
  ];
}

function comparison(session, choose) {
  const cell = (value) => (value ? percent(value.estimate) : "–");
  const rows = session.thresholds.map((point, i) =>
    make(
      "tr",
      { data: { point: i } },
      make("th", { scope: "row" }, make("button", { type: "button", class: "link", onclick: () => choose(i) }, titled(point))),
      make("td", {}, cell(point.sensitivity)),
      make("td", {}, cell(point.specificity)),
      make("td", {}, point.flagged_per_1000 === null ? "–" : Math.round(point.flagged_per_1000)),
    ),
  );
  const heads = ["Point", "Sens.", "Spec.", "Of 1,000"].map((text) => make("th", { scope: "col" }, text));
  return make(
    "table",
    { class: "points" },
    make("caption", { class: "hidden" }, "Sensitivity, specificity and images flagged of 1,000 at each operating point"),
    make("thead", {}, make("tr", {}, heads)),
    make("tbody", { id: "points" }, rows),
  );
}

function update(session) {
  const { threshold, thresholds, model, labels } = session;
  const place = thresholds.indexOf(threshold);
  const slider = byId("slider");
  slider.value = place;
  slider.setAttribute("aria-valuetext", titled(threshold));
  const name = threshold.name === "value" ? "a bare number" : threshold.name;
  fill(byId("chosen"), make("strong", {}, threshold.value.toFixed(3)), make("span", {}, name));
  const flagged = threshold.flagged_per_1000;
  fill(
    byId("costs"),
    gauge("Sensitivity", threshold.sensitivity, "malignant images that are flagged"),
    gauge("Specificity", threshold.specificity, "other images that are not flagged"),
    flagged === null || flagged === undefined
      ? gauge("Flagged of 1,000", null, "images like those it was chosen on")
      : meter("Flagged of 1,000", String(Math.round(flagged)), flagged / 1000, null, "images like those it was chosen on"),
  );
  const known = threshold.n && threshold.n_malignant !== null && threshold.n_malignant !== undefined;
  fill(
    byId("basis"),
    threshold.grade === "none"
      ? "No evidence: what this number costs is not known."
      : known
        ? `In the data it was chosen on, ${percent(threshold.n_malignant / threshold.n)} of ${threshold.unit ?? "image"}s were malignant. Where that share differs, so does the number flagged.`
        : "The share of malignant images in the data it was chosen on is not stated.",
  );
  const origin = [threshold.grade === "none" ? "no evidence" : threshold.grade, threshold.n ? `n ${threshold.n.toLocaleString("en")}` : null, model?.weights_sha256?.slice(0, 8)];
  fill(byId("origin"), origin.filter(Boolean).join(", "));
  fill(byId("rule"), "The class of a row is named by ", make("strong", {}, rule(threshold, labels)), ".");
  fill(byId("provenance"), facts(provenance(threshold, session)));
  for (const row of document.querySelectorAll("#points tr")) {
    const current = Number(row.dataset.point) === place;
    row.classList.toggle("current", current);
    row.querySelector("button").setAttribute("aria-current", String(current));
  }
}

function gauge(name, value, meaning) {
  if (!value) return meter(name, "not stated", null, null, meaning);
  const stated = value.low !== null && value.low !== undefined;
  return meter(name, rate(value), value.estimate, value, stated ? meaning : `${meaning}; interval not stated`);
}

function meter(name, text, at, interval, meaning) {
  const track = make("span", { class: "track", "aria-hidden": "true" });
  if (at !== null) {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${100 * at}%`;
    track.append(bar);
  }
  if (interval && interval.low !== null && interval.low !== undefined) {
    const band = make("span", { class: "band" });
    band.style.left = `${100 * interval.low}%`;
    band.style.width = `${100 * (interval.high - interval.low)}%`;
    track.append(band);
  }
  return make(
    "div",
    { class: "cost" },
    make("span", { class: "cost-name" }, name),
    make("span", { class: "cost-value" }, text),
    track,
    make("span", { class: "small cost-meaning" }, meaning),
  );
}
