// The stream `user` of a session. Without drafts it is like `all`; what keeps drafts comes with them.

import type { Connection } from '../connection/connection.js';
import { isEvent, type EventMessage, type Position, type StreamMessage } from '../protocol.js';
import type { Records } from '../store/records.js';
import type { CommandRules } from './command_queue.js';
import { Tracker } from './tracker.js';

/** What follows the stream `user`. Its position and everything that depends on it is its own. */
export interface UserStream {
  /** Where to go on from. */
  readonly position: Position | null;
  /** Whether everything that arrives is new. */
  readonly live: boolean;
  /** After WELCOME, which says where the stream stands. */
  welcome(head: Position): void;
  receive(message: StreamMessage): void;
  /** All messages of one frame are there. */
  frameEnd(): void;
  lost(): void;
}

/** What it needs of its session. */
export interface UserStreamHost {
  readonly connection: Connection;
  readonly records: Records;
  readonly device: string;
  /** Whether it is live may have changed. */
  settle(): void;
  /** Events are missing. */
  gap(): void;
  /** From now on commands may be sent. */
  openQueue(): void;
  /** Tells handlers of the application. */
  deliver(message: StreamMessage): void;
}

/** What keeps the user's drafts: the rules for their commands, and how the stream is followed. */
export interface UserState extends CommandRules {
  follow(host: UserStreamHost): UserStream;
}

export function plainUserStream({ settle, gap, openQueue, deliver }: UserStreamHost): UserStream {
  const tracker = new Tracker();
  return {
    get position() {
      return tracker.position;
    },
    get live() {
      return tracker.live;
    },
    welcome(head) {
      tracker.live = tracker.position === null;
      tracker.position ??= head;
      openQueue();
    },
    receive(message) {
      // There is nothing here that a snapshot could replace.
      if (message.type === 'SNAPSHOT') {
        tracker.position = message as Position & StreamMessage;
        deliver(missedAll(tracker.position));
      } else if (takes(tracker, message, gap)) {
        deliver(message);
      }
      settle();
    },
    frameEnd() {},
    lost() {
      tracker.live = false;
    },
  };
}

/** What a SNAPSHOT says to those who handle events: there are none up to its position. */
export function missedAll({ epoch, seq }: Position): StreamMessage {
  return { type: 'SYNCED', stream: 'user', epoch, seq, missedBefore: seq + 1 };
}

/** Follows a message of `user` or `all` with its tracker. Returns whether it is the next event. */
export function takes(tracker: Tracker, message: StreamMessage, gap: () => void): message is EventMessage {
  const judged = message.type === 'SYNCED' ? tracker.synced(message as { seq: number }) : isEvent(message) && tracker.take(message.seq);
  if (judged === 'gap') gap();
  return judged === 'next';
}
