/** Edit tables: arrays of one or two dimensions, DataFrames, lists of records, and values by name. */

import { button, el, put, setText, announce, counted } from "./dom.js";
import { CsvError, readCsv } from "./csv.js";
import { NUMBER, write } from "./json.js";
import { readScalar, showScalar, ValueError, wordForEmpty } from "./scalars.js";
import { CannotShow, FieldError } from "./field_errors.js";

const PAGE = 20; // rows that are shown at a time
const MOST_COLUMNS = 64; // what is wider is edited as JSON
const WIDE = 5; // columns from which on a single row is shown as a form
const ANY = { kind: "scalar", nullable: true };
const TEXT = { kind: "text", nullable: false };

/**
 * @typedef {object} GridColumn
 * @property {string} name Empty where columns have no names.
 * @property {import("./schema.js").Shape} shape Of its cells.
 * @property {string[]} [categories] Their names; a cell has the number of one.
 * @property {boolean} [optional] Whether an empty cell is left out.
 * @property {string} empty What is shown in an empty cell.
 */

/** @typedef {import("./field.js").Field} Field */

/** @implements {Field} */
export class Grid {
  constructor(shape, { label, labelId }) {
    this.shape = shape;
    this.label = label;
    /** @type {string[][]} */
    this.rows = [];
    this.page = 0;
    this.byColumns = false; // a DataFrame, as an object of columns
    this.dimensions = shape.dimensions ?? 2;
    this.columns = this.#initialColumns();
    this.isRowFixed = shape.kind === "table" && this.dimensions === 1 && shape.columns !== undefined;
    this.areColumnsFixed =
      shape.kind === "records" ||
      shape.kind === "pairs" ||
      (shape.kind === "table" && (this.dimensions === 1 || shape.width !== null)) ||
      shape.columns !== undefined;
    this.labelId = labelId;
    this.cells = el("div", { class: "scroll" });
    this.pager = el("div", { class: "pager" });
    this.note = el("p", { class: "note", role: "status" });
    this.file = el("input", {
      type: "file",
      accept: ".csv,.tsv,.txt,text/csv",
      class: "hidden",
      tabindex: "-1",
      "aria-hidden": "true",
    });
    this.file.addEventListener("change", () => this.#upload());
    this.element = el(
      "div",
      { role: "group", "aria-labelledby": labelId },
      this.cells,
      this.pager,
      this.note,
      this.file,
    );
    this.tools = el("span", { class: "tools" });
    this.addRow = this.#tool("Add row", () => this.#insertRow());
    this.addColumn = this.#tool("Add column", () => this.#insertColumn());
    this.dropColumn = this.#tool("Remove column", () => this.#removeColumn());
    this.csv = this.#tool("Upload CSV", () => this.file.click());
    this.element.addEventListener("keydown", (event) => this.#move(event));
    this.element.addEventListener("paste", (event) => this.#paste(event));
    this.rows = this.#startRows();
    this.#draw();
  }

  #tool(text, onclick) {
    return button(text, onclick, { class: "quiet", "aria-label": `${text}: ${this.label}` });
  }

  /** @returns {GridColumn[]} */
  #initialColumns() {
    const { kind, members, items, columns } = this.shape;
    if (kind === "records") {
      return members.map((member) => ({
        name: member.name,
        shape: member.shape,
        optional: !member.required,
        empty: member.required ? "" : `default${member.hasDefault ? ` ${write(member.default)}` : ""}`,
      }));
    }
    if (kind === "pairs") return [column("name", TEXT), column("value", items)];
    if (columns) return columns.map(({ name, categories }) => column(name, items ?? ANY, categories));
    if (kind === "frame") return [column("column", ANY)];
    return Array.from({ length: this.dimensions === 2 ? (this.shape.width ?? 1) : 1 }, () =>
      column("", items),
    );
  }

  #startRows() {
    const count = this.isRowFixed ? 1 : (this.shape.length ?? (this.shape.kind === "pairs" ? 0 : 1));
    return Array.from({ length: Math.min(count, 1000) }, () => this.#emptyRow());
  }

  #emptyRow() {
    return this.columns.map(() => "");
  }

