/**
 * Trains, evaluates and generates with ONNX Runtime for the web; the law is that of `xpert.runtime.Runtime`.
 * Knows the graphs of an exported folder; nothing of texts, nor of what computes.
 */
import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";

import { readVector } from "./adapters.ts";
import { Tensors, type Backend, type Feeds } from "./backend.ts";
import type { Batch } from "./batches.ts";
import { XpertError, textOf } from "./errors.ts";
import { continued, type Answering } from "./generation.ts";
import { ADAPTER_WEIGHTS, BASE, GRAPHS, adapterSize, type Graph, type Manifest } from "./manifest.ts";
import type { ExportedFolder } from "./source.ts";

/** Everything that a step changes: steps taken, adapter and both moments of AdamW, (P,) each. */
export interface TrainingState {
  readonly step: number;
  readonly adapter: Float32Array;
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
}

/** What may differ from step to step: numbers of AdamW, and how the gradient is computed. */
export interface StepSettings {
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly maxGradientNorm: number;
  /** Compute activations again for the gradient: the same numbers, less memory, more time. */
  readonly recompute?: boolean;
}

/** What a step saw: mean loss of its labelled tokens in nats, and the gradient's length before clipping. */
export interface StepReport {
  readonly loss: number;
  readonly gradientNorm: number;
}

export class WebRuntime {
  private readonly sessions = new Map<Graph, InferenceSession>();
  private readonly tensors: Tensors;

  private constructor(
    readonly backend: Backend,
    readonly manifest: Manifest,
    private readonly folder: ExportedFolder,
    private readonly base: Uint8Array,
    private current: TrainingState,
  ) {
    this.tensors = new Tensors(backend);
  }

  /** With the folder's own adapter, moments of zero and step 0. Graphs are opened when they are needed first. */
  static async open(folder: ExportedFolder, backend: Backend): Promise<WebRuntime> {
    const { manifest } = folder;
    const adapter = readVector(await folder.read(ADAPTER_WEIGHTS), ADAPTER_WEIGHTS, manifest);
    return new WebRuntime(backend, manifest, folder, await folder.read(BASE), fresh(adapter));
  }

  /** What training changed; later steps do not change these arrays. */
  state(): TrainingState {
    return this.current;
  }

  /**
   * Go on from a state, a copy of it.
   *
   * @throws XpertError where it belongs to another adapter.
   */
  restore(state: TrainingState): void {
    const wanted = adapterSize(this.manifest);
    for (const name of ["adapter", "firstMoment", "secondMoment"] as const) {
      if (state[name].length !== wanted) {
        throw new XpertError(
          `the state's ${name} has ${state[name].length} numbers, the export's adapter has ${wanted}: it belongs to ` +
            "another export",
        );
      }
    }
    const { step, adapter, firstMoment, secondMoment } = state;
    this.current = {
      step, adapter: adapter.slice(), firstMoment: firstMoment.slice(), secondMoment: secondMoment.slice(),
    };
  }

  /**
   * One optimizer step; the gradient of all micro-batches but the last is handed on to the next.
   *
   * @throws XpertError, with the state as it was, where loss or gradient are not finite.
   */
  async step(batches: readonly Batch[], settings: StepSettings): Promise<StepReport> {
    const { step, adapter, firstMoment, secondMoment } = this.current;
    const { beta1, beta2 } = this.manifest.optimizer;
    const share = 1 / labelCount(batches);
    const graph = settings.recompute ? "recompute" : "train";
    await this.ready(graph);
    const { vector, scalar } = this.tensors;
    const given: Feeds = {
      adapter: vector(adapter),
      first_moment: vector(firstMoment),
      second_moment: vector(secondMoment),
      first_correction: scalar(1 - beta1 ** (step + 1)),
      second_correction: scalar(Math.sqrt(1 - beta2 ** (step + 1))),
      learning_rate: scalar(settings.learningRate),
      weight_decay: scalar(settings.weightDecay),
      max_gradient_norm: scalar(settings.maxGradientNorm),
    };
    let loss = 0;
    let accumulated = vector(new Float32Array(adapter.length));
    for (const batch of batches.slice(0, -1)) {
      const part = await this.run(graph, { ...given, ...this.fed(batch, share), accumulated }, ["loss", "gradient"]);
      loss += numbers(part, "loss")[0]!;
      accumulated = vector(numbers(part, "gradient"));
    }
    const wanted = ["loss", "gradient_norm", "new_adapter", "new_first_moment", "new_second_moment"];
    const whole = { ...given, ...this.fed(batches[batches.length - 1]!, share), accumulated };
    const last = await this.run(graph, whole, wanted);
    const report = { loss: loss + numbers(last, "loss")[0]!, gradientNorm: numbers(last, "gradient_norm")[0]! };
    if (!Number.isFinite(report.loss) || !Number.isFinite(report.gradientNorm)) {
      throw new XpertError(
        `step ${step + 1}: the loss is ${report.loss} and the gradient's length ${report.gradientNorm}, which must ` +
          `be finite: use a lower learning_rate than ${settings.learningRate}`,
      );
    }
    this.current = {
      step: step + 1,
      adapter: numbers(last, "new_adapter"),
      firstMoment: numbers(last, "new_first_moment"),
      secondMoment: numbers(last, "new_second_moment"),
    };
    return report;
  }

