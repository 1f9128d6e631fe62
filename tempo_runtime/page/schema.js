/** Read what /openapi.json says about pipelines, as shapes that the form knows. */

import { JsonNumber, write } from "./json.js";

/**
 * What a value looks like.
 *
 * @typedef {object} Shape
 * @property {"integer" | "number" | "boolean" | "choice" | "text" | "bytes" | "time" | "scalar" | "table" | "frame"
 *     | "object" | "pairs" | "records" | "json"} kind A `scalar` is any value without parts; a `table` is an
 *     array of one or two dimensions; `records` are objects of scalars; `pairs` are scalars by name.
 * @property {boolean} nullable
 * @property {string} [minimum]
 * @property {string} [maximum]
 * @property {boolean} [nan] Whether null is NaN.
 * @property {boolean} [words] Whether "NaN" and "Infinity" are numbers.
 * @property {import("./json.js").JsonValue[]} [values] Of a choice.
 * @property {Shape} [items] Of the elements.
 * @property {number | null} [dimensions] Of a table; null if any number is allowed.
 * @property {number | null} [length] Fixed number of rows.
 * @property {number | null} [width] Fixed number of columns.
 * @property {Column[]} [columns]
 * @property {Member[]} [members] Of an object, or of each record.
 */

/** @typedef {{name: string, categories?: string[]}} Column */

/**
 * An argument, or a part of an object.
 *
 * @typedef {object} Member
 * @property {string} name
 * @property {Shape} shape
 * @property {boolean} required
 * @property {boolean} hasDefault Whether `default` is known; an argument that is not required always has one.
 * @property {import("./json.js").JsonValue} [default]
 * @property {string} description
 * @property {string} type For people.
 */

/**
 * @typedef {object} Pipeline
 * @property {string} name
 * @property {string} description
 * @property {boolean} streams
 * @property {Member[]} arguments
 * @property {boolean} known Whether the arguments are known.
 * @property {Map<string, import("./json.js").JsonValue> | null} example
 * @property {Map<string, any>} argumentSchema
 * @property {Map<string, any>} resultSchema
 * @property {string} result The type of the result, for people.
 * @property {string[] | null} resultColumns The names of its columns.
 * @property {{method: string, path: string, summary: string}[]} routes
 * @property {string} source All that the document says about it.
 */

const DEEPEST = 6; // objects in objects; what is deeper is edited as JSON
const SCALARS = new Set(["integer", "number", "boolean", "choice", "text", "bytes", "time", "scalar"]);

/** @param {Shape} shape */
export const isScalar = (shape) => SCALARS.has(shape.kind);

/**
 * Read the pipelines of an OpenAPI document.
 *
 * @param {Map<string, any>} api The document, from `json.parse`.
 * @returns {Map<string, Pipeline>} By name.
 */
export function pipelinesOf(api) {
  const schemas = api.get("components")?.get("schemas") ?? new Map();
  const reader = new SchemaReader(schemas);
  const pipelines = new Map();
  for (const [path, operations] of api.get("paths") ?? []) {
    for (const [method, operation] of operations) {
      const name = operation.get("tags")?.[0];
      if (name === undefined) continue;
      if (!pipelines.has(name)) pipelines.set(name, emptyPipeline(name));
      const pipeline = pipelines.get(name);
      pipeline.source += write(operation);
      pipeline.routes.push({ method: method.toUpperCase(), path, summary: operation.get("summary") ?? "" });
      pipeline.description = operation.get("description") ?? pipeline.description;
      const id = operation.get("operationId");
      if (id !== `predict-${name}` && id !== `predict_stream-${name}`) continue;
      pipeline.streams = id.startsWith("predict_stream");
      const content = operation.get("requestBody").get("content").get("application/json");
      pipeline.argumentSchema = schemas.get(`${name}.arguments`) ?? new Map();
      pipeline.resultSchema = schemas.get(`${name}.result`) ?? new Map();
      pipeline.known = pipeline.argumentSchema.has("properties");
      pipeline.arguments = reader.members(pipeline.argumentSchema, 0);
      pipeline.result = reader.type(pipeline.resultSchema);
      pipeline.resultColumns = columnsOf(pipeline.resultSchema)?.map((column) => column.name) ?? null;
      pipeline.example = content.get("example") ?? null;
    }
  }
  for (const [name, schema] of schemas) {
    const pipeline = pipelines.get(name.slice(0, name.lastIndexOf(".")));
    if (pipeline) pipeline.source += name + write(schema);
  }
  return pipelines;
}

