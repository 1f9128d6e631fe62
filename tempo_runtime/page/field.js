/**
 * Fields: each shows one value, and reads it back as it is.
 *
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {() => import("./json.js").JsonValue} read Throws a `FieldError` for what is not a value.
 * @property {(value: import("./json.js").JsonValue) => void} fill Throws a `CannotShow`.
 * @property {() => HTMLElement} reveal Show and return the input to focus.
 * @property {HTMLElement} [tools] Its buttons.
 */

import { button, el, put, setText, uniqueId } from "./dom.js";
import { Grid } from "./grid.js";
import { JsonError, parse, pretty, same, write } from "./json.js";
import { readScalar, showScalar, ValueError } from "./scalars.js";
import { isScalar } from "./schema.js";
import { CannotShow, FieldError } from "./field_errors.js";

/**
 * Make the field of a shape.
 *
 * @param {import("./schema.js").Shape} shape
 * @param {{label: string, labelId: string, inputId: string}} names What the value is called.
 * @returns {Field}
 */
export function fieldOf(shape, names) {
  if (isScalar(shape)) return new OrJson(new ScalarField(shape, names), names, false);
  if (shape.kind === "json") return new JsonField(names);
  const visual = shape.kind === "object" ? new ObjectField(shape, names) : new Grid(shape, names);
  return new OrJson(visual, names, true);
}

/** One input. @implements {Field} */
class ScalarField {
  constructor(shape, { label, inputId }) {
    this.shape = shape;
    if (shape.kind === "boolean" || shape.kind === "choice") {
      const values = shape.kind === "boolean" ? [true, false] : shape.values;
      const options = values.map((value) =>
        el("option", { value: write(value) }, typeof value === "string" ? value : write(value)),
      );
      this.input = el(
        "select",
        { id: inputId },
        el("option", { value: "", hidden: true }, "choose"),
        ...options,
      );
      this.input.value = "";
    } else if (shape.kind === "text" || shape.kind === "bytes" || shape.kind === "scalar") {
      this.input = el("textarea", { id: inputId, rows: "1", spellcheck: "false" });
    } else {
      this.input = el("input", {
        id: inputId,
        autocomplete: "off",
        spellcheck: "false",
        inputmode: { integer: "numeric", number: "decimal" }[shape.kind],
        placeholder: shape.kind === "time" ? "2026-01-31T12:00:00" : null,
      });
    }
    this.element = el("div", { class: `scalar ${shape.kind}` }, this.input);
    if (shape.kind === "bytes") this.element.append(this.#upload(label));
  }

  #upload(label) {
    const file = el("input", { type: "file", class: "hidden", tabindex: "-1", "aria-hidden": "true" });
    file.addEventListener("change", async () => {
      const bytes = new Uint8Array(await file.files[0].arrayBuffer());
      let binary = "";
      for (let at = 0; at < bytes.length; at += 0x8000) {
        binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
      }
      this.input.value = btoa(binary);
      file.value = "";
      this.input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    return el(
      "span",
      {},
      button("Upload a file", () => file.click(), {
        class: "quiet",
        "aria-label": `Upload a file for ${label}`,
      }),
      file,
    );
  }

  read() {
    try {
      return readScalar(this.shape, this.input.value);
    } catch (error) {
      if (error instanceof ValueError) throw new FieldError(error.message, () => this.input);
      throw error;
    }
  }

  fill(value) {
    const text = showScalar(this.shape, value);
    if (text === null) throw new CannotShow();
    this.input.value = text;
  }

  reveal() {
    return this.input;
  }
}

/** Any value, as JSON. @implements {Field} */
class JsonField {
  constructor({ label, inputId }, id = inputId) {
    this.input = el("textarea", {
      id,
      class: "code",
      rows: "3",
      spellcheck: "false",
      "aria-label": `${label}, as JSON`,
    });
    this.element = el("div", {}, this.input);
  }

  read() {
    try {
      return parse(this.input.value);
    } catch (error) {
      if (error instanceof JsonError) throw new FieldError(`is not JSON: ${error.message}`, () => this.input);
      throw error;
    }
  }

  fill(value) {
    this.input.value = pretty(value);
  }

  reveal() {
    return this.input;
  }
}

/**
 * A field, or JSON in its place: for a value that the field cannot show, and for those who prefer it.
 *
 * @implements {Field}
 */
class OrJson {
  /** @param {Field} visual @param {boolean} offered Whether there is a button for JSON. */
  constructor(visual, names, offered) {
    this.visual = visual;
    this.names = names;
    this.json = null;
    this.problem = el("p", { class: "problem", role: "alert" });
    this.toggle = button("Edit as JSON", () => this.#toggle(), {
      class: "quiet",
      "aria-label": `Edit ${names.label} as JSON`,
      hidden: !offered,
    });
    this.tools = el("div", { class: "tools" }, this.toggle);
    this.element = el("div", { class: "or-json" });
    this.#arrange();
  }

  get #field() {
    return this.json ?? this.visual;
  }

