/** LoRA weights as one long vector and as a plain peft file. Knows arrays and the manifest. */
import { XpertError } from "./errors.ts";
import { adapterSize, sizeOf, type Manifest } from "./manifest.ts";
import { readSafetensors, writeSafetensors, type Tensor } from "./safetensors.ts";

/**
 * The vector (P,) of a peft file.
 *
 * @throws XpertError where it holds other matrices than the export.
 */
export function readVector(file: Uint8Array, name: string, manifest: Manifest): Float32Array {
  const { tensors } = readSafetensors(file, name);
  const vector = new Float32Array(adapterSize(manifest));
  for (const { name: key, shape, offset } of manifest.adapter.parameters) {
    const found = tensors.get(key);
    if (found === undefined || String(found.shape) !== String(shape)) {
      const has = found === undefined ? "missing" : `(${found.shape.join(", ")})`;
      throw new XpertError(
        `${name} does not fit: '${key}' is ${has}, the export needs (${shape.join(", ")}): export the base with ` +
          "this adapter",
      );
    }
    vector.set(found.data, offset);
  }
  if (tensors.size !== manifest.adapter.parameters.length) {
    throw new XpertError(
      `${name} does not fit: it has ${tensors.size} matrices, the export ${manifest.adapter.parameters.length}: ` +
        "export the base with this adapter",
    );
  }
  return vector;
}

/**
 * The file that peft, and `xpert phone adopt`, read.
 *
 * @throws XpertError where the vector holds numbers that are not finite.
 */
export function writeVector(
  vector: Float32Array,
  manifest: Manifest,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  if (!vector.every(Number.isFinite)) {
    throw new XpertError("the adapter holds numbers that are not finite: train again with a lower learning rate");
  }
  const tensors = manifest.adapter.parameters.map((parameter): Tensor => {
    const { name, shape, offset } = parameter;
    return { name, shape, data: vector.subarray(offset, offset + sizeOf(parameter)) };
  });
  return writeSafetensors(tensors, { format: "pt", ...metadata });
}
