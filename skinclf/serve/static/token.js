// Asks for the token when the server wants one.

import { byId, fill, make } from "./dom.js";

/** Shows the question; resolves with the token, or null when it is dismissed. */
export function askToken(refused) {
  const dialog = byId("token");
  const input = make("input", { id: "token-input", type: "password", autocomplete: "off", required: true, spellcheck: false });
  return new Promise((resolve) => {
    let given = null;
    const form = make(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          given = input.value.trim();
          dialog.close();
        },
      },
      make("h2", { id: "token-title" }, "Token"),
      make("p", {}, refused ? "The server did not accept this token." : "This server asks for a token. It is kept in memory only."),
      make("label", { for: "token-input" }, "Token"),
      input,
      make(
        "div",
        { class: "actions" },
        make("button", { type: "submit", class: "strong" }, "Continue"),
        make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    fill(dialog, form);
    dialog.addEventListener("close", () => resolve(given || null), { once: true });
    dialog.showModal();
    input.focus();
  });
}
