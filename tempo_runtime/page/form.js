/** The form of a call: a field for each argument, or the whole body as JSON. */

import { el, put, setText, Tabs, uniqueId } from "./dom.js";
import { CannotShow, FieldError } from "./field_errors.js";
import { fillMembers, MemberField } from "./field.js";
import { JsonError, parse, pretty } from "./json.js";

const FORM = "Form";
const JSON_TEXT = "JSON";

export class CallForm {
  /** @param {import("./schema.js").Pipeline} pipeline */
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.fields = pipeline.arguments.map((argument) => new MemberField(argument));
    const id = uniqueId("body");
    this.text = el("textarea", { id, class: "code body", rows: "12", spellcheck: "false" });
    this.problem = el("p", { class: "problem", role: "alert", id: `${id}-problem` });
    this.text.setAttribute("aria-describedby", this.problem.id);
    this.text.addEventListener("input", () => this.#unmark());
    const fields = el("div", { class: "fields" }, ...this.fields.map((field) => field.element));
    if (!this.fields.length) fields.append(el("p", { class: "about" }, "It has no arguments."));
    const json = el(
      "div",
      {},
      el("label", { class: "name", for: id }, "The arguments by name, as JSON"),
      this.text,
      this.problem,
    );
    if (pipeline.known) {
      this.tabs = new Tabs(
        "How to write the arguments",
        [
          [FORM, fields],
          [JSON_TEXT, json],
        ],
        (name) => this.#turn(name),
      );
      this.element = this.tabs.element;
    } else {
      const why = "Save the pipeline again to have a form: its artifact does not describe the arguments.";
      this.element = el("div", {}, el("p", { class: "about" }, why), json);
      this.text.value = "{}";
    }
    this.fillIn();
  }

  get #isJson() {
    return !this.tabs || this.tabs.current === JSON_TEXT;
  }

  /** Fill in the recorded example, if there is one. */
  fillIn() {
    if (this.pipeline.example) this.fill(this.pipeline.example);
  }

  /** @param {Map<string, import("./json.js").JsonValue>} body */
  fill(body) {
    this.text.value = pretty(body);
    this.unmark();
    try {
      if (this.tabs) fillMembers(this.fields, body);
    } catch (error) {
      if (!(error instanceof CannotShow)) throw error;
      this.tabs.show(JSON_TEXT);
    }
  }

  /**
   * @returns {Map<string, import("./json.js").JsonValue>} The arguments.
   * @throws {FieldError}
   */
  read() {
    return this.#isJson ? this.#readText() : this.#readFields();
  }

  /** Mark and focus the input at fault. @param {FieldError} error */
  show(error) {
    const input = error.reveal();
    if (error.owner) error.owner.mark(sentence(error.message), input);
    else this.#markText(error.message);
    input.focus();
  }

  /** Mark and focus the argument that an answer of the server names, if it is one. */
  blame(message) {
    const names = [...message.matchAll(/'([^']+)'/g)].map((match) => match[1].split(/[.[]/)[0]);
    const field =
      this.fields.find(({ name }) => name === names[0]) ??
      this.fields.find(({ name }) => names.includes(name));
    if (this.#isJson) {
      if (!field && !names.length) return false;
      this.#markText(message);
      this.text.focus();
      return true;
    }
    if (!field) return false;
    const input = field.reveal();
    field.mark(message, input);
    input.focus();
    return true;
  }

  unmark() {
    for (const field of this.fields) field.unmark();
    this.#unmark();
  }

  #readFields() {
    return new Map(this.fields.flatMap((field) => field.read()));
  }

  #readText() {
    const reveal = () => this.text;
    let body;
    try {
      body = parse(this.text.value);
    } catch (error) {
      if (error instanceof JsonError) throw new FieldError(`This is not JSON: ${error.message}.`, reveal);
      throw error;
    }
    if (!(body instanceof Map))
      throw new FieldError('Write an object of the arguments by name, such as {"rows": [1, 2]}.', reveal);
    return body;
  }

  /** Take over what the other tab has. */
  #turn(name) {
    this.unmark();
    try {
      if (name === JSON_TEXT) {
        this.text.value = pretty(this.#readFields());
      } else {
        fillMembers(this.fields, this.#readText());
      }
    } catch (error) {
      if (error instanceof CannotShow) {
        const known = this.fields.map((field) => field.name).join(", ");
        this.#markText(`The form does not have all of these arguments; it has ${known}.`);
        return false;
      }
      if (!(error instanceof FieldError)) throw error;
      this.show(error);
      return false;
    }
    return true;
  }

  #markText(message) {
    setText(this.problem, message);
    this.text.setAttribute("aria-invalid", "true");
  }

  #unmark() {
    setText(this.problem, "");
    this.text.removeAttribute("aria-invalid");
  }
}

/** The message of a field, as a sentence of its own. */
function sentence(message) {
  return message.startsWith("is ") ? `It ${message}.` : `${message[0].toUpperCase()}${message.slice(1)}.`;
}

/** Limits of a call, which are in its URL. */
export class CallOptions {
  constructor() {
    const option = (name, label, hint) => {
      const id = uniqueId("option");
      const input = el("input", { id, name, inputmode: "decimal", autocomplete: "off", placeholder: hint });
      return [input, el("div", { class: "option" }, el("label", { for: id }, label), input)];
    };
    const options = [
      option("tempo_timeout", "Time limit, in seconds", "the server's"),
      option("tempo_seed", "Seed of random numbers", "the server's"),
      option("tempo_max_calls", "Most calls of models", "the server's"),
    ];
    this.inputs = options.map(([input]) => input);
    this.element = el("details", { class: "options" }, el("summary", {}, "Limits and seed"));
    put(
      this.element,
      this.element.firstChild,
      el("div", { class: "option-list" }, ...options.map(([, element]) => element)),
    );
  }

  /** @returns {URLSearchParams} */
  read() {
    const given = this.inputs
      .map((input) => [input.name, input.value.trim()])
      .filter(([, value]) => value !== "");
    return new URLSearchParams(given);
  }

  /** Focus the option that a message names, if it is one. */
  blame(message) {
    const input = this.inputs.find(({ name }) => message.includes(name));
    if (!input) return false;
    this.element.open = true;
    input.setAttribute("aria-invalid", "true");
    input.addEventListener("input", () => input.removeAttribute("aria-invalid"), { once: true });
    input.focus();
    return true;
  }
}
