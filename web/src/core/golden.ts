/** A few steps whose losses are known: the first thing that a runtime must show, before it touches anyone's data. */
import type { Batch } from "./batches.ts";
import { XpertError } from "./errors.ts";
import { GOLDEN } from "./manifest.ts";
import type { StepSettings, WebRuntime } from "./runtime.ts";
import type { ExportedFolder } from "./source.ts";

interface GoldenStep {
  readonly batches: readonly Batch[];
  readonly learning_rate: number;
  readonly weight_decay: number;
  readonly max_gradient_norm: number;
  readonly loss: number;
}

interface Golden {
  readonly steps: readonly GoldenStep[];
  readonly evaluation: readonly Batch[];
  readonly evaluation_loss: number;
  readonly tolerance: number;
}

/**
 * Take the golden steps; the largest difference from the reference. The runtime's state is as before then.
 *
 * @param called runtime and version, for the error.
 * @param recompute whether activations are computed again.
 * @throws XpertError where a loss differs by more than the tolerance; the text names the step.
 */
export async function checkGolden(
  runtime: WebRuntime,
  folder: ExportedFolder,
  called: string,
  recompute = false,
): Promise<number> {
  const golden = JSON.parse(await folder.text(GOLDEN)) as Golden;
  const before = runtime.state();
  let worst = 0;
  const compare = (what: string, loss: number, wanted: number): void => {
    if (!(Math.abs(loss - wanted) <= golden.tolerance * Math.max(1, Math.abs(wanted)))) {
      throw new XpertError(
        `${called} computes another loss than the reference on the golden batch: ${what} gave ${loss.toFixed(6)}, ` +
          `${wanted.toFixed(6)} is right: use another version of the runtime, or export again`,
      );
    }
    worst = Math.max(worst, Math.abs(loss - wanted));
  };
  try {
    for (const [index, step] of golden.steps.entries()) {
      const { loss } = await runtime.step(step.batches, { ...settingsOf(step), recompute });
      compare(`training step ${index + 1}`, loss, step.loss);
    }
    compare("evaluation", await runtime.evaluate(golden.evaluation), golden.evaluation_loss);
  } finally {
    runtime.restore(before);
  }
  return worst;
}

/** Sequences, and tokens of the longest, of the largest golden batch. */
export async function goldenSize(folder: ExportedFolder): Promise<{ batchSize: number; lengthTokens: number }> {
  const { steps, evaluation } = JSON.parse(await folder.text(GOLDEN)) as Golden;
  const batches = [...steps.flatMap((step) => step.batches), ...evaluation].map((batch) => batch.input_ids);
  return {
    batchSize: Math.max(1, ...batches.map((rows) => rows.length)),
    lengthTokens: Math.max(1, ...batches.flat().map((row) => row.length)),
  };
}

/** Seconds of the first golden step, taken again: what is made once, at the first, is not counted. */
export async function timeGolden(runtime: WebRuntime, folder: ExportedFolder): Promise<number> {
  const [step] = (JSON.parse(await folder.text(GOLDEN)) as Golden).steps;
  const before = runtime.state();
  const began = performance.now();
  try {
    await runtime.step(step!.batches, settingsOf(step!));
  } finally {
    runtime.restore(before);
  }
  return (performance.now() - began) / 1000;
}

function settingsOf(step: GoldenStep): StepSettings {
  return {
    learningRate: step.learning_rate,
    weightDecay: step.weight_decay,
    maxGradientNorm: step.max_gradient_norm,
  };
}
