import type { DraftwireOptions } from '../api.js';
import { DraftwireError } from '../errors.js';
import { TOKEN_MS_MAX } from '../limits.js';
import { waitFor } from '../wait.js';

/** Asks the application for tokens: one question at a time, and an answer that comes too late is not used. */
export interface TokenSource {
  /** The token was refused or is about to end: the next answer must be another one. */
  spent(token: string | null | undefined): void;
  /**
   * A token, or null for none. Rejects where the application throws, does not answer in time, or brings a token
   * again that is of no use: ask again later. With `unauthorized`, nobody is signed in.
   */
  get(): Promise<string | null>;
  /** Nobody waits for an answer any more. */
  cancel(): void;
}

export function newTokenSource(getToken: DraftwireOptions['getToken']): TokenSource {
  let asking: Promise<string | null> | null = null;
  let abort: AbortController | undefined;
  /** A token that must not be sent (again). */
  let stale: string | undefined;

  async function ask(): Promise<string | null> {
    const mine = (abort = new AbortController());
    const { signal } = mine;
    try {
      const answer = Promise.resolve(getToken({ stale, signal }));
      const token = await waitFor(answer, { timeoutMs: TOKEN_MS_MAX, signal });
      if (token === stale) throw new Error('getToken brought the same token again');
      return token;
    } catch (cause) {
      mine.abort();
      if (cause instanceof DraftwireError && cause.code === 'unauthorized') throw cause;
      throw new DraftwireError('unavailable', `no token: ${(cause as Error | null)?.message ?? cause}`, undefined, { cause });
    }
  }

  return {
    spent(token) {
      stale = token ?? stale;
    },
    get() {
      if (asking) return asking;
      const mine = ask().finally(() => {
        if (asking === mine) asking = null;
      });
      return (asking = mine);
    },
    cancel() {
      asking = null;
      abort?.abort();
    },
  };
}
