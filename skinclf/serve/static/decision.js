// Flagged or not at a threshold, and the predictions table as the command line writes it.

/**
 * Decision for a row at a threshold: whether it is flagged, and the predicted class.
 *
 * Both numbers are compared as float32, as everywhere in skinclf. With two labels of which one is malignant the class
 * follows the threshold; else it does not depend on it.
 */
export function decided(row, threshold, labels) {
  const p = row.probability_malignant;
  const known = p !== null && p !== undefined && threshold !== null;
  const flagged = known ? Math.fround(p) >= Math.fround(threshold.value) : null;
  const result = { flagged, index: row.predicted_label, name: row.predicted_class };
  const malignant = labels.map((label, i) => (label.malignant ? i : -1)).filter((i) => i >= 0);
  if (flagged !== null && labels.length === 2 && malignant.length === 1) {
    result.index = flagged ? malignant[0] : 1 - malignant[0];
    result.name = labels[result.index].name;
  }
  return result;
}

/** Cells of an answered entry at a threshold, in the order of the columns. */
export function cellsAt(entry, threshold, labels, columns) {
  const cells = [...entry.cells];
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
