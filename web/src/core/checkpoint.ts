/**
 * What an interrupted run needs to go on: one safetensors file, the same as `xpert phone train` keeps, so that
 * `xpert phone adopt` reads it too. Knows arrays and numbers.
 */
import { XpertError } from "./errors.ts";
import type { TrainingState } from "./runtime.ts";
import { readSafetensors, writeSafetensors, type Tensor } from "./safetensors.ts";

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

export function writeCheckpoint({ progress, state, best, identity }: Checkpoint): Uint8Array {
  const arrays = [state.adapter, state.firstMoment, state.secondMoment, best];
  const tensors = NAMES.map((name, i): Tensor => ({ name, shape: [arrays[i]!.length], data: arrays[i]! }));
  return writeSafetensors(tensors, { xpert: JSON.stringify({ progress, identity }) });
}

/** @throws XpertError where it cannot be read. */
export function readCheckpoint(file: Uint8Array): Checkpoint {
  try {
    const { tensors, metadata } = readSafetensors(file, "it");
    const { progress, identity } = JSON.parse(metadata["xpert"] ?? "") as Pick<Checkpoint, "progress" | "identity">;
    const [adapter, firstMoment, secondMoment, best] = NAMES.map((name) => tensors.get(name)!.data);
    return {
      progress,
      identity,
      state: { step: progress.step, adapter: adapter!, firstMoment: firstMoment!, secondMoment: secondMoment! },
      best: best!,
    };
  } catch {
    throw new XpertError("the unfinished run cannot be read: start again");
  }
}

/** Step and loss of the lowest evaluation, the first of equals. */
export function lowest(progress: Progress): [number, number] | null {
  return progress.validation_losses.reduce<[number, number] | null>(
    (best, entry) => (best === null || entry[1] < best[1] ? entry : best),
    null,
  );
}
