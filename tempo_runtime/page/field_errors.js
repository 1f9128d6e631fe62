/** What fields raise. */

/** What a field holds is not a value. */
export class FieldError extends Error {
  /**
   * @param {string} message What is wrong, to follow the name of the field.
   * @param {() => HTMLElement} reveal Shows and returns the input at fault.
   */
  constructor(message, reveal) {
    super(message);
    this.reveal = reveal;
    /** @type {import("./field.js").MemberField | null} The innermost argument or member at fault. */
    this.owner = null;
  }
}

/** A field does not have the form of a value. */
export class CannotShow extends Error {}
