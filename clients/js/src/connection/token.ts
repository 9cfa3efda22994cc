import type { DraftwireOptions } from '../api.js';
import { DraftwireError } from '../errors.js';
import { waitFor } from '../wait.js';

/** How long one answer of `getToken` may take. */
const TOKEN_MS_MAX = 10_000;

/** Asks the application for tokens: one question at a time, and an answer that comes too late is not used. */
export class TokenSource {
  readonly #getToken: DraftwireOptions['getToken'];
  #asking: Promise<string | null> | null = null;
  #abort: AbortController | null = null;
  /** A token that must not be sent (again). */
  #stale: string | undefined;

  constructor(getToken: DraftwireOptions['getToken']) {
    this.#getToken = getToken;
  }

  /** The token was refused or is about to end: the next answer must be another one. */
  spent(token: string | null): void {
    if (token !== null) this.#stale = token;
  }

  /**
   * A token, or null for none. Rejects where the application throws, does not answer in time, or brings a token
   * again that is of no use: ask again later. With `unauthorized`, nobody is signed in.
   */
  get(): Promise<string | null> {
    if (this.#asking) return this.#asking;
    const asking = this.#ask().finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  /** Nobody waits for an answer any more. */
  cancel(): void {
    this.#asking = null;
    this.#abort?.abort();
  }

  async #ask(): Promise<string | null> {
    const abort = new AbortController();
    this.#abort = abort;
    const stale = this.#stale;
    try {
      const answer = Promise.resolve(this.#getToken({ ...(stale !== undefined && { stale }), signal: abort.signal }));
      const token = await waitFor(answer, { timeoutMs: TOKEN_MS_MAX, signal: abort.signal });
      if (token !== null && token === this.#stale) throw new DraftwireError('unavailable', 'getToken brought a token again that is of no use');
      return token;
    } catch (error) {
      abort.abort();
      if (error instanceof DraftwireError && error.code === 'unauthorized') throw error;
      const message = `no token: ${error instanceof Error ? error.message : String(error)}`;
      throw new DraftwireError('unavailable', message, undefined, { cause: error });
    }
  }
}
