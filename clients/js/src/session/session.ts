// The connection of a device with everything that depends on it: positions on the streams, topics, commands. One tab
// has it for all.

import type { ConnectionState } from '../api.js';
import { Connection } from '../connection/connection.js';
import type { TokenSource } from '../connection/token.js';
import type { Transport } from '../connection/transport.js';
import { DraftwireError, type ErrorCode } from '../errors.js';
import { formatCursor, type Answer, type Position, type StreamMessage, type Welcome } from '../protocol.js';
import type { Records } from '../store/records.js';
import { CommandQueue, type Command, type Outcome } from './command_queue.js';
import { publishRules } from './publishing.js';
import { Subscriptions, type TopicMessage, type Want } from './subscriptions.js';
import { Tracker } from './tracker.js';
import { plainUserStream, takes, type UserState, type UserStream } from './user_stream.js';

/** Whom the session tells. */
export interface SessionEvents {
  state(state: ConnectionState): void;
  /** The messages of one frame about topics, `all` and `user`. */
  deliver(messages: readonly TopicMessage[]): void;
  /** What has become of a command. */
  answered(command: Command, outcome: Outcome): void;
  /** Something that no other call tells. */
  failed(error: DraftwireError): void;
  /** Whether a tab with this name is there, to be told. */
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

export class Session {
  readonly #options: SessionOptions;
  readonly #connection: Connection;
  readonly #queue: CommandQueue;
  readonly #subscriptions: Subscriptions;
  readonly #all: Tracker;
  #user: UserStream;
  /** Whether everything that arrives on `user` and `all` is new. */
  #live = false;
  /** What has come in this frame, and is told at its end. */
  #frame: TopicMessage[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
    const { records, events, userState } = options;
    this.#all = new Tracker(records.get<Position>('position/all') ?? null);
    this.#connection = new Connection({
      transports: options.transports,
      device: options.device,
      tokens: options.tokens,
      isVisible: options.isVisible,
      events: {
        state: (state) => events.state(state),
        cursors: () => this.#cursors(),
        welcome: (welcome) => this.#welcome(welcome),
        stream: (message) => this.#receive(message),
        answer: (answer) => this.#answer(answer),
        frameEnd: () => this.#frameEnd(),
        tooLarge: (error) => this.#queue.tooLarge(error.message),
        lost: () => this.#lost(),
      },
    });
    const publish = publishRules(({ tab }) => events.isThere(tab));
    this.#queue = new CommandQueue({
      records,
      connection: this.#connection,
      rules: (type) => (type === 'PUBLISH' ? publish : (userState() ?? undefined)),
      answered: (command, outcome) => events.answered(command, outcome),
    });
    this.#subscriptions = new Subscriptions(this.#connection, {
      deliver: (message) => {
        this.#frame.push(message);
        // Outside of a frame nobody else would.
        queueMicrotask(() => this.#tell());
      },
      gap: (stream) => this.#gap(stream),
    });
    this.#user = this.#newUserStream();
  }

  connect(): void {
    this.#connection.connect();
  }

  disconnect(): void {
    this.#connection.disconnect();
  }

  wake(): void {
    this.#connection.wake();
  }

  tick(): void {
    this.#connection.tick();
  }

  /** Says all that a tab wants to follow. */
  want(tab: string, wants: readonly Want[]): void {
    this.#subscriptions.want(tab, wants);
  }

  /** There may be something new to send. */
  pump(): void {
    this.#queue.pump();
  }

  signal(topic: string, event: string, data: unknown): void {
    this.#connection.request('PUBLISH', { topic, event, data, signal: true }, (answer) => {
      if (answer.type === 'ERROR' && answer.code !== 'unavailable') this.#options.events.failed(errorOf(answer));
    });
  }

  /** From now on there is somebody who keeps the user's drafts: with what they have, the connection begins anew. */
  userStateArrived(): void {
    this.#user = this.#newUserStream();
    this.#connection.reopen();
  }

  #newUserStream(): UserStream {
    const { device, records, userState } = this.#options;
    const follow = userState()?.follow ?? plainUserStream;
    return follow({
      connection: this.#connection,
      records,
      device,
      settle: () => this.#settle(),
      gap: () => this.#gap('user'),
      openQueue: () => this.#queue.open(),
      deliver: (message) => this.#frame.push(message),
    });
  }

  // --- connections come and go ------------------------------------------------------------------------------------

  #cursors(): { cursor?: string; all?: string } {
    const [user, all] = [this.#user.position, this.#all.position];
    return { ...(user && { cursor: formatCursor(user) }), ...(all && { all: formatCursor(all) }) };
  }

  #welcome(welcome: Welcome): void {
    const { epoch, userId, seq } = welcome;
    const { records, events } = this.#options;
    const known = records.get<string>('meta/user');
    if (known !== undefined && userId !== undefined && known !== userId) {
      // Its changes would be made in the name of somebody else.
      return this.#connection.stop(new DraftwireError('wrong_user', 'the store is of another user: logout() forgets it'));
    }
    if (known === undefined && userId !== undefined) void records.run((records) => records.put('meta/user', userId));
    if (!this.#all.position) {
      this.#all.position = { epoch, seq: welcome.allSeq };
      this.#all.live = true;
      this.#keepAllPosition();
    }
    events.state(this.#connectedState('catching-up'));
    this.#subscriptions.welcome();
    if (seq !== undefined) this.#user.welcome({ epoch, seq });
    // What is stored waits for its user; what a visitor publishes is refused.
    else if (known === undefined) this.#queue.open();
    this.#settle();
  }

  #lost(): void {
    this.#live = this.#all.live = false;
    this.#user.lost();
    this.#queue.lost();
    this.#subscriptions.lost();
    this.#tell();
  }

  /** The state is live once both streams are. */
  #settle(): void {
    const { welcome } = this.#connection;
    if (this.#live || !welcome || !this.#all.live || !(this.#user.live || welcome.seq === undefined)) return;
    this.#live = true;
    // What was missed is there before anybody is told that everything is.
    this.#user.frameEnd();
    this.#tell();
    this.#options.events.state(this.#connectedState('live'));
  }

  #connectedState(status: 'catching-up' | 'live'): ConnectionState {
    return { status, transport: this.#connection.transport.name, node: this.#connection.welcome!.node };
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  #receive(message: StreamMessage): void {
    const { stream } = message;
    if (stream === 'user') {
      this.#user.receive(message);
    } else if (stream === 'all') {
      if (takes(this.#all, message, () => this.#gap(stream)) || 'missedBefore' in message) this.#frame.push(message);
      this.#settle();
    } else if (stream.startsWith('topic:')) {
      this.#subscriptions.receive(message);
    }
  }

  #frameEnd(): void {
    this.#user.frameEnd();
    this.#tell();
    this.#queue.pump();
  }

  #tell(): void {
    const messages = this.#frame;
    if (messages.length === 0) return;
    this.#frame = [];
    this.#options.events.deliver(messages);
    if (messages.some(({ stream }) => stream === 'all')) this.#keepAllPosition();
  }

  #keepAllPosition(): void {
    const { position } = this.#all;
    void this.#options.records.run((records) => records.put('position/all', position));
  }

  #answer(answer: Answer): void {
    if (answer.type === 'PONG') return;
    const { id } = answer;
    const outcome = answer.type === 'ACK'
      ? { ...(answer.seq !== undefined && { seq: answer.seq }), payload: answer.payload }
      : { error: { code: answer.code, message: answer.message, payload: answer.payload } };
    if (id !== undefined && this.#queue.receive(id, outcome)) return;
    if (answer.type === 'ERROR') this.#options.events.failed(errorOf(answer));
  }

  /** Has nothing to do with a correct server. The position makes coming back the cure. */
  #gap(stream: string): void {
    const error = new DraftwireError('protocol', `events of ${stream} are missing`);
    this.#options.events.failed(error);
    this.#connection.again(error);
  }
}

/** The server's refusal as an error. */
export function errorOf({ code, message, payload }: { code: string; message: string; payload?: unknown }): DraftwireError {
  return new DraftwireError(code as ErrorCode, message, payload);
}
