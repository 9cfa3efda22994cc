import type { Refused } from './protocol.js';

/**
 * Why something failed. The first line are the server's codes (docs/protocol.md, "Error codes"), the rest is the
 * client's own:
 * - `queue_full`: too many changes wait for their answers, or conflicts and refusals for the user.
 * - `timeout`, `aborted`: the caller has stopped waiting. What it waited for goes on.
 * - `disconnected`: the connection ended before the answer to something that is of no use on another one; as the
 *   reason of a state, an operator has ended the connection, and the client comes back with a fresh token.
 * - `unknown_outcome`: an event was sent, its answer never came, and the server may by now have forgotten its id:
 *   sending it again could publish it twice.
 * - `history_changed`: the server has lost acknowledged changes, so the base of this change means nothing any more.
 * - `wrong_user`: the store holds the data of another user. `logout()` forgets it.
 * - `newer_version`: another tab uses a newer version of this package, or the store was written by one. Reload.
 * - `storage`: the store cannot be read or written.
 * - `protocol`: the server said something that this client cannot make sense of, or called it a misuse.
 * - `replaced`: another connection of the same device has taken the place of this one.
 * - `unreachable`: the connection could not be made, or was lost.
 * - `closed`: the client was closed.
 */
export type ErrorCode =
  | 'bad_request' | 'unauthorized' | 'forbidden' | 'not_found' | 'conflict' | 'too_large' | 'rate_limited' | 'unavailable'
  | 'queue_full' | 'timeout' | 'aborted' | 'disconnected' | 'unknown_outcome' | 'history_changed' | 'wrong_user'
  | 'newer_version' | 'storage' | 'protocol' | 'replaced' | 'unreachable' | 'closed';

/** Every failure that this package reports, thrown, rejected with, or as a part of a state. */
export class DraftwireError extends Error {
  override readonly name = 'DraftwireError';
  readonly code: ErrorCode;
  /** What the server sent along, as with a conflict the draft as it stands. */
  readonly payload: unknown;

  /** @param message for developers; the code where that says enough */
  constructor(code: ErrorCode, message: string = code, payload?: unknown, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.payload = payload;
  }
}

/** A refusal of the server as an error. */
export function errorOf({ code, message, payload }: Refused): DraftwireError {
  return new DraftwireError(code as ErrorCode, message, payload);
}
