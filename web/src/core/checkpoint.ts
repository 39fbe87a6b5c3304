/**
 * What an interrupted run needs to go on: one safetensors file, the same as `xpert phone train` keeps, so that
 * `xpert phone adopt` reads it too. Knows arrays and numbers.
 */
import { XpertError } from "./errors.ts";
import type { TrainingState } from "./runtime.ts";
import { readSafetensors, writeSafetensors, type Tensor } from "./safetensors.ts";
import { KEY, OPEN, isWhole, seal } from "./sealing.ts";

/** How far a run is; `validation_losses` are pairs of step and loss. */
export interface Progress {
  step: number;
  train_losses: number[];
  validation_losses: [number, number][];
  reported: number;
  seconds: number;
  cpu_seconds: number;
}

/** Digests that a checkpoint must share to be gone on from. */
export type Identity = Readonly<Record<string, string>>;

export interface Checkpoint {
  readonly progress: Progress;
  readonly state: TrainingState;
  /** (P,) of the lowest validation loss so far. */
  readonly best: Float32Array;
  readonly identity: Identity;
}

const NAMES = ["adapter", "first_moment", "second_moment", "best"] as const;

export function freshProgress(): Progress {
  return { step: 0, train_losses: [], validation_losses: [], reported: -1, seconds: 0, cpu_seconds: 0 };
}

export async function writeCheckpoint({ progress, state, best, identity }: Checkpoint): Promise<Uint8Array> {
  const arrays = [state.adapter, state.firstMoment, state.secondMoment, best];
  const tensors = NAMES.map((name, i): Tensor => ({ name, shape: [arrays[i]!.length], data: arrays[i]! }));
  return seal(writeSafetensors(tensors, { xpert: JSON.stringify({ progress, identity }), [KEY]: OPEN }));
}

/** @throws XpertError where it cannot be read, or a byte of it changed. */
export async function readCheckpoint(file: Uint8Array): Promise<Checkpoint> {
  try {
    if (!(await isWhole(file))) throw new Error("another file than was written");
    const { tensors, metadata } = readSafetensors(file, "it");
    if (Object.keys(metadata).some((name) => name !== "xpert" && name !== KEY)) throw new Error("a changed header");
    const { progress, identity } = JSON.parse(metadata["xpert"] ?? "") as Pick<Checkpoint, "progress" | "identity">;
    const [adapter, firstMoment, secondMoment, best] = NAMES.map((name) => tensors.get(name)!.data);
    return {
      progress,
      identity,
      state: { step: progress.step, adapter: adapter!, firstMoment: firstMoment!, secondMoment: secondMoment! },
      best: best!,
    };
  } catch {
    throw new XpertError("the unfinished run cannot be read, or was changed since it was saved: start again");
  }
}

/** Step and loss of the lowest evaluation, the first of equals. */
export function lowest(progress: Progress): [number, number] | null {
  return progress.validation_losses.reduce<[number, number] | null>(
    (best, entry) => (best === null || entry[1] < best[1] ? entry : best),
    null,
  );
}
