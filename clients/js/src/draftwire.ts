import type {
  Acknowledgement, ConnectionState, DraftwireOptions, PublishOptions, StorageState, StreamEvent, TopicOptions,
  Unpublished, Unsubscribe, WaitOptions,
} from './api.js';
import { TokenSource } from './connection/token.js';
import { endpointOf, type Endpoint, type Transport } from './connection/transport.js';
import { webSocketTransport } from './connection/websocket.js';
import { environmentOf, type Environment } from './environment.js';
import { DraftwireError } from './errors.js';
import { randomId } from './json.js';
import { Listeners } from './listeners.js';
import type { Position } from './protocol.js';
import { ownLink, type Link } from './session/link.js';
import type { Outcome } from './session/outbox.js';
import { Publisher } from './session/publisher.js';
import { Session, type SessionEvents, type UserState } from './session/session.js';
import type { TopicMessage } from './session/subscriptions.js';
import type { TabMessage } from './session/tabs.js';
import { memory } from './store/memory.js';
import { Replica } from './store/replica.js';
import type { Peers, Store } from './store/store.js';
import { AmbientStream } from './topics/ambient.js';
import { Topic } from './topics/topic.js';
import { Deferred, waitFor } from './wait.js';

/** @internal How `draftwire/drafts` reaches what it needs of a client. */
export const internals = Symbol('internals');

/** @internal */
export interface Internals {
  readonly replica: Replica;
  readonly tab: string;
  readonly onError: (error: unknown) => void;
  /** Calls the listener with the keys of records that have changed. */
  onRecords(listener: (keys: ReadonlySet<string>) => void): void;
  /** Called when the client is closed. */
  onClose(listener: () => void): void;
  /** Keeps the user's drafts from now on. */
  keepUserState(userState: UserState): void;
  /** What the drafts' part keeps for this client. */
  drafts: unknown;
}

/** The connection of one device, its topics, and what it has not yet been able to send. */
export class Draftwire {
  readonly #options: DraftwireOptions;
  readonly #environment: Environment;
  readonly #endpoint: Endpoint;
  readonly #store: Store;
  readonly #replica: Replica;
  readonly #tokens: TokenSource;
  /** Names this client among those that share its store. */
  readonly #tab = randomId();
  readonly #onError: (error: unknown) => void;
  /** Known once the store is loaded. */
  #device: string | null = null;
  /** While it shall be online. */
  #link: Link | null = null;
  #left = new AbortController();
  #online: boolean;
  #closed = false;
  #state: ConnectionState;
  #storage: StorageState;
  #userState: UserState | null = null;
  readonly #topics = new Set<Topic>();
  #wantsChanged = false;
  readonly #publisher: Publisher;
  readonly #all: AmbientStream;
  readonly #user: AmbientStream;
  readonly #changed: Listeners;
  readonly #recordsChanged: Listeners<[ReadonlySet<string>]>;
  readonly #closing: Listeners;
  readonly #stopWaking: () => void;
  /** @internal */
  readonly [internals]: Internals;