  read() {
    return this.#field.read();
  }

  fill(value) {
    setText(this.problem, "");
    this.json = null;
    try {
      this.visual.fill(value);
      if (!same(this.visual.read(), value)) throw new CannotShow();
    } catch (error) {
      if (!(error instanceof CannotShow || error instanceof FieldError)) throw error;
      this.#toJson(value);
    }
    this.#arrange();
  }

  reveal() {
    return this.#field.reveal();
  }

  #toJson(value) {
    this.json = new JsonField(this.names, uniqueId("json"));
    if (value !== undefined) this.json.fill(value);
    this.toggle.hidden = false;
  }

  #toggle() {
    setText(this.problem, "");
    if (this.json === null) {
      let value;
      try {
        value = this.visual.read();
      } catch (error) {
        if (!(error instanceof FieldError)) throw error; // what is not whole yet is not shown
      }
      this.#toJson(value);
    } else {
      const json = this.json;
      try {
        const value = json.read();
        this.fill(value);
        if (this.json !== null)
          setText(this.problem, "This value has another form than the fields, so it stays JSON.");
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
        if (json.input.value.trim() !== "") setText(this.problem, `It ${error.message}`);
        else this.json = null;
      }
    }
    this.#arrange();
    this.toggle.focus();
    this.element.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #arrange() {
    setText(this.toggle, this.json === null ? "Edit as JSON" : "Edit in fields");
    this.toggle.setAttribute(
      "aria-label",
      `Edit ${this.names.label} ${this.json === null ? "as JSON" : "in fields"}`,
    );
    const tools = this.visual.tools;
    put(this.tools, this.json === null && tools, this.toggle);
    put(this.element, this.#field.element, this.problem, this.tools);
  }
}

/** The members of an object, one below the other. @implements {Field} */
class ObjectField {
  constructor(shape, { label, labelId }) {
    this.members = shape.members.map((member) => new MemberField(member, label));
    this.element = el(
      "div",
      { class: "object", role: "group", "aria-labelledby": labelId },
      ...this.members.map((member) => member.element),
    );
  }

  read() {
    return new Map(this.members.flatMap((member) => member.read()));
  }

  fill(value) {
    if (!(value instanceof Map)) throw new CannotShow();
    fillMembers(this.members, value);
  }

  reveal() {
    return this.members[0].reveal();
  }
}

/** Fill the fields of members; one that the value does not have gets its default. */
export function fillMembers(members, value) {
  const known = new Set(members.map((field) => field.name));
  if ([...value.keys()].some((name) => !known.has(name))) throw new CannotShow();
  for (const field of members) {
    if (value.has(field.name)) field.fill(value.get(field.name));
    else field.leaveOut();
  }
}

