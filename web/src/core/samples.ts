/**
 * A person's texts to samples, and samples to two parts, as `xpert.data` does it. Knows texts and columns; errors never
 * quote the texts themselves.
 */
import { XpertError } from "./errors.ts";
import { CONTENTS, rowsOf, type Row } from "./formats.ts";
import { conversation } from "./kinds.ts";
import { PythonRandom } from "./random.ts";
import { oneSpaced, strip } from "./space.ts";

/** What was asked, or null, and what the person wrote. */
export interface Sample {
  readonly prompt: string | null;
  readonly response: string;
}

/** [prompt, second part of the prompt, response]: columns that belong together. */
const LAYOUTS: readonly (readonly [string, string | null, string])[] = [
  ["context", "input", "response"],
  ["prompt", null, "response"],
  ["prompt", null, "completion"],
  ["question", "context", "answer"],
  ["instruction", "input", "output"],
  ["instruction", "context", "response"],
  ["context", null, "response"],
  ["question", "context", "response"],
  ["query", null, "response"],
  ["query", null, "answer"],
  ["input", null, "response"],
  ["input", null, "output"],
];
const PROMPTS = ["prompt", "question", "instruction", "query", "context", "input"];
const CHATS = ["messages", "conversations", "conversation"];
/** Columns that say who wrote a row, without blanks and signs. */
const SENDERS = new Set(
  ("role from author sender speaker fromname sendername authorname fromuser who username user screenname displayname " +
    "name nickname nick handle by writer participant postedby sentby isfromme fromme direction").split(" "),
);
const UNDERSTOOD =
  "Context/Input/Response, prompt/response, prompt/completion, question/answer, instruction(/input)/output, " +
  "instruction(/context)/response, messages, or text alone";
const ROLES: Record<string, "user" | "other" | "silent"> = {
  user: "user", human: "user",
  assistant: "other", gpt: "other", model: "other", bot: "other", chatbot: "other",
  system: "silent", developer: "silent", tool: "silent", function: "silent", ipython: "silent",
};

/**
 * The samples in the text of a file, or in what was pasted.
 *
 * @param name of the file; its end says what is in it: .jsonl, .json, .csv, .tsv, anything else is plain text. Without
 *   a name the first character decides.
 * @throws XpertError that names the file, the row (from 1) and the way out.
 */
export function readSamples(name: string, text: string): Sample[] {
  const whole = text.replace(/^\ufeff/, "");
  if (strip(whole) === "") throw new XpertError(`${name || "the field"} is empty: give at least one text`);
  if (whole.includes("\0")) throw new XpertError(`${name} is no text: give a text file in UTF-8`);
  const samples = rowsOf(name, whole).flatMap(rowSamples);
  if (samples.length === 0) {
    throw new XpertError(
      `${name || "the field"} gave no sample: it needs at least one row with the person's own text (in a chat, at ` +
        "least one turn of the role 'user')",
    );
  }
  return samples;
}

/**
 * Samples to train on and to check with, which share no prompt.
 *
 * @param validation a share of the samples, or a number of them from 1.
 * @throws XpertError where a side would be empty.
 */
export function splitSamples(samples: readonly Sample[], validation: number, seed: number): [Sample[], Sample[]] {
  const target = validation < 1 ? Math.floor(Number((validation * samples.length).toFixed(9)) + 0.5) : validation;
  if (target < 1 || target >= samples.length) {
    throw new XpertError(
      `validation ${validation} of ${samples.length} samples leaves one side empty: give more samples, or another ` +
        "validation",
    );
  }
  const groups = new Map<string, number[]>();
  samples.forEach(({ prompt }, place) => {
    const key = prompt === null ? `#${place}` : `=${folded(prompt)}`;
    groups.set(key, [...(groups.get(key) ?? []), place]);
  });
  if (groups.size < 2) {
    throw new XpertError(
      `all ${samples.length} samples have the same prompt, so one side of the split would be empty: give samples ` +
        "with other prompts",
    );
  }
  const drawn = [...groups.values()];
  new PythonRandom(`${seed}/split`).shuffle(drawn);
  const chosen = new Set<number>();
  for (const group of drawn) if (chosen.size + group.length <= target) group.forEach((place) => chosen.add(place));
  if (chosen.size === 0) {
    drawn.reduce((least, group) => (group.length < least.length ? group : least)).forEach((p) => chosen.add(p));
  }
  return [samples.filter((_, place) => !chosen.has(place)), samples.filter((_, place) => chosen.has(place))];
}

function folded(prompt: string): string {
  return oneSpaced(prompt).toUpperCase().toLowerCase();
}

function rowSamples(row: Row): Sample[] {
  const names = new Map<string, string>();
  for (const name of Object.keys(row.values)) {
    const key = strip(name).toLowerCase();
    if (!names.has(key)) names.set(key, name);
  }
  const value = (column: string): unknown => row.values[names.get(column)!];
  const chat = CHATS.find((column) => names.has(column) && value(column) !== null);
  if (chat !== undefined) return chatSamples(row.where, value(chat));
  if (Array.isArray(value("role")) || Array.isArray(value("from"))) return chatSamples(row.where, row.values);
  const [first, second, third] = layoutOf(row, names);
  const prompt = first === null ? "" : textOf(row, names.get(first)!);
  const addition = second !== null && names.has(second) ? textOf(row, names.get(second)!) : "";
  const response = strip(textOf(row, names.get(third)!));
  if (response === "") {
    throw new XpertError(
      `${row.where}: '${names.get(third)}' is empty, every row needs the person's own text: fill the row in or delete it`,
    );
  }
  return [{ prompt: joined(prompt, addition) || null, response }];
}

