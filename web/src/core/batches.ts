/**
 * Encoded samples to batches, in the order of `xpert.runtime.batches`: a pure function of samples, seed and step.
 * Knows numbers only.
 */
import { digestOf } from "./source.ts";
import { PythonRandom } from "./random.ts";
import type { Encoded } from "./tokens.ts";

/**
 * Token ids padded on the right, and what is learned of them: `rows` are places in the flattened ids whose next token
 * is learned, `targets` those next tokens.
 */
export interface Batch {
  readonly input_ids: readonly (readonly number[])[];
  readonly rows: readonly number[];
  readonly targets: readonly number[];
}

const WINDOW_STEPS = 8;

/** One batch, padded on the right to the longest of the samples. */
export function collate(samples: readonly Encoded[], pad: number): Batch {
  const width = Math.max(...samples.map((sample) => sample.tokens.length));
  const rows: number[] = [];
  const targets: number[] = [];
  const ids = samples.map(({ tokens, start }, number) => {
    for (let place = start; place < tokens.length; place++) {
      rows.push(number * width + place - 1);
      targets.push(tokens[place]!);
    }
    return [...tokens, ...Array<number>(width - tokens.length).fill(pad)];
  });
  return { input_ids: ids, rows, targets };
}

/** All samples once, shortest first, so that little is padded. */
export function evaluationBatches(samples: readonly Encoded[], batchSize: number, pad: number): Batch[] {
  const order = [...samples].sort((one, other) => one.tokens.length - other.tokens.length);
  return pieces(order, batchSize).map((piece) => collate(piece, pad));
}

/** Which samples each step learns from: every sample once an epoch, of like lengths together, in a drawn order. */
export class Plan {
  readonly stepsPerEpoch: number;
  private epoch: { number: number; groups: number[][] };
  private readonly seen: number[] = [0];

  constructor(
    private readonly samples: readonly Encoded[],
    private readonly of: { batchSize: number; accumulationSteps: number; seed: number; pad: number },
  ) {
    this.stepsPerEpoch = Math.ceil(samples.length / (of.batchSize * of.accumulationSteps));
    this.epoch = { number: 0, groups: this.shuffled(0) };
    for (const group of this.epoch.groups) this.seen.push(this.seen[this.seen.length - 1]! + group.length);
  }

  /** The batches of step `step`, counted from 0. */
  step(step: number): Batch[] {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (this.epoch.number !== epoch) this.epoch = { number: epoch, groups: this.shuffled(epoch) };
    const chosen = this.epoch.groups[step % this.stepsPerEpoch]!.map((index) => this.samples[index]!);
    return pieces(chosen, this.of.batchSize).map((piece) => collate(piece, this.of.pad));
  }

  /** How many different samples the first `steps` steps learn from. */
  samplesSeen(steps: number): number {
    return this.seen[Math.min(steps, this.stepsPerEpoch)]!;
  }

  private shuffled(epoch: number): number[][] {
    const draw = new PythonRandom(`${this.of.seed}/${epoch}`);
    const order = this.samples.map((_, index) => index);
    draw.shuffle(order);
    const size = Math.floor(order.length / this.stepsPerEpoch);
    const larger = order.length % this.stepsPerEpoch;
    const sizes = Array.from({ length: this.stepsPerEpoch }, (_, number) => size + (number < larger ? 1 : 0));
    draw.shuffle(sizes);
    const window = Math.max(2, Math.min(WINDOW_STEPS, Math.floor(this.stepsPerEpoch / 3)));
    const groups: number[][] = [];
    let done = 0;
    for (const cut of pieces(sizes, window)) {
      const count = cut.reduce((sum, part) => sum + part, 0);
      const near = order.slice(done, done + count).sort((a, b) => this.length(a) - this.length(b));
      done += count;
      for (const part of cut) groups.push(near.splice(0, part));
    }
    draw.shuffle(groups);
    return groups;
  }

  private length(index: number): number {
    return this.samples[index]!.tokens.length;
  }
}

/** SHA-256 over encoded samples, in order. */
export function dataDigest(...parts: (readonly Encoded[])[]): Promise<string> {
  const whole = parts.map((part) => JSON.stringify(part.map(({ start, tokens }) => [start, ...tokens])));
  return digestOf(new TextEncoder().encode(whole.join("\n")));
}

function pieces<Item>(list: readonly Item[], size: number): Item[][] {
  const found: Item[][] = [];
  for (let i = 0; i < list.length; i += size) found.push(list.slice(i, i + size));
  return found;
}
