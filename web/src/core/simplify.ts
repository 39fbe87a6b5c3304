/**
 * Rewrites a graph for a runtime that has no double-precision numbers and reads few arrays at once, as the builds of
 * ONNX Runtime for graphics processors do. What it computes stays the same. Knows ONNX, and no model.
 */
import { XpertError } from "./errors.ts";
import {
  GRAPH, GRAPH_OF_MODEL, TYPES, castTo, fieldsOf, holding, readConstant, readNode, scalarInput, together,
  wholeConstant, writeNode, type Constant, type Node,
} from "./onnx.ts";

/** Parts that a Split may have: every graphics processor reads and writes eight arrays at once, one is its input. */
const WIDEST = 7;

export interface Simplified {
  readonly graph: Uint8Array;
  /** Values of the inputs that the graph has beside its own, from the number of the step. */
  readonly added: (step: number) => Record<string, number>;
}

/**
 * The graph with wide splits in several stages, and without what it computed from the number of the step in double
 * precision, which becomes inputs.
 *
 * @throws XpertError where it computes anything else in double precision.
 */
export function simplified(file: Uint8Array): Simplified {
  const model = fieldsOf(file);
  const graph = fieldsOf(model.find(({ number }) => number === GRAPH_OF_MODEL)?.content ?? new Uint8Array());
  const constants = new Map<string, Constant>();
  for (const { number, content } of graph) {
    if (number !== GRAPH.initializer) continue;
    const constant = readConstant(content);
    constants.set(constant.name, constant);
  }
  const course = new DoubleCourse(constants);
  const parts: Uint8Array[] = [];
  for (const { number, content, whole } of graph) {
    if (number === GRAPH.initializer && readConstant(content).type === TYPES.double) continue;
    const node = number === GRAPH.node ? readNode(content) : null;
    if (node === null) parts.push(whole);
    else if (course.takes(node)) continue;
    else if (node.kind === "Split" && node.outputs.length > WIDEST) parts.push(...staged(node, constants));
    else parts.push(whole);
  }
  parts.push(...course.results.map((name) => holding(GRAPH.input, scalarInput(name))));
  const rewritten = model.map(({ number, whole }) =>
    number === GRAPH_OF_MODEL ? holding(GRAPH_OF_MODEL, together(parts)) : whole,
  );
  return { graph: together(rewritten), added: (step) => course.run(step) };
}

/** The nodes that compute single double-precision numbers from the step: taken out, and computed here. */
class DoubleCourse {
  /** What goes back to float32. */
  readonly results: string[] = [];
  private readonly constants: Record<string, number> = {};
  private readonly names: Set<string>;
  private readonly nodes: Node[] = [];

  constructor(constants: ReadonlyMap<string, Constant>) {
    for (const { name, type, raw } of constants.values()) {
      if (type !== TYPES.double || raw?.length !== 8) continue;
      this.constants[name] = new DataView(raw.buffer, raw.byteOffset, 8).getFloat64(0, true);
    }
    this.names = new Set(Object.keys(this.constants));
  }

  takes(node: Node): boolean {
    const to = node.kind === "Cast" ? castTo(node) : undefined;
    const begins = to === TYPES.double && node.inputs[0] === "step";
    if (!begins && !node.inputs.some((name) => this.names.has(name))) return false;
    if (!(node.kind in OPERATIONS)) {
      throw new XpertError(
        `the graph computes ${node.kind} in double precision, which a graphics processor cannot: compute on the processor`,
      );
    }
    this.nodes.push(node);
    if (to === TYPES.float) this.results.push(...node.outputs);
    else for (const name of node.outputs) this.names.add(name);
    return true;
  }

  run(step: number): Record<string, number> {
    const values: Record<string, number> = { ...this.constants, step };
    for (const { kind, inputs, outputs } of this.nodes) {
      values[outputs[0]!] = OPERATIONS[kind]!(...inputs.map((name) => values[name]!));
    }
    return Object.fromEntries(this.results.map((name) => [name, values[name]!]));
  }
}

const OPERATIONS: Readonly<Record<string, (...values: number[]) => number>> = {
  Cast: (value) => value!,
  Pow: (base, power) => base! ** power!,
  Sub: (one, other) => one! - other!,
  Sqrt: (value) => Math.sqrt(value!),
};

/** A Split as several, each with few parts. */
function staged(node: Node, constants: ReadonlyMap<string, Constant>): Uint8Array[] {
  const raw = constants.get(node.inputs[1] ?? "")?.raw;
  if (raw === undefined) {
    throw new XpertError(`the graph splits into ${node.outputs.length} parts of unknown sizes: compute on the processor`);
  }
  const sizes = Array.from(new BigInt64Array(raw.slice().buffer), Number);
  const made: Uint8Array[] = [];
  const cut = (input: string, outputs: readonly string[], lengths: readonly number[]): void => {
    const each = Math.ceil(outputs.length / WIDEST);
    const groups = Array.from({ length: Math.ceil(outputs.length / each) }, (_, i) => i * each).map((begin) => {
      const names = outputs.slice(begin, begin + each);
      const name = names.length === 1 ? names[0]! : `${names[0]} to ${names.at(-1)}`;
      return { name, names, lengths: lengths.slice(begin, begin + each) };
    });
    const of = `sizes of ${input} from ${outputs[0]}`;
    const sums = groups.map((group) => group.lengths.reduce((sum, length) => sum + length, 0));
    made.push(holding(GRAPH.initializer, wholeConstant(of, sums)));
    made.push(holding(GRAPH.node, writeNode({ ...node, inputs: [input, of], outputs: groups.map(({ name }) => name) })));
    for (const group of groups) if (group.names.length > 1) cut(group.name, group.names, group.lengths);
  };
  cut(node.inputs[0]!, node.outputs, sizes);
  return made;
}
