/** Write a call as curl, Python and JSON. */

import { addressOf, pathOfCall } from "./api.js";
import { JsonNumber, pretty, write } from "./json.js";

const MOST_IN_A_COMMAND = 2000; // characters

/**
 * @typedef {object} Snippets
 * @property {string} curl
 * @property {string} python
 * @property {string} json
 * @property {boolean} needsFile Whether `curl` reads body.json.
 */

/**
 * @param {import("./schema.js").Pipeline} pipeline
 * @param {Map<string, import("./json.js").JsonValue>} body
 * @param {URLSearchParams} parameters
 * @returns {Snippets}
 */
export function snippetsOf(pipeline, body, parameters) {
  const text = write(body);
  const needsFile = text.length > MOST_IN_A_COMMAND;
  return {
    curl: curl(pipeline, needsFile ? "@body.json" : text, parameters),
    python: python(pipeline, body, parameters),
    json: pretty(body),
    needsFile,
  };
}

function curl(pipeline, data, parameters) {
  const url = addressOf(
    pathOfCall(pipeline.name, pipeline.streams ? "predict_stream" : "predict", parameters),
  );
  const options = pipeline.streams ? "-sN" : "-s";
  return `curl ${options} ${inShell(url.href)} \\\n  -H 'content-type: application/json' \\\n  -d ${inShell(data)}`;
}

function inShell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function python(pipeline, body, parameters) {
  const needed = new Set();
  const shapes = new Map(pipeline.arguments.map(({ name, shape }) => [name, shape]));
  const values = [...body].map(([name, value]) => [name, inPython(value, shapes.get(name), needed, "    ")]);
  const isPlain = values.every(([name]) => /^[\p{ID_Start}_]\p{ID_Continue}*$/u.test(name));
  const given = isPlain
    ? values.map(([name, value]) => `${name}=${value}`)
    : [`**{${values.map(([name, value]) => `${JSON.stringify(name)}: ${value}`).join(", ")}}`];
  const oneLine = given.join(", ");
  const inLines = oneLine.length > 70 || oneLine.includes("\n");
  const called = inLines ? `\n    ${given.join(",\n    ")},\n` : oneLine;
  const url = addressOf(`/v2/models/${encodeURIComponent(pipeline.name)}`);
  const lines = [
    ...[...needed].sort(),
    ...(needed.size ? [""] : []),
    "import tempo_runtime",
    "",
    `model = tempo_runtime.connect(${JSON.stringify(url.href)})`,
    ...(pipeline.streams
      ? [`for item in model.stream(${called}):`, "    print(item)"]
      : [`print(model.predict(${called}))`]),
  ];
  if (parameters.size) lines.push(`# ${[...parameters.keys()].join(", ")}: only curl sends them`);
  return lines.join("\n");
}

/** Write a value as Python, which has the same texts and numbers as JSON. */
function inPython(value, shape, needed, indent) {
  const kind = shape?.kind;
  if (typeof value === "string" && kind === "number") return `float("${value}")`;
  if (value === null && kind === "number" && shape.nan) return 'float("nan")';
  if (typeof value === "string" && kind === "bytes") {
    needed.add("import base64");
    return `base64.b64decode(${JSON.stringify(value)})`;
  }
  if (typeof value === "string" && kind === "time") {
    needed.add("import datetime");
    return `datetime.datetime.fromisoformat(${JSON.stringify(value)})`;
  }
  if (kind === "frame" && value !== null) {
    needed.add("import pandas");
    return `pandas.DataFrame(${inPython(value, undefined, needed, indent)})`;
  }
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value instanceof JsonNumber) return value.text;
  if (typeof value === "string") return JSON.stringify(value);
  const deeper = `${indent}    `;
  const isArray = Array.isArray(value);
  const parts = isArray
    ? value.map((item) => inPython(item, shape?.items, needed, deeper))
    : [...value].map(
        ([name, part]) =>
          `${JSON.stringify(name)}: ${inPython(part, memberShape(shape, name), needed, deeper)}`,
      );
  const [open, close] = isArray ? "[]" : "{}";
  const oneLine = parts.join(", ");
  if (oneLine.length <= 70 && !oneLine.includes("\n")) return open + oneLine + close;
  return `${open}\n${parts.map((part) => deeper + part).join(",\n")},\n${indent}${close}`;
}

function memberShape(shape, name) {
  return (
    shape?.members?.find((member) => member.name === name)?.shape ??
    (shape?.kind === "pairs" ? shape.items : undefined)
  );
}
