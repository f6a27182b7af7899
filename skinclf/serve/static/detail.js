// The dialog of one image: picture, map, sentence, decision with its provenance, all classes.

import { byId, facts, fill, make, probability, rate } from "./dom.js";
import { verdict } from "./evidence.js";
import { entriesForm, shares } from "./patient.js";
import { decisionChip, marks, thumbnail } from "./table.js";
import { provenance } from "./threshold.js";

/** Shows entries one at a time; maps are asked for when an image is looked at, and only then. */
export class Detail {
  #abort = null;

  constructor(api, session, uploader) {
    this.api = api;
    this.session = session;
    this.uploader = uploader;
    this.entriesOpen = false;
    this.dialog = byId("detail");
    this.dialog.addEventListener("close", () => {
      this.#abort?.abort();
      this.entry = null;
    });
    session.addEventListener("change", () => {
      // An image that was opened before its answer came.
      if (this.dialog.open && this.entry && this.#stateOf(this.entry) !== this.state) this.#again();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  /** Opens an entry; `entries` are those that the buttons step through. */
  open(entry, entries) {
    this.entries = entries;
    this.#show(entry);
    if (!this.dialog.open) this.dialog.showModal();
    byId("detail-close").focus();
  }

  #show(entry) {
    this.#abort?.abort();
    this.entry = entry;
    this.state = this.#stateOf(entry);
    const place = this.entries.indexOf(entry);
    const step = (by, text) =>
      make("button", { type: "button", id: `detail-${text.toLowerCase()}`, disabled: !this.entries[place + by], onclick: () => this.#step(by) }, text);
    fill(
      this.dialog,
      make(
        "div",
        { class: "dialog-head" },
        make("h2", { id: "detail-title" }, entry.name),
        make(
          "div",
          { class: "actions" },
          step(-1, "Previous"),
          step(1, "Next"),
          make("button", { type: "button", id: "detail-close", class: "strong", onclick: () => this.dialog.close() }, "Close"),
        ),
      ),
      make("div", { class: "pictures" }, this.#picture(entry), this.#map(entry)),
      entry.state === "ok" ? this.#decision(entry) : this.#failure(entry),
      this.#entries(entry),
      make("p", { class: "small" }, this.session.notice),
    );
  }

  #stateOf(entry) {
    return `${entry.state} ${entry.turn} ${this.session.fused}`;
  }

  /** Classifies an entry again with other facts beside its picture. */
  #send(entry, facts) {
    this.uploader.send(this.session.again(entry, facts));
  }

  #entries(entry) {
    const { metadata } = this.session;
    const settled = entry.state === "ok" || entry.state === "unsent" || entry.row?.status === "gated";
    if (!metadata || !settled) return null;
    return entriesForm(metadata, entry.patient, {
      open: this.entriesOpen,
      toggled: (open) => {
        this.entriesOpen = open;
      },
      apply: (patient) => this.#send(entry, { patient }),
    });
  }

  #failure(entry) {
    const text = entry.row ? entry.row.error : "The server has not answered yet.";
    const said = make("p", { class: "problem" }, entry.row ? make("strong", {}, `${entry.row.status.replaceAll("_", " ")}. `) : "", text);
    if (entry.row?.status !== "gated") return said;
    const { gate_reasons: reasons, p_familiar: familiar } = entry.row;
    const about = facts([
      ["Noticed", (reasons || "").split("|").join(", ").replaceAll("_", " ")],
      ["Familiarity", typeof familiar === "number" ? `${familiar.toPrecision(2)} (share of the model's own images that look as strange)` : null],
    ]);
    const more = this.session.gate.allow_ungated
      ? make("div", { class: "actions" }, make("button", { type: "button", id: "show-anyway", onclick: () => this.#send(entry, { ungated: true }) }, "Show anyway"))
      : make("p", { class: "small" }, "This server gives no probability of images that its gate refuses.");
    return make("div", { class: "gated" }, said, about, more);
  }

  #again() {
    const focused = document.activeElement?.id;
    this.#show(this.entry);
    byId(focused || "detail-close")?.focus();
  }

  #step(by) {
    const next = this.entries[this.entries.indexOf(this.entry) + by];
    this.#show(next);
    const same = byId(by < 0 ? "detail-previous" : "detail-next");
    (same.disabled ? byId("detail-close") : same).focus();
  }

  #picture(entry) {
    const picture = thumbnail(entry);
    picture.querySelector("img")?.setAttribute("alt", `The image ${entry.name}`);
    return make("figure", {}, picture, make("figcaption", { class: "small" }, "Image, from the memory of this page"));
  }

  #map(entry) {
    const figure = make("figure", { class: "map", id: "map", "aria-live": "polite" });
    if (entry.state !== "ok") return null;
    if (!this.session.explanations) return fill(figure, make("p", { class: "placeholder" }, "This server draws no maps."));
    if (entry.map) return drawn(figure, entry);
    fill(figure, make("p", { class: "placeholder" }, "Drawing the map …"));
    this.#abort = new AbortController();
    this.#ask(entry, figure, this.#abort.signal);
    return figure;
  }

  async #ask(entry, figure, signal) {
    try {
      const { overlay, ...rest } = await this.api.explain(entry, signal);
      const bytes = Uint8Array.from(atob(overlay), (letter) => letter.charCodeAt(0));
      entry.map = { ...rest, url: URL.createObjectURL(new Blob([bytes], { type: "image/png" })) };
      drawn(figure, entry);
    } catch (error) {
      if (error.name !== "AbortError") fill(figure, make("p", { class: "placeholder" }, `No map. ${error.message}`));
    }
  }

