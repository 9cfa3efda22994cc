// The connection of a device with everything that depends on it: positions on the streams, topics, commands. One tab
// has it for all.

import type { ConnectionState } from '../api.js';
import { Connection } from '../connection/connection.js';
import type { TokenSource } from '../connection/token.js';
import type { Transport } from '../connection/transport.js';
import { DraftwireError, type ErrorCode } from '../errors.js';
import { formatCursor, isEvent, type Answer, type DraftMessage, type EventMessage, type Position, type StreamMessage, type Welcome } from '../protocol.js';
import type { RecordsEdit, Replica } from '../store/replica.js';
import { Outbox, type Command, type CommandRules, type Outcome } from './outbox.js';
import { publishRules } from './publishing.js';
import { Subscriptions, type TopicMessage, type Want } from './subscriptions.js';
import { Tracker } from './tracker.js';

/** What keeps the user's drafts in the records. All of it is pure, and runs in steps. */
export interface UserState extends CommandRules {
  /** Replaces all drafts. `reset`: in another history, in which versions known so far mean nothing. */
  snapshot(records: RecordsEdit, drafts: readonly DraftMessage[], reset: boolean): void;
  event(records: RecordsEdit, event: EventMessage, device: string): void;
}

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
  readonly replica: Replica;
  readonly isVisible: () => boolean;
  readonly userState: () => UserState | null;
  readonly events: SessionEvents;
}

/** Events held back while the list of drafts is on its way. Past it the connection starts over. */
const HELD_MAX = 10_000;

