/** What a browser must have, looked at before anything starts. */

/** The smallest module that uses a 128-bit number. */
const SIMD = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
);

/** Names of what is missing; empty: everything is here. */
export function missing(): string[] {
  const found: string[] = [];
  if (typeof WebAssembly !== "object") found.push("WebAssembly");
  else if (!WebAssembly.validate(SIMD)) found.push("WebAssembly with SIMD");
  if (typeof Worker !== "function") found.push("workers");
  if (typeof indexedDB !== "object" || indexedDB === null) found.push("a database (IndexedDB)");
  if (typeof BigInt64Array !== "function") found.push("64-bit numbers");
  return found;
}

/** Threads to compute with: more than one needs a page that is isolated from others. */
export function threads(): number {
  return globalThis.crossOriginIsolated ? Math.max(1, Math.min(4, navigator.hardwareConcurrency || 1)) : 1;
}

/**
 * Half of the device's memory; undefined where the browser does not say. Over plain HTTP from another machine Chromium
 * tells only the most that its JavaScript may take: a quarter of a phone's memory, half of a computer's.
 */
export function availableBytes(): number | undefined {
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  if (deviceMemory !== undefined && deviceMemory > 0) return deviceMemory * 2 ** 29;
  const { memory } = performance as Performance & { memory?: { jsHeapSizeLimit?: number } };
  return memory?.jsHeapSizeLimit ? 2 * memory.jsHeapSizeLimit : undefined;
}
