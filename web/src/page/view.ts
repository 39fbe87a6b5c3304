/** What the page shows, from what it knows. */
import { lowest, type Progress } from "../core/checkpoint.ts";
import { adapterSize, type Manifest } from "../core/manifest.ts";
import { budgetBytes, stepBytes } from "../core/memory.ts";
import { DEFAULTS } from "../core/settings.ts";
import type { Stopped } from "../core/trainer.ts";
import { drawCurve } from "./chart.ts";
import { spares } from "./fields.ts";
import { availableBytes } from "./needs.ts";
import type { Counts, News } from "./protocol.ts";

const REASONS: Record<Stopped, string> = {
  target: "Done: the loss that you asked for is reached.",
  plateau: "Done: it no longer gets better.",
  max_steps: "Done: all steps are taken.",
  paused: "Paused. Everything is saved; the page may be closed.",
};

/** An element of the page by its id. */
export function get<Kind extends Element = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as unknown as Kind;
}
export const button = (id: string): HTMLButtonElement => get<HTMLButtonElement>(id);

/** What the page knows. */
export const now = {
  manifest: undefined as Manifest | undefined,
  file: null as { name: string; text: string } | null,
  counts: null as Counts | null,
  settings: DEFAULTS,
  progress: null as Progress | null,
  phase: "opening" as "opening" | "failed" | "ready" | "running" | "paused" | "done",
  asking: false,
  asked: 0,
  recent: [] as { step: number; at: number }[],
};

/** A message below a part of the page; empty: none. */
export function say(id: string, text: string): void {
  get(id).textContent = text;
  get(id).hidden = text === "";
}

function megabytes(bytes: number): string {
  return bytes < 9.95e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.round(bytes / 1e6)} MB`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** What may be pressed and what is seen. */
export function arrange(): void {
  const { phase, progress, counts, asking } = now;
  const begun = (progress?.step ?? 0) > 0;
  const before = phase === "opening" || phase === "failed" || phase === "ready";
  button("start").hidden = !before;
  button("start").disabled = phase !== "ready" || counts === null || asking;
  button("pause").hidden = phase !== "running";
  button("continue").hidden = phase !== "paused";
  button("over").hidden = phase !== "paused" && phase !== "done";
  button("continue").disabled = button("over").disabled = asking;
  const idle = phase === "ready" || phase === "paused" || phase === "done";
  button("ask").disabled = !idle || asking;
  button("ask").hidden = asking;
  button("stop").hidden = !asking;
  for (const id of ["folder", "weights"]) button(id).disabled = !idle || !begun;
  button("discard").disabled = !idle || !begun || asking;
  const locked = !before;
  for (const field of get<HTMLFormElement>("settings").elements) (field as HTMLInputElement).disabled = locked;
  get<HTMLTextAreaElement>("paste").disabled = get<HTMLInputElement>("file").disabled = locked;
  get<HTMLSelectElement>("compute").disabled = phase === "opening" || phase === "running" || asking;
  get("idle").hidden = !before;
  get("live").hidden = !get("idle").hidden;
}

/** How far the page is with opening the model; a share of null: nobody knows. */
export function showStage(text: string, share: number | null): void {
  get("stage").textContent = share === null ? text : `${text}, ${Math.round(100 * share)}%`;
  if (share === null) get("loading").removeAttribute("value");
  else get<HTMLProgressElement>("loading").value = share;
  get("stage").hidden = get("loading").hidden = false;
  get("facts").hidden = true;
}

export function showFacts({ manifest, called, difference, remembered, because }: Extract<News, { kind: "opened" }>): void {
  const { base, adapter } = manifest;
  const rows: [string, string][] = [
    ["base", `${base.name} (${base.family}, ${base.dtype})`],
    ["adapter", `rank ${adapter.rank}, ${megabytes(4 * adapterSize(manifest))}`],
    ["computes", `rightly, within ${difference.toExponential(0)} of the reference${remembered ? ", as checked before" : ""}`],
    ["with", called],
  ];
  if (because !== null) rows.push(["choice", because]);
  get("facts").replaceChildren(
    ...rows.flatMap(([name, text]) => {
      const [term, fact] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      fact.textContent = text;
      return [term, fact];
    }),
  );
  get("facts").hidden = false;
  get("stage").hidden = get("loading").hidden = true;
}

export function showCounts(counts: Counts | null): void {
  now.counts = counts;
  get("counts").classList.remove("bad");
  get("counts").textContent =
    counts === null
      ? ""
      : `${counts.samples} messages: ${counts.learned} to learn from, ${counts.held} to check with; the longest has ` +
        `${counts.longest} tokens.`;
  showEstimate();
}

export function showEstimate(): void {
  const { manifest, settings, counts } = now;
  if (manifest === undefined) return;
  const length = counts?.longest ?? settings.max_length_tokens;
  const size = { batchSize: settings.batch_size, lengthTokens: length, recompute: settings.gradient_checkpointing };
  const [bytes, budget] = [stepBytes(manifest, size), budgetBytes(manifest, availableBytes())];
  const unit = settings.batch_size === 1 ? "one message" : `${settings.batch_size} messages`;
  const wayOut = spares(settings) ? "use shorter messages or a smaller base" : 'tick "Spare memory"';
  get("estimate").textContent =
    `Memory: about ${megabytes(bytes)}, with ${unit} of up to ${length} tokens at once.` +
    (bytes > budget ? ` That is more than the ${megabytes(budget)} that are there: ${wayOut}.` : "");
  get("estimate").classList.toggle("bad", bytes > budget);
}

export function showProgress(): void {
  const { progress, settings, phase, recent } = now;
  if (progress === null) return;
  const checked = progress.validation_losses.at(-1)?.[1] ?? progress.train_losses.at(-1);
  get("step").textContent = String(progress.step);
  get("step-name").textContent = `of ${settings.max_steps} steps`;
  get("loss").textContent = checked === undefined ? "–" : checked.toFixed(3);
  get<HTMLProgressElement>("done").value = phase === "done" ? 1 : progress.step / settings.max_steps;
  const [first, last] = [recent[0], recent.at(-1)];
  const perStep =
    first && last && last.step > first.step
      ? (last.at - first.at) / 1000 / (last.step - first.step)
      : progress.seconds / Math.max(1, progress.step);
  const left = phase === "done" ? progress.seconds : perStep * (settings.max_steps - progress.step);
  get("left").textContent = progress.step === 0 ? "–" : duration(left);
  get("left-name").textContent = phase === "done" ? "in all" : "left at most";
  drawCurve(get<SVGSVGElement>("curve"), {
    train: progress.train_losses,
    validation: progress.validation_losses,
    target: settings.target_validation_loss,
    maxSteps: settings.max_steps,
  });
}

export function showState(text: string): void {
  get("state").textContent = text;
}

export function ended(why: Stopped): void {
  const [first, best] = [now.progress?.validation_losses[0], now.progress && lowest(now.progress)];
  const change = first && best ? ` Loss ${first[1].toFixed(3)} before, ${best[1].toFixed(3)} at step ${best[0]}.` : "";
  showState(`${REASONS[why]}${change}`);
}