  #decision(entry) {
    const { row } = entry;
    const { threshold, labels } = this.session;
    const { flagged, name } = this.session.decision(entry);
    const shown = new Set(labels.map(({ code }) => `p_${code}`));
    const rest = this.session.columns.filter((column) => !KNOWN.has(column) && !shown.has(column) && (entry.parts === null || !IN_SHARES.has(column)));
    return make(
      "div",
      { class: "columns" },
      make(
        "section",
        {},
        make("h3", {}, "Decision"),
        marks(row),
        row.gate === "unfit" ? make("p", { class: "problem", id: "ungated" }, "The gate refuses this image: the model should not answer for it. Its numbers are shown because they were asked for.") : null,
        make(
          "p",
          { class: "verdict" },
          make("span", { class: "p" }, `P(malignant) ${probability(row.probability_malignant)}`),
          decisionChip(flagged),
        ),
        make("p", {}, flagged === null ? "" : `${flagged ? "Flagged" : "Not flagged"} at this threshold. `, `Class by the model's rule: ${name}.`),
        threshold ? facts([...provenance(threshold, this.session), ...costs(threshold)]) : null,
        facts(rest.map((column) => [column, row[column] === null ? "" : String(row[column] ?? "")])),
      ),
      make("div", {}, make("section", {}, make("h3", {}, "Classes"), classes(row, labels)), entry.parts ? shares(entry.parts, row) : null),
    );
  }
}

const IN_SHARES = new Set(["p_image_malignant", "metadata_shift"]);
const KNOWN = new Set(
  "image probability_malignant predicted_label predicted_class threshold flagged gate_reasons status error".split(" "),
);

/** What the threshold cost in the data it was chosen on. */
function costs({ sensitivity, specificity, flagged_per_1000: flagged }) {
  const known = (value) => (value ? rate(value) : null);
  return [
    ["Sensitivity", known(sensitivity)],
    ["Specificity", known(specificity)],
    ["Flagged", flagged === null || flagged === undefined ? null : `${Math.round(flagged)} of 1,000 such images`],
  ];
}

function drawn(figure, { name, map }) {
  const layer = map.layer ? ` at ${map.layer}` : "";
  const peak = typeof map.maximum === "number" ? `, maximum ${map.maximum.toPrecision(3)}` : "";
  return fill(
    figure,
    make("span", { class: "thumb" }, make("img", { src: map.url, alt: `Map of where the model is sensitive in ${name}`, id: "overlay" })),
    make("figcaption", {}, make("strong", { id: "sentence" }, map.sentence), make("span", { class: "small" }, ` ${map.method}${layer}, target ${map.target}${peak}.`), verdict(map.checks)),
  );
}

function classes(row, labels) {
  const rows = labels.map(({ code, name, malignant }) => {
    const p = row[`p_${code}`];
    const bar = make("span", { class: malignant ? "fill malignant" : "fill" });
    bar.style.width = `${100 * p}%`;
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, name, " ", make("span", { class: "small" }, malignant ? `${code}, counted as malignant` : code)),
      make("td", { class: "class-bar" }, make("span", { class: "track", "aria-hidden": "true" }, bar)),
      make("td", { class: "number" }, probability(p)),
    );
  });
  return make("table", { class: "classes" }, make("tbody", {}, rows));
}