  // -- the value ---------------------------------------------------------------------------------------

  read() {
    const rows = this.rows.map((row, at) => row.map((text, column) => this.#cell(at, column, text)));
    switch (this.shape.kind) {
      case "pairs":
        return this.#pairs(rows);
      case "records":
        return rows.map((row, at) => this.#recordOf(row, at));
      case "frame":
        this.#checkNames();
        if (this.byColumns)
          return new Map(this.columns.map(({ name }, column) => [name, rows.map((row) => row[column])]));
        return rows.map((row) => new Map(this.columns.map(({ name }, column) => [name, row[column]])));
      default:
        if (this.dimensions === 2) return rows;
        return this.isRowFixed ? rows[0] : rows.map(([value]) => value);
    }
  }

  fill(value) {
    const { rows, columns } = this.#shown(value);
    if (columns.length > MOST_COLUMNS || rows.some((row) => row.length !== columns.length))
      throw new CannotShow();
    this.columns = columns;
    this.rows = rows;
    this.page = 0;
    setText(this.note, "");
    this.#draw();
  }

  reveal() {
    return this.#input(this.page * PAGE, 0) ?? this.addRow;
  }

  get #canGrow() {
    return !this.isRowFixed && (this.shape.length ?? null) === null;
  }

  #isLeftOut(row, column) {
    return this.columns[column].optional && this.rows[row][column] === "";
  }

  #cell(row, column, text) {
    if (this.#isLeftOut(row, column)) return null;
    try {
      return readScalar(this.columns[column].shape, text);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw this.#fault(`${this.#place(row, column)}: ${error.message}`, row, column);
    }
  }

  /** Say where a cell is, such as "row 2, Age". */
  #place(row, at) {
    const { name } = this.columns[at];
    if (this.isRowFixed) return name;
    const column = name || (this.columns.length > 1 ? `column ${at + 1}` : "");
    return column ? `row ${row + 1}, ${column}` : `row ${row + 1}`;
  }

  #recordOf(values, row) {
    const given = this.columns.map(({ name }, column) => [name, values[column]]);
    return new Map(given.filter((_, column) => !this.#isLeftOut(row, column)));
  }

  #fault(message, row, column) {
    return new FieldError(message, () => {
      this.#turnTo(row);
      return this.#input(row, column);
    });
  }