/** @returns {Pipeline} */
function emptyPipeline(name) {
  return {
    name,
    description: "",
    streams: false,
    arguments: [],
    known: false,
    example: null,
    argumentSchema: new Map(),
    resultSchema: new Map(),
    result: "",
    resultColumns: null,
    routes: [],
    source: "",
  };
}

class SchemaReader {
  /** @param {Map<string, any>} schemas */
  constructor(schemas) {
    this.schemas = schemas;
  }

  /** @returns {Member[]} */
  members(schema, depth) {
    const required = new Set(schema.get("required") ?? []);
    return [...(schema.get("properties") ?? [])].map(([name, part]) => ({
      name,
      shape: this.shape(part, depth + 1),
      required: required.has(name),
      hasDefault: part.has("default"),
      default: part.get("default"),
      description: part.get("description") ?? this.resolved(part).get("description") ?? "",
      type: this.type(part),
    }));
  }

  /** Follow a reference. */
  resolved(schema) {
    for (let steps = 0; steps < 20 && schema.has("$ref"); steps++) {
      schema = this.schemas.get(schema.get("$ref").split("/").pop()) ?? new Map();
    }
    const all = schema.get("allOf");
    return all?.length === 1 ? this.resolved(all[0]) : schema;
  }

  /** @returns {{choices: Map<string, any>[], nullable: boolean}} What a value may be, apart from null. */
  choices(schema) {
    schema = this.resolved(schema);
    if (Array.isArray(schema.get("type"))) {
      const types = schema.get("type");
      const choices = types.map((type) => new Map([...schema, ["type", type]]));
      return {
        choices: choices.filter((one) => one.get("type") !== "null"),
        nullable: types.includes("null"),
      };
    }
    if (!schema.has("anyOf") && !schema.has("oneOf")) {
      return schema.get("type") === "null"
        ? { choices: [], nullable: true }
        : { choices: [schema], nullable: false };
    }
    const parts = (schema.get("anyOf") ?? schema.get("oneOf")).map((part) => this.choices(part));
    return { choices: parts.flatMap((part) => part.choices), nullable: parts.some((part) => part.nullable) };
  }

  /** @returns {Shape} */
  shape(schema, depth) {
    const { choices, nullable } = this.choices(schema);
    const columns = columnsOf(schema) ?? choices.map(columnsOf).find(Boolean);
    const words = choices.filter(isWords);
    const others = choices.filter((choice) => !isWords(choice));
    if (others.length === 1) {
      const shape = this.#one(others[0], depth, columns);
      return words.length && shape.kind === "number"
        ? { ...shape, words: true, nullable }
        : { ...shape, nullable };
    }
    if (others.length === 2 && others.every((choice) => isRowsOrColumns(choice))) {
      return { kind: "frame", nullable, columns };
    }
    return { kind: "json", nullable };
  }

