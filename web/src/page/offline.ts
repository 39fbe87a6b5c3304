/** The service worker: keeps the page and the export, so that both open without a network. */
export {};

declare const self: ServiceWorkerGlobalScope;
declare const VERSION: string;
/** Kept from the start. */
declare const FILES: readonly string[];
/** Kept once they were asked for: they are large, and needed only where a graphics processor computes. */
declare const GRAPHICS: readonly string[];

const PAGE = `xpert-page-${VERSION}`;
const EXPORT = "xpert-export";
/** How long a server may take to answer before what was kept is used. */
const PATIENCE_MS = 4000;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const used = (await caches.match(GRAPHICS[0]!)) === undefined ? [] : GRAPHICS;
      const cache = await caches.open(PAGE);
      await cache.addAll(["./", ...FILES, ...used].map((name) => new Request(name, { cache: "reload" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const old = (await caches.keys()).filter((name) => name.startsWith("xpert-page-") && name !== PAGE);
      await Promise.all(old.map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (event.request.method !== "GET" || address.origin !== self.location.origin) return;
  if (address.searchParams.has("key")) event.respondWith(shown(event.request));
  else if (address.pathname.endsWith("/export/manifest.json")) event.respondWith(manifest(event.request));
  else event.respondWith(kept(event.request, address.searchParams.has("sha256") ? EXPORT : PAGE));
});

/** From the network, so that a new export is seen; without one, what was kept. A new one ends the files of the old. */
async function manifest(request: Request): Promise<Response> {
  const before = await (await caches.open(EXPORT)).match(request);
  const patience = before === undefined ? {} : { signal: AbortSignal.timeout(PATIENCE_MS) };
  const answer = await fetch(request, patience).catch(() => undefined);
  if (answer === undefined || !answer.ok) return before ?? answer ?? Response.error();
  if (before !== undefined && (await before.text()) !== (await answer.clone().text())) await caches.delete(EXPORT);
  await (await caches.open(EXPORT)).put(request, answer.clone());
  return answer;
}

/** Show the key to the server, which answers with the cookie for what is asked next; the page is the kept one. */
async function shown(request: Request): Promise<Response> {
  await fetch(request.url, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => undefined);
  return kept(request, PAGE);
}

/** What was kept; else from the network, and then it is kept where a page without a network needs it. */
async function kept(request: Request, name: string): Promise<Response> {
  const cache = await caches.open(name);
  const found = request.cache === "reload" ? undefined : await cache.match(request, { ignoreSearch: name === PAGE });
  if (found !== undefined) return found;
  const answer = await fetch(request);
  const file = new URL(request.url).pathname.split("/").at(-1)!;
  if (answer.ok && (name === EXPORT || GRAPHICS.includes(file))) {
    try {
      await cache.put(request, answer.clone());
    } catch {
      // No space is left: the page works on, but not without a network.
    }
  }
  return answer;
}
