/** The page: what is pressed, and what the worker tells. Everything that computes is in the worker. */
import { textOf } from "../core/errors.ts";
import { DEFAULTS } from "../core/settings.ts";
import { hideKey, keepAwake, keepOffline, offer } from "./browser.ts";
import { chosenDevice, connectDevice } from "./device.ts";
import { addFields, readSettings, showSettings, spares, sparing } from "./fields.ts";
import { availableBytes, missing, threads } from "./needs.ts";
import type { Compute, News, SavedRun, Wish } from "./protocol.ts";
import {
  arrange, button, ended, get, now, say, showCounts, showFacts, showProgress, showStage, showState,
} from "./view.ts";

const form = get<HTMLFormElement>("settings");
const paste = get<HTMLTextAreaElement>("paste");
const fileField = get<HTMLInputElement>("file");
const spare = get<HTMLInputElement>("spare");

let worker: Worker | undefined;
/** The run to take up again as soon as another worker is open. */
let interrupted: Wish | null = null;
let wanted: Wish | null = null;

function wish(what: Wish): void {
  worker?.postMessage(what);
}

/** Read the form; then have the worker look at the messages with these settings. */
function changed(): void {
  say("said", "");
  try {
    now.settings = readSettings(form);
    spare.checked = spares(now.settings);
  } catch (error) {
    say("said", textOf(error));
    now.counts = null;
    arrange();
    return;
  }
  const given = messages();
  if (given === null) showCounts(null);
  else wish({ kind: "look", ...given, settings: now.settings });
  arrange();
}

function messages(): { name: string; text: string } | null {
  return now.file ?? (paste.value.trim() === "" ? null : { name: "", text: paste.value });
}

async function chosen(file: File | undefined): Promise<void> {
  now.file = null;
  get("file-name").textContent = file?.name ?? "Choose a file";
  if (file !== undefined) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      now.file = { name: file.name, text };
      paste.value = "";
    } catch {
      now.counts = null;
      get("counts").textContent = `${file.name} is no text in UTF-8: save it again as UTF-8`;
      get("counts").classList.add("bad");
      arrange();
      return;
    }
  }
  changed();
}

/** Start, or go on; the screen stays awake, and the browser is asked to keep the data. */
function run(what: Wish): void {
  say("said", "");
  say("take-said", "");
  now.recent = [];
  now.phase = "running";
  wanted = what;
  showState("Getting ready");
  arrange();
  void navigator.storage?.persist?.();
  wish(what);
}

function showRun(saved: SavedRun): void {
  now.progress = saved.progress;
  now.settings = saved.settings;
  now.phase = saved.stopped === null ? "paused" : "done";
  showSettings(form, saved.settings);
  get("file-name").textContent = saved.counts.name || "Pasted messages";
  showCounts(saved.counts);
}

function opened(news: Extract<News, { kind: "opened" }>): void {
  if (now.manifest === undefined) {
    now.settings = sparing(DEFAULTS, false, news.manifest.length_tokens);
    showSettings(form, now.settings);
  }
  now.manifest = news.manifest;
  showFacts(news);
  now.phase = "ready";
  if (news.run !== null) showRun(news.run);
  arrange();
  if (news.run === null) {
    changed();
    say("said", news.lost ?? "");
  } else {
    showProgress();
    ended(news.run.stopped ?? "paused");
  }
  const again = interrupted;
  interrupted = null;
  if (again === null) return;
  if (news.run === null) run(again);
  else if (news.run.stopped === null) run({ kind: "continue", availableBytes: availableBytes() });
}

/** Go on in WebAssembly, from the last step that was saved. */
function turned(why: string): void {
  if (now.phase === "running") interrupted = wanted;
  if (now.asking) say("ask-said", "The graphics processor failed: ask again.");
  launch("wasm", why);
}

/** Open the model in a fresh worker; what the one before held is given back with it. */
function launch(compute: Compute, because: string | null): void {
  if (worker !== undefined) worker.onmessage = worker.onerror = null;
  worker?.terminate();
  now.phase = "opening";
  now.asking = false;
  say("fault", "");
  showStage("opening", null);
  arrange();
  worker = new Worker(new URL("worker.js", document.baseURI), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<News>) => heard(data);
  worker.onerror = ({ message }) =>
    failed("open", `The page's worker stopped (${message || "no reason given"}): load the page again.`);
  wish({ kind: "open", how: { compute, threads: threads(), availableBytes: availableBytes(), because } });
}

