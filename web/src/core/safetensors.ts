/** Files of safetensors with float32 numbers: 8 bytes of header length, a JSON header, the numbers. Knows bytes. */
import { XpertError } from "./errors.ts";

/** A named array of float32 numbers. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

interface Entry {
  readonly dtype: string;
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/** The file of some tensors, in their order. */
export function writeSafetensors(tensors: readonly Tensor[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const bare = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(bare.length / 8) * 8;
  const file = new Uint8Array(8 + length + end).fill(0x20, 8, 8 + length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(bare, 8);
  let place = 8 + length;
  for (const { data } of tensors) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place);
    place += data.byteLength;
  }
  return file;
}

interface Header {
  readonly entries: readonly (readonly [key: string, entry: Entry])[];
  readonly metadata: Record<string, string>;
  /** Where the numbers begin. */
  readonly start: number;
}

function readHeader(file: Uint8Array): Header {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const raw = JSON.parse(new TextDecoder().decode(file.subarray(8, start))) as Record<string, Entry>;
  const { __metadata__: metadata = {}, ...entries } = raw;
  return { entries: Object.entries(entries), metadata: metadata as unknown as Record<string, string>, start };
}

/** Bytes of the largest tensor of a file as float32, whatever it is stored as. */
export function largestBytes(file: Uint8Array, name: string): number {
  try {
    const sizes = readHeader(file).entries.map(([, { shape }]) => shape.reduce((product, size) => product * size, 4));
    return Math.max(0, ...sizes);
  } catch (error) {
    throw new XpertError(`${name} cannot be read (${(error as Error).message}): save or download it again`);
  }
}

/**
 * Tensors and metadata of a file.
 *
 * @throws XpertError where it is damaged, or holds something else than float32.
 */
export function readSafetensors(
  file: Uint8Array,
  name: string,
): { tensors: Map<string, Tensor>; metadata: Record<string, string> } {
  try {
    const { entries, metadata, start } = readHeader(file);
    const tensors = new Map<string, Tensor>();
    for (const [key, entry] of entries) {
      if (entry.dtype !== "F32") throw new Error(`${key} is ${entry.dtype}, not F32`);
      const [begin, end] = entry.data_offsets;
      const bytes = file.slice(start + begin, start + end);
      const count = entry.shape.reduce((product, size) => product * size, 1);
      if (bytes.length !== 4 * count) throw new Error(`${key} has ${bytes.length} bytes, not ${4 * count}`);
      tensors.set(key, { name: key, shape: entry.shape, data: new Float32Array(bytes.buffer) });
    }
    return { tensors, metadata };
  } catch (error) {
    throw new XpertError(`${name} cannot be read (${(error as Error).message}): save or download it again`);
  }
}
