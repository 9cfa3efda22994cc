// How a tab reaches the session that has the connection: its own, or that of another tab.

import type { ConnectionState } from '../api.js';
import type { DraftwireError } from '../errors.js';
import type { Outcome } from './command_queue.js';
import type { Session, SessionEvents } from './session.js';
import type { TopicMessage, Want } from './subscriptions.js';

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

export interface LinkOptions {
  /** Names this tab. */
  readonly tab: string;
  readonly isVisible: () => boolean;
  readonly keepsDrafts: () => boolean;
  readonly newSession: (events: SessionEvents, isVisible: () => boolean) => Session;
  readonly events: LinkEvents;
}

export type NewLink = (options: LinkOptions) => Link;

/** Whom a link tells. */
export interface LinkEvents {
  state(state: ConnectionState): void;
  deliver(messages: readonly TopicMessage[]): void;
  /** What has become of a command, of this tab or another. */
  answered(id: string, outcome: Outcome): void;
  failed(error: DraftwireError): void;
}

/** For a tab that shares its records with nobody. */
export function ownLink({ tab, isVisible, newSession, events }: LinkOptions): Link {
  const session = newSession({ ...events, isThere: (name) => name === tab }, isVisible);
  session.connect();
  return { ...session, want: (wants) => session.want(tab, wants), close: session.disconnect };
}
