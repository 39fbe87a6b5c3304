/** The text of one format to its rows: JSONL, JSON, CSV, TSV, plain text. Knows formats; not what the columns mean. */
import { XpertError } from "./errors.ts";
import { checkProse } from "./kinds.ts";
import { strip } from "./space.ts";

const LINE_END = /\r\n|\r|\n/;
/** Names under which a turn of a chat holds its text. */
export const CONTENTS = ["content", "parts", "text", "value", "message", "body"];

/** One row: where it stands, for errors, and its values by column name. */
export interface Row {
  readonly where: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** The rows of a file, by the end of its name; without a name, by the first character. */
export function rowsOf(name: string, text: string): Row[] {
  const promised = /\.(jsonl|ndjson|json|csv|tsv|tab)$/i.exec(name)?.[1]?.toLowerCase();
  const start = strip(text)[0];
  if (promised === "csv") return csvRows(name, text, undefined);
  if (promised === "tsv" || promised === "tab") return csvRows(name, text, "\t");
  if (promised !== undefined || (name === "" && (start === "{" || start === "["))) {
    return looksLikeLines(text) ? lineRows(name, text) : jsonRows(name, text);
  }
  checkProse(name, text);
  return textRows(name, text);
}

/** Whether the first of several lines is a JSON value of its own, or the only line an object. */
function looksLikeLines(text: string): boolean {
  const [first = "", ...rest] = strip(text).split(LINE_END);
  if (strip(rest.join("\n")) === "") return first.startsWith("{");
  try {
    JSON.parse(first);
    return true;
  } catch {
    return false;
  }
}

function lineRows(name: string, text: string): Row[] {
  return text.split(LINE_END).flatMap((given, index) => {
    const line = given.replace(/^\ufeff+/, ""); // files were joined
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
  return ("role" in value || "from" in value) && CONTENTS.some((name) => name in value);
}

/**
 * Rows below the header line. The first line may say the separator (`sep=;`, as Excel does); else semicolons or tabs
 * separate where the header has some and no comma. A header that comes again, where files were joined, is no row.
 */
function csvRows(name: string, text: string, separator: string | undefined): Row[] {
  const [first = "", ...others] = text.replace(/^[\r\n]+/, "").split(LINE_END);
  const said = SEPARATOR.exec(first)?.[1];
  const table = said === undefined || others.length === 0 ? text : text.slice(text.indexOf(first) + first.length);
  const guessed = first.includes(",") ? undefined : [";", "\t"].find((mark) => first.includes(mark));
  const records = csvRecords(name, table, said ?? separator ?? guessed ?? ",");
  const [names, ...rest] = records.filter((fields) => fields.some((field) => strip(field) !== ""));
  const key = (fields: readonly string[]): string[] => fields.map((field) => strip(field).toLowerCase());
  const header = key(names!);
  let number = 0;
  return rest.flatMap((fields) => {
    const where = `${name}, row ${number + 1}`;
    const joined = fields[0]!.startsWith("\ufeff");
    if (joined) fields[0] = fields[0]!.replace(/^\ufeff+/, "").replace(/^"|"$/g, "");
    const again = key(fields);
    if (String(again) === String(header) || (/^sep=./.test(again[0]!) && again.slice(1).every((field) => !field))) return [];
    if (joined || (header.length > 1 && String([...again].sort()) === String([...header].sort()))) {
      throw new XpertError(`${where}: another file begins here, with other columns than the first: give one file`);
    }
    number += 1;
    if (fields.length > names!.length) {
      throw new XpertError(
        `${where}: ${fields.length} fields, the header has ${names!.length}: put quotes around a field that holds ` +
          "the separator or a line break",
      );
    }
    const values = names!.map((column, place) => [column, (fields[place] ?? "").replace(/\r\n?/g, "\n")]);
    return [{ where, values: Object.fromEntries(values) as Record<string, string> }];
  });
}

const SEPARATOR = /^"?sep=([^\w"])"?[,;\t ]*$/i;

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
