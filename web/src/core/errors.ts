/** What a person can do something about: the text names the value, the rule and the way out. */
export class XpertError extends Error {
  override name = "XpertError";
}

/** The text of anything that was thrown. */
export function textOf(error: unknown): string {
  if (error instanceof XpertError) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
