/** Show what a call gives: progress, the answer in several forms, or the error. */

import { pictureOf } from "./api.js";
import { announce, button, copyButton, counted, download, el, put, setText, Tabs } from "./dom.js";
import { duration } from "./graph.js";
import { JsonNumber, parse, pretty, write } from "./json.js";

const MOST_ROWS = 200; // in a table, and items of a stream that are shown
const MOST_TEXT = 100_000; // characters
const FAULTS = {
  client: "The request has to change.",
  pipeline: "The pipeline's author has to change something.",
  child: "A model that the pipeline calls has a problem.",
  server: "The operator of this server has to change something.",
};
const CHILD = /^child '([^']*)': /;
const OWN = /^pipeline '[^']*': /; // says nothing new on the page of a pipeline
const MARK = / \{"kind":.*\} \(status \d{3}(?:, retry after [\d.e+-]+ s)?\)$/s;

export class Result {
  /** @param {import("./schema.js").Pipeline} pipeline */
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.status = el("p", { class: "status", role: "status" }, "Not called yet.");
    this.clock = el("span", { class: "clock", "aria-hidden": "true" });
    this.content = el("div", { class: "content" });
    this.element = el(
      "div",
      { class: "result" },
      el("div", { class: "line" }, this.status, this.clock),
      this.content,
    );
  }

  begin() {
    this.started = performance.now();
    this.items = [];
    this.list = null;
    this.progress = null;
    this.form = this.tabs?.current; // the next answer is shown in the form of the last
    setText(this.status, "Running");
    put(this.content, el("progress", { "aria-label": "Running" }));
    this.ticking = setInterval(() => setText(this.clock, duration(this.#seconds())), 100);
  }

  #seconds() {
    return (performance.now() - this.started) / 1000;
  }

  #end(text) {
    clearInterval(this.ticking);
    setText(this.clock, "");
    setText(this.status, text);
  }

  /** @param {Map<string, any>} news How far an explainer is. */
  report(news) {
    if (!this.progress) {
      this.progress = el("div", { class: "news" });
      put(this.content, el("progress", { "aria-label": "Explaining" }), this.progress);
      announce("The explainer is working.");
    }
    const facts = [];
    for (const [name, value] of news) {
      if (name === "calls" || name === "rows")
        facts.push(el("span", {}, counted(Number(value.text), name.slice(0, -1))));
      else if (Array.isArray(value)) facts.push(el("span", {}, `${name}: `, ...rules(value)));
      else facts.push(el("span", {}, `${name} ${asText(value)}`));
    }
    put(this.progress, ...facts);
  }

  /** @param {string} text An item, as JSON. */
  add(text) {
    this.items.push(parse(text));
    if (!this.pipeline.streams) return;
    if (!this.list) {
      this.list = el("ol", { class: "items", tabindex: "0", "aria-label": "Items", "aria-live": "polite" });
      put(this.content, el("progress", { "aria-label": "Running" }), this.list);
    }
    this.list.append(el("li", {}, asText(this.items[this.items.length - 1])));
    if (this.list.childElementCount > MOST_ROWS) this.list.firstElementChild.remove();
    this.list.start = this.items.length - this.list.childElementCount + 1;
    this.list.scrollTop = this.list.scrollHeight;
  }

  /** @param {number} status */
  finish(status) {
    const seconds = duration(this.#seconds());
    if (this.pipeline.streams) {
      this.#end(`${counted(this.items.length, "item")} in ${seconds}`);
      this.#showStream();
    } else if (this.items.length === 0) {
      this.lose("The connection ended before the answer came.");
    } else {
      this.#end(`Answered ${status} in ${seconds}`);
      this.#showAnswer(this.items[0]);
    }
  }

  cancel() {
    const got = this.items.length ? `, after ${counted(this.items.length, "item")}` : "";
    this.#end(`Cancelled after ${duration(this.#seconds())}${got}`);
    if (this.list) this.#showStream();
    else put(this.content);
  }

  /** @param {import("./api.js").ApiError} error */
  fail(error) {
    this.#end(`Failed with ${error.status} in ${duration(this.#seconds())}`);
    put(
      this.content,
      errorCard(error),
      this.items.length > 0 && el("p", {}, `Before that it gave ${counted(this.items.length, "item")}.`),
    );
  }

  /** @param {string} message The server cannot be reached. */
  lose(message) {
    this.#end("No answer");
    put(this.content, el("div", { class: "error", role: "alert" }, el("p", { class: "cause" }, message)));
  }

  // -- the forms of an answer -----------------------------------------------------------------------

  /** @param {import("./json.js").JsonValue} value */
  #showAnswer(value) {
    const parts = [];
    const explanations = explanationsIn(value);
    if (explanations) parts.push(["Picture", picture(explanations)]);
    const table = tableOf(value, this.pipeline.resultColumns);
    if (table) parts.push(["Table", table]);
    if (typeof value === "string" && !explanations) parts.push(["Text", textView(value)]);
    if (isSingle(value) && typeof value !== "string")
      parts.push(["Value", el("p", { class: "value" }, asText(value))]);
    parts.push(["JSON", jsonView(explanations && typeof value === "string" ? explanations[0] : value)]);
    this.#arrange(parts, () => pretty(value));
  }

  #showStream() {
    const parts = [];
    if (this.items.length && this.items.every((item) => typeof item === "string")) {
      parts.push(["Text", textView(this.items.join(""))]);
    }
    const shown = this.items.slice(0, MOST_ROWS);
    const items = el(
      "ol",
      { class: "items", tabindex: "0", "aria-label": "Items" },
      ...shown.map((item) => el("li", {}, asText(item))),
    );
    parts.push(["Items", el("div", {}, items, more(this.items.length, "item"))]);
    parts.push(["JSON", jsonView(this.items)]);
    this.#arrange(parts, () => pretty(this.items));
  }

  #arrange(parts, text) {
    this.tabs = new Tabs("Forms of the answer", parts);
    if (this.form && this.tabs.tabs.has(this.form)) this.tabs.show(this.form);
    const save = button("Download", () => download(`${this.pipeline.name}.json`, text()), {
      class: "quiet",
      "aria-label": "Download the answer as JSON",
    });
    this.tabs.element.firstChild.after(
      el("div", { class: "corner" }, copyButton("Copy the answer as JSON", text), save),
    );
    put(this.content, this.tabs.element);
  }
}

