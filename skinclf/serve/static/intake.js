// Taking images in: the confirmation, dropping, pasting and choosing, progress and cancelling.

import { byId, count } from "./dom.js";
import { chosen, dropped, pasted } from "./files.js";

/** Wires the first section of the page. Nothing is sent before the sentence is confirmed. */
export class Intake {
  #held = [];
  #pasted = 0;

  constructor(session, uploader) {
    this.session = session;
    this.uploader = uploader;
    this.confirm = byId("confirm");
    this.confirm.addEventListener("change", () => this.#confirmed());
    session.addEventListener("ready", () => this.#confirmed());
    for (const kind of ["files", "folder"]) {
      const input = byId(kind);
      byId(`choose-${kind}`).addEventListener("click", () => input.click());
      input.addEventListener("change", () => {
        this.#take(chosen(input.files));
        input.value = "";
      });
    }
    byId("cancel").addEventListener("click", () => uploader.cancel());
    this.#dropping();
    document.addEventListener("paste", (event) => {
      const { files } = event.clipboardData;
      if (files.length === 0) return;
      event.preventDefault();
      this.#take(pasted(files, this.#pasted + 1));
      this.#pasted += files.length;
    });
    uploader.addEventListener("progress", () => this.#progress());
  }

  /** Back to the beginning: held files are dropped, and the sentence has to be confirmed again. */
  reset() {
    this.#held = [];
    this.confirm.checked = false;
    this.confirm.disabled = false;
    byId("intake").classList.remove("confirmed");
    this.#say("");
  }

  #dropping() {
    const zone = byId("drop");
    let inside = 0;
    const light = (by) => {
      inside = Math.max(0, inside + by);
      zone.classList.toggle("over", inside > 0);
    };
    // The whole page takes a drop: a file let go beside the zone would else replace the page.
    const page = document.documentElement;
    page.addEventListener("dragenter", () => light(1));
    page.addEventListener("dragleave", () => light(-1));
    page.addEventListener("dragover", (event) => event.preventDefault());
    page.addEventListener("drop", async (event) => {
      event.preventDefault();
      light(-inside);
      try {
        this.#take(await dropped(event.dataTransfer));
      } catch (error) {
        this.#say(`The folder could not be read: ${error.message}.`);
      }
    });
  }

  #take({ files, leftOut }) {
    const left = leftOut ? ` ${count(leftOut, "other file")} in the folder left out.` : "";
    if (files.length === 0) {
      this.#say(`No images found.${left}`);
      return;
    }
    this.#held.push(...files);
    this.#say(left.trim());
    this.#confirmed();
  }

  #confirmed() {
    if (!this.confirm.checked || this.session.model === null) {
      if (this.#held.length > 0) this.#say(`${count(this.#held.length, "image")} waiting. Nothing is sent before the sentence above is confirmed.`);
      return;
    }
    if (this.#held.length === 0) return;
    const files = this.#held.splice(0);
    if (byId("held").textContent.includes("waiting")) this.#say("");
    this.confirm.disabled = true;
    byId("intake").classList.add("confirmed");
    this.uploader.send(this.session.add(files));
  }

  #progress() {
    const { done, total, active } = this.uploader;
    byId("progress").hidden = !active;
    Object.assign(byId("progress-bar"), { max: total, value: done });
    byId("progress-text").textContent = `${done.toLocaleString("en")} of ${count(total, "image")}`;
  }

  #say(text) {
    byId("held").textContent = text;
  }
}
