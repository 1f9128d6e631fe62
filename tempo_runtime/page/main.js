/** Start the page: which pipeline is shown, and what is going on at the server. */

import { liveState, openApi } from "./api.js";
import { announce, el, put, setText } from "./dom.js";
import { stateSign } from "./graph.js";
import { parse } from "./json.js";
import { PipelineView } from "./pipeline_view.js";
import { pipelinesOf } from "./schema.js";

const INTERVAL = 2000; // milliseconds between looks at the live state
const LOOKS_PER_DESCRIPTION = 5; // a pipeline that is loaded again may have other arguments

const page = Object.fromEntries(
  ["nav", "main", "version", "connection", "notices"].map((id) => [id, document.getElementById(id)]),
);

/** @param {string} hash @returns {string} The name in it; an empty one if this page did not write it. */
function nameIn(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return "";
  }
}

class Page {
  constructor() {
    /** @type {Map<string, PipelineView>} */
    this.views = new Map();
    /** @type {Map<string, import("./schema.js").Pipeline>} */
    this.pipelines = new Map();
    this.state = null;
    this.api = "";
    this.away = false;
    this.looks = 0;
    this.shown = null;
    this.drawn = "";
  }

  async start() {
    addEventListener("hashchange", () => this.show(true));
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the part behind # is the name of a pipeline
      page.main.focus();
    });
    document.addEventListener("visibilitychange", () => {
      this.looks = 0; // the pipelines may have changed meanwhile
      if (!document.hidden) this.look();
    });
    await this.look();
  }

  /** Ask the server how it is, now and again while somebody looks. */
  async look() {
    clearTimeout(this.next);
    if (document.hidden || this.looking) return;
    this.looking = true;
    try {
      if (this.away || this.looks % LOOKS_PER_DESCRIPTION === 0) await this.describe();
      this.looks += 1;
      this.update(await liveState());
      this.reached();
    } catch (error) {
      this.lost(error);
    } finally {
      this.looking = false;
      this.next = setTimeout(() => this.look(), INTERVAL);
    }
  }

  /** Read the arguments of the pipelines, which change when one is loaded again. */
  async describe() {
    const text = await openApi();
    if (text === this.api) return;
    const isNew = this.api === "";
    this.api = text;
    this.pipelines = pipelinesOf(parse(text));
    for (const [name, view] of this.views) {
      if (this.pipelines.has(name)) view.describe(this.pipelines.get(name));
      else this.views.delete(name);
    }
    if (!isNew) announce("The pipelines have changed.");
    if (!this.views.has(this.shown)) this.shown = null;
    this.drawNav();
    this.show(false);
  }

  update(state) {
    const before = this.state;
    this.state = state;
    setText(page.version, state.version);
    this.drawNav();
    for (const node of state.pipelines) {
      this.views.get(node.name)?.update(node);
      const was = before?.pipelines.find(({ name }) => name === node.name);
      if (was && was.ready !== node.ready) announce(`${node.name} is ${node.ready ? "ready" : "not ready"}.`);
    }
    this.drawNotices();
    const changed =
      state.pipelines.some(({ name }) => !this.pipelines.has(name)) ||
      (before && before.problem !== state.problem);
    if (changed) this.looks = 0; // describe them at the next look
  }

  reached() {
    if (this.away) announce("The server is back.");
    this.away = false;
    page.connection.className = "connection good";
    setText(page.connection, "● live");
    this.drawNotices();
  }

  lost(error) {
    const isAnswer = error.status !== undefined;
    this.away = true;
    page.connection.className = "connection bad";
    setText(page.connection, isAnswer ? `▲ the server answers ${error.status}` : "▲ the server is away");
    this.drawNotices();
  }

  drawNotices() {
    const texts = [];
    if (this.away)
      texts.push(["The server does not answer. This page tries again every two seconds.", "warning"]);
    if (this.state?.problem)
      texts.push([
        "The last change does not work, so the version before it is served:",
        "bad",
        this.state.problem,
      ]);
    const drawn = JSON.stringify(texts);
    if (drawn === this.notices) return;
    this.notices = drawn;
    put(
      page.notices,
      ...texts.map(([text, style, detail]) =>
        el("div", { class: `notice ${style}` }, el("p", {}, text), detail && el("pre", {}, detail)),
      ),
    );
  }

  drawNav() {
    const names = [...this.pipelines.keys()];
    const ready = new Map(this.state?.pipelines.map((node) => [node.name, node.ready]));
    const models = this.state?.models ?? [];
    const drawn = JSON.stringify([names, [...ready], models, this.chosen()]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const had = page.nav.contains(document.activeElement)
      ? document.activeElement.getAttribute("href")
      : null;
    const links = names.map((name) =>
      el(
        "li",
        {},
        el(
          "a",
          { href: `#${encodeURIComponent(name)}`, "aria-current": name === this.chosen() ? "page" : null },
          el("span", { class: "name" }, name),
          ready.has(name) && stateSign(ready.get(name)),
        ),
      ),
    );
    const others = models.map(({ name, kind, ready: isReady }) =>
      el(
        "li",
        {},
        el("span", { class: "name" }, name),
        el("span", { class: "facts" }, kind),
        stateSign(isReady),
      ),
    );
    put(
      page.nav,
      el("p", { class: "heading" }, "Pipelines"),
      el("ul", {}, ...links),
      others.length > 0 && el("p", { class: "heading" }, "Other models here"),
      others.length > 0 && el("ul", { class: "models" }, ...others),
    );
    if (had) page.nav.querySelector(`a[href="${CSS.escape(had)}"]`)?.focus();
  }

  /** @returns {string | undefined} The name of the pipeline to show. */
  chosen() {
    let asked = location.hash.slice(1);
    try {
      asked = decodeURIComponent(asked);
    } catch {
      // Not an address of ours.
    }
    return this.pipelines.has(asked) ? asked : this.pipelines.keys().next().value;
  }

  /** @param {boolean} moved Whether the person chose another one. */
  show(moved) {
    const name = this.chosen();
    this.drawNav();
    if (name === undefined) {
      this.shown = null;
      put(
        page.main,
        el("h1", {}, "No pipelines"),
        el(
          "p",
          { class: "lead" },
          "This server does not serve a pipeline. This page shows those that it loads.",
        ),
      );
      return;
    }
    if (name === this.shown) return;
    this.shown = name;
    if (!this.views.has(name)) this.views.set(name, new PipelineView(this.pipelines.get(name)));
    const view = this.views.get(name);
    const node = this.state?.pipelines.find((one) => one.name === name);
    if (node) view.update(node);
    put(page.main, view.element);
    document.title = `${name} · tempo_runtime`;
    if (moved) view.element.querySelector("h1").focus();
  }
}

new Page().start();
