/** Everything that computes, beside the page, so that the page stays smooth. */
import { writeVector } from "../core/adapters.ts";
import { BackendError } from "../core/backend.ts";
import { lowest, readCheckpoint, type Checkpoint } from "../core/checkpoint.ts";
import { XpertError, textOf } from "../core/errors.ts";
import { ADAPTER_CONFIG, BASE, GOLDEN, GRAPHS, TOKENIZER, adapterSize, type Manifest } from "../core/manifest.ts";
import { checkMemory, checkOpening, type StepSize } from "../core/memory.ts";
import { fresh, type WebRuntime } from "../core/runtime.ts";
import { readSamples, type Sample } from "../core/samples.ts";
import type { Settings } from "../core/settings.ts";
import { ExportedFolder } from "../core/source.ts";
import { Tokens } from "../core/tokens.ts";
import { Trainer, prepare, type Prepared } from "../core/trainer.ts";
import { zip } from "../core/zip.ts";
import { passGolden } from "./checks.ts";
import { choose, type Arrays } from "./compute.ts";
import type { Counts, News, Opening, SavedRun, Wish } from "./protocol.ts";
import { Store } from "./store.ts";

const LARGE_BYTES = 2 ** 20;
const ANSWER_TOKENS = 160;
/** Kept from the start, so that nothing is fetched once the page is open. */
const SMALL = [...Object.values(GRAPHS), GOLDEN, ADAPTER_CONFIG];

const tell = (news: News): void => postMessage(news);
const stage = (text: string, share: number | null = null): void => tell({ kind: "stage", text, share });

/** What is open after `open`. */
interface Room {
  readonly folder: ExportedFolder;
  readonly manifest: Manifest;
  readonly tokens: Tokens;
  readonly runtime: WebRuntime;
  /** All that what computes says of itself. */
  readonly device: string;
  /** What the graphics processor can hold; null: the processor computes. */
  readonly arrays: Arrays | null;
  readonly store: Store;
  /** (P,) of the export's own adapter. */
  readonly start: Float32Array;
}
let room: Room | undefined;
let trainer: Trainer | undefined;
/** Whether the answer that is being made is to end. */
let stopping = false;

async function open(how: Opening): Promise<void> {
  await onlyTab();
  const folder = await ExportedFolder.open(download);
  const { manifest } = folder;
  checkOpening(manifest, how.availableBytes);
  const store = await Store.open(folder.digest);
  const tokens = new Tokens(await folder.text(TOKENIZER), manifest.prompt);
  // While the model opens, the golden steps find it out; afterwards only where the graphics processor was chosen.
  const broken = (why: string): void => void (room?.arrays && tell({ kind: "turned", why }));
  const { runtime, arrays, device, ...facts } = await choose(folder, how, stage, broken);
  await folder.keep(SMALL);
  room = { folder, manifest, tokens, runtime, device, arrays, store, start: runtime.state().adapter };
  tell({ kind: "opened", manifest, ...facts, ...(await found(room)) });
}

/** The run that lies here. One that cannot be read is deleted, so that it does not stand in the way for ever. */
async function found(of: Room): Promise<{ run: SavedRun | null; lost: string | null }> {
  try {
    return { run: await savedRun(of), lost: null };
  } catch (error) {
    await of.store.clear();
    return { run: null, lost: textOf(error) };
  }
}

/** @throws XpertError where another tab has the page open, as both would write one run. */
async function onlyTab(): Promise<void> {
  const locks = navigator.locks as LockManager | undefined;
  if (locks === undefined) return;
  await new Promise<void>((resolve, reject) => {
    const held = (): Promise<never> => {
      resolve();
      return new Promise<never>(() => undefined);
    };
    locks.request("xpert", { signal: AbortSignal.timeout(4000) }, held).catch(() => {
      reject(new XpertError("the page is open in another tab: close that one, then load this one again"));
    });
  });
}

/**
 * A file of the export. Its digest stands in the address, so that what is kept of it never goes stale; `again`: what was
 * kept is another file, and goes.
 */
