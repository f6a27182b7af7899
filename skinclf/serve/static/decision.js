// Flagged or not at a threshold, and the predictions table as the command line writes it.

const TINY = 2 ** -126;

/** Whether the class follows the threshold: of two labels one is malignant, and no rule says otherwise. */
const binary = (threshold, labels) => !threshold.decision && labels.length === 2 && labels.filter((label) => label.malignant).length === 1;

/** The rule that names the class at a threshold, in words. */
export function rule(threshold, labels) {
  if (threshold.decision) return threshold.decision.words;
  return binary(threshold, labels) ? "the threshold itself" : "the most probable class, whatever the threshold";
}

const largest = (values) => values.indexOf(Math.max(...values));

/** Index of the class by the rule of a threshold, from probabilities as float32. */
function named(p, { decision }) {
  if (!decision) return largest(p);
  if (decision.thresholds) return largest(p.map((value, i) => value / Math.max(decision.thresholds[i], TINY)));
  const cost = p.map((_, decidedOn) => p.reduce((sum, value, truth) => sum + value * decision.costs[truth][decidedOn], 0));
  return largest(cost.map((value) => -value));
}

/**
 * Decision for a row at a threshold: whether it is flagged, and the predicted class.
 *
 * Both numbers are compared as float32, as everywhere in skinclf. With two labels of which one is malignant the class
 * follows the threshold; else the rule that belongs to the threshold names it.
 */
export function decided(row, threshold, labels) {
  const p = row.probability_malignant;
  const known = p !== null && p !== undefined && threshold !== null;
  const flagged = known ? Math.fround(p) >= Math.fround(threshold.value) : null;
  if (threshold === null || labels.length === 0) return { flagged, index: row.predicted_label, name: row.predicted_class };
  const malignant = labels.findIndex((label) => label.malignant);
  const index =
    flagged !== null && binary(threshold, labels)
      ? flagged ? malignant : 1 - malignant
      : named(labels.map(({ code }) => Math.fround(row[`p_${code}`])), threshold);
  return { flagged, index, name: labels[index].name };
}

/** Cells of an answered entry at a threshold, in the order of the columns; an image without entries adds nothing to its number. */
export function cellsAt(entry, threshold, labels, columns) {
  const known = entry.cells.probability_malignant ?? "";
  const alone = { p_image_malignant: known, metadata_shift: known === "" ? "" : "0.0" };
  const cells = columns.map((name) => entry.cells[name] ?? alone[name] ?? "");
  if (entry.state !== "ok" || threshold === null) return cells;
  const { flagged, index, name } = decided(entry.row, threshold, labels);
  const changed = {
    threshold: threshold.text,
    flagged: flagged === null ? "" : String(Number(flagged)),
    predicted_label: String(index),
    predicted_class: name,
  };
  for (const [column, text] of Object.entries(changed)) cells[columns.indexOf(column)] = text;
  return cells;
}

/** Rows of cells as CSV; quoted where needed, a line feed at the end of each row. */
export function csv(rows) {
  const quoted = (cell) => (/[,"\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

/** The table of a session's answered entries, in the order in which they came. */
export function table(session) {
  const { columns, threshold, labels } = session;
  return csv([columns, ...session.answered.map((entry) => cellsAt(entry, threshold, labels, columns))]);
}
