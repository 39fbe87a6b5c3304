/** What the person wants to compute on: the address says it, else the field, which the browser remembers. */
import { COMPUTES, type Compute } from "./protocol.ts";
import { get } from "./view.ts";

const KEY = "xpert-compute";
const LABELS: Readonly<Record<Compute, string>> = {
  auto: "automatically",
  webgpu: "graphics processor (WebGPU)",
  wasm: "processor (WebAssembly)",
};
const field = get<HTMLSelectElement>("compute");

/** Let the field show the choice, and tell when it is another. */
export function connectDevice(onChange: () => void): void {
  for (const compute of COMPUTES) field.add(new Option(LABELS[compute], compute));
  field.value = asked() ?? remembered() ?? "auto";
  field.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, field.value);
    } catch {
      // The browser keeps nothing: the choice holds until the page is closed.
    }
    onChange();
  });
}

export function chosenDevice(): Compute {
  return known(field.value) ?? "auto";
}

function asked(): Compute | null {
  return known(new URL(location.href).searchParams.get("compute"));
}

function remembered(): Compute | null {
  try {
    return known(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function known(text: string | null): Compute | null {
  return COMPUTES.find((compute) => compute === text) ?? null;
}