  /** Mean negative log likelihood of a labelled token, in nats. */
  async evaluate(batches: readonly Batch[]): Promise<number> {
    const count = labelCount(batches);
    const adapter = this.tensors.vector(this.current.adapter);
    let total = 0;
    for (const batch of batches) {
      const found = await this.run("evaluate", { adapter, ...this.fed(batch, 1) }, ["loss"]);
      total += numbers(found, "loss")[0]!;
    }
    const loss = total / count;
    if (!Number.isFinite(loss)) {
      throw new XpertError(`validation loss is ${loss}: the adapter's weights are damaged or have diverged`);
    }
    return loss;
  }

  /**
   * New tokens after the given ones, with a cache of keys and values.
   *
   * @param adapter (P,) to answer with; zeros: the base.
   */
  async generate(adapter: Float32Array, tokens: readonly number[], how: Answering): Promise<number[]> {
    const { blocks, pairs, head_width } = this.manifest.sizes;
    const names = Array.from({ length: blocks }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
    const shape = [1, pairs, 0, head_width];
    let past: Feeds = {};
    const { vector, rows, empty } = this.tensors;
    for (const name of names) past[`past_key_values.${name}`] = empty(shape);
    const following = async (given: readonly number[]): Promise<Float32Array> => {
      const found = await this.run("generate", { adapter: vector(adapter), input_ids: rows([given]), ...past });
      past = Object.fromEntries(names.map((name) => [`past_key_values.${name}`, found[`present.${name}`]!]));
      return numbers(found, "logits");
    };
    return continued(following, tokens, how, this.manifest.length_tokens);
  }

  /** Open a graph before it is needed, and with the first one the runtime itself. */
  async ready(kind: Graph): Promise<void> {
    if (kind === "train") await this.close("recompute"); // each holds a base of its own
    if (kind === "recompute") await this.close("train");
    await this.session(kind);
  }

  /** Give a graph's memory back; it is opened again when it is needed. */
  async close(kind: Graph): Promise<void> {
    await this.sessions.get(kind)?.release();
    this.sessions.delete(kind);
  }

  /** Give the memory of all graphs back. */
  async release(): Promise<void> {
    for (const kind of [...this.sessions.keys()]) await this.close(kind);
  }

  /**
   * The outputs of a graph.
   *
   * @throws BackendError where the graphics processor fails; nothing that was computed then is handed on.
   */
  private async run(kind: Graph, feeds: Feeds, wanted?: readonly string[]): Promise<Feeds> {
    const session = await this.session(kind);
    const found = await this.backend.guarded(() => (wanted ? session.run(feeds, wanted) : session.run(feeds)));
    return found as Feeds;
  }

  private async session(kind: Graph): Promise<InferenceSession> {
    const open = this.sessions.get(kind);
    if (open !== undefined) return open;
    const graph = await this.folder.read(GRAPHS[kind]);
    const { ort, provider, called } = this.backend;
    try {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders: [provider],
        externalData: [{ path: BASE, data: this.base }],
        enableMemPattern: false, // sizes differ from batch to batch, and patterns hold on to memory
        extra: { session: { disable_prepacking: "1" } },
        logSeverityLevel: 3,
      });
      this.sessions.set(kind, session);
      return session;
    } catch (error) {
      throw new XpertError(
        `${called} cannot open ${GRAPHS[kind]} (${textOf(error)}): free memory, use a newer version, or export again`,
      );
    }
  }

  private fed(batch: Batch, weight: number): Feeds {
    const { rows, whole, vector } = this.tensors;
    return {
      input_ids: rows(batch.input_ids),
      rows: whole(batch.rows),
      targets: whole(batch.targets),
      weights: vector(new Float32Array(batch.targets.length).fill(weight)),
    };
  }
}

/** The state before the first step. */
export function fresh(adapter: Float32Array): TrainingState {
  const zeros = (): Float32Array => new Float32Array(adapter.length);
  return { step: 0, adapter, firstMoment: zeros(), secondMoment: zeros() };
}

function labelCount(batches: readonly Batch[]): number {
  const count = batches.reduce((sum, batch) => sum + batch.targets.length, 0);
  if (count === 0) {
    throw new XpertError("the batches hold no labelled token, at least 1 is needed: give samples with a response");
  }
  return count;
}

function numbers(outputs: Feeds, name: string): Float32Array {
  return (outputs[name] as Tensor).data as Float32Array;
}
