/** What the page and its worker tell each other. */
import type { Progress } from "../core/checkpoint.ts";
import type { Manifest } from "../core/manifest.ts";
import type { Settings } from "../core/settings.ts";
import type { Stopped } from "../core/trainer.ts";

/** What a person wants to compute on. */
export type Compute = "auto" | "webgpu" | "wasm";
export const COMPUTES: readonly Compute[] = ["auto", "webgpu", "wasm"];

/** How a worker is to compute. */
export interface Opening {
  readonly compute: Compute;
  readonly threads: number;
  /** Memory that the device has for the page; undefined where the browser does not say. */
  readonly availableBytes: number | undefined;
  /** Why the graphics processor, which computed or was tried before, no longer does; null: it was not. */
  readonly because: string | null;
}

/** From the page. */
export type Wish =
  | { readonly kind: "open"; readonly how: Opening }
  | { readonly kind: "look"; readonly name: string; readonly text: string; readonly settings: Settings }
  | {
      readonly kind: "start";
      readonly name: string;
      readonly text: string;
      readonly settings: Settings;
      readonly availableBytes: number | undefined;
    }
  | { readonly kind: "continue"; readonly availableBytes: number | undefined }
  | { readonly kind: "pause" }
  | { readonly kind: "ask"; readonly prompt: string; readonly temperature: number; readonly seed: number }
  /** End the answer after the token that is being made. */
  | { readonly kind: "stop" }
  | { readonly kind: "take"; readonly form: "folder" | "weights" }
  | { readonly kind: "discard" };

/** A person's texts in numbers. */
export interface Counts {
  readonly name: string;
  readonly samples: number;
  readonly learned: number;
  readonly held: number;
  readonly longest: number;
}

/** A run that lies in this browser. */
export interface SavedRun {
  readonly counts: Counts;
  readonly settings: Settings;
  readonly progress: Progress;
  /** Why it ended; null: it did not. */
  readonly stopped: Stopped | null;
}

/** From the worker. */
export type News =
  | { readonly kind: "stage"; readonly text: string; readonly share: number | null }
  | {
      readonly kind: "opened";
      readonly manifest: Manifest;
      /** What computes: name, version, device. */
      readonly called: string;
      readonly difference: number;
      /** Whether the golden steps were passed before and not taken again. */
      readonly remembered: boolean;
      /** Why this device, where there was a choice; null: there was none. */
      readonly because: string | null;
      readonly run: SavedRun | null;
      /** Why a run that lay here could not be taken up and was deleted; null: none was. */
      readonly lost: string | null;
    }
  /** The graphics processor failed: another worker is to go on without it. */
  | { readonly kind: "turned"; readonly why: string }
  | { readonly kind: "looked"; readonly counts: Counts }
  | { readonly kind: "started"; readonly counts: Counts; readonly settings: Settings }
  | { readonly kind: "step"; readonly progress: Progress }
  | { readonly kind: "stopped"; readonly why: Stopped }
  | { readonly kind: "said"; readonly side: "base" | "mine"; readonly text: string; readonly done: boolean }
  | { readonly kind: "answered"; readonly stopped: boolean }
  | { readonly kind: "taken"; readonly name: string; readonly bytes: Uint8Array }
  | { readonly kind: "discarded" }
  | { readonly kind: "failed"; readonly during: Wish["kind"]; readonly text: string };
