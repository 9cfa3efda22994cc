// What the states of a connection are called, and what it has missed.

import type { ConnectionState, Cursor, DraftwireError } from 'draftwire';
import { part, say } from './dom.js';
import { NoTokenYet } from './tokens.js';

export type Status = ConnectionState['status'];

const STATUS_TEXT: Record<Status, string> = {
  offline: 'Offline',
  waiting: 'Reconnecting',
  connecting: 'Connecting',
  'catching-up': 'Catching up',
  live: 'Live',
  stopped: 'Stopped',
};

/** What the person has to know of a client that has stopped. The page asks for a token by itself. */
function stopNotice(error: DraftwireError | undefined): string {
  if (error instanceof NoTokenYet) return '';
  return `Stopped: ${error?.message ?? 'closed'}. Switch offline and back to try again.`;
}

/** Says what a device has been sent after it was away: from where it stood when it left to where it is live again. */
class Absence {
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

/** Says how a client stands, on its part of the page. */
export class Standing {
  readonly #root: HTMLElement;
  readonly #absence = new Absence();

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** Whether it was live before. */
  get wasLive(): boolean {
    return this.#absence.wasLive;
  }

  /** Shows what the person has to know; '' hides it. */
  notice(text: string): void {
    say(part(this.#root, 'notice-text'), text);
    part(this.#root, 'notice').hidden = text === '';
  }

  /** Shows a status and its reason, the node, and what was missed up to the cursor. */
  show(status: Status, error: DraftwireError | undefined, client: ConnectionState, cursor: Cursor | null): void {
    const before = this.#root.dataset['state'];
    if (status !== before) {
      if (before === 'stopped') this.notice('');
      if (status === 'stopped') this.notice(stopNotice(error));
    }
    this.#root.dataset['state'] = status;
    say(part(this.#root, 'state'), STATUS_TEXT[status]);
    part(this.#root, 'state').title = error?.message ?? '';
    if ('node' in client) say(part(this.#root, 'node'), client.node);
    const news = this.#absence.look(status, cursor);
    if (news === null) return;
    part(this.#root, 'replayed').hidden = news === '';
    say(part(this.#root, 'replayed'), news);
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
