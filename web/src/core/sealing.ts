/**
 * A file that shows when a byte of it changed: `"seal"` in it holds the SHA-256 of the file, in which those 64 digits are
 * zeros. The same as `xpert.sealing`. Knows bytes.
 */
import { digestOf } from "./digest.ts";

/** Name of the field, and what stands in it until `seal` puts the digest there. */
export const KEY = "seal";
export const OPEN = "0".repeat(64);

const FIELD = /"seal" ?: ?"([0-9a-f]{64})"/g;
const NAMED = /"seal" ?:/g;

/** Put the digest into a file that holds the field with `OPEN`. */
export async function seal(file: Uint8Array): Promise<Uint8Array> {
  const place = placeOf(file);
  if (place === null) throw new Error("the file has no field for its seal");
  file.set(new TextEncoder().encode(await digestOf(file)), place);
  return file;
}

/** False where a file is another than was sealed; true also where it has no seal, as older ones. */
export async function isWhole(file: Uint8Array): Promise<boolean> {
  let place: number | null;
  try {
    place = placeOf(file);
  } catch {
    return false;
  }
  if (place === null) return true;
  const open = file.slice();
  open.fill(0x30, place, place + 64);
  return (await digestOf(open)) === ascii(file.subarray(place, place + 64));
}

/** Where the digits begin; null where there is no such field. */
function placeOf(file: Uint8Array): number | null {
  const [head, start] = headOf(file);
  const found = [...head.matchAll(FIELD)];
  if ((head.match(NAMED) ?? []).length !== found.length || found.length > 1) throw new Error("a seal that is none");
  return found.length === 0 ? null : start + found[0]!.index + found[0]![0].indexOf(found[0]![1]!);
}

/** The part of a file that holds the field, one letter a byte, and where it begins. */
function headOf(file: Uint8Array): [string, number] {
  if (file[0] === 0x7b || file.length < 8) return [ascii(file), 0];
  const length = new DataView(file.buffer, file.byteOffset, file.byteLength).getBigUint64(0, true);
  return [ascii(file.subarray(8, 8 + Number(length))), 8];
}

function ascii(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}
