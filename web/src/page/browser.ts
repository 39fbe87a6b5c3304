/** What the page asks of the browser: to stay awake, to keep the page offline, to save a file. */

let awake: WakeLockSentinel | null = null;

/** Keep the screen on while a run goes on, where the browser allows it. */
export async function keepAwake(on: boolean): Promise<void> {
  try {
    if (on && awake === null) awake = (await navigator.wakeLock?.request("screen")) ?? null;
    if (!on) await awake?.release();
  } catch {
    // The browser does not allow it now; training goes on while the page is open.
  }
  if (!on || awake?.released) awake = null;
}

/** Have the service worker in charge before anything is loaded, so that all of it is kept. */
export async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    const { installing } = await navigator.serviceWorker.register("offline.js");
    if (!(await settled(installing))) return;
    if (navigator.serviceWorker.controller === null) {
      const taken = new Promise((resolve) => (navigator.serviceWorker.oncontrollerchange = resolve));
      await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 3000))]);
    }
  } catch {
    // Private windows have none: the page works, but not without a network.
  }
}

/** Whether a service worker came up; one for which no space is left never does. */
async function settled(installing: ServiceWorker | null): Promise<boolean> {
  const failed = new Promise<boolean>((resolve) => {
    installing?.addEventListener("statechange", () => {
      if (installing.state === "redundant") resolve(navigator.serviceWorker.controller !== null);
    });
  });
  return Promise.race([navigator.serviceWorker.ready.then(() => true), failed]);
}

/** Save a file, as a download. */
export function offer(name: string, bytes: Uint8Array): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes as BlobPart], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The key has let the page in, and a cookie keeps it: it need not stand where others may see it. */
export function hideKey(): void {
  const address = new URL(location.href);
  if (!address.searchParams.has("key")) return;
  address.searchParams.delete("key");
  history.replaceState(history.state, "", address);
}