function layoutOf(row: Row, names: Map<string, string>): readonly [string | null, string | null, string] {
  for (const layout of LAYOUTS) {
    const [prompt, addition, response] = layout;
    const complete = prompt !== "context" || addition === null || names.has(addition);
    if (complete && names.has(prompt) && names.has(response)) return layout;
  }
  const alone = PROMPTS.some((name) => names.has(name)) ? undefined : ["text", "response"].find((n) => names.has(n));
  if ([...names.keys()].some((name) => SENDERS.has(name.replace(/[^\p{L}\p{N}]/gu, "")))) throw conversation(row.where);
  if (alone !== undefined) return [null, null, alone];
  const found = shownColumns(Object.keys(row.values));
  throw new XpertError(`${row.where}: found columns ${found}; understood are ${UNDERSTOOD}: rename the columns`);
}

/** Columns for an error: by name where all look like names, else counted, as one may be a text of the person. */
function shownColumns(names: readonly string[]): string {
  const strange = names.filter((name) => !/^[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+){0,3}$/.test(name) || name.length > 32);
  if (strange.length > 0) return `${names.length}, whose names look like texts and are not shown (is the header missing?)`;
  return names.map((name) => `'${name}'`).join(", ") || "none";
}

function joined(context: string, text: string): string {
  const second = strip(text);
  if (second === "" || second.toLowerCase() === "<no input>") return strip(context);
  return strip(`${strip(context)}\n${second}`);
}

function textOf(row: Row, column: string): string {
  return checkedText(row.values[column], `${row.where}: '${column}'`);
}

function checkedText(value: unknown, what: string): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") throw new XpertError(`${what} is no text: write it as a string`);
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)) {
    throw new XpertError(`${what} holds half a character: export the data again, as UTF-8`);
  }
  return value;
}

/** The user's own turns as responses; the prompt is the other side's turn right before, or null. */
function chatSamples(where: string, messages: unknown): Sample[] {
  if (!Array.isArray(messages) && typeof messages === "object" && messages !== null) {
    messages = listed(messages as Record<string, unknown>);
  }
  if (!Array.isArray(messages)) throw new XpertError(`${where}: the chat is no list of {role, content} messages`);
  const samples: Sample[] = [];
  let before: string | null = null;
  messages.forEach((message: Record<string, unknown> | null, index) => {
    const here = `${where}, message ${index + 1}`;
    const named = message?.["role"] ?? message?.["from"];
    const role = typeof named === "string" ? ROLES[strip(named).toLowerCase()] : undefined;
    if (role === undefined) {
      throw new XpertError(`${here}: no role that is known: call the person 'user' and the other side 'assistant'`);
    }
    if (role === "silent") return;
    const content = contentOf(message!, here);
    if (role === "other") {
      before = strip(content ?? "") || null;
      return;
    }
    if (content !== null) {
      if (strip(content) === "") {
        throw new XpertError(`${here}: the user's turn is empty: fill it in or delete the message`);
      }
      samples.push({ prompt: before, response: strip(content) });
    }
    before = null;
  });
  return samples;
}

/** The turns of a chat that is held by columns, {role: [...], content: [...]}; anything else as it is. */
function listed(columns: Readonly<Record<string, unknown>>): unknown {
  const lists = Object.entries(columns).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
  const length = lists[0]?.[1].length ?? 0;
  if (lists.length < 2 || lists.some(([, list]) => list.length !== length)) return columns;
  return Array.from({ length }, (_, turn) => Object.fromEntries(lists.map(([name, list]) => [name, list[turn]])));
}

const PART_WITHOUT_TEXT = /^(input_|output_)?(image|audio|video|file|tool|function|reasoning|thinking)/;

/**
 * The text of a turn; null where it holds something else, such as a picture.
 *
 * @throws XpertError where it holds nothing that is known.
 */
function contentOf(message: Readonly<Record<string, unknown>>, here: string): string | null {
  let empty: string | null = null;
  for (const name of CONTENTS) {
    const found = textIn(message[name], `${here}: ${name}`);
    if (found !== null && strip(found) !== "") return found;
    empty ??= found;
  }
  if (empty === null && !CONTENTS.some((name) => name in message)) {
    throw new XpertError(`${here}: no text was found in this turn: put it under 'content', or delete the message`);
  }
  return empty;
}

/** The text in a value: itself, or that of its parts, joined. */
function textIn(value: unknown, what: string): string | null {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) {
    const texts = value.map((part) => textIn(part, what)).filter((part) => part !== null);
    return texts.length === 0 ? null : texts.join("\n");
  }
  if (typeof value !== "object") return checkedText(value, what);
  const part = value as Readonly<Record<string, unknown>>;
  if (typeof part["type"] === "string" && PART_WITHOUT_TEXT.test(part["type"])) return null;
  for (const name of CONTENTS) {
    const found = textIn(part[name], what);
    if (found !== null && strip(found) !== "") return found;
  }
  return null;
}
