/**
 * Which golden checks were passed in this browser, so that they are not made again until something changes: the export,
 * this page, the runtime, the browser, or what computes. Nothing of a person is in it.
 */
import { checkGolden } from "../core/golden.ts";
import type { WebRuntime } from "../core/runtime.ts";
import type { ExportedFolder } from "../core/source.ts";

/** Digest of what this page was built from. */
declare const BUILD: string;

const DATABASE = "xpert-checks";
const STORE = "passed";
/** Exports come and go; so many lines are enough. */
const MOST = 64;

/** What a check found; `remembered`: it was passed before, and not made again. */
export interface Check {
  readonly difference: number;
  readonly remembered: boolean;
}

/**
 * The largest difference from the reference on the golden batch: remembered, else found out now.
 *
 * @param called what computes: runtime, version, device.
 * @param before told right before the steps are taken.
 * @throws XpertError where a loss is wrong; that is never remembered.
 */
export async function passGolden(
  runtime: WebRuntime,
  folder: ExportedFolder,
  called: string,
  recompute: boolean,
  before: () => void = () => undefined,
): Promise<Check> {
  const name = JSON.stringify(["golden", folder.digest, BUILD, navigator.userAgent, called, recompute]);
  const found = await remembered(name);
  if (typeof found === "number" && Number.isFinite(found)) {
    await runtime.ready(recompute ? "recompute" : "train"); // as the steps would: nothing is to be loaded later
    return { difference: found, remembered: true };
  }
  before();
  const difference = await checkGolden(runtime, folder, called, recompute);
  await remember(name, difference);
  return { difference, remembered: false };
}

/** What was found out of one kind, for one export, on one device; undefined: nothing, or the browser keeps nothing. */
export async function remembered(name: string): Promise<unknown> {
  return use("readonly", (objects) => objects.get(name)).catch(() => undefined);
}

/** Remember it; where the browser keeps nothing, it is found out again the next time. */
export async function remember(name: string, value: unknown): Promise<void> {
  try {
    if ((await use("readonly", (objects) => objects.count())) >= MOST) await use("readwrite", (all) => all.clear());
    await use("readwrite", (objects) => objects.put(value, name));
  } catch {
    // A private window, or no space.
  }
}

/** The name under which the outcome of a race on this export is remembered. */
export function raceName(folder: ExportedFolder, device: string): string {
  return JSON.stringify(["race", folder.digest, BUILD, navigator.userAgent, device]);
}

function use<Result>(mode: IDBTransactionMode, what: (objects: IDBObjectStore) => IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error!);
    opening.onblocked = () => reject(new Error("blocked"));
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction(STORE, mode);
      const request = what(transaction.objectStore(STORE));
      transaction.oncomplete = () => {
        database.close();
        resolve(request.result);
      };
      transaction.onabort = () => {
        database.close();
        reject(transaction.error ?? new Error("aborted"));
      };
    };
  });
}
