// The connection of a device with everything that depends on it: positions on the streams, topics, commands. One tab
// has it for all.

import type { ConnectionState } from '../api.js';
import { newConnection } from '../connection/connection.js';
import type { TokenSource } from '../connection/token.js';
import type { Transport } from '../connection/transport.js';
import { DraftwireError, errorOf } from '../errors.js';
import { formatCursor, type Answer, type Position, type Refused, type StreamMessage, type Welcome } from '../protocol.js';
import type { Records } from '../store/records.js';
import type { CommandQueue } from './command_queue.js';
import { commandKey, type Outcome } from './commands.js';
import { newSubscriptions, type TopicMessage, type Want } from './subscriptions.js';
import { followPlain, type StreamFollower, type StreamHost, type UserState } from './streams.js';

/** Whom the session tells. */
export interface SessionEvents {
  state(state: ConnectionState): void;
  /** The messages of one frame about topics, `all` and `user`. Returns the number of the last one of `all` that was handled. */
  deliver(messages: readonly TopicMessage[]): number | undefined;
  /** What has become of a command. */
  answered(id: string, outcome: Outcome): void;
  /** Something that no other call tells. */
  failed(error: DraftwireError): void;
  /** Whether another tab with this name is there, to be told. */
  isThere(tab: string): boolean;
}

export interface SessionOptions {
  readonly transports: readonly Transport[];
  readonly device: string;
  readonly tokens: TokenSource;
  readonly records: Records;
  readonly isVisible: () => boolean;
  readonly userState: () => UserState | null;
  readonly events: SessionEvents;
}

export interface Session {
  connect(): void;
  disconnect(): void;
  /** The device may have slept. */
  wake(): void;
  /** Looks whether the connection is dead, where timers are slowed down. */
  tick(): void;
  /** Says all that a tab wants to follow. */
  want(tab: string, wants: readonly Want[]): void;
  /** There may be something new to send. */
  pump(): Promise<void>;
  signal(topic: string, event: string, data: unknown): void;
  /** From now on there is somebody who keeps the user's drafts: with what they have, the connection begins anew. */
  userStateArrived(): void;
}

export function newSession(options: SessionOptions): Session {
  const { device, records, userState, events } = options;
  /** Sends what waits in the store. Its code comes with what keeps drafts, or with the first event that is published. */
  let queue: CommandQueue | undefined;
  let isLoading = false;
  let loads = 0;
  /** Whether this connection takes commands. */
  let isOpen = false;
  /** Whether everything that arrives on `user` and `all` is new. */
  let live = false;
  /** What has come in this frame, and is told at its end. */
  let frame: TopicMessage[] = [];

  const connection = newConnection({
    ...options,
    events: {
      state: events.state,
      cursors: () => ({
        ...(user.position && { cursor: formatCursor(user.position) }),
        ...(all.position && { all: formatCursor(all.position) }),
      }),
      welcome,
      stream: receive,
      answer,
      frameEnd,
      tooLarge: ({ message }) => queue?.tooLarge(message),
      lost,
    },
  });
  const subscriptions = newSubscriptions(connection, {
    deliver: (message) => {
      frame.push(message);
      // Outside of a frame nobody else would.
      queueMicrotask(tell);
    },
    gap,
  });
  const host: StreamHost = {
    connection,
    records,
    device,
    settle,
    gap,
    openQueue,
    deliver: (message) => frame.push(message),
  };
  const all = followPlain(host, records.get<Position>('position/all'));
  let user = followUser();

  function followUser(): StreamFollower {
    return (userState()?.follow ?? followPlain)(host);
  }

  function openQueue(): void {
    isOpen = true;
    queue?.open();
    void pump();
  }

  async function pump(): Promise<void> {
    // What does not load without a connection is tried again with each, and after growing pauses as long as it lasts.
    if (queue || isLoading || !isOpen || records.count('command') === 0) return queue?.pump();
    isLoading = true;
    try {
      const { newCommandQueue } = userState() ?? await import('./command_queue.js');
      queue = newCommandQueue({ records, connection, keyOf: commandKey, userState, ...events });
      if (isOpen) queue.open();
    } catch (error) {
      if (isOpen) {
        events.failed(new DraftwireError('unreachable', String(error)));
        connection.pause('load', loads++, pump);
      }
    }
    isLoading = false;
  }

  function userStateArrived(): void {
    user = followUser();
    connection.reopen();
  }

  function signal(topic: string, event: string, data: unknown): void {
    connection.request('PUBLISH', { topic, event, data, signal: true }, (answer) => {
      if (answer.type === 'ERROR' && answer.code !== 'unavailable') events.failed(errorOf(answer));
    });
  }

  // --- connections come and go ------------------------------------------------------------------------------------

  function welcome({ epoch, userId, seq, allSeq }: Welcome): void {
    const known = records.get<string>('meta/user');
    if (known && userId && known !== userId) {
      // Its changes would be made in the name of somebody else.
      return connection.stop(new DraftwireError('wrong_user', 'the store is of another user: logout() forgets it'));
    }
    if (!known && userId) put('meta/user', userId);
    all.welcome({ epoch, seq: allSeq });
    if (all.live) put('position/all', all.position);
    tellConnected('catching-up');
    subscriptions.welcome();
    if (seq !== undefined) user.welcome({ epoch, seq });
    // What keeps drafts opens it. Without a user, what is stored waits for them; what a visitor publishes is refused.
    if (seq === undefined ? !known : !userState()) openQueue();
    settle();
  }

  function lost(): void {
    live = false;
    all.lost();
    user.lost();
    isOpen = false;
    queue?.lost();
    subscriptions.lost();
    tell();
  }

  /** The state is live once both streams are. */
  function settle(): void {
    if (live || !connection.welcome || !all.live || !(user.live || connection.welcome.seq === undefined)) return;
    live = true;
    // What was missed is there before anybody is told that everything is.
    user.frameEnd();
    tell();
    tellConnected('live');
  }

  function tellConnected(status: 'catching-up' | 'live'): void {
    events.state({ status, transport: connection.transport.name, node: connection.welcome!.node });
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  function receive(message: StreamMessage): void {
    const { stream } = message;
    if (stream === 'user') user.receive(message);
    else if (stream === 'all') all.receive(message);
    else if (stream.startsWith('topic:')) subscriptions.receive(message);
  }

  function frameEnd(): void {
    user.frameEnd();
    tell();
    void pump();
  }

  function tell(): void {
    const messages = frame;
    if (messages.length === 0) return;
    frame = [];
    const seq = events.deliver(messages);
    // What was not handled comes again when the client is opened.
    if (seq !== undefined) put('position/all', { ...all.position, seq });
  }

  function put(key: string, value: unknown): void {
    void records.run((edit) => edit.put(key, value));
  }

  function answer(answer: Answer): void {
    const { id, seq, code, message, payload } = answer as Extract<Answer, { type: 'ACK' }> & Partial<Refused>;
    const error = code ? { code, message: message!, payload } : undefined;
    if (!queue?.receive(id!, { seq, payload, error }) && error) events.failed(errorOf(error));
  }

  /** Has nothing to do with a correct server. The position makes coming back the cure. */
  function gap(stream: string): void {
    const error = new DraftwireError('protocol', `events of ${stream} are missing`);
    events.failed(error);
    connection.again(error);
  }

  return { ...connection, want: subscriptions.want, pump, signal, userStateArrived };
}
