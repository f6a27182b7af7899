// The table: a row for each image, sorted and filtered.

import { byId, count, fill, make, probability } from "./dom.js";
import { blank, words } from "./patient.js";

const PAGE = 200;
const WORDS = { waiting: "waiting", sent: "being classified" };
const order = new Intl.Collator("en", { numeric: true }).compare;

/** The table of a session; `open` shows the details of an entry. */
export class ResultTable {
  filter = "all";
  sort = { by: "none", down: false };
  shown = PAGE;
  #drawn = new Map();

  constructor(session, open) {
    this.session = session;
    this.open = open;
    for (const head of document.querySelectorAll("#table th[data-sort]")) {
      head.querySelector("button").addEventListener("click", () => this.#sortBy(head.dataset.sort));
    }
    this.#filters();
    byId("more").addEventListener("click", () => {
      this.shown += PAGE;
      this.draw();
    });
    session.addEventListener("change", () => this.#later());
  }

  /** Entries in the order and selection that is shown. */
  get visible() {
    const kept = this.session.entries.filter((entry) => this.#keeps(this.filter, entry));
    const { by, down } = this.sort;
    if (by === "none") return kept;
    const compare = { name: (a, b) => order(a.name, b.name), p: this.#byP, status: (a, b) => order(status(a), status(b)) }[by];
    const sorted = kept.toSorted((a, b) => (down ? compare(b, a) : compare(a, b)));
    // Images without a probability stay at the end, whichever way it is sorted.
    return by === "p" ? [...sorted.filter(hasP), ...sorted.filter((entry) => !hasP(entry))] : sorted;
  }

  #byP = (a, b) => (a.row?.probability_malignant ?? 0) - (b.row?.probability_malignant ?? 0);

  #keeps(filter, entry) {
    if (filter === "flagged") return this.session.decision(entry)?.flagged === true;
    if (filter === "failed") return entry.state === "failed" || entry.state === "unsent";
    return true;
  }

  #sortBy(by) {
    const first = by === "p"; // the largest probability first
    this.sort = this.sort.by === by ? { by, down: !this.sort.down } : { by, down: first };
    this.draw();
  }

  #filters() {
    const choices = ["all", "flagged", "failed"].map((value) => {
      const box = make("input", { type: "radio", name: "filter", value, id: `filter-${value}`, checked: value === this.filter });
      box.addEventListener("change", () => {
        this.filter = value;
        this.shown = PAGE;
        this.draw();
      });
      return [box, make("label", { for: `filter-${value}`, id: `label-${value}` })];
    });
    byId("filters").append(...choices.flat());
  }

  /** Draws once for any number of changes before the next frame. */
  #later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { entries } = this.session;
    byId("results").hidden = entries.length === 0;
    for (const [value, word] of [["all", "All"], ["flagged", "Flagged"], ["failed", "Failed"]]) {
      const number = entries.filter((entry) => this.#keeps(value, entry)).length;
      fill(byId(`label-${value}`), `${word} `, make("span", { class: "number" }, number.toLocaleString("en")));
    }
    for (const head of document.querySelectorAll("#table th[data-sort]")) {
      const current = head.dataset.sort === this.sort.by;
      head.setAttribute("aria-sort", current ? (this.sort.down ? "descending" : "ascending") : "none");
    }
    const visible = this.visible;
    byId("none").hidden = visible.length > 0;
    byId("more").hidden = visible.length <= this.shown;
    byId("more").textContent = `Show ${Math.min(PAGE, visible.length - this.shown)} more of ${visible.length.toLocaleString("en")}`;
    this.#place(visible.slice(0, this.shown));
  }

  /** Keeps rows that did not change, so that focus and loaded pictures stay where they are. */
  #place(entries) {
    const focused = document.activeElement?.closest?.("#rows tr")?.dataset.id;
    const next = new Map();
    const rows = entries.map((entry) => {
      const { threshold } = this.session;
      const key = [entry.state, entry.turn, entry.row && `${threshold?.name} ${threshold?.value} ${this.session.fused}`].join("|");
      const old = this.#drawn.get(entry.id);
      const row = old?.key === key ? old.row : this.#row(entry);
      next.set(entry.id, { key, row });
      return row;
    });
    fill(byId("rows"), rows);
    this.#drawn = next;
    if (focused) byId("rows").querySelector(`tr[data-id="${focused}"] button`)?.focus({ preventScroll: true });
  }

  #row(entry) {
    const cells = entry.state === "ok" ? this.#answered(entry) : [reason(entry)];
    return make(
      "tr",
      { role: "row", data: { id: entry.id, state: entry.state } },
      make("th", { role: "rowheader", scope: "row", class: "c-image" }, this.#image(entry)),
      cells,
      make("td", { role: "cell", class: "c-status" }, statusChip(entry)),
    );
  }