/** An argument, or a member of an object: its name, what it is, and its field. */
export class MemberField {
  /** @param {import("./schema.js").Member} member @param {string} [owner] The name of the object it is in. */
  constructor(member, owner = "") {
    this.member = member;
    this.name = member.name;
    const [labelId, inputId, modeId] = [uniqueId("label"), uniqueId("input"), uniqueId("mode")];
    const [aboutId, problemId] = [uniqueId("about"), uniqueId("problem")];
    const label = owner ? `${owner}.${member.name}` : member.name;
    this.field = fieldOf(member.shape, { label, labelId, inputId });
    this.problem = el("p", { class: "problem", id: problemId });
    const modes = [["value", "a value"]];
    if (!member.required) modes.unshift(["default", defaultText(member)]);
    if (member.shape.nullable) modes.push(["null", "null"]);
    this.mode = el("select", {
      id: modeId,
      class: "mode",
      "aria-label": `${label}: which value`,
      onchange: () => this.#show(),
    });
    this.mode.append(...modes.map(([value, text]) => el("option", { value }, text)));
    const isInput = isScalar(member.shape) || member.shape.kind === "json";
    this.label = el(
      isInput ? "label" : "span",
      { class: "name", id: labelId, for: isInput ? inputId : null },
      member.name,
    );
    this.about = el("p", { class: "about", id: aboutId }, member.description);
    this.element = el(
      "div",
      { class: "member", "data-argument": owner ? null : member.name },
      el(
        "div",
        { class: "head" },
        this.label,
        el("span", { class: "type" }, member.type),
        modes.length > 1 && this.mode,
      ),
      member.description && this.about,
      this.field.element,
      this.problem,
    );
    this.marked = null;
    this.touched = false; // whether its field has had a value
    this.described = [member.description && aboutId, problemId].filter(Boolean).join(" ");
    const input = this.element.querySelector(`#${inputId}`);
    input?.setAttribute("aria-describedby", this.described);
    this.element.addEventListener("input", () => this.unmark());
    this.element.addEventListener("change", () => this.unmark());
    this.leaveOut();
  }

  /** @returns {[string, import("./json.js").JsonValue][]} Its name and value, unless it is left out. */
  read() {
    if (this.mode.value === "default") return [];
    if (this.mode.value === "null") return [[this.name, null]];
    try {
      return [[this.name, this.field.read()]];
    } catch (error) {
      if (error instanceof FieldError && error.owner === null) error.owner = this;
      throw error;
    }
  }

  fill(value) {
    const isNull = value === null && this.member.shape.nullable;
    this.mode.value = isNull ? "null" : "value";
    if (!isNull) {
      this.field.fill(value);
      this.touched = true;
    }
    this.#show();
  }

  /** Leave it to its default, if it has one. */
  leaveOut() {
    this.mode.value = this.member.required ? "value" : "default";
    this.#show();
  }

  /** Say what is wrong with it. @param {string} message @param {HTMLElement} [input] */
  mark(message, input = this.reveal()) {
    setText(this.problem, message);
    this.element.classList.add("faulty");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", this.described);
    this.marked = input;
  }

  unmark() {
    if (!this.marked) return;
    setText(this.problem, "");
    this.element.classList.remove("faulty");
    this.marked.removeAttribute("aria-invalid");
    this.marked = null;
  }

  reveal() {
    return this.mode.value === "value" ? this.field.reveal() : this.mode;
  }

  #show() {
    const isValue = this.mode.value === "value";
    if (isValue && this.member.hasDefault && !this.touched) this.#startWith(this.member.default);
    this.touched ||= isValue;
    this.field.element.hidden = !isValue;
  }

  /** Begin with the default, which is often close to what is wanted. */
  #startWith(value) {
    if (value === null && this.member.shape.nullable) return;
    try {
      this.field.fill(value);
    } catch (error) {
      if (!(error instanceof CannotShow)) throw error;
    }
  }
}

function defaultText(member) {
  if (!member.hasDefault) return "its default";
  const text = write(member.default);
  return `default: ${text.length > 30 ? `${text.slice(0, 27)}...` : text}`;
}
