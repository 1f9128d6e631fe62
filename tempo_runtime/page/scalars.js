/** Convert between what is typed and JSON values without parts. */

import { JsonNumber, NUMBER, parse, write } from "./json.js";

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const WORDS = ["NaN", "Infinity", "-Infinity"];

/** What was typed is not a value of its shape; the message says what to type. */
export class ValueError extends Error {}

/**
 * Read what was typed.
 *
 * @param {import("./schema.js").Shape} shape
 * @param {string} text
 * @returns {import("./json.js").JsonValue}
 * @throws {ValueError}
 */
export function readScalar(shape, text) {
  switch (shape.kind) {
    case "integer":
      return readInteger(shape, text.trim());
    case "number":
      return readNumber(shape, text.trim());
    case "boolean":
      if (text === "true" || text === "false") return text === "true";
      throw new ValueError(
        text === "" ? "is empty; choose true or false" : `is ${quoted(text)}; write true or false`,
      );
    case "choice": {
      const value = shape.values.find((one) => write(one) === text);
      if (value === undefined)
        throw new ValueError(text === "" ? "is empty; choose one" : `is ${quoted(text)}; choose one`);
      return value;
    }
    case "scalar":
      return readAny(text);
    default:
      return text;
  }
}

/**
 * Return the text that `readScalar` reads as a value.
 *
 * @param {import("./schema.js").Shape} shape
 * @param {import("./json.js").JsonValue} value
 * @returns {string | null} Null if the shape does not have this value.
 */
export function showScalar(shape, value) {
  switch (shape.kind) {
    case "integer":
      return value instanceof JsonNumber && INTEGER.test(value.text) ? value.text : null;
    case "number":
      if (value === null && shape.nan) return "null";
      if (shape.words && WORDS.includes(value)) return value;
      return value instanceof JsonNumber ? value.text : null;
    case "boolean":
      return typeof value === "boolean" ? String(value) : null;
    case "choice":
      return shape.values.some((one) => write(one) === write(value)) ? write(value) : null;
    case "scalar":
      if (value === null) return "null";
      if (typeof value === "string")
        return value !== "" && readAny(value) === value ? value : JSON.stringify(value);
      return value instanceof JsonNumber || typeof value === "boolean" ? write(value) : null;
    default:
      return typeof value === "string" ? value : null;
  }
}

/** What a cell that is empty in a file is taken for: nothing, if its shape has no word for that. */
export function wordForEmpty(shape) {
  if (shape.kind === "number" && shape.nan) return "NaN";
  return shape.kind === "scalar" ? "null" : "";
}

function readInteger(shape, text) {
  if (!INTEGER.test(text)) {
    throw new ValueError(
      text === "" ? "is empty; write an integer" : `is ${quoted(text)}; write an integer, such as 7`,
    );
  }
  const value = BigInt(text);
  if (shape.minimum !== undefined && value < BigInt(shape.minimum)) {
    throw new ValueError(`is ${text}; write at least ${shape.minimum}`);
  }
  if (shape.maximum !== undefined && value > BigInt(shape.maximum)) {
    throw new ValueError(`is ${text}; write at most ${shape.maximum}`);
  }
  return new JsonNumber(text);
}

function readNumber(shape, text) {
  if (text === "null" && shape.nan) return null;
  if (shape.words && WORDS.includes(text)) return text;
  if (!NUMBER.test(text)) {
    throw new ValueError(
      text === "" ? "is empty; write a number" : `is ${quoted(text)}; write a number, such as 0.5`,
    );
  }
  if (!Number.isFinite(Number(text))) throw new ValueError(`is ${text}, which is too large for a float`);
  return new JsonNumber(text);
}

/** Read numbers, true, false, null and texts in quotes as JSON, and all else as text. */
function readAny(text) {
  if (text === "") throw new ValueError('is empty; write a value, or "" for empty text');
  if (text === "null") return null;
  if (text === "true" || text === "false") return text === "true";
  if (NUMBER.test(text)) return new JsonNumber(text);
  if (text.startsWith('"')) {
    try {
      const value = parse(text);
      if (typeof value === "string") return value;
    } catch {
      return text;
    }
  }
  return text;
}

function quoted(text) {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text);
}
