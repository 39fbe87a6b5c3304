/** What a model writes while it thinks, which is no part of its answer: as `xpert.models.thoughts`. */
import { strip } from "./space.ts";

const NAMES = "think(?:ing)?|thoughts?|reasoning|reflection|scratchpad";
const UNQUOTED = "(?<![`'\"“‘\\\\])";
const OPEN = new RegExp(
  `${UNQUOTED}(?:<(?:\\w+:)?(?:${NAMES})(?:\\s[^<>\\n]*)?>|\\[(?:${NAMES})\\]` +
    `|<\\|(?:start_of_|begin_of_|start_|begin_)?(?:${NAMES})(?:_start|_begin)?\\|>|◁(?:${NAMES})▷)`,
  "gi",
);
const CLOSED = new RegExp(
  `${UNQUOTED}(?:</(?:\\w+:)?(?:${NAMES})>|\\[/(?:${NAMES})\\]` +
    `|<\\|(?:/|end_of_|end_)(?:${NAMES})\\|>|<\\|(?:${NAMES})_end\\|>|◁/(?:${NAMES})▷)`,
  "gi",
);
const CHANNEL = /<\|channel\|?>\s*(\w+)[^<]*?(?:<\|message\|>|\n|(?=<)|$)/g;
const CHANNEL_END = /<\|(?:end|return|call|start)\|>|<channel\|>|(?=<\|channel\|?>)/g;
const FINAL = new Set(["final", "response", "answer"]);
const TOLD =
  /^\s*Here(?:'s| is) my (?:thought process|thinking|reasoning)[^:\n]{0,40}:(?:[^]*?Here(?:'s| is) my (?:final )?(?:response|answer)[^:\n]{0,40}:|[^]*$)/i;
const REST =
  /<\|(?:start|end|return|call|message|constrain|channel)\|>(?:assistant\b)?|<\|(?:START|END|begin_of|end_of)_(?:RESPONSE|TEXT|solution|ACTION)\|>/gi;
const MARKER = new RegExp(`channel|<\\|(?:message|start|end|return|call)\\|>|${NAMES}|RESPONSE|solution`, "i");

/** An answer without what its model thought before it; other answers stay as they are, to the letter. */
export function withoutThoughts(answer: string): string {
  let text = withoutChannels(answer).replace(TOLD, "");
  for (let opened = find(OPEN, text, 0); opened !== null; opened = find(OPEN, text, 0)) {
    const before = find(CLOSED, text, 0);
    if (before !== null && before.end <= opened.start) text = text.slice(before.end);
    else text = text.slice(0, opened.start) + behind(text, opened.end);
  }
  const closed = [...text.matchAll(CLOSED)].at(-1);
  if (closed !== undefined) text = text.slice(closed.index + closed[0].length);
  return text === answer ? answer : strip(text.replace(REST, ""));
}

/**
 * The text of an answer, without special tokens and without thoughts.
 *
 * @param specials special token -> its text.
 * @param decode tokens -> text, without special tokens.
 */
export function answerText(
  tokens: readonly number[],
  specials: ReadonlyMap<number, string>,
  decode: (tokens: readonly number[]) => string,
): string {
  const mark = (token: number) => MARKER.test(specials.get(token) ?? "");
  if (!tokens.some(mark)) return strip(withoutThoughts(decode(tokens)));
  let whole = "";
  let run: number[] = [];
  for (const token of tokens) {
    if (!mark(token)) {
      run.push(token);
      continue;
    }
    whole += decode(run) + specials.get(token);
    run = [];
  }
  whole += decode(run);
  const kept = withoutThoughts(whole);
  return strip(kept === whole ? decode(tokens) : kept);
}

interface Found {
  readonly start: number;
  readonly end: number;
  readonly name: string;
}

function find(pattern: RegExp, text: string, from: number): Found | null {
  pattern.lastIndex = from;
  const match = pattern.exec(text);
  return match && { start: match.index, end: match.index + match[0].length, name: match[1] ?? "" };
}

/** The text behind a thought that starts at `place`; one that holds others ends where the last of them does. */
function behind(text: string, place: number): string {
  let depth = 1;
  let last: number | null = null;
  while (depth > 0) {
    const end = find(CLOSED, text, place);
    if (end === null) break;
    const inner = [...text.slice(place, end.start).matchAll(OPEN)].length;
    depth += inner - 1;
    place = last = end.end;
  }
  return last === null ? "" : text.slice(last);
}

/** Only the final channel, where the text is parted into channels. */
function withoutChannels(text: string): string {
  let found = find(CHANNEL, text, 0);
  if (found === null) return text;
  let kept = text.slice(0, found.start);
  while (found !== null) {
    const end = find(CHANNEL_END, text, found.end);
    if (FINAL.has(found.name.toLowerCase())) kept += text.slice(found.end, end?.start ?? text.length);
    const place = end?.end ?? text.length;
    const closes = end !== null && text.slice(end.start, end.end) === "<channel|>";
    found = find(CHANNEL, text, place);
    if (found === null && closes) kept += text.slice(place);
  }
  return kept;
}
