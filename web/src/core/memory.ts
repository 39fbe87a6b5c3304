/** Is there room for a training step? Asked before anything large is opened. Knows numbers only. */
import { XpertError } from "./errors.ts";
import { BASE, type Manifest } from "./manifest.ts";

const MIB = 2 ** 20;
const WEBASSEMBLY_BYTES = 2 ** 32;
/** What the runtime takes more in WebAssembly than the manifest counts: its code, compiled, and copies not yet cleared. */
const RUNTIME_BYTES = 320 * MIB;
/** The smallest step that is worth opening a base for: one so short text, with activations computed again. */
const SHORTEST_TOKENS = 8;

/** What is computed at once: sequences, tokens of the longest, and whether activations are computed again. */
export interface StepSize {
  readonly batchSize: number;
  readonly lengthTokens: number;
  readonly recompute: boolean;
}

const SMALLEST: StepSize = { batchSize: 1, lengthTokens: SHORTEST_TOKENS, recompute: true };

/**
 * Bytes of a step of b x s tokens. Beside what the manifest counts, a second graph holds the base for evaluations, and
 * the file itself is kept to open graphs from.
 */
export function stepBytes(manifest: Manifest, { batchSize, lengthTokens, recompute }: StepSize): number {
  const { fixed_bytes, label_bytes, ...memory } = manifest.memory;
  const [token_bytes, pair_bytes] = recompute
    ? [memory.recompute_token_bytes, memory.recompute_pair_bytes]
    : [memory.token_bytes, memory.pair_bytes];
  const tokens = batchSize * lengthTokens;
  return RUNTIME_BYTES + fixed_bytes + 2 * baseBytes(manifest) + tokens * (token_bytes + lengthTokens * pair_bytes + label_bytes);
}

/**
 * What a step may take: what the device has for us, and, but for the file itself, what WebAssembly can have at all.
 *
 * @param available what the device has; undefined where it does not say.
 */
export function budgetBytes(manifest: Manifest, available: number | undefined): number {
  return Math.min(available ?? Infinity, WEBASSEMBLY_BYTES + baseBytes(manifest));
}

/** Whether a step fits. */
export function fits(manifest: Manifest, size: StepSize, available: number | undefined): boolean {
  return stepBytes(manifest, size) <= budgetBytes(manifest, available);
}

/**
 * Refuses a base with which not even the smallest step fits, before it is loaded.
 *
 * @throws XpertError that names what it takes, what is there, and the way out.
 */
export function checkOpening(manifest: Manifest, available: number | undefined): void {
  if (fits(manifest, SMALLEST, available)) return;
  throw new XpertError(
    `even with "Spare memory" and a message of a few words ${manifest.base.name} needs about ` +
      `${mib(stepBytes(manifest, SMALLEST))} MiB, ${there(manifest, available)}: use a device with more memory, ` +
      smallerBase(manifest),
  );
}

/**
 * The estimate of a step in bytes, where it fits.
 *
 * @param available what the device has for us; undefined where it does not say.
 * @throws XpertError where a sequence is longer than the export allows, or the step does not fit.
 */
export function checkMemory(manifest: Manifest, size: StepSize, available: number | undefined): number {
  const { batchSize, lengthTokens, recompute } = size;
  if (lengthTokens > manifest.length_tokens) {
    throw new XpertError(
      `samples have up to ${lengthTokens} tokens, the export reads ${manifest.length_tokens} at most: use a smaller ` +
        "max_length_tokens, or export with a larger one",
    );
  }
  const needed = stepBytes(manifest, size);
  if (needed > budgetBytes(manifest, available)) {
    const sparing =
      batchSize > 1 || !recompute
        ? 'tick "Spare memory" (gradient_checkpointing, batch_size 1, more accumulation_steps), '
        : "";
    throw new XpertError(
      `a step of ${batchSize} x ${lengthTokens} tokens needs about ${mib(needed)} MiB, ${there(manifest, available)}: ` +
        `${sparing}use a smaller max_length_tokens, ${smallerBase(manifest)}`,
    );
  }
  return needed;
}

function baseBytes(manifest: Manifest): number {
  return manifest.files[BASE]?.size_bytes ?? 0;
}

function there(manifest: Manifest, available: number | undefined): string {
  return `${mib(budgetBytes(manifest, available))} MiB are there`;
}

function smallerBase({ base }: Manifest): string {
  return base.dtype === "int8" ? "or export a smaller base" : "export with --int8, or export a smaller base";
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}
