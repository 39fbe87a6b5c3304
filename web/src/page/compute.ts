/** Chooses what computes: the graphics processor where it computes rightly and is faster, else WebAssembly. */
import * as ort from "onnxruntime-web/wasm";

import { BackendError, webAssembly, type Backend } from "../core/backend.ts";
import { XpertError, textOf } from "../core/errors.ts";
import { goldenSize, timeGolden } from "../core/golden.ts";
import { BASE, type Manifest } from "../core/manifest.ts";
import { fits } from "../core/memory.ts";
import { WebRuntime } from "../core/runtime.ts";
import { largestBytes } from "../core/safetensors.ts";
import type { ExportedFolder } from "../core/source.ts";
import { passGolden, raceName, remember, remembered, type Check } from "./checks.ts";
import type { Opening } from "./protocol.ts";

const MIB = 2 ** 20;
/** Bases up to this size are opened on both, and the faster is kept; a larger one would lie in memory twice. */
const RACE_BYTES = 64 * MIB;

/** What computes, checked. */
export interface Chosen extends Check {
  readonly runtime: WebRuntime;
  /** Name, version and device, for people. */
  readonly called: string;
  /** All that what computes says of itself: what a check was passed on. */
  readonly device: string;
  /** Why this device, where there was a choice. */
  readonly because: string | null;
  /** What the graphics processor can hold; null: the processor computes. */
  readonly arrays: Arrays | null;
}

type Stage = (text: string) => void;

/** What a graphics processor can hold in one array. */
export class Arrays {
  readonly most: number;

  constructor({ limits }: GPUAdapter) {
    this.most = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
  }

  /** @throws BackendError where a matrix of the base is larger. */
  checkBase(file: Uint8Array): void {
    this.fits(largestBytes(file, BASE), "the base's largest matrix");
  }

  /** @throws BackendError where a step's probabilities, of the vocabulary or of one block's attention, are more. */
  check({ sizes, memory }: Manifest, batchSize: number, lengthTokens: number): void {
    const tokens = batchSize * lengthTokens;
    const attention = (tokens * lengthTokens * memory.pair_bytes) / sizes.blocks;
    this.fits(Math.max(4 * tokens * sizes.vocabulary, attention), `a step of ${batchSize} x ${lengthTokens} tokens`);
  }

  private fits(bytes: number, what: string): void {
    if (bytes <= this.most) return;
    const [needed, most] = [bytes, this.most].map((size) => Math.ceil(size / MIB));
    throw new BackendError(`${what} takes ${needed} MiB in one piece, and it holds ${most} MiB`);
  }
}

/**
 * Open the runtime as the person wants it, and take the golden steps.
 *
 * @param broken told when the graphics processor fails after it was chosen.
 * @throws BackendError where the graphics processor fails: another worker is to try without it, as what it holds is
 *   given back only with the worker.
 * @throws XpertError where nothing computes rightly, or where a person insists on a graphics processor that does not.
 */
export async function choose(
  folder: ExportedFolder,
  how: Opening,
  stage: Stage,
  broken: (why: string) => void,
): Promise<Chosen> {
  const onProcessor = (because: string | null): Promise<Chosen> => onWebAssembly(folder, how, because, stage);
  if (how.compute === "wasm") return onProcessor(how.because === null ? null : instead(how.because));
  try {
    const adapter = await adapterFor(how);
    if (adapter === null) return await onProcessor(null);
    const size = folder.manifest.files[BASE]?.size_bytes ?? 0;
    const races = how.compute === "auto" && size <= RACE_BYTES;
    const race = raceName(folder, JSON.stringify([describe(adapter), how.threads]));
    const known = races ? ((await remembered(race)) as Race | undefined) : undefined;
    if (known?.winner === "processor") return await onProcessor(known.figures);
    const graphics = await onGraphics(folder, adapter, how, stage, broken);
    if (known !== undefined) return { ...graphics, because: known.figures };
    return races ? await faster(folder, graphics, onProcessor, race) : graphics;
  } catch (error) {
    if (how.compute === "auto") throw new BackendError(textOf(error));
    throw new XpertError(
      `the graphics processor cannot be used: ${textOf(error)}. Choose another under "Compute on", or use a browser ` +
        "with WebGPU",
    );
  }
}

