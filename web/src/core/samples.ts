/**
 * A person's texts to samples, and samples to two parts, as `xpert.data` does it. Knows texts and columns; errors never
 * quote the texts themselves.
 */
import { XpertError } from "./errors.ts";
import { PythonRandom } from "./random.ts";

/** What was asked, or null, and what the person wrote. */
export interface Sample {
  readonly prompt: string | null;
  readonly response: string;
}

type Row = { where: string; values: Record<string, unknown> };

/** White space as Python has it. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const AROUND = new RegExp(`^${SPACE}|${SPACE}$`, "g");
const BETWEEN = new RegExp(SPACE, "g");

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
const UNDERSTOOD =
  "Context/Input/Response, prompt/response, prompt/completion, question/answer, instruction(/input)/output, " +
  "instruction(/context)/response, messages, or text alone";
const ROLES: Record<string, "user" | "other" | "silent"> = {
  user: "user", human: "user",
  assistant: "other", gpt: "other", model: "other", bot: "other", chatbot: "other",
  system: "silent", developer: "silent", tool: "silent", function: "silent", ipython: "silent",
};

/** A text without the white space around it. */
export function strip(text: string): string {
  return text.replace(AROUND, "");
}

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
  return strip(prompt).replace(BETWEEN, " ").toUpperCase().toLowerCase();
}

function rowsOf(name: string, text: string): Row[] {
  const promised = /\.(jsonl|ndjson|json|csv|tsv|tab)$/i.exec(name)?.[1]?.toLowerCase();
  const start = strip(text)[0];
  if (promised === "csv") return csvRows(name, text, undefined);
  if (promised === "tsv" || promised === "tab") return csvRows(name, text, "\t");
  if (promised !== undefined || (name === "" && (start === "{" || start === "["))) {
    return looksLikeLines(text) ? lineRows(name, text) : jsonRows(name, text);
  }
  return textRows(name, text);
}

/** Whether the first of several lines is a JSON value of its own, or the only line an object. */
function looksLikeLines(text: string): boolean {
  const [first = "", ...rest] = strip(text).split("\n");
  if (strip(rest.join("\n")) === "") return first.startsWith("{");
  try {
    JSON.parse(first);
    return true;
  } catch {
    return false;
  }
}

function lineRows(name: string, text: string): Row[] {
  return text.split("\n").flatMap((line, index) => {
    if (strip(line) === "") return [];
    const where = `${name || "the field"}, row ${index + 1}`;
    return [jsonRow(where, parsed(where, line, "a row is one JSON object on one line, correct or delete it"))];
  });
}

function jsonRows(name: string, text: string): Row[] {
  const where = name || "the field";
  const whole = parsed(where, text, "a JSON array of objects is expected; for one object a line use .jsonl");
  if (Array.isArray(whole) && whole.length > 0 && whole.every(isMessage)) {
    return [{ where: `${where}, row 1`, values: { messages: whole } }];
  }
  const list: unknown[] = Array.isArray(whole) ? whole : [whole];
  return list.map((value, index) => jsonRow(`${where}, row ${index + 1}`, value));
}

function parsed(where: string, text: string, wayOut: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new XpertError(`${where}: broken JSON: ${wayOut}`);
  }
}

function jsonRow(where: string, value: unknown): Row {
  if (Array.isArray(value)) return { where, values: { messages: value } };
  if (typeof value === "object" && value !== null) return { where, values: value as Record<string, unknown> };
  throw new XpertError(`${where}: no JSON object: write {"prompt": ..., "response": ...} instead`);
}

function isMessage(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return ("role" in value || "from" in value) && ("content" in value || "value" in value);
}

/** Rows below the header line. Semicolons separate where the header has some and no comma. */
function csvRows(name: string, text: string, separator: string | undefined): Row[] {
  const header = text.trimStart().split("\n", 1)[0] ?? "";
  const records = csvRecords(name, text, separator ?? (header.includes(";") && !header.includes(",") ? ";" : ","));
  const [names, ...rest] = records.filter((fields) => fields.some((field) => strip(field) !== ""));
  return rest.map((fields, index) => {
    const where = `${name}, row ${index + 1}`;
    if (fields.length > names!.length) {
      throw new XpertError(
        `${where}: ${fields.length} fields, the header has ${names!.length}: put quotes around a field that holds ` +
          "the separator or a line break",
      );
    }
    return { where, values: Object.fromEntries(names!.map((key, column) => [key, fields[column] ?? ""])) };
  });
}

/** Fields of every record; a quoted field may hold separators, line breaks and doubled quotes. */
function csvRecords(name: string, text: string, separator: string): string[][] {
  const records: string[][] = [[]];
  let place = 0;
  while (place < text.length) {
    let field = "";
    if (text[place] === '"') {
      for (place++; ; place++) {
        const quote = text.indexOf('"', place);
        if (quote < 0) {
          throw new XpertError(
            `${name}, record ${records.length}: a quote is not closed: close every quote, and write a quote inside a ` +
              'field as ""',
          );
        }
        field += text.slice(place, quote);
        place = quote + 1;
        if (text[place] !== '"') break;
        field += '"';
      }
    }
    while (place < text.length && text[place] !== separator && text[place] !== "\n" && text[place] !== "\r") {
      field += text[place++];
    }
    records[records.length - 1]!.push(field);
    if (text[place] === separator) {
      place++;
      if (place < text.length) continue;
      records[records.length - 1]!.push("");
    } else if (place < text.length) {
      place += text.startsWith("\r\n", place) ? 2 : 1;
      records.push([]);
    }
  }
  return records;
}

/** Paragraphs, parted by blank lines; in a text without blank lines, its lines. */
function textRows(name: string, text: string): Row[] {
  const whole = strip(text.replace(/\r\n?/g, "\n"));
  const paragraphs = whole.split(/\n\s*\n/);
  const parts = paragraphs.length === 1 ? whole.split("\n") : paragraphs;
  return parts.map((part, index) => ({ where: `${name || "the field"}, text ${index + 1}`, values: { text: part } }));
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
  if (alone !== undefined) return [null, null, alone];
  const found = Object.keys(row.values).map((name) => `'${name}'`).join(", ") || "none";
  throw new XpertError(`${row.where}: found columns ${found}; understood are ${UNDERSTOOD}: rename the columns`);
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

/** The text of a turn; null where it holds none at all, as with pictures. */
function contentOf(message: Record<string, unknown>, here: string): string | null {
  const content = message["content"] ?? message["value"];
  if (content === null || content === undefined) return null;
  if (!Array.isArray(content)) return checkedText(content, `${here}: content`);
  const parts = content.map((part: unknown) => (typeof part === "object" && part ? (part as { text?: unknown }).text : part));
  const texts = parts.filter((part) => part !== undefined && part !== null);
  return texts.length === 0 ? null : texts.map((part) => checkedText(part, `${here}: content`)).join("\n");
}
