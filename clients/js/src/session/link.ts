// How a tab reaches the session that has the connection: its own, or that of another tab.

import { newSession, type SessionEvents, type SessionOptions } from './session.js';
import type { Want } from './subscriptions.js';

export interface Link {
  /** Says all that this tab wants to follow. */
  want(wants: readonly Want[]): void;
  signal(topic: string, event: string, data: unknown): void;
  /** There may be something new to send. */
  pump(): void;
  /** The device may have slept, or this tab come to the front. */
  wake(): void;
  /** Somebody keeps the user's drafts from now on. */
  userStateArrived(): void;
  /** Leaves. The connection ends where this tab has it. */
  close(): void;
}

/** What the session of this tab needs, if it has one, and whom it tells. */
export interface LinkOptions extends Omit<SessionOptions, 'events'> {
  /** Names this tab. */
  readonly tab: string;
  readonly events: LinkEvents;
}

export type NewLink = (options: LinkOptions) => Link;

/** Whom a link tells: the same as a session. What has become of a command may be about one of another tab. */
export type LinkEvents = Omit<SessionEvents, 'isThere'>;

/** For a tab that shares its records with nobody. */
export function ownLink(options: LinkOptions): Link {
  const { events, tab } = options;
  const session = newSession({ ...options, events: { ...events, isThere: () => false } });
  session.connect();
  return { ...session, want: (wants) => session.want(tab, wants), close: session.disconnect };
}