/** @param {import("./api.js").ApiError} error */
function errorCard(error) {
  const { cause, path } = split(error.message);
  const { kind, fault, retryable, retry_after: wait } = error.info;
  const again = wait ? `It may succeed in ${wait} s, unchanged.` : "It may succeed later, unchanged.";
  return el(
    "div",
    { class: "error", role: "alert" },
    el("p", { class: "cause" }, cause),
    path.length > 0 &&
      el(
        "p",
        {},
        "It came through ",
        ...path.flatMap((name, at) => [at > 0 && " → ", el("strong", {}, name)]).filter(Boolean),
        ".",
      ),
    el(
      "p",
      { class: "facts" },
      [`${kind ?? "Error"}, ${error.status}.`, FAULTS[fault], retryable && again].filter(Boolean).join(" "),
    ),
  );
}

/** Split an error's text into its cause and the children that it came through. */
export function split(message) {
  const path = [];
  let cause = message.replace(MARK, "");
  for (let match = CHILD.exec(cause); match; match = CHILD.exec(cause)) {
    path.push(match[1]);
    cause = cause.slice(match[0].length);
  }
  return { cause: path.length ? cause : cause.replace(OWN, ""), path };
}

/** @returns {import("./json.js").JsonValue[] | null} The explanations that an answer is, if it is one or several. */
function explanationsIn(value) {
  if (Array.isArray(value)) {
    const each = value.map(explanationsIn);
    return value.length && each.every((one) => one?.length === 1) ? each.flat() : null;
  }
  if (typeof value === "string" && value.startsWith("{")) {
    try {
      return explanationsIn(parse(value));
    } catch {
      return null;
    }
  }
  return value instanceof Map && value.get("meta") instanceof Map && value.get("data") instanceof Map
    ? [value]
    : null;
}