  #image(entry) {
    return make(
      "button",
      { type: "button", class: "image", "aria-haspopup": "dialog", onclick: () => this.open(entry) },
      thumbnail(entry),
      make("span", { class: "name" }, make("span", { class: "hidden" }, "Details of "), entry.name),
    );
  }

  #answered(entry) {
    const { row } = entry;
    const { flagged, name } = this.session.decision(entry);
    return [
      make("td", { role: "cell", class: "c-p" }, marks(row), make("span", { class: "p" }, probability(row.probability_malignant)), beside(entry)),
      make("td", { role: "cell", class: "c-decision" }, decisionChip(flagged), make("span", { class: "small predicted" }, name)),
      make("td", { role: "cell", class: "c-classes" }, bars(row, this.session.labels)),
    ];
  }
}

const hasP = (entry) => typeof entry.row?.probability_malignant === "number";
const status = (entry) => entry.row?.status ?? WORDS[entry.state];

/** The picture from memory; files that the browser cannot show get their ending instead. */
export function thumbnail(entry) {
  const ending = entry.name.includes(".") ? entry.name.slice(entry.name.lastIndexOf(".") + 1) : "file";
  const box = make("span", { class: "thumb" });
  const picture = make("img", { src: entry.url, alt: "", decoding: "async", loading: "lazy" });
  picture.addEventListener("error", () => fill(box, make("span", { class: "ending" }, ending.slice(0, 5))));
  box.append(picture);
  return box;
}

/** What the gate noticed stands before the probability. */
export function marks(row) {
  const words = (row.gate_reasons || "").split("|").filter(Boolean);
  const said = row.status === "ok" && row.gate === "unfit" ? "unfit for this model" : "noticed";
  return words.length ? make("span", { class: "marks" }, `${said}: ${words.join(", ").replaceAll("_", " ")}`) : null;
}

/** The number of the picture alone, where age, sex or site changed it. */
function beside({ row, patient }) {
  if (blank(patient)) return null;
  return make("span", { class: "small beside" }, `with ${words(patient)}; picture alone ${probability(row.p_image_malignant)}`);
}

/** Flagged or not, in words and with a sign of its own. */
export function decisionChip(flagged) {
  if (flagged === null) return make("span", { class: "chip" }, "no threshold applies");
  const sign = make("span", { class: "sign", "aria-hidden": "true" }, flagged ? "▲" : "○");
  return make("span", { class: flagged ? "chip flagged" : "chip" }, sign, flagged ? "flagged" : "not flagged");
}

function statusChip(entry) {
  if (entry.state === "ok") return make("span", { class: "status" }, entry.row.status);
  const failed = entry.state === "failed" || entry.state === "unsent";
  const sign = failed ? make("span", { class: "sign", "aria-hidden": "true" }, "!") : null;
  return make("span", { class: failed ? "status failed" : "status" }, sign, status(entry).replaceAll("_", " "));
}

function reason(entry) {
  const text = entry.row ? entry.row.error : entry.state === "sent" ? "Being classified …" : "Waiting.";
  const words = entry.row ? [make("strong", {}, "No probability. "), marks(entry.row), text] : text;
  return make("td", { role: "cell", class: "c-reason", colSpan: 3 }, words);
}

/** Small bars of all classes, with their numbers for those who do not see them. */
function bars(row, labels) {
  const columns = labels.map(({ code, name, malignant }) => {
    const p = row[`p_${code}`];
    const bar = make("span", { class: malignant ? "fill malignant" : "fill" });
    bar.style.height = `${Math.max(4, 100 * p)}%`;
    return make("span", { class: "column", title: `${name}: ${probability(p)}` }, make("span", { class: "pillar" }, bar), make("span", { class: "code" }, code));
  });
  const spoken = labels.map(({ code, name }) => `${name} ${probability(row[`p_${code}`])}`).join(", ");
  return make("span", { class: "bars", role: "img", "aria-label": spoken }, columns);
}

/** Text of the line above the table. */
export function summary(session) {
  const { entries } = session;
  const flagged = entries.filter((entry) => session.decision(entry)?.flagged === true).length;
  const answered = entries.filter((entry) => entry.state === "ok").length;
  const failed = entries.filter((entry) => entry.state === "failed" || entry.state === "unsent").length;
  const open = entries.length - answered - failed;
  const parts = [count(entries.length, "image"), `${flagged} of ${answered} flagged at this threshold`];
  if (failed) parts.push(`${failed} failed`);
  if (open) parts.push(`${open} not answered yet`);
  return `${parts.join("; ")}.`;
}
