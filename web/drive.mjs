/**
 * Uses the page as a person does, in a real browser, and tells what happened.
 *
 *   node drive.mjs PLAN.json
 *
 * The plan: {"url", "browser": path of a Chromium, "width", "height", "dark", "profile": folder, "hide": names of
 * globals that this browser shall lack, "memory": GiB that the device says it has, "agent": what the browser calls
 * itself, "kept": false where no service worker shall keep the page, "host": a name that leads to this machine, "gpu":
 * whether the browser shall have WebGPU, computed in software, "acts": [[name, ...arguments], ...]}.
 * Prints one JSON document: what was shown, and every request with the number of the act during which it was made.
 */
import fs from "node:fs";

import { chromium } from "playwright-core";

const plan = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const PATIENCE_MS = 240_000;
const SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];

const context = await chromium.launchPersistentContext(plan.profile, {
  executablePath: plan.browser,
  args: [
    "--no-sandbox", ...(plan.gpu ? SOFTWARE_GPU : ["--disable-gpu"]), "--disable-dev-shm-usage", "--disable-background-networking",
    ...(plan.host ? [`--host-resolver-rules=MAP ${plan.host} 127.0.0.1`] : []),
  ],
  viewport: { width: plan.width ?? 390, height: plan.height ?? 844 },
  deviceScaleFactor: plan.width > 600 ? 1 : 2,
  colorScheme: plan.dark ? "dark" : "light",
  ignoreHTTPSErrors: true,
  ...(plan.agent ? { userAgent: plan.agent } : {}),
  serviceWorkers: plan.kept === false ? "block" : "allow",
});
context.setDefaultTimeout(PATIENCE_MS);
const told = { requests: [], faults: [], shown: {}, times: {} };
let act = 0;
const note = (request) => told.requests.push({ act, method: request.method(), url: request.url() });
context.on("request", note);
context.on("weberror", (found) => told.faults.push(String(found.error())));
let page;

/** What stands on the page now. */
const texts = () =>
  page.evaluate(() => {
    const seen = (id) => {
      const found = document.getElementById(id);
      return found === null || found.closest("[hidden]") !== null ? null : found.textContent.trim();
    };
    const names = ["fault", "facts", "counts", "estimate", "said", "step", "loss", "left", "state", "base", "mine",
      "ask-said", "take-said"];
    return {
      ...Object.fromEntries(names.map((name) => [name, seen(name)])),
      wide: document.documentElement.scrollWidth,
      spare: document.getElementById("spare").checked,
      address: location.href,
      stages: [...new Set(globalThis.stages)],
    };
  });

