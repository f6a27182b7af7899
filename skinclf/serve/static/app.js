// Joins the parts of the page.

import { showAbout } from "./about.js";
import { Api } from "./api.js";
import { table } from "./decision.js";
import { Detail } from "./detail.js";
import { byId, fill, make, save } from "./dom.js";
import { Intake } from "./intake.js";
import { savePage } from "./saved.js";
import { Session } from "./session.js";
import { showStrip } from "./strip.js";
import { ResultTable, summary } from "./table.js";
import { showThreshold } from "./threshold.js";
import { askToken } from "./token.js";
import { Uploader } from "./upload.js";

const api = new Api(askToken);
const session = new Session();
const uploader = new Uploader(api, session);
const detail = new Detail(api, session, uploader);
showAbout(session);
showThreshold(session);
showStrip(session);
const results = new ResultTable(session, (entry) => detail.open(entry, results.visible));
const intake = new Intake(session, uploader);

session.addEventListener("change", () => {
  byId("summary").textContent = summary(session);
  const unsent = session.entries.filter((entry) => entry.state === "unsent").length;
  byId("retry").hidden = unsent === 0 || uploader.active;
  byId("retry").textContent = `Send ${unsent} again`;
  byId("download").disabled = session.answered.length === 0 || uploader.active;
  byId("main").classList.toggle("has-results", session.entries.length > 0);
});

byId("download").addEventListener("click", () => save(table(session), "predictions.csv", "text/csv"));
byId("save-page").addEventListener("click", () => savePage(session, results.visible));
byId("retry").addEventListener("click", () => uploader.send(session.retry()));
byId("forget").addEventListener("click", () => {
  uploader.cancel();
  session.forget();
  intake.reset();
  byId("confirm").focus();
});

// Dialogs and jumps leave the banner free, however many lines it takes.
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--banner", `${entry.borderBoxSize[0].blockSize}px`);
}).observe(byId("notice"));

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});

async function start() {
  const problem = byId("problem");
  problem.hidden = true;
  try {
    const models = await api.models();
    session.describe(models, await api.thresholds());
  } catch (error) {
    fill(problem, error.message, " ", make("button", { type: "button", onclick: start }, "Try again"));
    problem.hidden = false;
  }
}

start();
