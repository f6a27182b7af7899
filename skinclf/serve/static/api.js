// Requests to the server: the token, waiting when it is busy, and errors as one sentence.

import { blank } from "./patient.js";

const TRIES = 6;

/** A request that was refused or could not be sent; `code` is the server's word. */
export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The server's four addresses. The token stays in this object and is never stored. */
export class Api {
  #token = "";

  /** @param {(refused: boolean) => Promise<string|null>} ask Asks for a token; null when it is not given. */
  constructor(ask) {
    this.ask = ask;
    this.asking = null;
  }

  models() {
    return this.#json("v1/models");
  }

  thresholds() {
    return this.#json("v1/thresholds");
  }

  /**
   * Predicts entries, each with {file, name} and perhaps {patient}, in their order. With any patient the rows are those
   * with metadata; `threshold` then names one of theirs, and `ungated` asks for what the gate refuses.
   */
  predict(entries, signal, { threshold = null, ungated = false } = {}) {
    const body = new FormData();
    const known = entries.some(({ patient }) => !blank(patient));
    const query = new URLSearchParams({ include: known ? "cells,contributions" : "cells" });
    if (ungated) query.set("gate", "mark");
    if (known) {
      if (threshold) query.set("threshold", threshold.name === "value" ? threshold.text : threshold.name);
      body.append("metadata", JSON.stringify(entries.map(({ patient }) => patient ?? {})));
    }
    for (const { file, name } of entries) body.append("files", file, name);
    return this.#json(`v1/predictions?${query}`, { method: "POST", body, signal });
  }

  /** A map of one file, as the server describes it. */
  explain({ file, name, ungated }, signal) {
    const body = new FormData();
    body.append("files", file, name);
    return this.#json(`v1/explanations${ungated ? "?gate=mark" : ""}`, { method: "POST", body, signal });
  }

  async #json(path, options = {}) {
    const answer = await this.#request(path, options);
    return answer.json();
  }

  async #request(path, options) {
    for (let tried = 1; ; tried++) {
      const headers = { Accept: "application/json" };
      const token = this.#token;
      if (token) headers.Authorization = `Bearer ${token}`;
      let answer;
      try {
        answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError("no_answer", "The server did not answer: it may have stopped, or the connection was lost.");
      }
      if (answer.ok) return answer;
      if (answer.status === 401) {
        await this.#newToken(token);
        tried = 0;
        continue;
      }
      if ((answer.status === 503 || answer.status === 429) && tried < TRIES) {
        await wait(Number(answer.headers.get("Retry-After")) || tried, options.signal);
        continue;
      }
      throw await refusal(answer);
    }
  }

  /** Asks once, however many requests were refused at the same time. */
  async #newToken(refused) {
    if (this.#token !== refused) return;
    this.asking ??= this.ask(refused !== "").finally(() => {
      this.asking = null;
    });
    const token = await this.asking;
    if (token === null) throw new ApiError("no_token", "The server asks for a token, and none was given.", 401);
    this.#token = token;
  }
}

async function refusal(answer) {
  try {
    const { error } = await answer.json();
    return new ApiError(error.code, error.message, answer.status);
  } catch {
    return new ApiError(`http_${answer.status}`, `The server refused the request (${answer.status}).`, answer.status);
  }
}

function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, 1000 * Math.min(seconds, 30));
    signal?.addEventListener("abort", stop, { once: true });
  });
}
