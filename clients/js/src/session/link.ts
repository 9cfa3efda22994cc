// How a tab reaches the session that has the connection: its own, or that of another tab.

import type { Session } from './session.js';
import type { Want } from './subscriptions.js';
import type { TabMessage } from './tabs.js';

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
  /** Another tab says something. */
  hear(message: TabMessage): void;
  /** Leaves. The connection ends where this tab has it. */
  close(): void;
}

/** For a tab that shares its store with nobody. */
export function ownLink(session: Session, tab: string): Link {
  session.connect();
  return {
    want: (wants) => session.want(tab, wants),
    signal: (...signal) => session.signal(...signal),
    pump: () => session.pump(),
    wake: () => session.wake(),
    userStateArrived: () => session.userStateArrived(),
    hear: () => {},
    close: () => session.disconnect(),
  };
}
