// The streams that every connection follows: `all`, and `user`. Without drafts both are alike; what keeps drafts brings
// its own.

import type { Connection } from '../connection/connection.js';
import type { DraftwireError } from '../errors.js';
import type { Position, StreamMessage } from '../protocol.js';
import type { Records } from '../store/records.js';
import type { newCommandQueue } from './command_queue.js';
import type { CommandRules } from './commands.js';
import { Tracker } from './tracker.js';

/** What follows a stream. */
export interface StreamFollower {
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
export interface StreamHost {
  readonly connection: Connection;
  readonly records: Records;
  readonly device: string;
  /** Whether it is live may have changed. */
  settle(): void;
  /** Events of the stream are missing. */
  gap(stream: string): void;
  /** From now on commands may be sent. */
  openQueue(): void;
  /** Tells handlers of the application. */
  deliver(message: StreamMessage): void;
}

/** What keeps the user's drafts: the rules for their commands, and how the stream `user` is followed. */
export interface UserState extends CommandRules {
  /** Its code, which is loaded late where nobody keeps drafts. */
  readonly newCommandQueue: typeof newCommandQueue;
  /** The position on the stream, and all that depends on it, is the follower's. It also says when commands may be sent. */
  follow(host: StreamHost): StreamFollower;
  /** These records have changed. */
  changed(keys: ReadonlySet<string>): void;
  /** The client was closed. */
  close(error: DraftwireError): void;
}

/** Follows a stream whose events are only told. */
export function followPlain({ settle, gap, deliver }: StreamHost, position?: Position): StreamFollower {
  const tracker = new Tracker(position);
  return Object.assign(tracker, {
    welcome(head: Position) {
      tracker.live = !tracker.position;
      tracker.position ??= head;
    },
    receive(message: StreamMessage) {
      const judged = tracker.judge(message);
      if (judged === 'gap') gap(message.stream);
      else if (judged === 'next' || judged === 'missed') deliver(message);
      settle();
    },
    frameEnd() {},
    lost() {
      tracker.live = false;
    },
  });
}
