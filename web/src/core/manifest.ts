/** What an exported folder holds; `docs/phones.md` explains the fields. Knows JSON only. */
import { XpertError } from "./errors.ts";

/** Goes up with every change after which an older runtime would compute something else. */
export const FORMAT = 2;
export const MANIFEST = "manifest.json";
export const BASE = "base.safetensors";
export const GOLDEN = "golden.json";
export const TOKENIZER = "tokenizer.json";
export const ADAPTER_WEIGHTS = "adapter/adapter_model.safetensors";
export const ADAPTER_CONFIG = "adapter/adapter_config.json";
/** The second takes the very steps of the first in less memory and more time. */
export const GRAPHS = {
  train: "train.onnx",
  recompute: "train-recompute.onnx",
  evaluate: "evaluate.onnx",
  generate: "generate.onnx",
} as const;
export type Graph = keyof typeof GRAPHS;

/** One matrix of the adapter: its name in peft's file, its shape, and its first place in the long vector. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** From what was asked to the text that the model reads: prefix + prompt + suffix. */
export interface Prompt {
  readonly prefix: string;
  readonly suffix: string;
  readonly strip: boolean;
  readonly empty: string;
  readonly add_special_tokens: boolean;
  readonly first: number | null;
  readonly begin: number | null;
  readonly end: number | null;
  readonly stops: readonly number[];
  readonly pad: number;
}

/**
 * What a training step needs, in bytes: fixed + b s token + b s^2 pair + m label; the last two numbers stand for token
 * and pair where activations are computed again.
 */
export interface Memory {
  readonly fixed_bytes: number;
  readonly token_bytes: number;
  readonly pair_bytes: number;
  readonly label_bytes: number;
  readonly recompute_token_bytes: number;
  readonly recompute_pair_bytes: number;
}

/** Size and SHA-256 of a file. */
export interface FileFacts {
  readonly size_bytes: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly format: number;
  readonly made_with: Readonly<Record<string, string>>;
  readonly base: {
    readonly name: string;
    readonly family: string;
    readonly sha256: string;
    readonly tokenizer_sha256: string;
    readonly dtype: string;
  };
  readonly sizes: {
    readonly blocks: number;
    readonly pairs: number;
    readonly head_width: number;
    readonly vocabulary: number;
  };
  readonly adapter: {
    readonly rank: number;
    readonly alpha: number;
    readonly parameters: readonly Parameter[];
  };
  /** Constants of AdamW inside the training graphs. */
  readonly optimizer: { readonly beta1: number; readonly beta2: number; readonly epsilon: number };
  readonly prompt: Prompt;
  readonly length_tokens: number;
  readonly memory: Memory;
  readonly files: Readonly<Record<string, FileFacts>>;
}

/**
 * The manifest in a text.
 *
 * @throws XpertError where it is of another format, or no manifest.
 */
export function parseManifest(text: string): Manifest {
  let raw: Partial<Manifest> | null;
  try {
    raw = JSON.parse(text) as Partial<Manifest> | null;
  } catch {
    throw new XpertError(`${MANIFEST} is no JSON: export or download the folder again`);
  }
  if (typeof raw !== "object" || raw === null || raw.format === undefined) {
    throw new XpertError(`${MANIFEST} names no format: give a folder that \`xpert export\` wrote`);
  }
  if (raw.format !== FORMAT) {
    throw new XpertError(
      `the folder has format ${raw.format} (written by xpert ${raw.made_with?.["xpert"] ?? "unknown"}), this version ` +
        `reads format ${FORMAT}: export the base again with this version, or use the version that wrote it`,
    );
  }
  return raw as Manifest;
}

/** Numbers of a parameter. */
export function sizeOf(parameter: Parameter): number {
  return parameter.shape.reduce((product, size) => product * size, 1);
}

/** P, numbers of the long vector. */
export function adapterSize(manifest: Manifest): number {
  return manifest.adapter.parameters.reduce((sum, parameter) => sum + sizeOf(parameter), 0);
}
