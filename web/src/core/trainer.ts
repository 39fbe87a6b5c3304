/**
 * The steps of a run: learn, evaluate, save, stop; and to go on where one was cut off. The same course as
 * `xpert.runtime.loop` takes. Knows a runtime, a plan of batches and a place for checkpoints.
 */
import { Plan, dataDigest, evaluationBatches, type Batch } from "./batches.ts";
import {
  freshProgress, lowest, readCheckpoint, writeCheckpoint, type Identity, type Progress,
} from "./checkpoint.ts";
import { XpertError } from "./errors.ts";
import type { WebRuntime } from "./runtime.ts";
import { splitSamples, type Sample } from "./samples.ts";
import { learningRateAt, type Settings } from "./settings.ts";
import { digestOf } from "./source.ts";
import type { Encoded, Tokens } from "./tokens.ts";

export type Stopped = "target" | "plateau" | "max_steps" | "paused";

/** Where a run's checkpoint lies: replaced whole or not at all. */
export interface CheckpointPlace {
  load(): Promise<Uint8Array | null>;
  save(file: Uint8Array): Promise<void>;
}

/** Samples as tokens, in two parts, and what a step of them is at most. */
export interface Prepared {
  readonly learned: readonly Encoded[];
  readonly held: readonly Encoded[];
  readonly longest: number;
}

/** Split and encode a person's samples. */
export function prepare(tokens: Tokens, samples: readonly Sample[], of: Settings): Prepared {
  const [train, validation] =
    of.evaluate_every === null ? [samples, []] : splitSamples(samples, of.validation, of.seed);
  const learned = tokens.encode(train, of.max_length_tokens);
  const held = tokens.encode(validation, of.max_length_tokens);
  if (learned.length === 0 || (held.length === 0 && of.evaluate_every !== null)) {
    throw new XpertError(`all ${samples.length} samples are empty: give samples with a response`);
  }
  return { learned, held, longest: Math.max(...[...learned, ...held].map((sample) => sample.tokens.length)) };
}

export class Trainer {
  progress: Progress = freshProgress();
  /** (P,) of the lowest validation loss; the last where nothing was evaluated. */
  private best: Float32Array;
  private pausing = false;

  private constructor(
    private readonly runtime: WebRuntime,
    private readonly plan: Plan,
    private readonly evaluation: readonly Batch[],
    readonly settings: Settings,
    private readonly place: CheckpointPlace,
    private readonly identity: Identity,
  ) {
    this.best = runtime.state().adapter;
  }

  /**
   * A run that goes on from the checkpoint in `place`, or starts where there is none.
   *
   * @param artifacts digest of the export.
   * @throws XpertError where the checkpoint belongs to another run.
   */
  static async open(
    runtime: WebRuntime,
    { learned, held }: Prepared,
    settings: Settings,
    place: CheckpointPlace,
    artifacts: string,
  ): Promise<Trainer> {
    const { batch_size: batchSize, accumulation_steps: accumulationSteps, seed } = settings;
    const { pad } = runtime.manifest.prompt;
    const plan = new Plan(learned, { batchSize, accumulationSteps, seed, pad });
    const identity = {
      settings: await digestOf(new TextEncoder().encode(JSON.stringify(settings))),
      data: await dataDigest(learned, held),
      "artifacts or adapter": artifacts,
    };
    const evaluation = evaluationBatches(held, 2 * batchSize, pad);
    const trainer = new Trainer(runtime, plan, evaluation, settings, place, identity);
    const saved = await place.load();
    if (saved !== null) await trainer.resume(saved);
    return trainer;
  }

  /** The adapter to keep. */
  get adapter(): Float32Array {
    return lowest(this.progress) === null ? this.runtime.state().adapter : this.best;
  }

  get samplesSeen(): number {
    return this.plan.samplesSeen(this.progress.step);
  }

  /** End the run after the step that is being taken. */
  pause(): void {
    this.pausing = true;
  }

  /**
   * Take steps until the target, a plateau, the last step or a pause. Every step is saved before it is told of.
   *
   * @param onStep told of every step, and once before the first.
   */
  async run(onStep: (trainer: Trainer) => Promise<void> | void): Promise<Stopped> {
    this.pausing = false;
    for (let clock = performance.now(); ; ) {
      if (this.isDue() && !this.isEvaluated()) await this.evaluate();
      this.progress.seconds += (performance.now() - clock) / 1000;
      clock = performance.now();
      if (this.progress.step > 0) await this.save();
      await onStep(this);
      const stopped = this.stopped();
      if (stopped !== null) return stopped;
      if (this.pausing) return "paused";
      await this.takeStep();
    }
  }

  private async resume(saved: Uint8Array): Promise<void> {
    const { progress, state, best, identity } = await readCheckpoint(saved);
    const other = Object.keys(this.identity).filter((name) => identity[name] !== this.identity[name]);
    if (other.length > 0) {
      throw new XpertError(
        `the unfinished run has other ${other.join(" and ")}: give the same to finish it, or start over`,
      );
    }
    this.runtime.restore(state);
    this.progress = progress;
    this.best = best;
  }

  private async takeStep(): Promise<void> {
    const { step } = this.progress;
    const { loss } = await this.runtime.step(this.plan.step(step), {
      learningRate: learningRateAt(this.settings, step),
      weightDecay: this.settings.weight_decay,
      maxGradientNorm: this.settings.max_grad_norm,
      recompute: this.settings.gradient_checkpointing,
    });
    this.progress.step += 1;
    this.progress.train_losses.push(loss);
  }

  private isDue(): boolean {
    const { evaluate_every: every, max_steps } = this.settings;
    const { step } = this.progress;
    return this.evaluation.length > 0 && every !== null && (step % every === 0 || step === max_steps);
  }

  private isEvaluated(): boolean {
    return this.progress.validation_losses.at(-1)?.[0] === this.progress.step;
  }

  private async evaluate(): Promise<void> {
    const { progress } = this;
    progress.validation_losses.push([progress.step, await this.runtime.evaluate(this.evaluation)]);
    if (lowest(progress)![0] === progress.step) this.best = this.runtime.state().adapter;
  }

  private async save(): Promise<void> {
    const { progress, best, identity } = this;
    await this.place.save(await writeCheckpoint({ progress, state: this.runtime.state(), best, identity }));
  }

  private stopped(): Stopped | null {
    const { target_validation_loss: target, patience, max_steps } = this.settings;
    if (this.isEvaluated()) {
      if (target !== null && this.progress.validation_losses.at(-1)![1] <= target) return "target";
      if (patience !== null && this.waiting() >= patience) return "plateau";
    }
    return this.progress.step >= max_steps ? "max_steps" : null;
  }

  /** Evaluations in a row, up to now, that were not more than `min_delta` below the lowest before. */
  private waiting(): number {
    let lowestSoFar = Infinity;
    let count = 0;
    for (const [, loss] of this.progress.validation_losses) {
      count = loss < lowestSoFar - this.settings.min_delta ? 0 : count + 1;
      if (count === 0) lowestSoFar = Math.min(lowestSoFar, loss);
    }
    return count;
  }
}
