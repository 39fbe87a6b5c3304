/** Is there room for a training step? Knows numbers only. */
import { XpertError } from "./errors.ts";
import { BASE, type Manifest } from "./manifest.ts";

const MIB = 2 ** 20;
const WEBASSEMBLY_BYTES = 2 ** 32;
/** What the runtime takes more in WebAssembly than the manifest counts: its code, compiled, and copies not yet cleared. */
const RUNTIME_BYTES = 320 * MIB;

/**
 * Bytes of a step of b x s tokens. Beside what the manifest counts, a second graph holds the base for evaluations, and
 * the file itself is kept to open graphs from.
 */
export function stepBytes(manifest: Manifest, batchSize: number, lengthTokens: number, recompute: boolean): number {
  const { fixed_bytes, label_bytes, ...memory } = manifest.memory;
  const [token_bytes, pair_bytes] = recompute
    ? [memory.recompute_token_bytes, memory.recompute_pair_bytes]
    : [memory.token_bytes, memory.pair_bytes];
  const tokens = batchSize * lengthTokens;
  const base = manifest.files[BASE]?.size_bytes ?? 0;
  return RUNTIME_BYTES + fixed_bytes + 2 * base + tokens * (token_bytes + lengthTokens * pair_bytes + label_bytes);
}

/**
 * The estimate of a step in bytes, where it fits: into what the device has, and, but for the file itself, into what
 * WebAssembly can have at all.
 *
 * @param recompute whether activations are computed again.
 * @param available what the device has for us; undefined where it does not say.
 * @throws XpertError where a sequence is longer than the export allows, or the step does not fit.
 */
export function checkMemory(
  manifest: Manifest,
  batchSize: number,
  lengthTokens: number,
  recompute: boolean,
  available: number | undefined,
): number {
  if (lengthTokens > manifest.length_tokens) {
    throw new XpertError(
      `samples have up to ${lengthTokens} tokens, the export reads ${manifest.length_tokens} at most: use a smaller ` +
        "max_length_tokens, or export with a larger one",
    );
  }
  const needed = stepBytes(manifest, batchSize, lengthTokens, recompute);
  const budget = Math.min(available ?? Infinity, WEBASSEMBLY_BYTES + (manifest.files[BASE]?.size_bytes ?? 0));
  if (needed > budget) {
    throw new XpertError(
      `a step of ${batchSize} x ${lengthTokens} tokens needs about ${Math.round(needed / MIB)} MiB, ` +
        `${Math.round(budget / MIB)} MiB are there: spare memory (gradient_checkpointing, batch_size 1, more accumulation_steps), use a ` +
        "smaller max_length_tokens, export with --int8, or export a smaller base",
    );
  }
  return needed;
}
