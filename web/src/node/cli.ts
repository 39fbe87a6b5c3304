/**
 * The same core under Node, for tests and measurements; prints one JSON document.
 *
 *   node dist/cli.mjs check FOLDER
 *   node dist/cli.mjs encode FOLDER DATA SETTINGS          tokens, and the batches of three epochs
 *   node dist/cli.mjs train FOLDER DATA OUT SETTINGS [N]   trains to OUT/state.safetensors; killed after step N
 *   node dist/cli.mjs measure FOLDER BATCHES               takes given steps; time and memory of them
 *   node dist/cli.mjs answer FOLDER PROMPT [STATE]         the most probable answer of the base, or of a state
 *   node dist/cli.mjs decode FOLDER TOKENS                the text of tokens
 *
 * SETTINGS is JSON with names of `xpert tune`.
 */
import fs from "node:fs/promises";
import path from "node:path";

import * as ort from "onnxruntime-web/wasm";

import { webAssembly } from "../core/backend.ts";
import { Plan, evaluationBatches, type Batch } from "../core/batches.ts";
import { readCheckpoint } from "../core/checkpoint.ts";
import { XpertError, textOf } from "../core/errors.ts";
import { checkGolden } from "../core/golden.ts";
import { TOKENIZER, adapterSize } from "../core/manifest.ts";
import { checkMemory } from "../core/memory.ts";
import { WebRuntime, type StepSettings } from "../core/runtime.ts";
import { readSamples } from "../core/samples.ts";
import { makeSettings } from "../core/settings.ts";
import { ExportedFolder } from "../core/source.ts";
import { Tokens } from "../core/tokens.ts";
import { Trainer, prepare, type CheckpointPlace } from "../core/trainer.ts";

const backend = webAssembly(ort);

const open = (folder: string): Promise<ExportedFolder> =>
  ExportedFolder.open(async (name) => new Uint8Array(await fs.readFile(path.join(folder, name))));

async function tokensOf(folder: ExportedFolder): Promise<Tokens> {
  return new Tokens(await folder.text(TOKENIZER), folder.manifest.prompt);
}

async function samplesOf(file: string): Promise<ReturnType<typeof readSamples>> {
  return readSamples(path.basename(file), await fs.readFile(file, "utf-8"));
}

async function check(folder: string): Promise<unknown> {
  const exported = await open(folder);
  const runtime = await WebRuntime.open(exported, backend);
  const found: number[] = [];
  for (const recompute of [false, true]) found.push(await checkGolden(runtime, exported, backend.called, recompute));
  return { golden_difference: Math.max(...found), runtime: backend.called };
}

async function encode(folder: string, data: string, given: string): Promise<unknown> {
  const exported = await open(folder);
  const settings = makeSettings(JSON.parse(given) as object);
  const { learned, held } = prepare(await tokensOf(exported), await samplesOf(data), settings);
  const { batch_size: batchSize, accumulation_steps: accumulationSteps, seed } = settings;
  const { pad } = exported.manifest.prompt;
  const plan = new Plan(learned, { batchSize, accumulationSteps, seed, pad });
  const steps = Array.from({ length: 3 * plan.stepsPerEpoch }, (_, step) => plan.step(step));
  return { learned, held, steps, evaluation: evaluationBatches(held, 2 * batchSize, pad) };
}

async function train(folder: string, data: string, out: string, given: string, kill?: string): Promise<unknown> {
  const settings = makeSettings(JSON.parse(given) as object);
  const recompute = settings.gradient_checkpointing;
  const exported = await open(folder);
  const prepared = prepare(await tokensOf(exported), await samplesOf(data), settings);
  const size = { batchSize: settings.batch_size, lengthTokens: prepared.longest, recompute };
  checkMemory(exported.manifest, size, undefined);
  const runtime = await WebRuntime.open(exported, backend);
  const golden_difference = await checkGolden(runtime, exported, backend.called, recompute);
  const trainer = await Trainer.open(runtime, prepared, settings, fileIn(out), exported.digest);
  const stopped = await trainer.run(({ progress }) => {
    if (progress.step === Number(kill)) process.kill(process.pid, "SIGKILL");
  });
  return { stopped, golden_difference, ...trainer.progress };
}

/** A checkpoint in a folder: written aside, synced and renamed. */
function fileIn(folder: string): CheckpointPlace {
  const file = path.join(folder, "state.safetensors");
  return {
    async load() {
      const found = await fs.readFile(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
        return null;
      });
      return found === null ? null : new Uint8Array(found);
    },
    async save(bytes) {
      await fs.mkdir(folder, { recursive: true });
      const stream = await fs.open(`${file}.new`, "w");
      await stream.writeFile(bytes);
      await stream.sync();
      await stream.close();
      await fs.rename(`${file}.new`, file);
    },
  };
}

async function measure(folder: string, file: string): Promise<unknown> {
  const began = performance.now();
  const steps = JSON.parse(await fs.readFile(file, "utf-8")) as { batches: Batch[]; settings: StepSettings }[];
  const runtime = await WebRuntime.open(await open(folder), backend);
  const losses: number[] = [];
  const spent: number[] = [];
  let start_s = 0;
  for (const { batches, settings } of steps) {
    const before = process.cpuUsage();
    losses.push((await runtime.step(batches, settings)).loss);
    const { user, system } = process.cpuUsage(before);
    if (losses.length === 1) start_s = (performance.now() - began) / 1000;
    else spent.push((user + system) / 1e6);
  }
  const { user, system } = process.cpuUsage();
  const start_cpu_s = (user + system) / 1e6 - spent.reduce((sum, part) => sum + part, 0);
  const middle = spent.sort((a, b) => a - b)[Math.floor(spent.length / 2)];
  return { losses, cpu_s_per_step: middle, peak_bytes: await peakBytes(), start_s, start_cpu_s };
}

/** The highest resident set of this process. What the system counts otherwise includes the program that started it. */
async function peakBytes(): Promise<number> {
  const status = await fs.readFile("/proc/self/status", "utf-8").catch(() => "");
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(status);
  return 1024 * (found === null ? process.resourceUsage().maxRSS : Number(found[1]));
}

async function answer(folder: string, prompt: string, state?: string): Promise<unknown> {
  const exported = await open(folder);
  const tokens = await tokensOf(exported);
  const runtime = await WebRuntime.open(exported, backend);
  const adapter =
    state === undefined
      ? new Float32Array(adapterSize(exported.manifest))
      : (await readCheckpoint(new Uint8Array(await fs.readFile(state)))).best;
  const { stops } = exported.manifest.prompt;
  const how = { maxNewTokens: 64, temperature: 0, topP: 1, seed: 0, stops };
  const made = await runtime.generate(adapter, tokens.ask(prompt), how);
  return { tokens: made, answer: tokens.decode(made) };
}

async function decode(folder: string, tokens: string): Promise<unknown> {
  return (await tokensOf(await open(folder))).decode(JSON.parse(tokens) as number[]);
}

async function main(): Promise<void> {
  ort.env.wasm.numThreads = 1;
  const commands: Record<string, (...words: string[]) => Promise<unknown>> = {
    check: check as never, encode: encode as never, train: train as never, measure: measure as never,
    answer: answer as never, decode: decode as never,
  };
  const [name = "", ...words] = process.argv.slice(2);
  const command = commands[name];
  if (command === undefined) {
    throw new XpertError(`no command '${name}': choose one of ${Object.keys(commands).join(", ")}`);
  }
  console.log(JSON.stringify(await command(...words)));
}

main().catch((error: unknown) => {
  console.error(textOf(error));
  process.exitCode = 1;
});
