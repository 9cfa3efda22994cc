// The streams that every connection follows, `all` and `user`, as handlers of the application see them.

import type { Missed, StreamEvent, Unsubscribe } from '../api.js';
import type { Listeners } from '../listeners.js';
import { isEvent, type EventMessage, type StreamMessage } from '../protocol.js';
import type { TopicMessage } from '../session/subscriptions.js';
import { listenersOf, streamEvent } from './topic.js';

/** Under which handlers are told of events that were missed and are gone; no event has this type. */
export const MISSED = '';

export class AmbientStream {
  readonly #onError: (error: unknown) => void;
  readonly #listeners = new Map<string, Listeners<[any]>>();
  /** A tab that takes over the connection may go on from a position that was told here already. */
  #seq = 0;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  on(type: typeof MISSED, handler: (missed: Missed) => void): Unsubscribe;
  on(type: string, handler: (event: StreamEvent<string, any>) => void): Unsubscribe;
  on(type: string, handler: (value: any) => void): Unsubscribe {
    return listenersOf(this.#listeners, type, this.#onError).add(handler);
  }

  receive(message: TopicMessage): void {
    // Numbers may begin anew: the history is another one.
    if (message.type === 'SYNCED' && 'missedBefore' in message) {
      this.#seq = Math.min(this.#seq, message.seq);
      this.#listeners.get(MISSED)?.call({ before: message.missedBefore! });
    }
    if (!isEvent(message as StreamMessage)) return;
    const event = streamEvent(message as EventMessage);
    if (event.seq <= this.#seq) return;
    this.#seq = event.seq;
    this.#listeners.get(event.type)?.call(event);
    this.#listeners.get('*')?.call(event);
  }

  clear(): void {
    for (const listeners of this.#listeners.values()) listeners.clear();
  }
}
