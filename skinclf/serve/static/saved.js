// The results as one HTML file that needs neither this server nor a network.

import { attribution } from "./about.js";
import { facts, make, probability, rate, save } from "./dom.js";
import { blank, words } from "./patient.js";
import { decisionChip, marks, summary } from "./table.js";
import { provenance } from "./threshold.js";

const SIDE = 160;

/** Writes the visible entries, their pictures made small, into a file. */
export async function savePage(session, entries) {
  const sheets = await Promise.all(["style", "media"].map((name) => fetch(`static/${name}.css`, { credentials: "omit" })));
  const style = (await Promise.all(sheets.map((sheet) => sheet.text()))).join("\n");
  const pictures = new Map();
  for (const entry of entries) pictures.set(entry, await small(entry.file));
  const page = document.implementation.createHTMLDocument("skinclf results");
  page.documentElement.lang = "en";
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  page.head.append(
    make("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    make("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
  );
  page.head.prepend(charset());
  page.body.append(...body(session, entries, pictures));
  // As text: this page's own policy forbids style elements, even in a document that is never shown.
  const html = page.documentElement.outerHTML.replace("</head>", () => `<style>\n${style}</style></head>`);
  save(`<!doctype html>\n${html}\n`, "skinclf-results.html", "text/html");
}

function charset() {
  const meta = document.createElement("meta");
  meta.setAttribute("charset", "utf-8");
  return meta;
}

function body(session, entries, pictures) {
  const { threshold } = session;
  const heads = ["Image", "P(malignant)", "At this threshold", "Class by the model's rule", "Status"].map((text) => make("th", { scope: "col" }, text));
  return [
    make("p", { class: "notice", role: "note" }, session.notice),
    make("header", { class: "top" }, make("h1", {}, "skinclf"), make("p", { class: "model-line" }, `Saved on ${new Date().toISOString().slice(0, 10)}`)),
    make(
      "main",
      { class: "saved" },
      make("p", {}, summary(session)),
      threshold
        ? make(
            "section",
            { class: "card" },
            make("h2", {}, "Threshold"),
            facts([
              ...provenance(threshold, session),
              ["Sensitivity", rate(threshold.sensitivity)],
              ["Specificity", rate(threshold.specificity)],
              ["Flagged of 1,000", threshold.flagged_per_1000 === null ? "not stated" : Math.round(threshold.flagged_per_1000)],
            ]),
          )
        : null,
      make("table", { class: "saved-table" }, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, entries.map((entry) => row(session, entry, pictures.get(entry))))),
      make("h2", {}, "Limits"),
      make("ul", {}, session.models.flatMap((one) => one.limits ?? []).map((sentence) => make("li", {}, sentence))),
    ),
    make("footer", { class: "foot" }, make("p", {}, attribution(session))),
  ].filter(Boolean);
}

function row(session, entry, picture) {
  const image = picture ? make("img", { src: picture, alt: "", width: 64, height: 64 }) : null;
  const name = make("th", { scope: "row" }, image, make("span", {}, entry.name));
  if (entry.state !== "ok") {
    const text = entry.row?.error ?? "not answered";
    return make("tr", {}, name, make("td", { colSpan: 3 }, text), make("td", {}, (entry.row?.status ?? "not answered").replaceAll("_", " ")));
  }
  const decision = session.decision(entry);
  return make(
    "tr",
    {},
    name,
    make("td", {}, marks(entry.row), probability(entry.row.probability_malignant), blank(entry.patient) ? null : make("span", { class: "small beside" }, ` with ${words(entry.patient)}; picture alone ${probability(entry.row.p_image_malignant)}`)),
    make("td", {}, decisionChip(decision.flagged)),
    make("td", {}, decision.name),
    make("td", {}, entry.row.status),
  );
}

/** A picture as a small data: address; null when the browser cannot decode it. */
async function small(file) {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
    const canvas = make("canvas", { width: Math.max(1, picture.width * scale), height: Math.max(1, picture.height * scale) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null;
  }
}
