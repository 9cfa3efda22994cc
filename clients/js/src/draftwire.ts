import type {
  Acknowledgement, ConnectionState, DraftwireOptions, Missed, PublishOptions, StorageState, StreamEvent, TopicOptions,
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
import { ownLink, type Link, type LinkOptions } from './session/link.js';
import { Publisher } from './session/publisher.js';
import { Session, type SessionEvents } from './session/session.js';
import type { TopicMessage } from './session/subscriptions.js';
import type { UserState } from './session/user_stream.js';
import { memory } from './store/memory.js';
import type { Records } from './store/records.js';
import { AmbientStream, MISSED } from './topics/ambient.js';
import { Topic } from './topics/topic.js';
import { Deferred, quiet, waitFor } from './wait.js';

/** @internal How `draftwire/drafts` reaches what it needs of a client. */
export const internals = Symbol('internals');

/** @internal */
export interface Internals {
  readonly records: Records;
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
  readonly #records: Records;
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
  readonly #recordListeners: Listeners<[ReadonlySet<string>]>;
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
    const store = options.store ?? memory();
    this.#storage = { kind: store.kind };
    this.#online = options.connect ?? true;
    this.#state = { status: this.#online ? 'connecting' : 'offline' };
    this.#changed = new Listeners(onError);
    this.#recordListeners = new Listeners(onError);
    this.#closing = new Listeners(onError);
    this.#all = new AmbientStream(onError);
    this.#user = new AmbientStream(onError);
    this.#records = store.open({
      changed: (keys) => this.#onRecords(keys),
      failed: (error) => this.#storeFailed(error),
      cleared: () => this.close(),
    });
    this.#publisher = new Publisher(this.#records, this.#tab, onError);
    this[internals] = {
      records: this.#records,
      tab: this.#tab,
      onError,
      drafts: undefined,
      onRecords: (listener) => this.#recordListeners.add(listener),
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
    return this.#records.count('command');
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
    return quiet(waitFor(ready.promise, options).finally(unsubscribe));
  }

  /** Goes online, and stays so through every loss until `disconnect()`. */
  connect(): void {
    const { error } = this.#state as { error?: DraftwireError };
    // What a newer version has stored is not for this one.
    if (this.#closed || (this.#online && this.#state.status !== 'stopped') || error?.code === 'newer_version') return;
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
   * server's refusal, with `queue_full`, and with a TypeError where the data is no JSON. Like all promises of this
   * package it may be left alone: a rejection that nobody handles is no error of the process.
   */
  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement> {
    return this.#publisher.publish(topic, type, data, options);
  }

  /** Handles events that were refused after the page that had published them was gone, until a handler has seen them. */
  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe {
    return this.#publisher.onUnpublished(handler);
  }

  /** Handles what backends broadcast to everybody: events of one type, or all with `*`. */
  onBroadcast<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return this.#all.on(type, handler);
  }

  /** Told when broadcasts that were missed cannot be had any more. Do what any of them could have asked for. */
  onMissedBroadcasts(handler: (missed: Missed) => void): Unsubscribe {
    return this.#all.on(MISSED, handler);
  }

  /** Handles what backends send to this user: events of one type, or all with `*`. */
  onUserEvent<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return this.#user.on(type, handler);
  }

  /** Forgets everything of this user on this device, unsent changes included, and closes the clients of all tabs. */
  async logout(): Promise<void> {
    this.#leave();
    try {
      await this.#records.clear();
    } finally {
      this.close();
    }
  }

  /** Ends the connection and every listener. What is stored stays. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave();
    this.#stopWaking();
    this.#setState({ status: 'offline' });
    for (const topic of [...this.#topics]) topic.close();
    this.#publisher.close(new DraftwireError('closed', 'the client was closed'));
    this.#closing.call();
    for (const ended of [this.#changed, this.#recordListeners, this.#closing, this.#all, this.#user]) ended.clear();
    this.#records.close();
  }

  // --- the store --------------------------------------------------------------------------------------------------

  async #start(): Promise<void> {
    try {
      await this.#records.loaded;
    } catch (error) {
      return this.#stop(error as DraftwireError);
    }
    if (this.#closed) return;
    const device = this.#options.device ?? randomId();
    await this.#records.run((records) => {
      if (this.#options.device !== undefined || !records.get('meta/device')) records.put('meta/device', device);
    });
    this.#device = this.#records.get<string>('meta/device') ?? device;
    for (const topic of this.#topics) this.#goOn(topic);
    if (this.#online && !this.#closed && !this.#link) this.#join();
  }

  #goOn(topic: Topic): void {
    if (topic.keepsPosition) topic.goOnFrom(this.#records.get<Position>(`position/topic:${topic.name}`));
  }

  #onRecords(keys: ReadonlySet<string>): void {
    this.#recordListeners.call(keys);
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
    if (this.#closed) return;
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

  // --- the connection ---------------------------------------------------------------------------------------------

  #join(): void {
    if (this.#device === null) return;
    // What a link still says that was left is ignored.
    const left = new AbortController();
    this.#left = left;
    const { signal } = left;
    const options: LinkOptions = {
      tab: this.#tab,
      isVisible: this.#environment.isVisible,
      keepsDrafts: () => this.#userState !== null,
      newSession: (events, isVisible) => this.#newSession(events, isVisible),
      events: {
        state: (state) => {
          if (!signal.aborted) this.#setState(state);
        },
        deliver: (messages) => {
          if (!signal.aborted) this.#deliver(messages);
        },
        answered: (id, outcome) => this.#publisher.answered(id, outcome),
        failed: (error) => this.#onError(error),
      },
    };
    this.#link = (this.#records.link ?? ownLink)(options);
    this.#want();
  }

  #newSession(events: SessionEvents, isVisible: () => boolean): Session {
    return new Session({
      transports: this.#transports(),
      device: this.#device!,
      tokens: this.#tokens,
      records: this.#records,
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
    if (this.#closed) return;
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
    const kept = this.#records.get<Position>(key);
    if (!position || (kept && kept.epoch === position.epoch && kept.seq >= position.seq)) return;
    void this.#records.run((records) => records.put(key, position));
  }
}
