// Age, sex and site of one image: the form, and what each entry contributes to the number.

import { make, probability } from "./dom.js";

export const ENTRIES = ["age", "sex", "site"];

/** Whether anything is known beside an image. */
export const blank = (patient) => ENTRIES.every((name) => !patient?.[name]);

/** "age 70, male, face". */
export const words = (patient) => [patient.age ? `age ${patient.age}` : "", patient.sex, patient.site].filter(Boolean).join(", ");

/** The form, closed until it is opened; `apply` gets the entries. */
export function entriesForm(vocabulary, patient, { open, toggled, apply }) {
  const { age, sex, site } = vocabulary;
  const number = make("input", { id: "entry-age", name: "age", type: "number", min: age.min, max: age.max, step: "any", inputMode: "decimal", value: patient?.age ?? "" });
  const chosen = (name, values) =>
    make("select", { id: `entry-${name}`, name }, make("option", { value: "" }, "not stated"), values.map((value) => make("option", { value, selected: value === patient?.[name] }, value)));
  const form = make(
    "form",
    {
      class: "entries",
      onsubmit: (event) => {
        event.preventDefault();
        apply(Object.fromEntries(ENTRIES.map((name) => [name, form.elements[name].value.trim()])));
      },
    },
    make("label", { for: "entry-age" }, "Age in years", number),
    make("label", { for: "entry-sex" }, "Sex", chosen("sex", sex)),
    make("label", { for: "entry-site" }, "Site", chosen("site", site)),
    make(
      "div",
      { class: "actions" },
      make("button", { type: "submit", class: "strong", id: "entries-apply" }, "Classify with these"),
      make("button", { type: "button", id: "entries-clear", disabled: blank(patient), onclick: () => apply({}) }, "Picture alone"),
    ),
  );
  const state = make("span", { class: "small" }, blank(patient) ? "optional; none stated" : words(patient));
  return make(
    "details",
    { id: "entries", open, ontoggle: (event) => toggled(event.target.open) },
    make("summary", {}, "Age, sex and site ", state),
    make("p", { class: "small" }, "They are sent with the image and change its numbers; what is left blank adds nothing. The map stays that of the picture."),
    form,
  );
}

const NAMES = { image: "picture", age: "age", sex: "sex", site: "site", total: "all together" };

/** Bars of what the picture and each entry add to the log-odds of malignancy, or take from them. */
export function shares(parts, row) {
  const most = Math.max(...Object.keys(NAMES).map((name) => Math.abs(parts[name])), 1e-9);
  const rows = Object.entries(NAMES).map(([name, title]) => {
    const value = parts[name];
    const width = (50 * Math.abs(value)) / most;
    const bar = make("span", { class: value < 0 ? "share down" : "share" });
    bar.style.left = `${value < 0 ? 50 - width : 50}%`;
    bar.style.width = `${width}%`;
    return make(
      "tr",
      { data: { part: name } },
      make("th", { scope: "row" }, title),
      make("td", { class: "share-track", "aria-hidden": "true" }, bar),
      make("td", { class: "number" }, `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`),
    );
  });
  return make(
    "section",
    { id: "shares" },
    make("h3", {}, "Log-odds of malignancy from"),
    make("table", { class: "shares" }, make("tbody", {}, rows)),
    make(
      "p",
      { class: "small" },
      `P(malignant) of the picture alone: ${probability(row.p_image_malignant)}. The share of an entry is the mean over all orders in which `,
      "the entries can be added to the picture. It says what moved this model's number, not that it is right.",
    ),
  );
}
