/**
 * Whether a text may be one person's prose. The page cannot ask whose words of a conversation are the person's, so what
 * may hold somebody else's is refused. Knows how such files look; errors never quote them.
 */
import { XpertError } from "./errors.ts";

const PLAIN = /\.(txt|text|md|markdown)$/i;
const OWN = 'take your own texts out and give them as .txt, or as JSONL with one {"text": "..."} on a line';
const CHAT =
  "it looks like a conversation, and the page cannot tell which words are yours: give a file with your own texts only, " +
  "or chats with the roles 'user' and 'assistant'; `xpert phone train --me NAME` reads such files on a computer";

const STARTS: readonly (readonly [RegExp, string])[] = [
  [/^(?:<!--[^]*?-->\s*)*<(?:!doctype\s+html|html|head|body|frameset)\b/i, "a web page"],
  [/^(?:<\?xml\b|<!DOCTYPE\b|<(?:svg|rss|feed|smses|plist|kml|opml)\b)/i, "XML"],
  [/^BEGIN:V(?:CARD|CALENDAR|EVENT)\b/i, "contacts or a calendar"],
  [/^(?:WEBVTT\b|\[Script Info\])/, "subtitles"],
  [/^\{\\rtf\d/, "a rich text document (RTF)"],
  [/^(?:#!\s*\/|<\?php\b|\(function\s*\(|["']use strict["'];|(?:var|let|const|window)[\w.$\[\]"' ]*=\s*[[{(])/, "program code"],
  [/^(?:From \S+@\S+ .*\d\d:\d\d|(?:from|return-path|received|delivered-to):.*\n(?:.*\n){0,20}?(?:to|subject|date):)/i, "an e-mail"],
];
const SUBTITLE = /^\s*(?:\d{1,2}:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->/;
const MARK = "[\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\s]*";
const DATE = "(?:\\d{1,4}\\s?[./-]\\s?\\d{1,2}\\s?[./-]\\s?\\d{1,4}\\.?|\\d{4}\\s?[年년]\\s?\\d{1,2}\\s?[月월]\\s?\\d{1,2}\\s?[日일])";
const TIME = "\\d{1,2}[:.]\\d{2}(?:[:.]\\d{2})?(?:[\\s\\u202f\\u00a0]?[AaPp]\\.?\\s?[Mm]\\.?)?";
const MOMENT = `(?:${DATE}[,،]?\\s*(?:[^\\d\\s:()[\\]<>]{1,12}\\s*)?${TIME}|\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d\\S*)`;
const NAME = "[^\\s:<>\\[\\](){}#*-][^:<>\\[\\](){}\\n]{0,39}";
/** Lines that hardly anything but a program writes: who, and when. */
const SAID: readonly RegExp[] = [
  `[[(]?${MOMENT}[\\])]?\\s*(?:[-–|,>:]\\s*)?${NAME}:(?:\\s|$)`,
  `[[(]${TIME}[\\])]\\s*(?:[-–]\\s*)?${NAME}:(?:\\s|$)`,
  `[[(]?(?:${MOMENT}|${TIME})[\\])]?\\s*<\\s?[@+%&~!]?[^<>\\s/][^<>\\n]{0,39}>\\s`,
  `(?:${MOMENT}|${TIME})\\t[@+%&]?[^\\t\\n]{1,40}\\t`,
  `${TIME}\\s+From\\s+.{1,60}:`,
  `${NAME},?\\s*(?:[—–-]\\s*)?[[(]?(?:(?:Today|Yesterday|Heute|Gestern)(?:\\s(?:at|um))?\\s)?(?:${MOMENT}|${TIME})[\\])]?:?\\s*$`,
].map((form) => new RegExp(`^${MARK}${form}`));
const SIDE = /^(?:#+\s)?(?:\*\*|__)?(?:(you|user|human|me|ich|du)|(assistant|ai|chatgpt|claude|gemini|copilot|bot|gpt))(?:\*\*|__)?(?:\ssaid:?|:)(?:\*\*|__)?(?:\s|$)/i;
const SPEAKER = /^(?:[-*]\s)?(?:\*\*|__)?([^\W\d_][\w.'’ -]{0,29}?):(?:\*\*|__)?:?\s/u;
const LABELS = new Set("q a question answer note ps todo tip example idea day step title author".split(" "));

/**
 * Looks at a file that is to be read as plain text, or at what was pasted.
 *
 * @throws XpertError where it is of another kind, or a conversation.
 */
export function checkProse(name: string, text: string): void {
  const where = name || "the field";
  if (name !== "" && !PLAIN.test(name)) {
    throw new XpertError(`${where} is of a kind that is not read: give .jsonl, .json, .csv, .tsv, .txt or .md; ${OWN}`);
  }
  const kind = kindOf(text.trimStart());
  if (kind !== null) throw new XpertError(`${where} is ${kind}: ${OWN}`);
  if (isConversation(text)) throw new XpertError(`${where}: ${CHAT}`);
}

/** For a table or chat whose rows say who wrote them. */
export function conversation(where: string): XpertError {
  return new XpertError(`${where}: ${CHAT}`);
}

function kindOf(text: string): string | null {
  const start = STARTS.find(([form]) => form.test(text));
  if (start !== undefined) return start[1];
  const lines = filled(text);
  const timed = lines.filter((line) => SUBTITLE.test(line)).length;
  return timed > 0 && 5 * timed >= lines.length ? "subtitles" : null;
}

function isConversation(text: string): boolean {
  const lines = filled(text);
  for (const form of SAID) {
    const said = lines.filter((line) => form.test(line)).length;
    if (said >= 2 && 10 * said >= lines.length) return true;
  }
  const sides = lines.map((line) => SIDE.exec(line)).filter((found) => found !== null);
  if (sides.some((found) => found[1]) && sides.some((found) => found[2])) return true;
  const counts = new Map<string, number>();
  for (const line of lines) {
    const speaker = SPEAKER.exec(line)?.[1]?.toLowerCase();
    if (speaker !== undefined) counts.set(speaker, (counts.get(speaker) ?? 0) + 1);
  }
  const speakers = [...counts].filter(([speaker, count]) => count > 1 && !LABELS.has(speaker.split(/[\s\d]/)[0]!));
  const said = speakers.reduce((sum, [, count]) => sum + count, 0);
  return speakers.length > 1 && 10 * said >= 9 * lines.length;
}

function filled(text: string): string[] {
  return text.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
}