async function download(name: string, digest: string, again = false): Promise<Uint8Array> {
  const address = new URL(`export/${name}${digest === "" ? "" : `?sha256=${digest}`}`, self.location.href);
  const cache = again ? "reload" : digest === "" ? "no-cache" : "default";
  const answer = await fetch(address, { cache }).catch(() => null);
  if (answer === null || !answer.ok) {
    const why = answer === null ? "no connection" : `answer ${answer.status}`;
    const wayOut =
      answer?.status === 403
        ? "open the whole address that `xpert phone serve` shows, with ?key=... at its end"
        : "start `xpert phone serve` again, then load the page again";
    throw new XpertError(`${name} cannot be loaded (${why}): ${wayOut}`);
  }
  const size = Number(answer.headers.get("Content-Length"));
  if (!(size > LARGE_BYTES) || answer.body === null) return new Uint8Array(await answer.arrayBuffer());
  const whole = new Uint8Array(size);
  let place = 0;
  const reader = answer.body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    if (place + piece.value.length > size) throw new XpertError(`${name} is longer than was said: load the page again`);
    whole.set(piece.value, place);
    place += piece.value.length;
    stage(name === BASE ? "loading the model" : `loading ${name}`, place / size);
  }
  return whole.subarray(0, place);
}

function opened(): Room {
  if (room === undefined) throw new XpertError("the model is not open: load the page again");
  return room;
}

async function savedRun(of: Room): Promise<SavedRun | null> {
  const run = await of.store.run();
  const checkpoint = await loaded(of.store);
  if (run === null || checkpoint === null) return null;
  const counts = counted(run.name, run.samples, prepare(of.tokens, run.samples, run.settings));
  return { counts, settings: run.settings, progress: checkpoint.progress, stopped: run.stopped };
}

async function loaded(store: Store): Promise<Checkpoint | null> {
  const file = await store.load();
  return file === null ? null : readCheckpoint(file);
}

function counted(name: string, samples: readonly Sample[], { learned, held, longest }: Prepared): Counts {
  return { name, samples: samples.length, learned: learned.length, held: held.length, longest };
}

function look(name: string, text: string, settings: Settings): void {
  const samples = readSamples(name, text);
  tell({ kind: "looked", counts: counted(name, samples, prepare(opened().tokens, samples, settings)) });
}

async function start(name: string, text: string, settings: Settings, available: number | undefined): Promise<void> {
  const { tokens, runtime, store, manifest, start: own } = opened();
  const samples = readSamples(name, text);
  const { longest } = prepare(tokens, samples, settings);
  checkMemory(manifest, stepSize(settings, longest), available);
  runtime.restore(fresh(own));
  await store.begin({ name, samples, settings, stopped: null });
  await goOn(available);
}

function stepSize({ batch_size, gradient_checkpointing }: Settings, lengthTokens: number): StepSize {
  return { batchSize: batch_size, lengthTokens, recompute: gradient_checkpointing };
}

/** Take up the run in the store, and take its steps. */
async function goOn(available: number | undefined): Promise<void> {
  const { folder, manifest, tokens, runtime, device, arrays, store } = opened();
  const run = await store.run();
  if (run === null) throw new XpertError("no run lies in this browser: start one");
  const prepared = prepare(tokens, run.samples, run.settings);
  checkMemory(manifest, stepSize(run.settings, prepared.longest), available);
  arrays?.check(manifest, run.settings.batch_size, prepared.longest);
  await runtime.close("generate");
  if (run.settings.gradient_checkpointing) await passGolden(runtime, folder, device, true);
  trainer = await Trainer.open(runtime, prepared, run.settings, store, folder.digest);
  tell({ kind: "started", counts: counted(run.name, run.samples, prepared), settings: run.settings });
  try {
    const why = await trainer.run(async ({ progress }) => {
      tell({ kind: "step", progress });
      await new Promise((resolve) => setTimeout(resolve)); // let a pause come in
    });
    await store.note(why === "paused" ? null : why);
    tell({ kind: "stopped", why });
  } finally {
    trainer = undefined;
    await runtime.close("evaluate");
  }
}

