// The dialog of one image: picture, map, sentence, decision with its provenance, all classes.

import { byId, facts, fill, make, probability } from "./dom.js";
import { decisionChip, marks, thumbnail } from "./table.js";
import { provenance } from "./threshold.js";

/** Shows entries one at a time; maps are asked for when an image is looked at, and only then. */
export class Detail {
  #abort = null;

  constructor(api, session) {
    this.api = api;
    this.session = session;
    this.dialog = byId("detail");
    this.dialog.addEventListener("close", () => {
      this.#abort?.abort();
      this.entry = null;
    });
    session.addEventListener("change", () => {
      // An image that was opened before its answer came.
      if (this.dialog.open && this.entry && this.entry.state !== this.state) this.#again();
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
    this.state = entry.state;
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
      entry.state === "ok" ? this.#decision(entry) : failure(entry),
      make("p", { class: "small" }, this.session.notice),
    );
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
    const { threshold, model, labels } = this.session;
    const { flagged, name } = this.session.decision(entry);
    const shown = new Set(labels.map(({ code }) => `p_${code}`));
    const rest = this.session.columns.filter((column) => !KNOWN.has(column) && !shown.has(column));
    return make(
      "div",
      { class: "columns" },
      make(
        "section",
        {},
        make("h3", {}, "Decision"),
        marks(row),
        make(
          "p",
          { class: "verdict" },
          make("span", { class: "p" }, `P(malignant) ${probability(row.probability_malignant)}`),
          decisionChip(flagged),
        ),
        make("p", {}, flagged === null ? "" : `${flagged ? "Flagged" : "Not flagged"} at this threshold. `, `Class by the model's rule: ${name}.`),
        threshold ? facts(provenance(threshold, model)) : null,
        facts(rest.map((column) => [column, row[column] === null ? "" : String(row[column] ?? "")])),
      ),
      make("section", {}, make("h3", {}, "Classes"), classes(row, labels)),
    );
  }
}

const KNOWN = new Set(
  "image probability_malignant predicted_label predicted_class threshold flagged gate_reasons status error".split(" "),
);

function failure(entry) {
  const text = entry.row ? entry.row.error : "The server has not answered yet.";
  return make("p", { class: "problem" }, entry.row ? make("strong", {}, `${entry.row.status.replaceAll("_", " ")}. `) : "", text);
}

function drawn(figure, { name, map }) {
  const layer = map.layer ? ` at ${map.layer}` : "";
  const peak = typeof map.maximum === "number" ? `, maximum ${map.maximum.toPrecision(3)}` : "";
  return fill(
    figure,
    make("span", { class: "thumb" }, make("img", { src: map.url, alt: `Map of where the model is sensitive in ${name}`, id: "overlay" })),
    make("figcaption", {}, make("strong", { id: "sentence" }, map.sentence), make("span", { class: "small" }, ` ${map.method}${layer}, target ${map.target}${peak}.`)),
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