  /**
   * @param url where the server is, `https://sync.example.com` or `wss://sync.example.com/ws/realtime`
   * @throws TypeError where that is no address
   */
  constructor(url: string | URL, options: DraftwireOptions) {
    const onError = options.onError ?? ((error) => console.error(error));
    this.#endpoint = endpointOf(url);
    this.#options = options;
    this.#onError = onError;
    this.#environment = environmentOf(options.environment);
    this.#tokens = new TokenSource(options.getToken);
    this.#store = options.store ?? memory();
    this.#storage = { kind: this.#store.kind };
    this.#online = options.connect ?? true;
    this.#state = { status: this.#online ? 'connecting' : 'offline' };
    this.#changed = new Listeners(onError);
    this.#recordsChanged = new Listeners(onError);
    this.#closing = new Listeners(onError);
    this.#all = new AmbientStream(onError);
    this.#user = new AmbientStream(onError);
    this.#replica = new Replica(this.#store, {
      changed: (keys) => this.#onRecords(keys),
      committed: (notice) => this.#peers?.post({ type: 'commit', notice } satisfies TabMessage),
      failed: (error) => this.#storeFailed(error),
    });
    this.#publisher = new Publisher(this.#replica, this.#tab, onError);
    this[internals] = {
      replica: this.#replica,
      tab: this.#tab,
      onError,
      drafts: undefined,
      onRecords: (listener) => this.#recordsChanged.add(listener),
      onClose: (listener) => this.#closing.add(listener),
      keepUserState: (userState) => {
        this.#userState = userState;
        this.#link?.userStateArrived();
      },
    };
    this.#stopWaking = this.#environment.onWake(() => this.#link?.wake());
    void this.#start();
  }

  /** What the connection is doing. The same object until it changes. */
  get state(): ConnectionState {
    return this.#state;
  }

  /** Where changes are kept. The same object until it changes. */
  get storage(): StorageState {
    return this.#storage;
  }

  /** How many changes and published events the server has not answered yet. */
  get pendingCount(): number {
    return this.#replica.count('command');
  }

  /** Calls the listener whenever `state`, `storage` or `pendingCount` has changed. */
  readonly subscribe = (listener: () => void): Unsubscribe => this.#changed.add(listener);

  /** Resolves once the state is `live`; rejects where it becomes `stopped`, or the client is closed. */
  ready(options?: WaitOptions): Promise<void> {
    const ready = new Deferred<void>();
    const look = () => {
      if (this.#closed) ready.reject(new DraftwireError('closed', 'the client was closed'));
      else if (this.#state.status === 'live') ready.resolve();
      else if (this.#state.status === 'stopped') ready.reject(this.#state.error);
      else return;
      unsubscribe();
    };
    const unsubscribe = this.#changed.add(look);
    look();
    return waitFor(ready.promise, options).finally(unsubscribe);
  }

  /** Goes online, and stays so through every loss until `disconnect()`. */
  connect(): void {
    if (this.#closed || (this.#online && this.#state.status !== 'stopped')) return;
    this.#leave();
    this.#online = true;
    this.#setState({ status: 'connecting' });
    this.#join();
  }

  /** Goes offline. Everything that is unsent is kept. Where this tab has the connection, another takes it over. */
  disconnect(): void {
    if (this.#closed) return;
    this.#online = false;
    this.#leave();
    this.#setState({ status: 'offline' });
  }

  /** Follows a topic, through every loss, until its `close()`. Each call has a position and handlers of its own. */
  topic<Events extends object = any>(name: string, options: TopicOptions = {}): Topic<Events> {
    const topic = new Topic<Events>(name, options, {
      onError: this.#onError,
      changed: () => this.#want(),
      publish: (...publish) => this.publish(...publish),
      signal: (...signal) => this.#link?.signal(...signal),
      closed: () => {
        this.#topics.delete(topic);
        this.#want();
      },
    });
    this.#topics.add(topic);
    if (this.#closed) topic.close();
    if (this.#device !== null) this.#goOn(topic);
    this.#want();
    return topic;
  }

  /**
   * Publishes an event, which is kept until the server has answered; resolves with its number. Rejects with the
   * server's refusal, with `queue_full`, and with a TypeError where the data is no JSON.
   */
  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement> {
    return this.#publisher.publish(topic, type, data, options);
  }

  /** Handles events that were refused after the page that had published them was gone; each is told once. */
  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe {
    return this.#publisher.onUnpublished(handler);
  }

  /** Handles what backends broadcast to everybody: events of one type, or all with `*`. */
  onBroadcast<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return this.#all.on(type, handler);
  }

  /** Handles what backends send to this user: events of one type, or all with `*`. */
  onUserEvent<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return this.#user.on(type, handler);
  }

  /** Forgets everything of this user on this device, unsent changes included, and closes the clients of all tabs. */
  async logout(): Promise<void> {
    this.#leave();
    this.#peers?.post({ type: 'logout' } satisfies TabMessage);
    try {
      await this.#replica.clear();
    } finally {
      this.#close(false);
    }
  }

  /** Ends the connection and every listener. What is stored stays. */
  close(): void {
    this.#close(true);
  }

  // --- the store --------------------------------------------------------------------------------------------------

  async #start(): Promise<void> {
    this.#store.peers?.listen((message) => this.#hear(message as TabMessage));
    try {
      await this.#replica.open();
    } catch (error) {
      return this.#stop(error as DraftwireError);
    }
    const device = this.#options.device ?? randomId();
    await this.#replica.run((records) => {
      if (this.#options.device !== undefined || !records.get('meta/device')) records.put('meta/device', device);
    });
    this.#device = this.#replica.get<string>('meta/device') ?? device;
    for (const topic of this.#topics) this.#goOn(topic);
    if (this.#online && !this.#closed && !this.#link) this.#join();
  }

  #goOn(topic: Topic): void {
    if (topic.keepsPosition) topic.goOnFrom(this.#replica.get<Position>(`position/topic:${topic.name}`));
  }

  #onRecords(keys: ReadonlySet<string>): void {
    this.#recordsChanged.call(keys);
    let queue = false;
    for (const key of keys) {
      if (key.startsWith('command/')) queue = true;
      if (key.startsWith('unpublished/')) this.#publisher.tellUnpublished();
    }
    if (!queue) return;
    this.#link?.pump();
    this.#changed.call();
  }

  #storeFailed(error: DraftwireError): void {
    // Another tab has a newer version of this package, which reads what this one does not.
    if (error.code === 'newer_version') return this.#stop(error);
    this.#storage = { kind: 'memory', error };
    this.#onError(error);
    // Without the store there is nothing to share.
    if (this.#link) {
      this.#leave();
      this.#join();
    }
    this.#changed.call();
  }

  #close(keep: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave();
    this.#stopWaking();
    this.#setState({ status: 'offline' });
    for (const topic of [...this.#topics]) topic.close();
    this.#publisher.close(new DraftwireError('closed', 'the client was closed'));
    this.#closing.call();
    for (const ended of [this.#changed, this.#recordsChanged, this.#closing, this.#all, this.#user]) ended.clear();
    // What was changed a moment ago is still on its way into the store.
    if (keep) void this.#replica.flush().then(() => this.#store.close());
    else this.#store.close();
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  /** Who shares the store, as long as there is one. */
  get #peers(): Peers | undefined {
    return this.#storage.error ? undefined : this.#store.peers;
  }

  #join(): void {
    if (this.#device === null) return;
    // What a link still says that was left is ignored.
    const left = new AbortController();
    this.#left = left;
    const { signal } = left;
    const isVisible = this.#environment.isVisible;
    const events = {
      state: (state: ConnectionState) => {
        if (!signal.aborted) this.#setState(state);
      },
      deliver: (messages: readonly TopicMessage[]) => {
        if (!signal.aborted) this.#deliver(messages);
      },
      answered: (id: string, outcome: Outcome) => this.#publisher.answered(id, outcome),
      failed: (error: DraftwireError) => this.#onError(error),
    };
    const peers = this.#peers;
    this.#link = peers
      ? peers.link({ peers, tab: this.#tab, isVisible, keepsDrafts: () => this.#userState !== null, newSession: (...told) => this.#newSession(...told), events })
      : ownLink(this.#newSession({
          ...events,
          answered: ({ id }, outcome) => events.answered(id, outcome),
          isThere: (tab) => tab === this.#tab,
        }), this.#tab);
    this.#want();
  }

  #newSession(events: SessionEvents, isVisible = this.#environment.isVisible): Session {
    return new Session({
      transports: this.#transports(),
      device: this.#device!,
      tokens: this.#tokens,
      replica: this.#replica,
      isVisible,
      userState: () => this.#userState,
      events,
    });
  }

  #transports(): Transport[] {
    const { transport = 'auto' } = this.#options;
    const [endpoint, environment] = [this.#endpoint, this.#environment];
    const transports: Transport[] = [];
    if (transport !== 'event-stream' && environment.WebSocket) transports.push(webSocketTransport(endpoint, environment));
    if (transport !== 'websocket') {
      transports.push({
        name: 'event-stream',
        // Loaded where it is needed, which is rare.
        open: async (...open) => new (await import('./connection/event_stream.js')).EventStreamWire(endpoint, environment, ...open),
      });
    }
    return transports;
  }

  #leave(): void {
    const link = this.#link;
    this.#link = null;
    this.#left.abort();
    link?.close();
    for (const topic of this.#topics) topic.lost();
  }

  #stop(error: DraftwireError): void {
    this.#leave();
    this.#setState({ status: 'stopped', error });
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    if (state.status !== 'live' && state.status !== 'catching-up') for (const topic of this.#topics) topic.lost();
    this.#changed.call();
  }

  /** Says what is wanted, all changes of one go together. */
  #want(): void {
    if (this.#wantsChanged) return;
    this.#wantsChanged = true;
    queueMicrotask(() => {
      this.#wantsChanged = false;
      this.#link?.want([...this.#topics].map((topic) => topic.want()));
    });
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  #deliver(messages: readonly TopicMessage[]): void {
    for (const message of messages) {
      if (message.stream === 'all') this.#all.receive(message);
      else if (message.stream === 'user') this.#user.receive(message);
      // A handler may open and close topics; one that is opened begins after this message.
      else for (const topic of [...this.#topics]) if (message.stream === `topic:${topic.name}`) topic.receive(message);
    }
    for (const topic of this.#topics) if (topic.keepsPosition) this.#keepPosition(topic);
  }

  /** Where to go on with `from: 'last'`. Never backwards, where another tab was faster. */
  #keepPosition({ name, position }: Topic): void {
    const key = `position/topic:${name}`;
    const kept = this.#replica.get<Position>(key);
    if (!position || (kept && kept.epoch === position.epoch && kept.seq >= position.seq)) return;
    void this.#replica.run((records) => records.put(key, position));
  }

  #hear(message: TabMessage): void {
    if (this.#closed || !this.#peers) return;
    switch (message.type) {
      case 'commit':
        return this.#replica.heard(message.notice);
      case 'logout':
        return this.#close(false);
      default:
        this.#link?.hear(message);
    }
  }
}
