/** The reference of a pipeline: its routes, arguments and result, from /openapi.json. */

import { addressOf } from "./api.js";
import { el } from "./dom.js";
import { pretty, write } from "./json.js";

/** @param {import("./schema.js").Pipeline} pipeline */
export function reference(pipeline) {
  return el(
    "div",
    { class: "reference" },
    el("h3", {}, "Routes"),
    scrolled(
      "Routes",
      [],
      pipeline.routes.map(({ method, path, summary }) => [el("code", {}, `${method} ${path}`), summary]),
    ),
    el("h3", {}, "Arguments"),
    pipeline.arguments.length
      ? scrolled("Arguments", ["name", "type", "default", "description"], pipeline.arguments.map(row))
      : el("p", { class: "about" }, pipeline.known ? "None." : "They are not known."),
    el("h3", {}, "Result"),
    el("p", {}, pipeline.result, pipeline.streams && ", for each item"),
    el(
      "details",
      {},
      el("summary", {}, "JSON Schema"),
      code("Schema of the arguments", pipeline.argumentSchema),
      code("Schema of the result", pipeline.resultSchema),
    ),
    el(
      "p",
      { class: "about" },
      "The same for programs: ",
      el("a", { href: addressOf("/openapi.json").href }, "openapi.json"),
    ),
  );
}

/** @param {import("./schema.js").Member} argument */
function row(argument) {
  const unset = argument.required ? "required" : "its own";
  return [
    el("code", {}, argument.name),
    argument.type,
    argument.hasDefault ? el("code", {}, write(argument.default)) : unset,
    argument.description,
  ];
}

function scrolled(label, head, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    el(
      "table",
      {},
      head.length > 0 &&
        el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell))))),
    ),
  );
}

function code(label, schema) {
  return el(
    "div",
    {},
    el("h4", {}, label),
    el("pre", { class: "code", tabindex: "0", "aria-label": label }, pretty(schema)),
  );
}
