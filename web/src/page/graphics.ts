/** The graphics processor, by WebGPU; loaded only where it is to compute. */
import * as ort from "onnxruntime-web/webgpu";

import { BackendError, versionOf, type Backend } from "../core/backend.ts";
import { textOf } from "../core/errors.ts";

const LIMITS = [
  "maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ", "maxComputeWorkgroupsPerDimension",
] as const;
const FEATURES = ["shader-f16", "subgroups"] as const;
/** A lost device lets the work fail a moment before it says why. */
const LOSS_MS = 300;

/**
 * A backend on a graphics processor, with all that the adapter allows.
 *
 * @param broken told once, the moment the device is lost or reports an error, even if nothing computes then.
 */
export async function openGraphics(
  adapter: GPUAdapter,
  threads: number,
  broken: (why: string) => void,
): Promise<Backend> {
  const device = await adapter.requestDevice({
    requiredFeatures: FEATURES.filter((name) => adapter.features.has(name)),
    requiredLimits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
  });
  let fault: string | undefined;
  const failed = (why: string): void => {
    if (fault !== undefined) return;
    fault = why;
    broken(why);
  };
  void device.lost.then(({ reason, message }) => failed(`it was lost (${message || reason})`));
  device.addEventListener("uncapturederror", ({ error }) => failed(`it reported an error (${error.message})`));

  ort.env.wasm.numThreads = threads;
  const here = (name: string): string => new URL(name, self.location.href).href;
  ort.env.wasm.wasmPaths = {
    mjs: here("ort-wasm-simd-threaded.asyncify.mjs"),
    wasm: here("ort-wasm-simd-threaded.asyncify.wasm"),
  };
  return {
    ort,
    provider: { name: "webgpu", device },
    called: `${versionOf(ort)} (WebGPU, ${nameOf(adapter.info)})`,
    end: () => device.destroy(),
    async guarded(work) {
      const found = await work().catch(async (error: unknown) => {
        await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
        failed(`it stopped (${textOf(error)})`);
      });
      if (fault !== undefined) throw new BackendError(fault);
      return found as Awaited<ReturnType<typeof work>>;
    },
  };
}

function nameOf(info: GPUAdapterInfo | undefined): string {
  const parts = [info?.description || info?.vendor, info?.description ? "" : info?.architecture];
  return parts.filter(Boolean).join(" ") || "a graphics processor without a name";
}