function picture(explanations) {
  const pictures = explanations.slice(0, MOST_ROWS).map((explanation, at) => {
    const place = el("div", { class: "picture" }, "Drawing");
    pictureOf(write(explanation)).then(
      (html) => {
        // Our server's own HTML, in which all data is escaped.
        place.innerHTML = html;
      },
      (error) => setText(place, `It cannot be drawn: ${error.message}`),
    );
    return el("div", {}, explanations.length > 1 && el("h4", {}, `Row ${at + 1}`), place);
  });
  return el("div", {}, ...pictures, more(explanations.length, "explanation"));
}

/**
 * @param {import("./json.js").JsonValue} value
 * @param {string[] | null} names The names of the columns of an array, if they are known.
 * @returns {HTMLElement | null} A table, if a value has rows or names.
 */
function tableOf(value, names) {
  let head;
  let rows;
  if (Array.isArray(value) && value.length) {
    if (value.every((row) => row instanceof Map)) {
      head = [...new Set(value.slice(0, MOST_ROWS).flatMap((row) => [...row.keys()]))];
      rows = (row) => head.map((name) => (row.has(name) ? row.get(name) : ""));
    } else if (value.every((row) => Array.isArray(row) && row.every(isSingle))) {
      const width = Math.max(...value.slice(0, MOST_ROWS).map((row) => row.length));
      head = Array.from({ length: width }, (_, at) => (names?.length === width ? names[at] : String(at)));
      rows = (row) => row;
    } else if (value.every(isSingle)) {
      head = ["value"];
      rows = (row) => [row];
    }
  } else if (value instanceof Map && value.size) {
    const lists = [...value.values()];
    const length = Array.isArray(lists[0]) ? lists[0].length : -1;
    if (
      lists.every((list) => Array.isArray(list) && list.length === length && list.every(isSingle)) &&
      length > 0
    ) {
      head = [...value.keys()];
      return table(
        head,
        lists[0].map((_, at) => at),
        (at) => lists.map((list) => list[at]),
      );
    }
    if (lists.some(isSingle)) return table(["name", "value"], [...value], (pair) => pair, false);
  }
  return head ? table(head, value, rows) : null;
}

/** @param {string[]} head @param {any[]} rows @param {(row: any) => any[]} cells */
function table(head, rows, cells, isNumbered = true) {
  const body = rows
    .slice(0, MOST_ROWS)
    .map((row, at) =>
      el(
        "tr",
        {},
        isNumbered && el("th", { scope: "row" }, String(at)),
        ...cells(row).map((cell) =>
          el("td", { class: cell instanceof JsonNumber ? "number" : null }, asText(cell)),
        ),
      ),
    );
  const headings = el(
    "tr",
    {},
    isNumbered && el("td", {}),
    ...head.map((name) => el("th", { scope: "col" }, name)),
  );
  return el(
    "div",
    {},
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Answer as a table" },
      el("table", { class: "answer" }, el("thead", {}, headings), el("tbody", {}, ...body)),
    ),
    more(rows.length, "row"),
  );
}

function more(count, noun) {
  return (
    count > MOST_ROWS &&
    el("p", { class: "note" }, `The first ${MOST_ROWS} of ${counted(count, noun)}. Download has them all.`)
  );
}

function textView(text) {
  return el("div", { class: "text" }, cut(text));
}

function jsonView(value) {
  return el("pre", { class: "code", tabindex: "0", "aria-label": "Answer as JSON" }, cut(pretty(value)));
}

function cut(text) {
  return text.length <= MOST_TEXT
    ? text
    : `${text.slice(0, MOST_TEXT)}\n… ${(text.length - MOST_TEXT).toLocaleString("en")} further characters: Download has them all.`;
}

const isSingle = (value) => !Array.isArray(value) && !(value instanceof Map);

/** @param {import("./json.js").JsonValue} value */
function asText(value) {
  const text = typeof value === "string" ? value : write(value);
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
}

function rules(values) {
  return values.length ? values.map((value) => el("span", { class: "rule" }, asText(value))) : ["none yet"];
}
