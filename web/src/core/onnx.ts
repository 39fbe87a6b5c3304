/** The messages of an ONNX file, as far as graphs are rewritten here: fields by number, kept as they are. Knows bytes. */
import { XpertError } from "./errors.ts";

/** A field of a message: its content, and the whole of it as it stands in the file. */
export interface Field {
  readonly number: number;
  readonly content: Uint8Array;
  readonly whole: Uint8Array;
}

export const GRAPH_OF_MODEL = 7;
export const GRAPH = { node: 1, initializer: 5, input: 11 } as const;
export const TYPES = { float: 1, int64: 7, double: 11 } as const;
const NODE = { input: 1, output: 2, kind: 4, attribute: 5 } as const;
const TENSOR = { dims: 1, type: 2, name: 8, raw: 9 } as const;

export interface Node {
  readonly kind: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Everything but inputs and outputs. */
  readonly rest: readonly Field[];
}

/** A constant: its numbers, where they stand in the file and are of 64 bits. */
export interface Constant {
  readonly name: string;
  readonly type: number;
  readonly raw: Uint8Array | undefined;
}

/** @throws XpertError where the bytes are no such message. */
export function fieldsOf(message: Uint8Array): Field[] {
  const found: Field[] = [];
  for (let place = 0; place < message.length; ) {
    const [tag, start] = varint(message, place);
    let [begin, end] = [start, start];
    if (tag % 8 === 0) end = varint(message, start)[1];
    else if (tag % 8 === 1) end = start + 8;
    else if (tag % 8 === 5) end = start + 4;
    else if (tag % 8 === 2) {
      const [length, after] = varint(message, start);
      [begin, end] = [after, after + length];
    } else end = NaN;
    if (!(end <= message.length)) throw new XpertError("the graph is no ONNX file: export or download it again");
    found.push({
      number: Math.floor(tag / 8), content: message.subarray(begin, end), whole: message.subarray(place, end),
    });
    place = end;
  }
  return found;
}

function varint(bytes: Uint8Array, place: number): [value: number, next: number] {
  let value = 0;
  for (let power = 1; ; power *= 128) {
    const byte = bytes[place++] ?? 0;
    value += (byte & 127) * power;
    if (byte < 128) return [value, place];
  }
}

function written(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...written(Math.floor(value / 128))];
}

/** A field that holds a message, bytes or a text. */
export function holding(number: number, content: Uint8Array | string): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return together([Uint8Array.from([...written(8 * number + 2), ...written(bytes.length)]), bytes]);
}

/** A field that holds a whole number that is not negative. */
function counting(number: number, value: number): Uint8Array {
  return Uint8Array.from([...written(8 * number), ...written(value)]);
}

export function together(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

export function readNode(message: Uint8Array): Node {
  const fields = fieldsOf(message);
  const texts = (number: number): string[] =>
    fields.filter((field) => field.number === number).map(({ content }) => text(content));
  const rest = fields.filter(({ number }) => number !== NODE.input && number !== NODE.output);
  return { kind: texts(NODE.kind)[0] ?? "", inputs: texts(NODE.input), outputs: texts(NODE.output), rest };
}

export function writeNode({ inputs, outputs, rest }: Node): Uint8Array {
  return together([
    ...inputs.map((name) => holding(NODE.input, name)),
    ...outputs.map((name) => holding(NODE.output, name)),
    ...rest.map(({ whole }) => whole),
  ]);
}

/** The type that a Cast gives. */
export function castTo({ rest }: Node): number | undefined {
  const attribute = rest.find(({ number }) => number === NODE.attribute);
  const value = attribute && fieldsOf(attribute.content).find(({ number }) => number === 3);
  return value && varint(value.content, 0)[0];
}

export function readConstant(message: Uint8Array): Constant {
  const fields = new Map(fieldsOf(message).map(({ number, content }) => [number, content]));
  const type = varint(fields.get(TENSOR.type) ?? new Uint8Array(1), 0)[0];
  return { name: text(fields.get(TENSOR.name) ?? new Uint8Array()), type, raw: fields.get(TENSOR.raw) };
}

/** A constant of whole numbers. */
export function wholeConstant(name: string, values: readonly number[]): Uint8Array {
  const numbers = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return together([
    counting(TENSOR.dims, values.length), counting(TENSOR.type, TYPES.int64), holding(TENSOR.name, name),
    holding(TENSOR.raw, numbers),
  ]);
}

/** An input of the graph: one float32 number. */
export function scalarInput(name: string): Uint8Array {
  const type = together([counting(1, TYPES.float), holding(2, new Uint8Array())]);
  return together([holding(1, name), holding(2, holding(1, type))]);
}
