// What the model is, what it does not know, and under which licence: everything that the server says of it.

import { byId, facts, fill, make } from "./dom.js";
import { subgroupTable, verdict } from "./evidence.js";

/** Fills the dialog, the line under the title and the footer once the model is known. */
export function showAbout(session) {
  const dialog = byId("about");
  byId("about-open").addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  session.addEventListener("ready", () => {
    byId("about-open").disabled = false;
    fill(dialog, content(session, () => dialog.close()));
    fill(byId("model-line"), session.models.map(line).join(" + "));
    fill(byId("footer"), footer(session));
  });
}

const line = (model) => `${model.name}, weights ${model.weights_sha256.slice(0, 8)}, ${model.runtime} ${model.precision}`;

/** Licence, data and limits in one line, for the foot of the page and of a saved one. */
export function attribution(session) {
  const parts = session.models.map((model) => {
    const data = model.training?.data;
    return `${model.name}: weights under ${model.license || "an unstated licence"}${data ? `, trained on ${text(data)}` : ""}.`;
  });
  return `${parts.join(" ")} skinclf ${session.version}, Apache-2.0.`;
}

function footer(session) {
  return [make("p", {}, session.notice), make("p", {}, attribution(session))];
}

function content(session, close) {
  return [
    make(
      "div",
      { class: "dialog-head" },
      make("h2", { id: "about-title" }, "Model, limits and licence"),
      make("div", { class: "actions" }, make("button", { type: "button", class: "strong", onclick: close }, "Close")),
    ),
    make("p", {}, session.notice),
    session.models.map(described),
    make("h3", {}, "This server"),
    facts([
      ["Version", session.version],
      ["Images in a request", session.limits.max_files],
      ["Gate", GATES[session.gate.mode]],
      ["Age, sex and site", session.metadata ? "taken into account where they are stated" : "not taken"],
      ["Maps", session.explanations ? "drawn when an image is opened" : "not available"],
      ["Storage", "none: neither images nor names are kept"],
    ]),
  ];
}

function described(model) {
  const limits = model.limits ?? [];
  const labels = model.labels.map(({ code, name, malignant }) => make("li", {}, name, make("span", { class: "small" }, ` ${code}${malignant ? ", counted as malignant" : ""}`)));
  return make(
    "section",
    { class: "model" },
    make("h3", {}, model.name),
    make("h4", {}, "Limits"),
    limits.length ? make("ul", { class: "limits" }, limits.map((sentence) => make("li", {}, sentence))) : make("p", {}, "The model states no limits."),
    model.failures.length ? [make("h4", {}, "Known failures"), make("ul", { class: "limits" }, model.failures.map((sentence) => make("li", {}, sentence)))] : null,
    make("h4", {}, "Figures by subgroup"),
    subgroupTable(model.subgroups),
    make("h4", {}, model.map_checks ? `Maps by ${model.map_checks.method}, target ${model.map_checks.target}` : "Maps"),
    verdict(model.map_checks, "model-checks"),
    make("h4", {}, "Classes that it knows; any other diagnosis is forced into one of them"),
    make("ul", { class: "labels" }, labels),
    make("h4", {}, "Licence and origin"),
    facts([
      ["Licence of the weights", model.license || "not stated"],
      ["Images it is for", model.domain ? text(model.domain) : "not stated"],
      ...Object.entries(model.training ?? {}).map(([name, value]) => [titled(name), text(value)]),
    ]),
    model.citation ? make("details", {}, make("summary", {}, "Citation of the data"), make("pre", { class: "citation" }, model.citation)) : null,
    make("h4", {}, "Identity"),
    facts([
      ["Architecture", model.architecture],
      ["Weights (SHA-256)", model.weights_sha256],
      ["Preprocessing", text(model.preprocess)],
      ["Runtime", `${model.runtime}, ${model.precision}`],
    ]),
  );
}

const GATES = {
  off: "off: every picture gets probabilities",
  mark: "says what it notices about an image, and refuses none",
  refuse: "images that the model should not answer for get no probability",
};

const titled = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

function text(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, inner]) => `${name}: ${text(inner)}`).join("; ");
  return String(value);
}
