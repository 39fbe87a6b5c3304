/** From logits to tokens, one by one, whatever computes the logits. Knows numbers only. */
import { XpertError } from "./errors.ts";
import { PythonRandom } from "./random.ts";

/** How an answer is made; temperature 0 takes the most probable token. */
export interface Answering {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly stops: readonly number[];
  /** Told of the tokens so far after each one; false ends the answer. */
  readonly onToken?: (made: readonly number[]) => Promise<boolean> | boolean;
}

/** New tokens to the logits of the one that follows; remembers what came before. */
type Next = (given: readonly number[]) => Promise<Float32Array>;

/** New tokens after `tokens`, with a stop token at the end where one came. */
export async function continued(
  following: Next,
  tokens: readonly number[],
  how: Answering,
  lengthTokens: number,
): Promise<number[]> {
  const room = lengthTokens - tokens.length;
  if (tokens.length === 0 || room < 1) {
    throw new XpertError(
      `${tokens.length} tokens are given; at least 1 and at most ${lengthTokens - 1} leave room for an answer: ` +
        "shorten the prompt, or export with a larger --max-length-tokens",
    );
  }
  const draw = new PythonRandom(`${how.seed}/answer`);
  const made: number[] = [];
  let given = tokens;
  while (made.length < Math.min(how.maxNewTokens, room)) {
    const logits = await following(given);
    if (!logits.every(Number.isFinite)) {
      throw new XpertError("the logits are not finite: the adapter has diverged, train again with a lower learning rate");
    }
    const chosen = how.temperature <= 0 ? highest(logits) : drawn(logits, how, draw.fraction());
    made.push(chosen);
    if (how.stops.includes(chosen) || (await how.onToken?.(made)) === false) break;
    given = [chosen];
  }
  return made;
}

function highest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/**
 * The most probable tokens, highest first, equals by their number: at least as many as have `mass` together, or all.
 * A sort of the whole vocabulary would take longer than the rest of a small base; most of it is never looked at.
 */
function likeliest(p: Float64Array, mass: number): number[] {
  for (let floor = 1e-2; floor > 1e-12; floor /= 100) {
    const found: number[] = [];
    let sum = 0;
    for (let token = 0; token < p.length; token++) {
      if (p[token]! < floor) continue;
      found.push(token);
      sum += p[token]!;
    }
    if (sum > mass * (1 + 1e-9)) return found.sort((one, other) => p[other]! - p[one]!);
  }
  return Array.from(p.keys()).sort((one, other) => p[other]! - p[one]!);
}

/** A token out of the smallest set whose probabilities reach `topP`. */
function drawn(logits: Float32Array, how: Answering, fraction: number): number {
  const top = logits[highest(logits)]!;
  const p = Float64Array.from(logits, (logit) => Math.exp((logit - top) / how.temperature));
  const sum = p.reduce((total, part) => total + part, 0);
  const order = likeliest(p, how.topP * sum);
  let kept = 0;
  let count = 0;
  while (count < order.length && kept < how.topP * sum) kept += p[order[count++]!]!;
  let left = fraction * kept;
  for (const token of order.slice(0, count)) {
    left -= p[token]!;
    if (left < 0) return token;
  }
  return order[Math.max(0, count - 1)]!;
}
