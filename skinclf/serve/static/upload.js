// Sends waiting entries in portions, two at a time, and fills in what comes back.

const FILES = 8;
const AT_ONCE = 2;
// Bytes that the multipart form adds to each file.
const FORM = 1024;

/** Entries in portions that the server accepts; entries too large for any are returned apart. */
export function portions(entries, limits) {
  const most = Math.min(FILES, limits.max_files);
  const done = [];
  const tooLarge = [];
  let portion = [];
  let size = 0;
  for (const entry of entries) {
    const own = entry.file.size + FORM + 4 * entry.name.length;
    if (own > limits.max_upload) {
      tooLarge.push(entry);
      continue;
    }
    if (portion.length === most || size + own > limits.max_upload) {
      if (portion.length > 0) done.push(portion);
      portion = [];
      size = 0;
    }
    portion.push(entry);
    size += own;
  }
  if (portion.length > 0) done.push(portion);
  return { portions: done, tooLarge };
}

/** The queue; tells `progress` after every portion and `end` when nothing is left. */
export class Uploader extends EventTarget {
  #stop = null;
  #waiting = [];
  #running = 0;
  total = 0;
  done = 0;

  constructor(api, session) {
    super();
    this.api = api;
    this.session = session;
  }

  get active() {
    return this.#running > 0;
  }

  send(entries) {
    const [plain, ungated] = [false, true].map((asked) => portions(entries.filter((entry) => entry.ungated === asked), this.session.limits));
    const next = [...plain.portions, ...ungated.portions];
    const tooLarge = [...plain.tooLarge, ...ungated.tooLarge];
    const most = (this.session.limits.max_upload / 2 ** 20).toFixed(1);
    for (const entry of tooLarge) {
      this.session.fail(entry, "too_large", `${entry.name}: larger than the ${most} MiB that this server accepts.`);
    }
    if (!this.active) Object.assign(this, { total: 0, done: 0 });
    this.total += entries.length;
    this.done += tooLarge.length;
    this.#stop ??= new AbortController();
    this.#waiting.push(...next);
    while (this.#running < AT_ONCE && this.#waiting.length > 0) this.#work();
    if (this.active) this.#tell("progress");
    else this.#finish();
  }

  /** Stops; what was not answered becomes a row that says so. */
  cancel() {
    const left = this.#waiting.splice(0).flat();
    for (const entry of left) this.session.fail(entry, "cancelled", `${entry.name}: cancelled before it was sent.`);
    this.done += left.length;
    this.#stop?.abort();
  }

  async #work() {
    this.#running++;
    const { signal } = this.#stop;
    while (this.#waiting.length > 0) {
      const portion = this.#waiting.shift();
      await this.#portion(portion, signal);
      this.done += portion.length;
      this.#tell("progress");
    }
    this.#running--;
    if (!this.active) this.#finish();
  }

  async #portion(portion, signal) {
    for (const entry of portion) entry.state = "sent";
    try {
      const asked = { threshold: this.session.fusedThreshold, ungated: portion[0].ungated };
      const { predictions, columns } = await this.api.predict(portion, signal, asked);
      portion.forEach((entry, i) => this.session.answer(entry, predictions[i], columns));
    } catch (error) {
      const stopped = error.name === "AbortError";
      const [code, text] = stopped ? ["cancelled", "cancelled before the answer came."] : [error.code ?? "no_answer", error.message];
      for (const entry of portion) this.session.fail(entry, code, `${entry.name}: ${text}`);
    }
  }

  #finish() {
    this.#stop = null;
    this.#tell("progress");
    this.#tell("end");
  }

  #tell(name) {
    this.session.changed();
    this.dispatchEvent(new Event(name));
  }
}
