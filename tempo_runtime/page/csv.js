/** Read CSV: RFC 4180, with commas, semicolons or tabs between the cells. */

/** The text is not CSV; the message says where. */
export class CsvError extends Error {}

/**
 * Read the rows of a CSV text.
 *
 * @param {string} text
 * @returns {string[][]} Rows of equal length.
 * @throws {CsvError}
 */
export function readCsv(text) {
  text = text.replace(/^\uFEFF/, "");
  const separator = separatorOf(text);
  /** @type {string[][]} */
  const rows = [];
  let row = [];
  let cell = "";
  let at = 0;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0] !== "") rows.push(row); // an empty line is not a row
    [row, cell] = [[], ""];
  };
  while (at < text.length) {
    const character = text[at];
    if (character === '"' && cell === "") {
      const start = at;
      for (;;) {
        const end = text.indexOf('"', at + 1);
        if (end < 0) {
          const line = text.slice(0, start).split("\n").length;
          throw new CsvError(`line ${line}: a quotation mark is not closed`);
        }
        cell += text.slice(at + 1, end);
        at = end + 1;
        if (text[at] !== '"') break;
        cell += '"';
      }
    } else if (character === separator) {
      row.push(cell);
      cell = "";
      at++;
    } else if (character === "\n" || character === "\r") {
      endRow();
      at += text.startsWith("\r\n", at) ? 2 : 1;
    } else {
      cell += character;
      at++;
    }
  }
  if (row.length || cell !== "") endRow();
  const odd = rows.findIndex((one) => one.length !== rows[0].length);
  if (odd > 0) {
    throw new CsvError(
      `row ${odd + 1} has ${rows[odd].length} cells, but the first row has ${rows[0].length}`,
    );
  }
  return rows;
}

/** The separator that the first line has most of. */
function separatorOf(text) {
  const line = text.slice(0, text.search(/[\r\n]|$/)).replace(/"[^"]*"/g, "");
  const counts = [",", ";", "\t"].map((separator) => line.split(separator).length);
  return [",", ";", "\t"][counts.indexOf(Math.max(...counts))];
}