  #pairs(rows) {
    const pairs = new Map();
    rows.forEach(([name, value], row) => {
      if (pairs.has(name))
        throw this.#fault(`row ${row + 1}: the name ${JSON.stringify(name)} is given twice`, row, 0);
      pairs.set(name, value);
    });
    return pairs;
  }

  #checkNames() {
    const names = this.columns.map(({ name }) => name);
    const twice = names.findIndex((name, at) => names.indexOf(name) !== at);
    if (twice >= 0) {
      throw new FieldError(
        `column ${twice + 1}: the name ${JSON.stringify(names[twice])} is given twice`,
        () => this.#nameInput(twice),
      );
    }
  }

  /** @returns {{rows: string[][], columns: GridColumn[]}} */
  #shown(value) {
    const { kind } = this.shape;
    if (kind === "pairs") {
      if (!(value instanceof Map)) throw new CannotShow();
      return { columns: this.columns, rows: [...value].map((pair) => this.#texts(pair, this.columns)) };
    }
    if (kind === "frame" && value instanceof Map) return this.#shownColumns(value);
    if (!Array.isArray(value)) throw new CannotShow();
    if (kind === "records") {
      return { columns: this.columns, rows: value.map((record) => this.#textsOf(record)) };
    }
    if (kind === "frame") {
      this.byColumns = false;
      if (!value.every((row) => row instanceof Map)) throw new CannotShow();
      const columns = value.length ? this.#named([...value[0].keys()]) : this.columns;
      const rows = value.map((row) =>
        this.#texts(
          columns.map(({ name }) => row.get(name)),
          columns,
        ),
      );
      return { columns, rows };
    }
    if (this.shape.dimensions === null) this.dimensions = value.length && !Array.isArray(value[0]) ? 1 : 2;
    if (this.dimensions === 1) {
      this.isRowFixed = this.shape.columns !== undefined;
      const columns = this.shape.columns ? this.columns : this.#unnamed(1);
      return {
        columns,
        rows: this.isRowFixed
          ? [this.#texts(value, columns)]
          : value.map((item) => this.#texts([item], columns)),
      };
    }
    this.isRowFixed = false;
    if (!value.every(Array.isArray)) throw new CannotShow();
    const columns = this.areColumnsFixed || !value.length ? this.columns : this.#unnamed(value[0].length);
    return { columns, rows: value.map((row) => this.#texts(row, columns)) };
  }

  #shownColumns(value) {
    this.byColumns = true;
    const columns = this.#named([...value.keys()]);
    const lists = [...value.values()];
    if (!lists.every(Array.isArray)) throw new CannotShow();
    const count = lists[0]?.length ?? 0;
    if (lists.some((list) => list.length !== count)) throw new CannotShow();
    return {
      columns,
      rows: Array.from({ length: count }, (_, row) =>
        this.#texts(
          lists.map((list) => list[row]),
          columns,
        ),
      ),
    };
  }

  #textsOf(record) {
    if (!(record instanceof Map)) throw new CannotShow();
    return this.columns.map(({ name, shape }) => (record.has(name) ? shown(shape, record.get(name)) : ""));
  }

  #texts(values, columns) {
    if (values.length !== columns.length) throw new CannotShow();
    return values.map((value, at) =>
      value === undefined ? shown(TEXT, value) : shown(columns[at].shape, value),
    );
  }

  #unnamed(count) {
    return Array.from({ length: count }, () => column("", this.shape.items));
  }

  #named(names) {
    const known = new Map(this.shape.columns?.map(({ name, categories }) => [name, categories]));
    return names.map((name) => column(name, ANY, known.get(name)));
  }

  // -- the table ---------------------------------------------------------------------------------------

  #draw() {
    put(this.cells, this.#isOneRecord ? this.#record() : this.#table());
    const canChangeColumns = !this.areColumnsFixed && this.dimensions === 2;
    put(
      this.tools,
      this.#canGrow && this.addRow,
      canChangeColumns && this.addColumn,
      canChangeColumns && this.columns.length > 1 && this.dropColumn,
      this.csv,
    );
    this.#drawPager();
  }

  /** Whether it is one row of many named columns, which is easier to read as a form than as a wide table. */
  get #isOneRecord() {
    const isNamed = this.areColumnsFixed && this.columns.every(({ name }) => name !== "");
    return isNamed && this.rows.length === 1 && this.columns.length >= WIDE;
  }

  #record() {
    const cells = this.rows[0].map((text, column) =>
      el("label", {}, el("span", {}, this.columns[column].name), this.#editor(0, column, text)),
    );
    return el("div", { class: "record" }, ...cells);
  }

  #table() {
    const hasNames = this.columns.some(({ name }) => name !== "");
    const canEditNames = this.shape.kind === "frame" && !this.areColumnsFixed;
    const isNumbered = !this.isRowFixed;
    const from = this.page * PAGE;
    const body = this.rows
      .slice(from, from + PAGE)
      .map((row, at) =>
        el(
          "tr",
          {},
          isNumbered && el("th", { scope: "row" }, `${from + at + 1}`),
          ...row.map((text, column) => el("td", {}, this.#editor(from + at, column, text))),
          this.#canGrow && el("td", {}, this.#remover(from + at)),
        ),
      );
    const heads = this.columns.map(({ name }, at) =>
      el("th", { scope: "col" }, canEditNames ? this.#nameEditor(at) : name || `${at + 1}`),
    );
    const head = el("tr", {}, isNumbered && el("td", {}), ...heads, this.#canGrow && el("td", {}));
    const showHead = hasNames || canEditNames || this.columns.length > 1;
    return el(
      "table",
      { class: "grid", "aria-labelledby": this.labelId },
      showHead && el("thead", {}, head),
      el("tbody", {}, ...body),
    );
  }

  #remover(row) {
    return button("×", () => this.#removeRow(row), {
      class: "quiet",
      "aria-label": `Remove row ${row + 1} of ${this.label}`,
    });
  }

  #drawPager() {
    const pages = Math.ceil(this.rows.length / PAGE);
    this.pager.hidden = pages < 2;
    if (pages < 2) {
      this.pager.replaceChildren();
      return;
    }
    const turn = (by) => () => {
      this.page += by;
      this.#draw();
      this.pager
        .querySelector(by < 0 ? "button:not(:disabled)" : "button:last-child:not(:disabled)")
        ?.focus();
    };
    put(
      this.pager,
      button("Previous rows", turn(-1), { class: "quiet", disabled: this.page === 0 }),
      el(
        "span",
        {},
        `rows ${this.page * PAGE + 1} to ${Math.min((this.page + 1) * PAGE, this.rows.length)} of ${this.rows.length.toLocaleString("en")}`,
      ),
      button("Next rows", turn(1), { class: "quiet", disabled: this.page === pages - 1 }),
    );
  }

  #editor(row, at, text) {
    const { shape, categories, empty } = this.columns[at];
    const label = `${this.label}, ${this.#place(row, at)}`;
    const attributes = { "aria-label": label, "data-row": row, "data-column": at };
    const keep = (event) => {
      this.rows[row][at] = event.target.value;
    };
    const choices = categories ? categoryChoices(categories, text) : shapeChoices(shape);
    if (choices) {
      const isKnown = choices.some(([value]) => value === text);
      const options = [...(isKnown ? [] : [[text, text === "" ? empty || "choose" : text]]), ...choices];
      const select = el(
        "select",
        { ...attributes, onchange: keep },
        ...options.map(([value, shownText]) => el("option", { value }, shownText)),
      );
      select.value = text;
      return select;
    }
    const isNumber =
      shape.kind === "integer" || shape.kind === "number" || (shape.kind === "scalar" && NUMBER.test(text));
    return el("input", {
      ...attributes,
      value: text,
      class: isNumber ? "number" : null,
      placeholder: empty,
      size: Math.min(Math.max(text.length + 1, 6), 24),
      autocomplete: "off",
      spellcheck: "false",
      inputmode: shape.kind === "integer" ? "numeric" : shape.kind === "number" ? "decimal" : null,
      oninput: keep,
    });
  }

  #nameEditor(at) {
    return el("input", {
      value: this.columns[at].name,
      "aria-label": `${this.label}, name of column ${at + 1}`,
      "data-name": at,
      size: Math.min(Math.max(this.columns[at].name.length + 1, 6), 24),
      autocomplete: "off",
      oninput: (event) => {
        this.columns[at].name = event.target.value;
        for (const cell of this.cells.querySelectorAll(`[data-column="${at}"]`)) {
          const { row } = /** @type {HTMLElement} */ (cell).dataset;
          cell.setAttribute("aria-label", `${this.label}, ${this.#place(Number(row), at)}`);
        }
      },
    });
  }

  /** @returns {HTMLElement | null} */
  #input(row, column) {
    return this.cells.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  }

  /** @returns {HTMLElement | null} */
  #nameInput(column) {
    return this.cells.querySelector(`[data-name="${column}"]`);
  }

  #turnTo(row) {
    const page = Math.floor(row / PAGE);
    if (page === this.page) return;
    this.page = page;
    this.#draw();
  }

  #changed() {
    this.#draw();
    this.element.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #insertRow() {
    this.rows.push(this.#emptyRow());
    this.page = Math.floor((this.rows.length - 1) / PAGE);
    this.#changed();
    this.#input(this.rows.length - 1, 0)?.focus();
    announce(counted(this.rows.length, "row"));
  }

  #removeRow(row) {
    this.rows.splice(row, 1);
    this.page = Math.min(this.page, Math.max(Math.ceil(this.rows.length / PAGE) - 1, 0));
    this.#changed();
    (this.#input(Math.min(row, this.rows.length - 1), 0) ?? this.addRow).focus();
    announce(counted(this.rows.length, "row"));
  }

  #insertColumn() {
    const name = this.shape.kind === "frame" ? this.#newName() : "";
    this.columns.push(column(name, this.shape.items ?? ANY));
    for (const row of this.rows) row.push("");
    this.#changed();
    (
      this.#nameInput(this.columns.length - 1) ?? this.#input(this.page * PAGE, this.columns.length - 1)
    )?.focus();
  }

  #newName() {
    const names = new Set(this.columns.map(({ name }) => name));
    let number = this.columns.length + 1;
    while (names.has(`column ${number}`)) number++;
    return `column ${number}`;
  }

  #removeColumn() {
    this.columns.pop();
    for (const row of this.rows) row.pop();
    this.#changed();
    if (!this.dropColumn.isConnected) this.addColumn.focus();
  }

  #move(event) {
    const { row, column } = event.target.dataset;
    if (row === undefined || event.target.tagName !== "INPUT" || event.ctrlKey || event.metaKey) return;
    const by = { ArrowDown: 1, Enter: 1, ArrowUp: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const next = Number(row) + by;
    if (next < 0 || next >= this.rows.length) return;
    this.#turnTo(next);
    this.#input(next, column).focus();
  }

  // -- CSV ---------------------------------------------------------------------------------------------

  async #upload() {
    const file = this.file.files[0];
    const text = await file.text();
    this.file.value = ""; // the same file may be uploaded again
    this.load(text, file.name);
  }

  /**
   * Put the rows of a CSV text in place of these.
   *
   * @param {string} text
   * @param {string} name What it is called in messages.
   * @param {boolean} [withHeader] Whether its first row has the names; found out if it is not given.
   */
  load(text, name, withHeader) {
    try {
      const rows = readCsv(text);
      if (!rows.length) throw new CsvError("it is empty");
      const isHeader = withHeader ?? this.#looksLikeHeader(rows);
      this.#take(isHeader ? rows[0].map((cell) => cell.trim()) : null, isHeader ? rows.slice(1) : rows);
      this.page = 0;
      this.#changed();
      const again = button(
        isHeader ? "Its first line is a row" : "Its first line has the names",
        () => this.load(text, name, !isHeader),
        { class: "link" },
      );
      put(
        this.note,
        `${counted(this.rows.length, this.isRowFixed ? "row" : "row")} of ${name}${isHeader ? ", and the names of the columns" : ""}. `,
        again,
      );
    } catch (error) {
      if (!(error instanceof CsvError)) throw error;
      setText(this.note, `${name} is not used: ${error.message}`);
    }
  }

  #looksLikeHeader(rows) {
    const first = rows[0].map((cell) => cell.trim());
    const names = this.columns.map(({ name }) => name);
    if (this.shape.kind === "frame" && !this.areColumnsFixed) return !first.some((cell) => NUMBER.test(cell));
    if (this.shape.kind !== "pairs" && names.some((name) => name !== "" && first.includes(name))) return true;
    const isValue = (cell, at) => {
      const { shape, categories } = this.columns[at] ?? this.columns[0];
      if (categories) return categories.includes(cell) || NUMBER.test(cell);
      if (shape.kind === "scalar")
        return NUMBER.test(cell) || rows.length < 2 || !NUMBER.test(rows[1][at]?.trim() ?? "");
      return attempt(() => readScalar(shape, cell));
    };
    return !first.every(isValue);
  }

  /** Take the cells of a CSV file, in the order of the columns. */
  #take(names, rows) {
    let columns = this.columns;
    let order = null;
    if (this.shape.kind === "frame" && !this.areColumnsFixed) {
      columns = this.#named(names ?? rows[0].map((_, at) => `column ${at + 1}`));
    } else if (names && columns.some(({ name }) => name !== "") && this.shape.kind !== "pairs") {
      order = this.#orderOf(names);
    } else {
      const width = names?.length ?? rows[0].length;
      if (!this.areColumnsFixed && this.dimensions === 2) columns = this.#unnamed(width);
      if (!(this.dimensions === 1 && rows.length === 1) && width !== columns.length) {
        throw new CsvError(`it has ${counted(width, "column")}, and ${this.label} has ${columns.length}`);
      }
    }
    if (this.dimensions === 1 && this.shape.kind === "table" && !this.isRowFixed && rows.length === 1) {
      rows = rows[0].map((cell) => [cell]); // the values, in one line
    }
    if (this.isRowFixed && rows.length !== 1)
      throw new CsvError(`it has ${counted(rows.length, "row")}, and ${this.label} is one`);
    if (columns.length > MOST_COLUMNS)
      throw new CsvError(`it has more than ${MOST_COLUMNS} columns; edit ${this.label} as JSON`);
    const converted = rows.map((row, at) =>
      columns.map((one, column) => {
        const from = order ? order[column] : column;
        return from < 0 ? "" : cellOf(one, row[from], at);
      }),
    );
    if (this.shape.length && converted.length !== this.shape.length) {
      throw new CsvError(
        `it has ${counted(converted.length, "row")}, and ${this.label} has ${this.shape.length}`,
      );
    }
    this.columns = columns;
    this.rows = converted;
  }

  /** @returns {number[]} For each column of the table, where it is in a file with these names. */
  #orderOf(names) {
    const expected = this.columns.map(({ name }) => name);
    const unknown = names.find((name) => !expected.includes(name));
    if (unknown !== undefined)
      throw new CsvError(
        `its column ${JSON.stringify(unknown)} is unknown; expected: ${expected.join(", ")}`,
      );
    const missing = this.columns.find(({ name, optional }) => !optional && !names.includes(name));
    if (missing) throw new CsvError(`it does not have the column ${JSON.stringify(missing.name)}`);
    return expected.map((name) => names.indexOf(name));
  }

  #paste(event) {
    const { row, column } = event.target.dataset;
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (row === undefined || !/[\t\n]/.test(text.trimEnd())) return;
    event.preventDefault();
    const lines = text
      .replace(/\r?\n$/, "")
      .split(/\r?\n/)
      .map((line) => line.split("\t"));
    lines.forEach((cells, below) => {
      const to = Number(row) + below;
      if (to >= this.rows.length && this.#canGrow) this.rows.push(this.#emptyRow());
      cells.forEach((cell, right) => {
        const at = Number(column) + right;
        if (this.rows[to] && at < this.columns.length) this.rows[to][at] = cell;
      });
    });
    this.#changed();
    this.#input(Number(row), Number(column))?.focus();
  }
}

