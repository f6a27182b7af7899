// What was measured of the model: whether its maps passed their checks, and its figures by subgroup.

import { make, percent } from "./dom.js";

const CHECKS = {
  randomisation: "The map depends on what the model learnt",
  faithfulness: "The places it names matter to the model",
  masks: "It lies on the lesion",
};
const COLUMNS = {
  age_band: "Age",
  sex: "Sex",
  localization: "Site",
  site: "Site",
  anatom_site_general: "Site",
  dx_type: "How the diagnosis was made",
  fitzpatrick: "Skin type",
  fitzpatrick_skin_type: "Skin type",
  skin_type: "Skin type",
  skin_tone: "Skin type",
};
const title = (column) => COLUMNS[column] ?? column.replaceAll("_", " ");

/** The verdict on maps of this method: one line for each check, the figures below. */
export function verdict(checks, id = "map-checks") {
  if (!checks) {
    return make("p", { class: "small checks", id }, "Maps of this method and target were not checked for this model: whether to believe them is not known.");
  }
  const failed = Object.values(checks.passed).filter((passed) => !passed).length;
  const lines = Object.entries(checks.passed).map(([name, passed]) =>
    make("li", {}, make("span", { class: "sign", "aria-hidden": "true" }, passed ? "✓" : "✗"), ` ${CHECKS[name] ?? name}: `, make("strong", {}, passed ? "passed" : "failed")),
  );
  const said = failed ? `Maps of this method failed ${failed} of ${lines.length} checks of this model.` : "Maps of this method passed the checks of this model.";
  return make(
    "div",
    { class: failed ? "checks failed" : "checks", id },
    make("p", {}, make("strong", {}, said)),
    make("ul", {}, lines),
    make("details", {}, make("summary", {}, "Figures"), checks.sentences.map((sentence) => make("p", { class: "small" }, sentence))),
  );
}

const cell = (figure, shown) => (figure ? [make("span", {}, shown(figure.estimate)), interval(figure, shown)] : "–");
const interval = ({ low, high }, shown) => (low === null || high === null ? null : make("span", { class: "small" }, `${shown(low).replace(" %", "")} to ${shown(high)}`));

/** The table of figures by subgroup, or the sentence that there is none. */
export function subgroupTable(subgroups) {
  if (!subgroups) return make("p", { id: "subgroups" }, "No figures by subgroup are recorded with this model: who it is worse for is not known.");
  const columns = [...new Set(subgroups.rows.map((row) => row.column))];
  const skin = columns.some((column) => title(column) === "Skin type");
  const heads = ["Subgroup", "Images", "Malignant", "Sensitivity", "Specificity", "ROC-AUC"].map((text) => make("th", { scope: "col" }, text));
  const bodies = columns.map((column) =>
    make(
      "tbody",
      {},
      make("tr", { class: "group" }, make("th", { scope: "rowgroup", colSpan: 6 }, title(column))),
      subgroups.rows.filter((row) => row.column === column).map(line),
    ),
  );
  const data = [subgroups.data, subgroups.split ? `${subgroups.split} part` : null].filter(Boolean).join(", ");
  const images = `${subgroups.n?.toLocaleString("en")} images${subgroups.lesions ? ` of ${subgroups.lesions.toLocaleString("en")} lesions` : ""}`;
  return make(
    "div",
    { id: "subgroups" },
    make(
      "p",
      { class: "small" },
      `${images}${data ? ` (${data})` : ""}, the picture alone`,
      subgroups.threshold === null ? "" : `, flagged from ${subgroups.threshold.toFixed(3)}`,
      subgroups.confidence === null ? "" : `; ${percent(subgroups.confidence).replace(".0", "")} intervals`,
      ". Few malignant images mean wide intervals, and of many subgroups some differ by chance.",
    ),
    skin ? null : make("p", {}, make("strong", {}, "Skin type was not recorded in these data: how the model does on dark skin is not known.")),
    make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Figures by subgroup" }, make("table", { class: "subgroups" }, make("thead", {}, make("tr", {}, heads)), bodies)),
  );
}

function line(row) {
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, row.value),
    make("td", {}, row.n.toLocaleString("en")),
    make("td", {}, row.n_positive === null ? "–" : row.n_positive.toLocaleString("en")),
    make("td", {}, cell(row.sensitivity, percent)),
    make("td", {}, cell(row.specificity, percent)),
    make("td", {}, cell(row.roc_auc, (x) => x.toFixed(3))),
  );
}
