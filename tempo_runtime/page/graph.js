/** Draw a pipeline and what it calls as a tree of boxes with their live state. */

import { counted, el, put, setText } from "./dom.js";

/**
 * @typedef {object} Node What /pipelines.json says about a pipeline or a model.
 * @property {string} name
 * @property {string} [alias]
 * @property {string} kind
 * @property {string} [way]
 * @property {string | null} [version]
 * @property {boolean | null} ready
 * @property {string | null} [problem]
 * @property {Record<string, string>} [breakers]
 * @property {{running: number, outcomes: Record<string, number>, seconds: {mean: number, p50: number, p95: number} | null}} [calls]
 * @property {Node[]} [children]
 */

// The signs differ in form, so that nobody needs the colours.
const STATES = {
  true: ["●", "ready", "good"],
  false: ["▲", "not ready", "bad"],
  null: ["○", "not known", "unknown"],
};
const BREAKERS = { closed: ["●", "good"], "half open": ["◐", "warning"], open: ["■", "bad"] };

/** A sign and a word for whether something is ready. */
export function stateSign(ready) {
  const [sign, word, style] = STATES[String(ready ?? null)];
  return el(
    "span",
    { class: `state ${style}` },
    el("span", { class: "sign", "aria-hidden": "true" }, sign),
    word,
  );
}

export class Graph {
  constructor() {
    this.element = el("div", { class: "graph" });
    this.drawn = "";
    this.boxes = [];
  }

  /** @param {Node} root */
  update(root) {
    const outline = outlineOf(root);
    if (outline !== this.drawn) {
      this.drawn = outline;
      this.boxes = [];
      put(
        this.element,
        el("ul", { class: "tree", "aria-label": `${root.name} and the models it calls` }, this.#branch(root)),
      );
    }
    let at = 0;
    const walk = (node) => {
      this.boxes[at++].update(node);
      (node.children ?? []).forEach(walk);
    };
    walk(root);
  }

  /** @param {Node} node @returns {HTMLElement} */
  #branch(node) {
    const box = new Box(node);
    this.boxes.push(box);
    const children = (node.children ?? []).map((child) => this.#branch(child));
    return el("li", {}, box.element, children.length > 0 && el("ul", { class: "branch" }, ...children));
  }
}

/** The parts of a graph that do not change while it runs. */
function outlineOf(node) {
  return JSON.stringify([node.name, node.alias, node.kind, node.way, (node.children ?? []).map(outlineOf)]);
}

class Box {
  /** @param {Node} node */
  constructor(node) {
    this.state = el("span", {});
    this.breakers = el("ul", { class: "breakers", "aria-label": "Circuit breakers" });
    this.problem = el("p", { class: "problem" });
    this.numbers = el("dl", { class: "numbers" });
    this.latency = el("p", { class: "facts" });
    this.failures = el("p", { class: "failures" });
    const isNamedOtherwise = node.alias && node.alias !== node.name;
    const facts = [node.kind, node.way, isNamedOtherwise && `called as ${node.alias}`]
      .filter(Boolean)
      .join(" · ");
    this.element = el(
      "div",
      { class: `box ${node.kind === "pipeline" ? "pipeline" : ""}` },
      el("div", { class: "head" }, el("strong", {}, node.name), this.state),
      el("p", { class: "facts" }, facts),
      this.problem,
      this.breakers,
      this.numbers,
      this.latency,
      this.failures,
    );
    this.known = "";
  }

  /** @param {Node} node */
  update(node) {
    const known = JSON.stringify([node.ready, node.problem, node.breakers, node.calls]);
    if (known === this.known) return;
    this.known = known;
    put(this.state, stateSign(node.ready));
    this.element.classList.toggle("down", node.ready === false);
    setText(this.problem, node.problem ?? "");
    const breakers = Object.entries(node.breakers ?? {});
    put(this.breakers, ...breakers.map(([host, state]) => breakerSign(host, state)));
    this.breakers.hidden = breakers.length === 0;
    this.#count(node.calls);
  }

  #count(calls) {
    if (!calls) {
      put(this.numbers);
      setText(this.latency, "");
      setText(this.failures, "");
      return;
    }
    const outcomes = Object.entries(calls.outcomes ?? {});
    const all = outcomes.reduce((sum, [, count]) => sum + count, 0);
    const failures = outcomes.filter(([outcome]) => outcome !== "ok");
    const failed = failures.reduce((sum, [, count]) => sum + count, 0);
    const { seconds } = calls;
    const facts = [
      ["calls", all.toLocaleString("en")],
      ["failed", failed.toLocaleString("en")],
      ["running", String(calls.running ?? 0)],
    ];
    const style = (name) => (name === "failed" && failed ? "some" : null);
    put(
      this.numbers,
      ...facts.map(([name, value]) =>
        el("div", { class: style(name) }, el("dt", {}, name), el("dd", {}, value)),
      ),
    );
    setText(
      this.latency,
      seconds ? `median ${duration(seconds.p50)}, 95 % within ${duration(seconds.p95)}` : "",
    );
    setText(
      this.failures,
      failures.map(([outcome, count]) => `${outcome} ${counted(count, "time")}`).join(", "),
    );
  }
}

function breakerSign(host, state) {
  const [sign, style] = BREAKERS[state] ?? ["○", "unknown"];
  return el(
    "li",
    { class: `state ${style}` },
    el("span", { class: "sign", "aria-hidden": "true" }, sign),
    `breaker ${state}`,
    el("span", { class: "host" }, host),
  );
}

/** @param {number | null} seconds @returns {string} A duration, with a precision that people read. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds >= 100) return `${Math.round(seconds)} s`;
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const milliseconds = seconds * 1000;
  return milliseconds >= 10 ? `${Math.round(milliseconds)} ms` : `${milliseconds.toFixed(1)} ms`;
}
