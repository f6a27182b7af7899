// What the page knows: the model, the thresholds, the chosen one, and an entry for each image. Kept in memory only.

import { decided } from "./decision.js";

/** Tells `change` when entries or the threshold changed, and `ready` when the model is known. */
export class Session extends EventTarget {
  models = [];
  columns = [];
  limits = { max_files: 64, max_upload: 0 };
  explanations = false;
  notice = "";
  version = "";
  thresholds = [];
  threshold = null;
  entries = [];
  #serial = 0;

  describe(models, { thresholds }) {
    Object.assign(this, {
      models: models.models,
      columns: models.columns,
      limits: models.limits,
      explanations: models.explanations,
      notice: models.notice,
      version: models.version,
      thresholds,
    });
    this.threshold = thresholds.find((point) => point.default) ?? thresholds[0] ?? null;
    this.dispatchEvent(new Event("ready"));
    this.changed();
  }

  get model() {
    return this.models[0] ?? null;
  }

  get labels() {
    return this.model?.labels ?? [];
  }

  choose(threshold) {
    this.threshold = threshold;
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
    }));
    this.entries.push(...added);
    this.changed();
    return added;
  }

  /** A row as the server answered it, under the name that the page knows. */
  answer(entry, row) {
    const error = row.error && row.image ? row.error.replaceAll(row.image, entry.name) : row.error;
    const cells = [...row.cells];
    cells[this.columns.indexOf("image")] = entry.name;
    cells[this.columns.indexOf("error")] = error;
    entry.row = { ...row, error };
    entry.cells = cells;
    entry.state = row.status === "ok" ? "ok" : "failed";
  }

  /** A row that the server never answered: still one row, with the reason. */
  fail(entry, code, message) {
    const blanks = { image: entry.name, status: code, error: message };
    entry.row = { image: entry.name, status: code, error: message };
    entry.cells = this.columns.map((name) => blanks[name] ?? "");
    entry.state = "unsent";
  }

  /** Puts unsent entries back in the queue and returns them. */
  retry() {
    const again = this.entries.filter((entry) => entry.state === "unsent");
    for (const entry of again) Object.assign(entry, { state: "waiting", row: null, cells: null });
    this.changed();
    return again;
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
    this.dispatchEvent(new Event("change"));
  }
}