const acts = {
  /** A new tab on the page, until the model is open or the page says why not. */
  async open() {
    page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && told.faults.push(message.text()));
    page.on("pageerror", (error) => told.faults.push(String(error)));
    page.on("websocket", (socket) => told.requests.push({ act, method: "WEBSOCKET", url: socket.url() }));
    page.on("dialog", (dialog) => dialog.accept());
    await page.addInitScript((gib) => {
      if (gib) Object.defineProperty(Navigator.prototype, "deviceMemory", { configurable: true, get: () => gib });
      globalThis.stages = [];
      addEventListener("DOMContentLoaded", () => {
        const stage = document.getElementById("stage");
        const note = () => globalThis.stages.push(stage.textContent.replace(/, \d+%$/, ""));
        new MutationObserver(note).observe(stage, { childList: true, characterData: true, subtree: true });
      });
    }, plan.memory);
    if (plan.hide) await page.addInitScript((names) => names.forEach((name) => delete globalThis[name]), plan.hide);
    await page.goto(plan.url);
    await page.locator("#facts:visible, #fault:visible").filter({ hasNotText: "needs a current browser with" }).waitFor();
  },
  file: (path) => page.setInputFiles("#file", path),
  paste: (text) => page.fill("#paste", text),
  async set(fields) {
    await page.evaluate(() => (document.querySelector("details").open = true));
    for (const [name, value] of Object.entries(fields)) {
      const field = page.locator(`#settings [name=${name}]`);
      if (await field.evaluate((one) => one.tagName === "SELECT")) await field.selectOption(String(value));
      else await field.fill(value === null ? "" : String(value));
    }
    await page.evaluate(() => (document.querySelector("details").open = false));
    await page.waitForTimeout(600);
  },
  spare: () => page.click("#spare"),
  click: (id) => page.click(`#${id}:not([disabled])`),
  /** Wait until the page shows a step, or the run has ended. */
  step: (number) =>
    page.waitForFunction((wanted) => parseInt(document.getElementById("step").textContent, 10) >= wanted, number, {
      polling: 20,
    }),
  paused: () => page.waitForFunction(() => document.getElementById("state").textContent.startsWith("Paused.")),
  end: () =>
    page.waitForFunction(() => {
      const said = document.getElementById("said");
      if (!said.hidden) throw new Error(said.textContent);
      return document.getElementById("state").textContent.startsWith("Done");
    }),
  /** Kill the tab, with its worker, as a phone does that needs the memory. */
  async kill() {
    const crashed = page.waitForEvent("crash");
    (await context.newCDPSession(page)).send("Page.crash").catch(() => undefined);
    await crashed;
    await page.close();
  },
  close: () => page.close(),
  /** Whether this browser has a graphics processor, be it one in software. */
  async adapter() {
    page = await context.newPage();
    await page.goto(plan.url);
    told.adapter = await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
    await page.close();
  },
  /** Lose the graphics processor; the worker that is served must listen. */
  lose: () => page.evaluate(() => new BroadcastChannel("lose").postMessage(null)),
  async ask(prompt) {
    await page.fill("#prompt", prompt);
    await page.click("#ask:not([disabled])");
    await page.waitForSelector("#ask:not([disabled])");
  },
  /** Ask, and press "Stop" as soon as so many letters of one side's answer stand there. */
  async interrupt(prompt, side, letters) {
    await page.fill("#prompt", prompt);
    await page.click("#ask:not([disabled])");
    const enough = ([id, wanted]) => document.getElementById(id).textContent.replace(/ ?…$/, "").length >= wanted;
    await page.waitForFunction(enough, [side, letters], { polling: 5 });
    await page.click("#stop");
    await page.waitForSelector("#ask:not([disabled])");
  },
  async take(id, path) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#${id}:not([disabled])`)]);
    await download.saveAs(path);
  },
  offline: (on) => context.setOffline(on),
  size: (width, height) => page.setViewportSize({ width, height }),
  shot: (path) => page.screenshot({ path, fullPage: true }),
  show: async (name) => {
    told.shown[name] = await texts();
  },
  /** Damage the checkpoint of a run that lies in the browser. */
  damage: () =>
    page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const opening = indexedDB.open("xpert");
          opening.onsuccess = () => {
            const runs = opening.result.transaction("runs", "readwrite").objectStore("runs");
            runs.getAllKeys().onsuccess = ({ target }) => {
              for (const key of target.result) if (key.endsWith("/state")) runs.put(new Uint8Array(99), key);
            };
            runs.transaction.oncomplete = resolve;
            runs.transaction.onabort = reject;
          };
        }),
    ),
  wait: (seconds) => page.waitForTimeout(1000 * seconds),
};

try {
  for (const [name, ...words] of plan.acts) {
    const began = performance.now();
    await acts[name](...words);
    told.times[`${act} ${name}`] = (performance.now() - began) / 1000;
    act += 1;
  }
  told.shown.last = page.isClosed() ? null : await texts();
} catch (error) {
  console.error(`act ${act} (${plan.acts[act][0]}): ${error.message}`);
  if (page && !page.isClosed()) console.error(JSON.stringify(await texts().catch(() => null)), told.faults);
  process.exitCode = 1;
} finally {
  await context.close();
}
console.log(JSON.stringify(told));
