/**
 * A person's texts to samples, and samples to two parts, as `xpert.data` does it. Knows texts and columns; errors never
 * quote the texts themselves.
 */
import { XpertError } from "./errors.ts";
import { rowsOf, type Row } from "./formats.ts";
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
