/** Where the files of an export come from, and that they are the ones which were written. Knows bytes and digests. */
import { digestOf } from "./digest.ts";
import { XpertError } from "./errors.ts";
import { MANIFEST, parseManifest, type FileFacts, type Manifest } from "./manifest.ts";
import { isWhole } from "./sealing.ts";

export { digestOf };

/**
 * Gives the bytes of one file of the folder; `digest` is what the manifest says of it, empty for the manifest. `again`:
 * what came the first time was another file, so nothing that was kept may be given.
 */
export type Fetcher = (name: string, digest: string, again?: boolean) => Promise<Uint8Array>;

/** An exported folder, whose files are checked as they are read. */
export class ExportedFolder {
  private readonly kept = new Map<string, Uint8Array>();

  private constructor(
    readonly manifest: Manifest,
    /** SHA-256 of the manifest, and so of everything. */
    readonly digest: string,
    private readonly fetcher: Fetcher,
  ) {}

  static async open(fetcher: Fetcher): Promise<ExportedFolder> {
    const bytes = await fetcher(MANIFEST, "");
    const manifest = parseManifest(new TextDecoder().decode(bytes));
    if (!(await isWhole(bytes))) {
      throw new XpertError(`${MANIFEST} changed since it was written: export or download the folder again`);
    }
    return new ExportedFolder(manifest, await digestOf(bytes), fetcher);
  }

  /**
   * The bytes of a file.
   *
   * @throws XpertError where the manifest does not name it, or it is another file than was written.
   */
  async read(name: string): Promise<Uint8Array> {
    const kept = this.kept.get(name);
    if (kept !== undefined) return kept;
    const facts = this.manifest.files[name];
    if (facts === undefined) throw new XpertError(`${MANIFEST} does not name ${name}: export the folder again`);
    let problem = "";
    for (const again of [false, true]) {
      const bytes = await this.fetcher(name, facts.sha256, again);
      problem = await problemOf(bytes, facts);
      if (problem === "") return bytes;
    }
    throw new XpertError(`${name} ${problem}: export or download it again`);
  }

  /** Read small files now, so that nothing is fetched later. */
  async keep(names: readonly string[]): Promise<void> {
    for (const name of names) this.kept.set(name, await this.read(name));
  }

  /** A file as text. */
  async text(name: string): Promise<string> {
    return new TextDecoder().decode(await this.read(name));
  }
}

/** Why bytes are not the file that was written; empty: they are. */
async function problemOf(bytes: Uint8Array, { size_bytes, sha256: wanted }: FileFacts): Promise<string> {
  if (bytes.length !== size_bytes) return `has ${bytes.length} bytes, ${size_bytes} were written`;
  const found = await digestOf(bytes);
  if (found === wanted) return "";
  return `is another file than was written (digest ${found.slice(0, 12)}…, the manifest says ${wanted.slice(0, 12)}…)`;
}
