// The streams that every connection follows, `all` and `user`, as handlers of the application see them.

import type { Missed } from '../api.js';
import { newHandlers, newListeners, type Handlers, type Listeners } from '../listeners.js';
import { isEvent, streamEvent, type EventMessage, type StreamMessage } from '../protocol.js';
import type { TopicMessage } from '../session/subscriptions.js';

export interface AmbientStream {
  readonly handlers: Handlers;
  readonly missed: Listeners<[Missed]>;
  receive(message: TopicMessage): void;
}

export function newAmbientStream(onError: (error: unknown) => void): AmbientStream {
  const handlers = newHandlers(onError);
  const missed = newListeners<[Missed]>(onError);
  /** A tab that takes over the connection may go on from a position that was told here already. */
  let last = 0;
  return {
    handlers,
    missed,
    receive(message) {
      const { seq } = message as EventMessage;
      if (!isEvent(message as StreamMessage)) {
        // In another history numbers begin anew.
        last = Math.min(last, seq);
        missed.call({ before: (message as { missedBefore?: number }).missedBefore ?? seq + 1 });
      } else if (seq > last) {
        last = seq;
        handlers.call(streamEvent(message as EventMessage));
      }
    },
  };
}