/** Why the processor computes though there is a graphics processor. */
function instead(why: string): string {
  return `the graphics processor is not used: computing in WebAssembly instead, because ${why}`;
}

/** The browser's graphics processor; null: it has none, or only imitates one and nobody insists on it. */
async function adapterFor({ compute }: Opening): Promise<GPUAdapter | null> {
  const gpu = navigator.gpu as GPU | undefined;
  const adapter = (await gpu?.requestAdapter({ powerPreference: "high-performance" })) ?? null;
  if (compute === "webgpu" && adapter === null) throw new XpertError("the browser gives none");
  const info = adapter?.info as GPUAdapterInfo | undefined; // browsers learned to tell it later than to compute
  return compute === "auto" && info?.isFallbackAdapter ? null : adapter;
}

async function onWebAssembly(
  folder: ExportedFolder,
  how: Opening,
  because: string | null,
  stage: Stage,
): Promise<Chosen> {
  const { threads } = how;
  ort.env.wasm.numThreads = threads;
  const here = (name: string): string => new URL(name, self.location.href).href;
  ort.env.wasm.wasmPaths = { mjs: here("ort-wasm-simd-threaded.mjs"), wasm: here("ort-wasm-simd-threaded.wasm") };
  const backend = webAssembly(ort);
  const called = `${backend.called}, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return { ...(await checked(folder, backend, called, how, stage)), because, arrays: null };
}

async function onGraphics(
  folder: ExportedFolder,
  adapter: GPUAdapter,
  how: Opening,
  stage: Stage,
  broken: (why: string) => void,
): Promise<Chosen> {
  const arrays = new Arrays(adapter);
  arrays.checkBase(await folder.read(BASE));
  stage("loading what computes on the graphics processor");
  const { openGraphics } = await import("./graphics.ts");
  const backend = await openGraphics(adapter, how.threads, broken);
  const device = `${backend.called} ${describe(adapter)}`;
  return { ...(await checked(folder, backend, backend.called, how, stage, device)), because: null, arrays };
}

async function checked(
  folder: ExportedFolder,
  backend: Backend,
  called: string,
  { availableBytes }: Opening,
  stage: Stage,
  device = called,
): Promise<Check & { runtime: WebRuntime; called: string; device: string }> {
  const plain = fits(folder.manifest, { ...(await goldenSize(folder)), recompute: false }, availableBytes);
  const runtime = await WebRuntime.open(folder, backend);
  const said = (): void => stage("checking that this browser computes rightly");
  return { ...(await passGolden(runtime, folder, device, !plain, said)), runtime, called, device };
}

/** Who was faster, and the times of both. */
interface Race {
  readonly winner: "graphics" | "processor";
  readonly figures: string;
}

/** The faster of both at a golden step, one opened after the other; the other's memory is given back. */
async function faster(
  folder: ExportedFolder,
  graphics: Chosen,
  onProcessor: (because: string) => Promise<Chosen>,
  race: string,
): Promise<Chosen> {
  const graphicsTook = await timed(folder, graphics);
  await graphics.runtime.release();
  const processor = await onProcessor("").catch(() => null);
  if (processor === null) return graphics;
  const processorTook = await timed(folder, processor);
  const [one, other] = [graphicsTook, processorTook].map((seconds) => `${seconds.toPrecision(2)} s`);
  const figures = `a golden step took the graphics processor ${one}, WebAssembly ${other}`;
  const winner = processorTook < graphicsTook ? "processor" : "graphics";
  await remember(race, { winner, figures } satisfies Race);
  if (winner === "processor") {
    graphics.runtime.backend.end?.();
    return { ...processor, because: figures };
  }
  await processor.runtime.release();
  return { ...graphics, because: figures };
}

/** Seconds of a golden step that is not the first: what is made at the first is not counted. */
async function timed(folder: ExportedFolder, { runtime, remembered: untried }: Chosen): Promise<number> {
  if (untried) await timeGolden(runtime, folder);
  return timeGolden(runtime, folder);
}

/** All that a graphics processor says of itself. */
function describe(adapter: GPUAdapter): string {
  const { vendor, architecture, device, description } = (adapter.info as GPUAdapterInfo | undefined) ?? {};
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const features = [...adapter.features].sort();
  return JSON.stringify([vendor, architecture, device, description, maxBufferSize, maxStorageBufferBindingSize, features]);
}