  /** @returns {Shape} */
  #one(schema, depth, columns) {
    const nullable = false;
    if (schema.has("enum")) return { kind: "choice", nullable, values: schema.get("enum") };
    if (schema.has("const")) return { kind: "choice", nullable, values: [schema.get("const")] };
    switch (schema.get("type")) {
      case "boolean":
        return { kind: "boolean", nullable };
      case "integer":
        return {
          kind: "integer",
          nullable,
          minimum: schema.get("minimum")?.text,
          maximum: schema.get("maximum")?.text,
        };
      case "number":
        return { kind: "number", nullable };
      case "string":
        if (schema.get("contentEncoding") === "base64") return { kind: "bytes", nullable };
        if (schema.get("format") === "date-time" || schema.get("description") === "ISO 8601") {
          return { kind: "time", nullable };
        }
        return { kind: "text", nullable };
      case "array":
        return this.#array(schema, depth, columns);
      case "object":
        return this.#object(schema, depth);
      default:
        return { kind: "json", nullable };
    }
  }

  /** @returns {Shape} */
  #array(schema, depth, columns) {
    const nullable = false;
    const length = fixed(schema);
    if (schema.has("prefixItems")) return { kind: "json", nullable };
    const items = schema.get("items");
    if (!(items instanceof Map) || items.size === 0) {
      return {
        kind: "table",
        nullable,
        items: { kind: "scalar", nullable: true },
        dimensions: null,
        length,
        width: null,
        columns,
      };
    }
    const inner = this.shape(items, depth + 1);
    if (isScalar(inner)) {
      const width = columns ? columns.length : null;
      return { kind: "table", nullable, items: asElement(inner), dimensions: 1, length, width, columns };
    }
    if (inner.kind === "table" && inner.dimensions === 1 && !inner.nullable) {
      const width = inner.length ?? columns?.length ?? null;
      return { kind: "table", nullable, items: inner.items, dimensions: 2, length, width, columns };
    }
    if (
      inner.kind === "object" &&
      inner.members.every((member) => isScalar(member.shape)) &&
      !inner.nullable
    ) {
      return { kind: "records", nullable, members: inner.members };
    }
    if (inner.kind === "pairs" && inner.items.kind === "json") return { kind: "frame", nullable, columns };
    return { kind: "json", nullable };
  }

  /** @returns {Shape} */
  #object(schema, depth) {
    const nullable = false;
    if (depth > DEEPEST) return { kind: "json", nullable };
    if (schema.get("properties")?.size)
      return { kind: "object", nullable, members: this.members(schema, depth) };
    const values = schema.get("additionalProperties");
    if (values instanceof Map) {
      const items = this.shape(values, depth + 1);
      if (isScalar(items)) return { kind: "pairs", nullable, items: asElement(items) };
    }
    return { kind: "json", nullable };
  }

  /** Describe a type to people, such as "list of integers, or null". */
  type(schema, depth = 0) {
    const { choices, nullable } = this.choices(schema);
    const others = choices.filter((choice) => !isWords(choice));
    if (others.length === 2 && others.every(isRowsOrColumns)) return "table";
    const names = others.map((choice) => this.#typeOf(choice, depth));
    const unique = [...new Set(names)];
    // Of array elements null is NaN, which goes without saying.
    return [...unique, ...(nullable && !choices.some(isWords) ? ["null"] : [])].join(" or ") || "any value";
  }

  #typeOf(schema, depth) {
    if (schema.has("enum")) return "choice";
    if (schema.has("const")) return "constant";
    const type = schema.get("type");
    if (type === "string") return schema.get("contentEncoding") === "base64" ? "bytes in base64" : "text";
    if (type === "array") {
      if (schema.has("prefixItems")) return `list of ${schema.get("prefixItems").length} results`;
      const items = schema.get("items");
      const length = fixed(schema);
      const count = length === null ? "" : `${length} `;
      if (!(items instanceof Map) || items.size === 0) return "array";
      return depth > 3 ? "list" : `list of ${count}${plural(this.type(items, depth + 1))}`;
    }
    if (type === "object") {
      if (schema.get("title")) return schema.get("title");
      const values = schema.get("additionalProperties");
      return values instanceof Map && depth < 3
        ? `object of ${plural(this.type(values, depth + 1))}`
        : "object";
    }
    return type ?? "any value";
  }
}

/** "integer" -> "integers"; names of classes stay as they are. */
function plural(type) {
  return type.replace(/^(integer|number|boolean|text|array|list|object|choice)\b/, "$1s");
}

/** Of array elements, null is NaN. */
function asElement(shape) {
  return shape.kind === "number" && shape.nullable && shape.words
    ? { ...shape, nan: true, nullable: false }
    : shape;
}

/** @returns {Column[] | undefined} */
function columnsOf(schema) {
  const columns = schema.get("x-columns");
  if (!Array.isArray(columns)) return undefined;
  return columns.map((column) => ({
    name: String(column.get("name")),
    categories: column.get("categories")?.map(asText),
  }));
}

const asText = (value) => (value instanceof JsonNumber ? value.text : String(value));

const isWords = (schema) => schema.get("enum")?.includes("NaN") && schema.get("enum").includes("Infinity");

function isRowsOrColumns(schema) {
  const isRows = schema.get("type") === "array" && schema.get("items")?.get?.("type") === "object";
  return (
    isRows ||
    (schema.get("type") === "object" && schema.get("additionalProperties")?.get?.("type") === "array")
  );
}

/** @returns {number | null} The length that an array must have. */
function fixed(schema) {
  const [least, most] = [schema.get("minItems")?.text, schema.get("maxItems")?.text];
  return least !== undefined && least === most ? Number(least) : null;
}
