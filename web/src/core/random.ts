/**
 * The random numbers of Python's `random.Random(text)`: the same seed draws the same order there and here.
 * Knows numbers only.
 */
import { sha512 } from "@noble/hashes/sha2.js";

const SIZE = 624;
const MIDDLE = 397;

/** Mersenne Twister, seeded from a text as Python (version 2 seeding) does it. */
export class PythonRandom {
  private readonly state = new Uint32Array(SIZE);
  private place = SIZE;

  constructor(seed: string) {
    const text = new TextEncoder().encode(seed);
    const bytes = new Uint8Array([...text, ...sha512(text)]);
    this.seed(words(bytes));
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    const bits = 32 - Math.clz32(limit);
    let drawn = limit;
    while (drawn >= limit) drawn = this.next() >>> (32 - bits);
    return drawn;
  }

  /** A number from 0 to below 1, with 53 bits. */
  fraction(): number {
    const high = this.next() >>> 5;
    return (high * 67108864 + (this.next() >>> 6)) / 9007199254740992;
  }

  /** Put a list in a drawn order, in place. */
  shuffle(list: unknown[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
  }

  private seed(key: Uint32Array): void {
    const s = this.state;
    s[0] = 19650218;
    for (let i = 1; i < SIZE; i++) s[i] = Math.imul(1812433253, s[i - 1]! ^ (s[i - 1]! >>> 30)) + i;
    let i = 1;
    let j = 0;
    const onward = (): void => {
      if (++i < SIZE) return;
      s[0] = s[SIZE - 1]!;
      i = 1;
    };
    for (let k = Math.max(SIZE, key.length); k > 0; k--) {
      s[i] = (s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1664525)) + key[j]! + j;
      onward();
      j = (j + 1) % key.length;
    }
    for (let k = SIZE - 1; k > 0; k--) {
      s[i] = (s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1566083941)) - i;
      onward();
    }
    s[0] = 0x80000000;
  }

  private next(): number {
    if (this.place === SIZE) this.refill();
    let y = this.state[this.place++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private refill(): void {
    const s = this.state;
    for (let i = 0; i < SIZE; i++) {
      const y = (s[i]! & 0x80000000) | (s[(i + 1) % SIZE]! & 0x7fffffff);
      s[i] = s[(i + MIDDLE) % SIZE]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.place = 0;
  }
}

/** Bytes, the most significant first, as 32-bit words, the least significant first, without zeros at the end. */
function words(bytes: Uint8Array): Uint32Array {
  const found: number[] = [];
  for (let end = bytes.length; end > 0; end -= 4) {
    let word = 0;
    for (let i = Math.max(0, end - 4); i < end; i++) word = word * 256 + bytes[i]!;
    found.push(word);
  }
  while (found.length > 1 && found[found.length - 1] === 0) found.pop();
  return Uint32Array.from(found);
}
