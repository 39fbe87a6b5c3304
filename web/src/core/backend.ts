/** What computes: a build of ONNX Runtime for the web, and the provider in it. Knows tensors, no graphs. */
import type * as Ort from "onnxruntime-web/wasm";

import { XpertError } from "./errors.ts";

export type Feeds = Record<string, Ort.Tensor>;

export interface Backend {
  readonly ort: typeof Ort;
  readonly provider: Ort.InferenceSession.ExecutionProviderConfig;
  /** Runtime, version and provider, for people. */
  readonly called: string;
  /** Does a piece of work, and lets no result out that may be wrong because the device failed meanwhile. */
  guarded<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Give the device back, where there is one; nothing can be computed afterwards. */
  end?(): void;
}

/** A device failed that computed before: the work can be done again by another. */
export class BackendError extends XpertError {
  override name = "BackendError";
}

/** Name and version of a build of the runtime. */
export function versionOf({ env }: typeof Ort): string {
  return `onnxruntime-web ${env.versions.web ?? env.versions.common}`;
}

/** WebAssembly: the processor itself, in every browser and in Node.js. */
export function webAssembly(ort: typeof Ort): Backend {
  const called = `${versionOf(ort)} (WebAssembly)`;
  return { ort, provider: "wasm", called, guarded: (work) => work() };
}

/** The tensors of one build of the runtime. */
export class Tensors {
  constructor(private readonly of: Backend) {}

  readonly vector = (data: Float32Array): Ort.Tensor => new this.of.ort.Tensor("float32", data, [data.length]);

  readonly scalar = (value: number): Ort.Tensor => new this.of.ort.Tensor("float32", Float32Array.of(value), []);

  readonly empty = (shape: readonly number[]): Ort.Tensor =>
    new this.of.ort.Tensor("float32", new Float32Array(0), shape);

  readonly whole = (values: readonly number[]): Ort.Tensor =>
    new this.of.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [values.length]);

  readonly rows = (rows: readonly (readonly number[])[]): Ort.Tensor =>
    new this.of.ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);
}