function heard(news: News): void {
  switch (news.kind) {
    case "stage":
      showStage(news.text, news.share);
      return;
    case "opened":
      return opened(news);
    case "turned":
      return turned(news.why);
    case "looked":
      if (now.phase === "ready") showCounts(news.counts);
      break;
    case "started":
      showCounts(news.counts);
      now.settings = news.settings;
      break;
    case "step":
      now.progress = news.progress;
      now.recent = [...now.recent, { step: news.progress.step, at: performance.now() }].slice(-8);
      showState("Learning. Every step is saved; the page may be closed at any time.");
      showProgress();
      void keepAwake(true);
      return;
    case "stopped":
      now.phase = news.why === "paused" ? "paused" : "done";
      showProgress();
      ended(news.why);
      void keepAwake(false);
      break;
    case "said":
      get(news.side).textContent = news.text + (news.done ? "" : " …");
      if (!news.done) return; // nothing else of the page depends on it
      break;
    case "answered":
      now.asking = false;
      if (news.stopped && get("base").textContent === "…") get("base").textContent = "–";
      break;
    case "taken":
      offer(news.name, news.bytes);
      return;
    case "discarded":
      return void reset();
    case "failed":
      failed(news.during, news.text);
  }
  arrange();
}

function failed(during: Wish["kind"], text: string): void {
  void keepAwake(false);
  if (during === "open") {
    say("fault", text);
    now.phase = "failed";
    get("stage").hidden = get("loading").hidden = true;
    arrange();
    return;
  }
  if (during === "look") {
    showCounts(null);
    get("counts").textContent = text;
    get("counts").classList.add("bad");
    return;
  }
  now.asking &&= during !== "ask";
  if (during === "start" || during === "continue") {
    now.phase = (now.progress?.step ?? 0) > 0 ? "paused" : "ready";
    showState("");
    say("said", text);
  } else say(during === "ask" ? "ask-said" : "take-said", text);
}

/** Back to a page without a run. */
function reset(): void {
  now.progress = null;
  now.file = null;
  now.phase = "ready";
  paste.value = "";
  fileField.value = "";
  get("file-name").textContent = "Choose a file";
  get("answers").hidden = true;
  showCounts(null);
  changed();
  arrange();
}

function connect(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  form.addEventListener("input", (event) => {
    if (event.target === spare) {
      now.settings = sparing(now.settings, spare.checked, now.manifest?.length_tokens ?? Infinity);
      showSettings(form, now.settings);
    }
    clearTimeout(timer);
    timer = setTimeout(changed, 250);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  paste.addEventListener("input", () => {
    now.file = null;
    get("file-name").textContent = "Choose a file";
    clearTimeout(timer);
    timer = setTimeout(changed, 250);
  });
  fileField.addEventListener("change", () => void chosen(fileField.files?.[0]));
  button("start").addEventListener("click", () => {
    const given = messages();
    now.progress = null;
    if (given !== null) run({ kind: "start", ...given, settings: now.settings, availableBytes: availableBytes() });
  });
  button("pause").addEventListener("click", () => {
    showState("Pausing after this step");
    wish({ kind: "pause" });
  });
  button("continue").addEventListener("click", () => run({ kind: "continue", availableBytes: availableBytes() }));
  button("over").addEventListener("click", () => {
    if (confirm("Throw this run away and start over? Download its adapter first if you want to keep it.")) {
      wish({ kind: "discard" });
    }
  });
  button("discard").addEventListener("click", () => {
    if (confirm("Delete messages, settings and adapter from this browser?")) wish({ kind: "discard" });
  });
  button("folder").addEventListener("click", () => wish({ kind: "take", form: "folder" }));
  button("weights").addEventListener("click", () => wish({ kind: "take", form: "weights" }));
  get<HTMLFormElement>("question").addEventListener("submit", (event) => {
    event.preventDefault();
    if (button("ask").disabled) return;
    now.asking = true;
    say("ask-said", "");
    get("answers").hidden = false;
    get("base").textContent = get("mine").textContent = "…";
    button("stop").disabled = false;
    const temperature = get<HTMLInputElement>("certain").checked ? 0 : 0.8;
    // The same number for both sides; another one for the same question asked again.
    wish({ kind: "ask", prompt: get<HTMLInputElement>("prompt").value, temperature, seed: now.asked++ });
    arrange();
  });
  button("stop").addEventListener("click", () => {
    button("stop").disabled = true;
    wish({ kind: "stop" });
  });
  addEventListener("resize", showProgress);
}

async function begin(): Promise<void> {
  hideKey();
  const lacking = missing();
  if (lacking.length > 0) {
    say("fault", `This browser cannot train a model: it lacks ${lacking.join(" and ")}. Use a current browser.`);
    return;
  }
  say("fault", "");
  document.querySelector("main")!.hidden = false;
  addFields(get("more"));
  showSettings(form, DEFAULTS);
  connect();
  connectDevice(() => launch(chosenDevice(), null));
  arrange();
  await keepOffline();
  launch(chosenDevice(), null);
}

void begin();
