/** White space as Python has it: its `strip` and `split` take off a little more, and a little less, than `trim`. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const AROUND = new RegExp(`^${SPACE}|${SPACE}$`, "g");
const BETWEEN = new RegExp(SPACE, "g");

/** A text without the white space around it. */
export function strip(text: string): string {
  return text.replace(AROUND, "");
}

/** A text with one blank wherever it has white space, and none around it. */
export function oneSpaced(text: string): string {
  return strip(text).replace(BETWEEN, " ");
}
