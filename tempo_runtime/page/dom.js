/** Make elements. Text is always inserted as text, so data cannot become markup. */

let count = 0;

/** @param {string} [prefix] @returns {string} An id that no other element has. */
export function uniqueId(prefix = "id") {
  count += 1;
  return `${prefix}-${count}`;
}

/**
 * Make an element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [attributes] `onclick` and the like are listeners; null and false are
 *     left out.
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return put(element, ...children);
}

/**
 * Replace what an element holds.
 *
 * @template {HTMLElement} E
 * @param {E} element
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {E}
 */
export function put(element, ...children) {
  const nodes = children.filter((child) => child !== null && child !== undefined && child !== false);
  element.replaceChildren(.../** @type {(Node | string)[]} */ (nodes));
  return element;
}

/** A button that does not submit the form it is in. */
export function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

/** Set the text of an element, unless it has it: so that nothing is read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Say something to those who hear the page. */
export function announce(text) {
  const region = document.getElementById("announcement");
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}

/**
 * Tabs, as the ARIA practices describe them: arrow keys move between them.
 * https://www.w3.org/WAI/ARIA/apg/patterns/tabs/
 */
export class Tabs {
  /**
   * @param {string} label What the tabs are about.
   * @param {[string, HTMLElement][]} parts Name and content of each tab.
   * @param {(name: string, before: string) => boolean | void} [onchange] Returns false to stay.
   */
  constructor(label, parts, onchange = () => {}) {
    this.onchange = onchange;
    this.tabs = new Map();
    const list = el("div", { role: "tablist", "aria-label": label, onkeydown: (event) => this.#move(event) });
    this.element = el("div", { class: "tabs" }, list);
    for (const [name, content] of parts) {
      const [tabId, panelId] = [uniqueId("tab"), uniqueId("panel")];
      const tab = button(name, () => this.choose(name), {
        role: "tab",
        id: tabId,
        "aria-controls": panelId,
        "aria-selected": "false",
        tabindex: "-1",
      });
      const panel = el(
        "div",
        { role: "tabpanel", id: panelId, "aria-labelledby": tabId, hidden: true },
        content,
      );
      this.tabs.set(name, { tab, panel });
      list.append(tab);
      this.element.append(panel);
    }
    this.current = "";
    if (parts.length) this.show(parts[0][0]);
  }

  /** Show a tab, if its owner agrees. */
  choose(name) {
    if (name !== this.current && this.onchange(name, this.current) !== false) this.show(name);
  }

  /** Show a tab. */
  show(name) {
    this.current = name;
    for (const [other, { tab, panel }] of this.tabs) {
      const chosen = other === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
    }
  }

  #move(event) {
    const names = [...this.tabs.keys()];
    const at = names.indexOf(this.current);
    const to = {
      ArrowRight: (at + 1) % names.length,
      ArrowLeft: (at + names.length - 1) % names.length,
      Home: 0,
      End: names.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(names[to]);
    this.tabs.get(this.current).tab.focus();
  }
}

/** A button that copies what `text` returns, and says so. */
export function copyButton(label, text) {
  const copy = button(
    "Copy",
    async () => {
      try {
        await navigator.clipboard.writeText(text());
        copy.textContent = "Copied";
      } catch {
        // Only pages over HTTPS and of this machine may use the clipboard.
        copy.textContent = "Select it, and press Ctrl+C";
      }
      announce(copy.textContent);
      setTimeout(() => {
        copy.textContent = "Copy";
      }, 2000);
    },
    { class: "quiet copy", "aria-label": label },
  );
  return copy;
}

/** Offer a text as a file. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A number of things, such as "3 calls". */
export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
