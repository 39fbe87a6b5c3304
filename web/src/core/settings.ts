/** How to train: every number of a run; names, defaults and rules are those of `xpert tune`. Knows values only. */
import { XpertError } from "./errors.ts";

export interface Settings {
  readonly learning_rate: number;
  readonly warmup_steps: number;
  readonly schedule: "constant" | "cosine" | "linear";
  readonly max_steps: number;
  readonly batch_size: number;
  readonly accumulation_steps: number;
  readonly max_length_tokens: number;
  readonly weight_decay: number;
  readonly max_grad_norm: number;
  /** Steps between two evaluations; null: never. */
  readonly evaluate_every: number | null;
  readonly target_validation_loss: number | null;
  readonly patience: number | null;
  readonly min_delta: number;
  readonly seed: number;
  /** Compute activations again in the backward pass: less memory, more time, the same steps. */
  readonly gradient_checkpointing: boolean;
  /** Share of the samples that is kept to check with, or their number. */
  readonly validation: number;
}

export const DEFAULTS: Settings = {
  learning_rate: 1e-3,
  warmup_steps: 5,
  schedule: "constant",
  max_steps: 200,
  batch_size: 8,
  accumulation_steps: 1,
  max_length_tokens: 256,
  weight_decay: 0,
  max_grad_norm: 1,
  evaluate_every: 10,
  target_validation_loss: null,
  patience: 5,
  min_delta: 0,
  seed: 0,
  gradient_checkpointing: false,
  validation: 0.2,
};

type Rule = readonly [wanted: string, holds: (value: number) => boolean];
const COUNT: Rule = ["a whole number from 1", (value) => Number.isInteger(value) && value >= 1];
const RULES: Partial<Record<keyof Settings, Rule>> = {
  learning_rate: ["above 0", (value) => value > 0],
  warmup_steps: ["a whole number from 0", (value) => Number.isInteger(value) && value >= 0],
  max_steps: COUNT,
  batch_size: COUNT,
  accumulation_steps: COUNT,
  max_length_tokens: ["a whole number from 8", (value) => Number.isInteger(value) && value >= 8],
  weight_decay: ["0 or more", (value) => value >= 0],
  max_grad_norm: ["above 0", (value) => value > 0],
  evaluate_every: COUNT,
  target_validation_loss: ["a number", () => true],
  patience: COUNT,
  min_delta: ["0 or more", (value) => value >= 0],
  seed: ["a whole number", Number.isInteger],
  validation: ["above 0", (value) => value > 0],
};
const MAY_BE_NULL = new Set(["evaluate_every", "target_validation_loss", "patience"]);

/**
 * Whole settings from some.
 *
 * @throws XpertError that names every unknown setting and every value that breaks its rule.
 */
export function makeSettings(given: Partial<Record<keyof Settings, unknown>>): Settings {
  const faults: string[] = [];
  for (const [name, value] of Object.entries(given)) {
    if (!(name in DEFAULTS)) faults.push(`${name}: no such setting; known are ${Object.keys(DEFAULTS).join(", ")}`);
    if (name === "schedule" && !["constant", "cosine", "linear"].includes(value as string)) {
      faults.push(`schedule: it must be constant, cosine or linear, not ${String(value)}`);
    }
    if (name === "gradient_checkpointing" && typeof value !== "boolean") {
      faults.push(`${name}: it must be true or false, not ${String(value)}`);
    }
    const rule = RULES[name as keyof Settings];
    if (rule === undefined || (value === null && MAY_BE_NULL.has(name))) continue;
    if (typeof value !== "number" || !Number.isFinite(value) || !rule[1](value)) {
      faults.push(`${name}: it must be ${rule[0]}, not ${String(value)}`);
    }
  }
  if (faults.length > 0) throw new XpertError(faults.join("; "));
  const settings = { ...DEFAULTS, ...given } as Settings;
  if (settings.target_validation_loss !== null && settings.evaluate_every === null) {
    throw new XpertError(
      "target_validation_loss is seen by evaluations only: give evaluate_every a number",
    );
  }
  return settings;
}

/** Rate of step `step`, counted from 0: warm-up, then the schedule. */
export function learningRateAt(of: Settings, step: number): number {
  const rate = of.learning_rate * Math.min(1, (step + 1) / Math.max(1, of.warmup_steps));
  const share = Math.min(1, Math.max(0, step - of.warmup_steps) / Math.max(1, of.max_steps - of.warmup_steps));
  if (of.schedule === "cosine") return rate * 0.5 * (1 + Math.cos(Math.PI * share));
  return of.schedule === "linear" ? rate * (1 - share) : rate;
}
