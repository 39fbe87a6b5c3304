/** Settings as fields of a form: their labels, what they stand at, what they say. Knows the form only. */
import { DEFAULTS, makeSettings, type Settings } from "../core/settings.ts";

type Name = keyof Settings;

const LABELS: Readonly<Partial<Record<Name, string>>> = {
  learning_rate: "Learning rate",
  warmup_steps: "Warm-up steps",
  schedule: "Schedule",
  batch_size: "Batch size, messages",
  accumulation_steps: "Accumulation steps",
  max_length_tokens: "Max length, tokens",
  evaluate_every: "Evaluate every, steps",
  patience: "Patience, evaluations",
  validation: "Validation, share",
  weight_decay: "Weight decay",
  seed: "Seed",
  gradient_checkpointing: "Compute activations again",
};
const SPARING = { batch_size: 1, accumulation_steps: 8, max_length_tokens: 128, gradient_checkpointing: true } as const;
const CHOICES: Readonly<Partial<Record<Name, readonly (readonly [text: string, value: string])[]>>> = {
  schedule: [["constant", "constant"], ["cosine", "cosine"], ["linear", "linear"]],
  gradient_checkpointing: [["no", "false"], ["yes: less memory, more time", "true"]],
};

/** Write the fields of everything that is not in the form already. */
export function addFields(parent: HTMLElement): void {
  for (const [name, text] of Object.entries(LABELS)) {
    const label = document.createElement("label");
    label.append(text);
    const choices = CHOICES[name as Name];
    const field = document.createElement(choices ? "select" : "input");
    if (field instanceof HTMLSelectElement) {
      for (const [said, value] of choices!) field.add(new Option(said, value));
    } else {
      field.inputMode = "decimal";
      field.autocomplete = "off";
    }
    field.name = name;
    label.append(field);
    parent.append(label);
  }
}

/** Let the form show settings, and "Spare memory" whether they do. */
export function showSettings(form: HTMLFormElement, settings: Settings): void {
  for (const [name, value] of Object.entries(settings)) {
    const field = form.elements.namedItem(name);
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) {
      field.value = value === null ? "" : String(value);
    }
  }
  (form.elements.namedItem("spare") as HTMLInputElement).checked = spares(settings);
}

/**
 * What the form says.
 *
 * @throws XpertError that names every field which breaks its rule.
 */
export function readSettings(form: HTMLFormElement): Settings {
  const given: Partial<Record<Name, unknown>> = {};
  for (const name of Object.keys(DEFAULTS) as Name[]) {
    const field = form.elements.namedItem(name);
    if (!(field instanceof HTMLInputElement || field instanceof HTMLSelectElement)) continue;
    const text = field.value.trim().replace(",", ".");
    if (name === "schedule") given[name] = text;
    else if (name === "gradient_checkpointing") given[name] = text === "true";
    else if (text !== "") given[name] = Number.isNaN(Number(text)) ? text : Number(text);
    else if (DEFAULTS[name] === null || name === "patience" || name === "evaluate_every") given[name] = null;
  }
  return makeSettings(given);
}

/** Whether settings take no more memory than those that "Spare memory" stands for. */
export function spares({ batch_size, max_length_tokens, gradient_checkpointing }: Settings): boolean {
  return batch_size === SPARING.batch_size && gradient_checkpointing && max_length_tokens <= SPARING.max_length_tokens;
}

/** Settings that need the least memory for the same steps, or the usual ones. */
export function sparing(settings: Settings, spare: boolean, lengthTokens: number): Settings {
  const { batch_size, accumulation_steps, max_length_tokens, gradient_checkpointing } = DEFAULTS;
  const usual = { batch_size, accumulation_steps, max_length_tokens, gradient_checkpointing };
  const chosen = { ...settings, ...(spare ? SPARING : usual) };
  return { ...chosen, max_length_tokens: Math.min(chosen.max_length_tokens, lengthTokens) };
}
