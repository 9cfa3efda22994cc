// What the states of a connection are called, and what it has missed.

import type { ConnectionState, Cursor, DraftwireError } from 'draftwire';
import { NoTokenYet } from './tokens.js';

export type Status = ConnectionState['status'];

export const STATUS_TEXT: Record<Status, string> = {
  offline: 'Offline',
  waiting: 'Reconnecting',
  connecting: 'Connecting',
  'catching-up': 'Catching up',
  live: 'Live',
  stopped: 'Stopped',
};

/** What the person has to know of a client that has stopped. The page asks for a token by itself. */
export function stopNotice(error: DraftwireError | undefined): string {
  if (error instanceof NoTokenYet) return '';
  return `Stopped: ${error?.message ?? 'closed'}. Switch offline and back to try again.`;
}

/** Says what a device has been sent after it was away: from where it stood when it left to where it is live again. */
export class Absence {
  #leftAt: Cursor | null = null;
  #live = false;

  /** Whether it was live before. */
  get wasLive(): boolean {
    return this.#live || this.#leftAt !== null;
  }

  /**
   * Looks at where it is now. Returns what to say, '' where there is nothing, and null where what was said still holds.
   */
  look(status: Status, cursor: Cursor | null): string | null {
    const live = status === 'live';
    if (live === this.#live) return null;
    this.#live = live;
    if (!live) this.#leftAt = cursor;
    return live && this.#leftAt !== null && cursor !== null ? caughtUp(this.#leftAt, cursor) : '';
  }
}

function caughtUp(from: Cursor, to: Cursor): string {
  if (epochOf(from) !== epochOf(to)) return 'caught up: the server has another history';
  const missed = seqOf(to) - seqOf(from);
  return `caught up: ${missed} missed ${missed === 1 ? 'event' : 'events'}`;
}

/** The number of the last event. */
export function seqOf(cursor: Cursor): number {
  return Number(cursor.slice(cursor.lastIndexOf(':') + 1));
}

/** The name of the history. */
export function epochOf(cursor: Cursor): string {
  return cursor.slice(0, cursor.lastIndexOf(':'));
}
