/** Texts to tokens and back, by the tokenizer and the prompt template of an export: as `xpert.runtime.tokens`. */
import { Tokenizer } from "@huggingface/tokenizers";

import { XpertError } from "./errors.ts";
import { TOKENIZER, type Prompt } from "./manifest.ts";
import type { Sample } from "./samples.ts";
import { strip } from "./space.ts";
import { answerText } from "./thoughts.ts";

/** Tokens of one sample; those from `start` on are learned (start >= 1). */
export interface Encoded {
  readonly tokens: readonly number[];
  readonly start: number;
}

export class Tokens {
  private readonly tokenizer: Tokenizer;
  private readonly specials: ReadonlyMap<number, string>;

  /** @param text of tokenizer.json. */
  constructor(text: string, private readonly prompt: Prompt) {
    try {
      const whole = JSON.parse(text) as { added_tokens?: { id: number; content: string; special: boolean }[] };
      this.tokenizer = new Tokenizer(whole, { clean_up_tokenization_spaces: false });
      const special = (whole.added_tokens ?? []).filter((token) => token.special);
      this.specials = new Map(special.map((token) => [token.id, token.content]));
    } catch (error) {
      throw new XpertError(
        `${TOKENIZER} cannot be read (${(error as Error).message}): export or download the folder again`,
      );
    }
  }

  /** The text up to where the answer starts. */
  rendered(asked: string): string {
    const { prefix, suffix, strip: stripped, empty } = this.prompt;
    if (!asked) return empty;
    return prefix + (stripped ? strip(asked) : asked) + suffix;
  }

  /** Tokens of a prompt, up to where the answer starts. */
  ask(asked: string): number[] {
    return this.ids(this.rendered(asked), this.prompt.add_special_tokens);
  }

  /**
   * Tokens of each sample: prompt, response, end of text; only the response and the end are learned.
   *
   * A sample that is too long loses the start of its prompt, but not below half of `limit`; then the end of its
   * response. Samples with nothing to learn are left out.
   */
  encode(samples: readonly Sample[], limit: number): Encoded[] {
    const { end, first, begin } = this.prompt;
    return samples
      .map(({ prompt, response }) => {
        let before = this.ask(prompt ?? "");
        if (before.length === 0 && first !== null) before = [first];
        const after = this.ids(response, false);
        return fit(before, end === null ? after : [...after, end], limit, begin);
      })
      .filter((sample) => sample.tokens.length > sample.start);
  }

  /** The text of an answer, without special tokens and without what the model thought before it. */
  decode(tokens: readonly number[]): string {
    return answerText(tokens, this.specials, (some) =>
      some.length === 0 ? "" : this.tokenizer.decode([...some], { skip_special_tokens: true }),
    );
  }

  private ids(text: string, special: boolean): number[] {
    return this.tokenizer.encode(text, { add_special_tokens: special }).ids;
  }
}

function fit(prompt: number[], response: number[], limit: number, begin: number | null): Encoded {
  if (prompt.length + response.length > limit) {
    const keep = Math.min(prompt.length, Math.max(Math.floor(limit / 2), limit - response.length));
    if (keep < prompt.length) {
      const head = begin !== null && prompt[0] === begin ? prompt.slice(0, 1) : [];
      prompt = [...head, ...prompt.slice(prompt.length - keep + head.length)];
    }
    response = response.slice(0, limit - keep);
  }
  return { tokens: [...prompt, ...response], start: Math.max(1, prompt.length) };
}
