/** One pipeline: its graph, the form, the answer, the call as code, and the reference. */

import { ApiError, call } from "./api.js";
import { button, copyButton, download, el, put, setText, Tabs, uniqueId } from "./dom.js";
import { FieldError } from "./field_errors.js";
import { CallForm, CallOptions } from "./form.js";
import { Graph, stateSign } from "./graph.js";
import { write } from "./json.js";
import { reference } from "./reference.js";
import { Result, split } from "./result.js";
import { snippetsOf } from "./snippets.js";

export class PipelineView {
  /** @param {import("./schema.js").Pipeline} pipeline */
  constructor(pipeline) {
    this.name = pipeline.name;
    this.running = null;
    this.graph = new Graph();
    this.state = el("span", {});
    this.version = el("span", { class: "version" });
    this.about = el("p", { class: "lead" });
    this.options = new CallOptions();
    this.formPlace = el("div", {});
    this.resultPlace = el("div", {});
    this.referencePlace = el("div", {});
    this.run = el(
      "button",
      { type: "submit", class: "primary", title: "Ctrl+Enter", "aria-keyshortcuts": "Control+Enter" },
      "Run",
    );
    this.stop = button("Cancel", () => this.running?.abort(), { hidden: true });
    this.example = button("Fill in the example", () => this.#fillIn(), { class: "quiet" });
    this.code = Object.fromEntries(
      ["curl", "python", "json"].map((name) => [
        name,
        el("pre", { class: "code", tabindex: "0", "aria-label": `The call as ${name}` }),
      ]),
    );
    this.body = button("Download body.json", () => download("body.json", this.bodyText), {
      class: "quiet",
      hidden: true,
    });
    this.form = null;
    this.pipeline = null;
    this.element = this.#build();
    this.describe(pipeline);
  }

  #build() {
    const form = el(
      "form",
      {
        class: "call",
        novalidate: true,
        "aria-label": `Call ${this.name}`,
        onsubmit: (event) => this.#submit(event),
      },
      this.formPlace,
      this.options.element,
      el("div", { class: "actions" }, this.run, this.stop, this.example),
    );
    form.addEventListener("input", () => this.#writeSoon());
    form.addEventListener("change", () => this.#writeSoon());
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      form.requestSubmit();
    });
    const withCopy = (name) =>
      el(
        "div",
        { class: "snippet" },
        copyButton(`Copy the call as ${name}`, () => this.code[name].textContent),
        this.code[name],
      );
    const snippets = new Tabs("The same call", [
      ["curl", el("div", {}, withCopy("curl"), this.body)],
      ["Python", withCopy("python")],
      ["JSON", withCopy("json")],
    ]);
    const section = (title, className, ...children) => {
      const id = uniqueId("section");
      return el("section", { class: className, "aria-labelledby": id }, el("h2", { id }, title), ...children);
    };
    return el(
      "article",
      {},
      el("header", { class: "title" }, el("h1", { tabindex: "-1" }, this.name), this.state, this.version),
      this.about,
      section("Graph", "live", this.graph.element),
      el(
        "div",
        { class: "columns" },
        section("Call it", "card", form),
        section("Answer", "card answered", this.resultPlace),
      ),
      section("The same call", "card", snippets.element),
      section("API", "card", this.referencePlace),
    );
  }

  /** Show another description: the pipeline was loaded again, perhaps with other arguments. */
  describe(pipeline) {
    if (pipeline.source === this.pipeline?.source) return; // another one has changed
    let body = null;
    if (this.form) {
      try {
        body = this.form.read();
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
      }
    }
    this.pipeline = pipeline;
    setText(this.about, pipeline.description);
    this.form = new CallForm(pipeline);
    const names = new Set(pipeline.arguments.map(({ name }) => name));
    if (body && pipeline.known && [...body.keys()].every((name) => names.has(name))) this.form.fill(body);
    put(this.formPlace, this.form.element);
    this.example.hidden = pipeline.example === null;
    put(this.referencePlace, reference(pipeline));
    if (!this.result || !this.running) {
      this.result = new Result(pipeline);
      put(this.resultPlace, this.result.element);
    }
    this.#write();
  }

  /** @param {import("./graph.js").Node} node Its live state. */
  update(node) {
    this.graph.update(node);
    if (this.ready !== node.ready) {
      this.ready = node.ready;
      put(this.state, stateSign(node.ready));
    }
    setText(this.version, node.version ? `version ${node.version}` : "");
  }

  #fillIn() {
    this.form.fillIn();
    this.#write();
  }

  async #submit(event) {
    event.preventDefault();
    if (this.running) return;
    const { form, result } = this;
    form.unmark();
    let body;
    try {
      body = form.read();
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      form.show(error);
      return;
    }
    this.running = new AbortController();
    this.#arrange();
    result.begin();
    try {
      const { status } = await call(this.name, write(body), this.options.read(), this.running.signal, {
        onProgress: (news) => result.report(news),
        onItem: (text) => result.add(text),
      });
      result.finish(status);
    } catch (error) {
      this.#fail(error, form, result);
    } finally {
      this.running = null;
      this.#arrange();
    }
  }

  #fail(error, form, result) {
    if (this.running.signal.aborted) {
      result.cancel();
    } else if (error instanceof ApiError) {
      result.fail(error);
      const { cause, path } = split(error.message);
      if (path.length || error.status !== 422) return; // the arguments of a child are not those of the form
      if (!this.options.blame(cause)) form.blame(cause);
    } else if (error instanceof TypeError) {
      result.lose("The server cannot be reached. It may have ended, or be restarting.");
    } else {
      result.lose(`The answer cannot be read: ${error.message}`);
    }
  }

  #arrange() {
    const had = document.activeElement;
    this.stop.hidden = this.running === null;
    this.run.disabled = this.running !== null;
    if (had === this.run && this.running) this.stop.focus();
    if (had === this.stop && !this.running) this.run.focus();
  }

  #writeSoon() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.#write(), 150);
  }

  #write() {
    let snippets;
    try {
      const body = this.form.read();
      snippets = snippetsOf(this.pipeline, body, this.options.read());
      this.bodyText = write(body);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      const missing = "Fill in the form to see the call here.";
      snippets = { curl: missing, python: missing, json: missing, needsFile: false };
    }
    for (const name of ["curl", "python", "json"]) setText(this.code[name], snippets[name]);
    this.body.hidden = !snippets.needsFile;
  }
}
