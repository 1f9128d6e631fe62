/**
 * Read and write JSON without changing a value: numbers keep their text, objects their order.
 *
 * JavaScript's own numbers lose integers beyond 2^53, and its objects move names that are numbers to the front.
 */

/** A number, as it was written. */
export class JsonNumber {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** @typedef {null | boolean | string | JsonNumber | JsonValue[] | Map<string, JsonValue>} JsonValue */

/** The text is not JSON. */
export class JsonError extends Error {}

export const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const NUMBER_HERE = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS = new Map([
  ["null", null],
  ["true", true],
  ["false", false],
]);

/**
 * Read JSON text.
 *
 * @param {string} text
 * @returns {any} A `JsonValue`.
 * @throws {JsonError} If it is not JSON, or an object has a name twice.
 */
export function parse(text) {
  try {
    return new Reader(text).whole();
  } catch (error) {
    if (error instanceof RangeError) throw new JsonError("it is nested too deeply");
    throw error;
  }
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  whole() {
    const value = this.value();
    this.space();
    if (this.at < this.text.length) this.fail("more text than one value");
    return value;
  }

  /** @returns {JsonValue} */
  value() {
    this.space();
    const first = this.text[this.at];
    if (first === "{") return this.object();
    if (first === "[") return this.array();
    if (first === '"') return this.string();
    NUMBER_HERE.lastIndex = this.at;
    const number = NUMBER_HERE.exec(this.text);
    if (number) {
      this.at += number[0].length;
      return new JsonNumber(number[0]);
    }
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.fail(first === undefined ? "the text ends too early" : "a value is missing");
  }

  object() {
    const members = new Map();
    this.at++;
    this.space();
    while (this.text[this.at] !== "}" || members.size) {
      this.space();
      if (this.text[this.at] !== '"') this.fail("a name in double quotes is missing");
      const start = this.at;
      const name = this.string();
      if (members.has(name)) {
        this.at = start;
        this.fail(`the name ${JSON.stringify(name)} is given twice`);
      }
      this.space();
      this.take(":");
      members.set(name, this.value());
      this.space();
      if (this.text[this.at] === "}") break;
      this.take(",", "',' or '}'");
    }
    this.at++;
    return members;
  }

  array() {
    const items = [];
    this.at++;
    this.space();
    if (this.text[this.at] === "]") {
      this.at++;
      return items;
    }
    for (;;) {
      items.push(this.value());
      this.space();
      if (this.text[this.at] === "]") break;
      this.take(",", "',' or ']'");
    }
    this.at++;
    return items;
  }

  string() {
    let end = this.at;
    let escapes;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.fail("the text in quotes has no end");
      escapes = 0;
      while (this.text[end - 1 - escapes] === "\\") escapes++;
    } while (escapes % 2);
    try {
      const value = JSON.parse(this.text.slice(this.at, end + 1));
      this.at = end + 1;
      return value;
    } catch {
      return this.fail("the text in quotes has a character that must be escaped");
    }
  }

  space() {
    SPACE.lastIndex = this.at;
    SPACE.exec(this.text);
    this.at = SPACE.lastIndex;
  }

  /** @param {string} character @param {string} [expected] */
  take(character, expected = `'${character}'`) {
    if (this.text[this.at] !== character) this.fail(`${expected} is missing`);
    this.at++;
  }

  /** @param {string} problem @returns {never} */
  fail(problem) {
    const lines = this.text.slice(0, this.at).split("\n");
    throw new JsonError(`line ${lines.length}, column ${lines[lines.length - 1].length + 1}: ${problem}`);
  }
}

/**
 * Write a value in one line.
 *
 * @param {JsonValue} value
 * @returns {string}
 */
export function write(value) {
  if (value instanceof JsonNumber) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(", ")}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([name, part]) => `${JSON.stringify(name)}: ${write(part)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/**
 * Write a value for people: in lines, but what is short in one.
 *
 * @param {JsonValue} value
 * @param {number} [width] Characters in a line.
 * @param {string} [indent]
 * @returns {string}
 */
export function pretty(value, width = 80, indent = "") {
  const isArray = Array.isArray(value);
  if (!isArray && !(value instanceof Map)) return write(value);
  if (fits(value, width - indent.length)) return write(value);
  const deeper = `${indent}  `;
  const parts = isArray
    ? value.map((item) => pretty(item, width, deeper))
    : [...value].map(([name, part]) => `${JSON.stringify(name)}: ${pretty(part, width, deeper)}`);
  const [open, close] = isArray ? "[]" : "{}";
  return `${open}\n${parts.map((part) => deeper + part).join(",\n")}\n${indent}${close}`;
}

/** Whether a value is at most this wide, without writing all of a large one. */
function fits(value, width) {
  return left(value, width) >= 0;
}

/** @param {JsonValue} value @param {number} width @returns {number} */
function left(value, width) {
  if (value instanceof JsonNumber) return width - value.text.length;
  if (typeof value === "string") return width - value.length - 2;
  if (value === null || typeof value === "boolean") return width - 5;
  let rest = width - 2;
  for (const part of value) {
    if (rest < 0) return rest;
    rest = Array.isArray(value) ? left(part, rest - 2) : left(part[1], rest - part[0].length - 6);
  }
  return rest;
}

/** Whether two values are the same, to the letter; the order of the names in objects does not count. */
export function same(one, other) {
  return write(ordered(one)) === write(ordered(other));
}

function ordered(value) {
  if (Array.isArray(value)) return value.map(ordered);
  if (!(value instanceof Map)) return value;
  return new Map(
    [...value].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, part]) => [name, ordered(part)]),
  );
}
