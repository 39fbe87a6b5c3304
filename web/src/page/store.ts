/** A run in the browser's own database: texts, settings, checkpoint. Nothing of it leaves the device. */
import { XpertError } from "../core/errors.ts";
import type { Sample } from "../core/samples.ts";
import type { Settings } from "../core/settings.ts";
import type { CheckpointPlace, Stopped } from "../core/trainer.ts";

/** What a run was started with. */
export interface Run {
  readonly name: string;
  readonly samples: readonly Sample[];
  readonly settings: Settings;
  readonly stopped: Stopped | null;
}

const DATABASE = "xpert";
const STORE = "runs";

/** The runs of one export; an export of another digest has its own. */
export class Store implements CheckpointPlace {
  private constructor(
    private readonly database: IDBDatabase,
    private readonly digest: string,
  ) {}

  /** @throws XpertError where the browser keeps no data, as some do in private windows. */
  static async open(digest: string): Promise<Store> {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    try {
      return new Store(await done(request), digest);
    } catch (error) {
      throw new XpertError(
        `this browser keeps no data (${(error as Error).message}): leave the private window, or allow the page to ` +
          "store data",
      );
    }
  }

  async run(): Promise<Run | null> {
    return ((await done(this.objects("readonly").get(`${this.digest}/run`))) as Run | undefined) ?? null;
  }

  /** Begin a run; the checkpoint of the one before goes in the same moment. */
  async begin(run: Run): Promise<void> {
    const objects = this.objects("readwrite");
    objects.put(run, `${this.digest}/run`);
    objects.delete(`${this.digest}/state`);
    await committed(objects.transaction);
  }

  /** Note why a run ended; null: it goes on. */
  async note(stopped: Stopped | null): Promise<void> {
    const run = await this.run();
    if (run === null) return;
    const objects = this.objects("readwrite");
    objects.put({ ...run, stopped }, `${this.digest}/run`);
    await committed(objects.transaction);
  }

  async load(): Promise<Uint8Array | null> {
    return ((await done(this.objects("readonly").get(`${this.digest}/state`))) as Uint8Array | undefined) ?? null;
  }

  async save(file: Uint8Array): Promise<void> {
    const objects = this.objects("readwrite");
    objects.put(file, `${this.digest}/state`);
    await committed(objects.transaction);
  }

  /** Delete everything of every export. */
  async clear(): Promise<void> {
    const objects = this.objects("readwrite");
    objects.clear();
    await committed(objects.transaction);
  }

  private objects(mode: IDBTransactionMode): IDBObjectStore {
    return this.database.transaction(STORE, mode, { durability: "strict" }).objectStore(STORE);
  }
}

function done<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error!);
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () =>
      reject(
        new XpertError(
          `the browser does not store the run (${transaction.error?.message ?? "aborted"}): free space on the device`,
        ),
      );
  });
}