/** The adapter to keep of the run in the store, with how far it is; the export's own where there is no run. */
async function mine(): Promise<{ adapter: Float32Array; checkpoint: Checkpoint | null }> {
  const { store, start: own } = opened();
  const checkpoint = await loaded(store);
  if (checkpoint === null) return { adapter: own, checkpoint };
  const { best, state, progress } = checkpoint;
  return { adapter: lowest(progress) === null ? state.adapter : best, checkpoint };
}

/** Answer with the trained adapter first, then as the base: the first is what a person waits for. */
async function ask(prompt: string, temperature: number, seed: number): Promise<void> {
  const { runtime, tokens, manifest } = opened();
  stopping = false;
  const given = tokens.ask(prompt);
  const { adapter } = await mine();
  const sides = [["mine", adapter], ["base", new Float32Array(adapterSize(manifest))]] as const;
  for (const [side, weights] of sides) {
    const say = (made: readonly number[], done: boolean): void =>
      tell({ kind: "said", side, text: tokens.decode(made), done });
    const made = await runtime.generate(weights, given, {
      maxNewTokens: ANSWER_TOKENS,
      temperature,
      topP: 0.95,
      seed,
      stops: manifest.prompt.stops,
      async onToken(soFar) {
        say(soFar, false);
        await breath();
        return !stopping;
      },
    });
    say(made, true);
    if (stopping) break;
  }
  tell({ kind: "answered", stopped: stopping });
}

/** Let in what the page has said meanwhile; a timer would wait for milliseconds. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** The adapter as a file: a plain peft folder in an archive, or its weights alone. */
async function take(form: "folder" | "weights"): Promise<void> {
  const { folder, manifest } = opened();
  const { adapter, checkpoint } = await mine();
  if (checkpoint === null) throw new XpertError("nothing is trained yet: give messages and start");
  const { progress, identity } = checkpoint;
  const weights = writeVector(adapter, manifest, { xpert: JSON.stringify({ progress, identity }) });
  if (form === "weights") {
    tell({ kind: "taken", name: "adapter.safetensors", bytes: weights });
    return;
  }
  const config = { ...(JSON.parse(await folder.text(ADAPTER_CONFIG)) as object), inference_mode: true };
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const archive = zip({
    "adapter/adapter_config.json": bytes(`${JSON.stringify(config, null, 2)}\n`),
    "adapter/adapter_model.safetensors": weights,
    "adapter/README.md": bytes(card(manifest)),
  });
  tell({ kind: "taken", name: "adapter.zip", bytes: archive });
}

/** A card with the digests by which the adapter is told from one of another base. */
function card({ base }: Manifest): string {
  return (
    `---\nlibrary_name: peft\nbase_model: ${JSON.stringify(base.name)}\ntags:\n- lora\n- xpert\n- personalized\n` +
    `xpert:\n  base_sha256: ${base.sha256}\n  tokenizer_sha256: ${base.tokenizer_sha256}\n---\n\n# adapter\n\n` +
    `A LoRA adapter of \`${base.name}\`, trained on a device.\n`
  );
}

async function discard(): Promise<void> {
  const { store, runtime, start: own } = opened();
  await store.clear();
  runtime.restore(fresh(own));
  tell({ kind: "discarded" });
}

function fulfil(wish: Wish): Promise<void> | void {
  switch (wish.kind) {
    case "open":
      return open(wish.how);
    case "look":
      return look(wish.name, wish.text, wish.settings);
    case "start":
      return start(wish.name, wish.text, wish.settings, wish.availableBytes);
    case "continue":
      return goOn(wish.availableBytes);
    case "pause":
      return trainer?.pause();
    case "ask":
      return ask(wish.prompt, wish.temperature, wish.seed);
    case "stop":
      stopping = true;
      return;
    case "take":
      return take(wish.form);
    case "discard":
      return discard();
  }
}

onmessage = async ({ data }: MessageEvent<Wish>) => {
  try {
    await fulfil(data);
  } catch (error) {
    if (error instanceof BackendError) tell({ kind: "turned", why: error.message });
    else tell({ kind: "failed", during: data.kind, text: textOf(error) });
  }
};
