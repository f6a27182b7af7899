// What the page knows: the model, the thresholds, the chosen one, and an entry for each image. Kept in memory only.

import { decided } from "./decision.js";
import { blank } from "./patient.js";

/** Tells `change` when entries or the threshold changed, and `ready` when the model is known. */
export class Session extends EventTarget {
  models = [];
  limits = { max_files: 64, max_upload: 0 };
  explanations = false;
  notice = "";
  version = "";
  /** Vocabulary of age, sex and site; null where the server takes none. */
  metadata = null;
  /** Whether age, sex or site of an image is taken into account; then the table is that of `predict --metadata`. */
  fused = false;
  gate = { mode: "off", allow_ungated: false };
  entries = [];
  #lists = { picture: [], fused: [] };
  #columns = { picture: [], fused: [] };
  #chosen = null;
  #serial = 0;

  describe(models, { thresholds, with_metadata: fused }) {
    this.#lists = { picture: thresholds, fused: fused ?? [] };
    this.#columns = { picture: models.columns, fused: models.metadata_columns ?? [] };
    Object.assign(this, {
      models: models.models,
      metadata: models.metadata,
      gate: models.gate,
      limits: models.limits,
      explanations: models.explanations,
      notice: models.notice,
      version: models.version,
    });
    this.#chosen = usual(thresholds);
    this.dispatchEvent(new Event("ready"));
    this.changed();
  }

  get model() {
    return this.models[0] ?? null;
  }

  get labels() {
    return this.model?.labels ?? [];
  }

  get columns() {
    return this.fused ? this.#columns.fused : this.#columns.picture;
  }

  get thresholds() {
    return this.fused ? this.#lists.fused : this.#lists.picture;
  }

  /** The chosen threshold; with metadata the one of the same name that was measured with it. */
  get threshold() {
    const list = this.thresholds;
    if (list.includes(this.#chosen)) return this.#chosen;
    return list.find((point) => point.name === this.#chosen?.name) ?? usual(list);
  }

  /** What a request with metadata names, so that the server need not have a default for it. */
  get fusedThreshold() {
    return usual(this.#lists.fused);
  }

  choose(threshold) {
    this.#chosen = threshold;
    this.changed();
  }

  /** Entries for files, each as {file, name}; a blob: address shows the picture without sending it anywhere. */
  add(files) {
    const added = files.map(({ file, name }) => ({
      id: ++this.#serial,
      file,
      name,
      url: URL.createObjectURL(file),
      state: "waiting",
      row: null,
      cells: null,
      map: null,
      patient: {},
      parts: null,
      ungated: false,
      turn: 0,
    }));
    this.entries.push(...added);
    this.changed();
    return added;
  }

  /** A row as the server answered it with its columns, under the name that the page knows. */
  answer(entry, row, columns) {
    const error = row.error && row.image ? row.error.replaceAll(row.image, entry.name) : row.error;
    entry.cells = { ...Object.fromEntries(columns.map((name, i) => [name, row.cells[i]])), image: entry.name, error };
    entry.row = { ...row, error };
    entry.parts = row.contributions ?? null;
    entry.turn++;
    entry.state = row.status === "ok" ? "ok" : "failed";
  }

  /** A row that the server never answered: still one row, with the reason. */
  fail(entry, code, message) {
    entry.row = { image: entry.name, status: code, error: message };
    entry.cells = { ...entry.row };
    entry.turn++;
    entry.state = "unsent";
  }

  /** Puts unsent entries back in the queue and returns them. */
  retry() {
    const again = this.entries.filter((entry) => entry.state === "unsent");
    for (const entry of again) waiting(entry);
    this.changed();
    return again;
  }

  /** Puts one entry back in the queue, with other facts: `patient`, or `ungated`. */
  again(entry, facts) {
    Object.assign(waiting(entry), facts);
    this.changed();
    return [entry];
  }

  /** Decision for an entry at the chosen threshold; null where there is none. */
  decision(entry) {
    return entry.state === "ok" ? decided(entry.row, this.threshold, this.labels) : null;
  }

  get answered() {
    return this.entries.filter((entry) => entry.row !== null);
  }

  forget() {
    for (const entry of this.entries) {
      URL.revokeObjectURL(entry.url);
      if (entry.map?.url) URL.revokeObjectURL(entry.map.url);
    }
    this.entries = [];
    this.changed();
  }

  changed() {
    this.fused = this.entries.some((entry) => !blank(entry.patient));
    this.dispatchEvent(new Event("change"));
  }
}

const usual = (list) => list.find((point) => point.default) ?? list[0] ?? null;
const waiting = (entry) => Object.assign(entry, { state: "waiting", row: null, cells: null, parts: null });