export class Session {
  readonly #options: SessionOptions;
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #subscriptions: Subscriptions;
  readonly #all: Tracker;
  readonly #user: Tracker;
  /** Events that came before the list of drafts; null while none is on its way. */
  #held: EventMessage[] | null = null;
  /** What has come in this frame, and is told at its end. */
  #frame: TopicMessage[] = [];
  #userFrame: EventMessage[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
    const { replica, events, userState } = options;
    this.#all = new Tracker(replica.get<Position>('position/all') ?? null);
    this.#user = new Tracker(userState() ? (replica.get<Position>('position/user') ?? null) : null);
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
        tooLarge: (error) => this.#outbox.tooLarge(error.message),
        lost: () => this.#lost(),
      },
    });
    const publish = publishRules(({ tab }) => events.isThere(tab));
    this.#outbox = new Outbox({
      replica,
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
  }

  connect(): void {
    this.#connection.connect();
  }

  disconnect(): void {
    this.#connection.disconnect();
  }

  stop(error: DraftwireError): void {
    this.#connection.stop(error);
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
    this.#outbox.pump();
  }

  signal(topic: string, event: string, data: unknown): void {
    this.#connection.request('PUBLISH', { topic, event, data, signal: true }, (answer) => {
      if (answer.type === 'ERROR' && answer.code !== 'unavailable') this.#options.events.failed(errorOf(answer));
    });
  }

  /** From now on there is somebody who keeps the user's drafts. */
  userStateArrived(): void {
    const { welcome } = this.#connection;
    if (welcome?.seq !== undefined) this.#list();
    else if (!welcome) this.#user.position = this.#options.replica.get<Position>('position/user') ?? null;
  }

  // --- connections come and go ------------------------------------------------------------------------------------

  #cursors(): { cursor?: string; all?: string } {
    const [user, all] = [this.#user.position, this.#all.position];
    return { ...(user && { cursor: formatCursor(user) }), ...(all && { all: formatCursor(all) }) };
  }

  #welcome(welcome: Welcome): void {
    const { epoch, userId, seq } = welcome;
    const { replica, events } = this.#options;
    const known = replica.get<string>('meta/user');
    if (known !== undefined && userId !== undefined && known !== userId) {
      // Its changes would be made in the name of somebody else.
      const message = 'what is stored here belongs to another user; logout() forgets it';
      return this.#connection.stop(new DraftwireError('wrong_user', message));
    }
    if (known === undefined && userId !== undefined) void replica.run((records) => records.put('meta/user', userId));
    if (!this.#all.position) {
      this.#all.position = { epoch, seq: welcome.allSeq };
      this.#all.live = true;
      this.#keepAllPosition();
    }
    events.state(this.#connectedState('catching-up'));
    this.#subscriptions.welcome();
    if (seq === undefined) {
      // What is stored waits for its user; what a visitor publishes is refused.
      if (known === undefined) this.#outbox.open();
      return this.#settle();
    }
    if (this.#user.position) {
      // In another history old versions mean nothing: changes wait for the SNAPSHOT.
      if (this.#user.position.epoch === epoch || !this.#options.userState()) this.#outbox.open();
    } else if (this.#options.userState()) {
      this.#list();
    } else {
      this.#user.position = { epoch, seq };
      this.#user.live = true;
      this.#outbox.open();
    }
    this.#settle();
  }

  #lost(): void {
    this.#held = null;
    this.#flushUserFrame();
    if (this.#options.userState()) this.#user.position = this.#options.replica.get<Position>('position/user') ?? null;
    this.#user.live = this.#all.live = false;
    this.#outbox.lost();
    this.#subscriptions.lost();
    this.#tell();
  }

  /** The state is live once both streams are. */
  #settle(): void {
    const { welcome } = this.#connection;
    if (welcome && this.#all.live && (this.#user.live || welcome.seq === undefined)) {
      this.#options.events.state(this.#connectedState('live'));
    }
  }

  #connectedState(status: 'catching-up' | 'live'): ConnectionState {
    return { status, transport: this.#connection.transport.name, node: this.#connection.welcome!.node };
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  #receive(message: StreamMessage): void {
    if (message.stream === 'user') this.#receiveUser(message);
    else if (message.stream === 'all') this.#receiveAll(message);
    else if (message.stream.startsWith('topic:')) this.#subscriptions.receive(message);
  }

  #receiveAll(message: StreamMessage): void {
    if (message.type === 'SYNCED') {
      if (this.#all.synced(message as { seq: number }) === 'gap') return this.#gap('all');
      this.#settle();
    } else if (isEvent(message)) {
      const judged = this.#all.take(message.seq);
      if (judged === 'gap') return this.#gap('all');
      if (judged === 'seen') return;
    }
    this.#frame.push(message);
  }

  #receiveUser(message: StreamMessage): void {
    if (message.type === 'SYNCED') {
      if (this.#held || !this.#user.position) return;
      if (this.#user.synced(message as { seq: number }) === 'gap') return this.#gap('user');
      this.#settle();
    } else if (message.type === 'SNAPSHOT') {
      const { epoch, seq, payload } = message as Extract<StreamMessage, { type: 'SNAPSHOT' }>;
      this.#held = null;
      this.#replace({ epoch, seq }, payload.drafts);
    } else if (isEvent(message)) {
      this.#userEvent(message);
    }
  }

  #userEvent(event: EventMessage): void {
    if (this.#held) {
      this.#held.push(event);
      if (this.#held.length > HELD_MAX) this.#connection.again(new DraftwireError('unreachable', 'too many events before the list'));
      return;
    }
    const judged = this.#user.take(event.seq);
    if (judged === 'gap') return this.#gap('user');
    if (judged === 'seen') return;
    this.#userFrame.push(event);
    if (!event.type.startsWith('DRAFT_')) this.#frame.push(event);
  }

  /** The first state: a list, and the events after the position that it stands at. */
  #list(): void {
    const held: EventMessage[] = [];
    this.#held = held;
    this.#connection.request('DRAFT_LIST', undefined, (answer) => {
      // A SNAPSHOT that came meanwhile is the newer state.
      if (this.#held !== held) return;
      if (answer.type !== 'ACK') return this.#connection.again(errorOf(answer as Answer & { type: 'ERROR' }));
      const { epoch, seq, drafts } = answer.payload;
      this.#held = null;
      this.#replace({ epoch, seq }, drafts);
      for (const event of held) if (event.seq > seq) this.#userEvent(event);
      this.#user.live = true;
      this.#settle();
    });
  }

  #replace(position: Position, drafts: readonly DraftMessage[]): void {
    const { replica } = this.#options;
    this.#flushUserFrame();
    this.#user.position = position;
    const userState = this.#options.userState();
    if (userState) {
      void replica.run((records) => {
        const before = records.get<Position>('position/user');
        // Another tab was faster.
        if (before && before.epoch === position.epoch && before.seq > position.seq) return;
        userState.snapshot(records, drafts, before !== undefined && before.epoch !== position.epoch);
        records.put('position/user', position);
      });
    }
    this.#outbox.open();
    this.#outbox.release();
  }

  /** What has come about the user's drafts goes into the store with the position that it leads to. */
  #flushUserFrame(): void {
    const [events, position] = [this.#userFrame, this.#user.position];
    this.#userFrame = [];
    const userState = this.#options.userState();
    if (!userState || !position || events.length === 0) return;
    const { device, replica } = this.#options;
    void replica.run((records) => {
      const before = records.get<Position>('position/user');
      if (before?.epoch !== position.epoch) return;
      const news = events.filter(({ seq }) => seq > before.seq);
      if (news.length === 0) return;
      for (const event of news) userState.event(records, event, device);
      records.put('position/user', position);
    });
    this.#outbox.pump();
  }

  #frameEnd(): void {
    this.#flushUserFrame();
    this.#tell();
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
    void this.#options.replica.run((records) => records.put('position/all', position));
  }

  #answer(answer: Answer): void {
    if (answer.type === 'PONG') return;
    const { id } = answer;
    const outcome = answer.type === 'ACK'
      ? { ...(answer.seq !== undefined && { seq: answer.seq }), payload: answer.payload }
      : { error: { code: answer.code, message: answer.message, payload: answer.payload } };
    if (id !== undefined && this.#outbox.receive(id, outcome)) return;
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