/** @returns {GridColumn} */
function column(name, shape, categories) {
  return { name, shape, categories, empty: "" };
}

function shown(shape, value) {
  const text = value === undefined ? null : showScalar(shape, value);
  if (text === null) throw new CannotShow();
  return text;
}

/** The choices of a category, whose value is its place in the list; a number like 3.0 stays as it is. */
function categoryChoices(categories, text) {
  const current = NUMBER.test(text) ? Number(text) : -1;
  return categories.map((name, at) => [at === current ? text : String(at), name]);
}

function shapeChoices(shape) {
  if (shape.kind === "boolean")
    return [
      ["true", "true"],
      ["false", "false"],
    ];
  if (shape.kind !== "choice") return null;
  return shape.values.map((value) => [write(value), typeof value === "string" ? value : write(value)]);
}

/**
 * A cell of a CSV file: a category by its name, a word for nothing, or anything else as it is.
 *
 * @param {GridColumn} column
 * @param {string} cell
 * @param {number} row
 */
function cellOf({ categories, name, shape, optional }, cell, row) {
  if (!categories) return cell === "" && !optional ? wordForEmpty(shape) : cell;
  const at = categories.indexOf(cell.trim());
  if (at >= 0) return String(at);
  if (NUMBER.test(cell.trim())) return cell.trim();
  throw new CsvError(`row ${row + 1}: ${JSON.stringify(cell)} is not one of the categories of ${name}`);
}

function attempt(read) {
  try {
    read();
    return true;
  } catch (error) {
    if (error instanceof ValueError) return false;
    throw error;
  }
}
