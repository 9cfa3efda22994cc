import type {
  Acknowledgement, ConnectionState, DraftwireOptions, Missed, PublishOptions, StorageState, StreamEvent, TopicOptions,
  Unpublished, Unsubscribe, WaitOptions,
} from './api.js';
import { newTokenSource } from './connection/token.js';
import { baseOf, type Transport } from './connection/transport.js';
import { webSocketTransport } from './connection/websocket.js';
import { environmentOf } from './environment.js';
import { DraftwireError } from './errors.js';
import { randomId } from './json.js';
import { newListeners } from './listeners.js';
import type { EventMessage } from './protocol.js';
import { ownLink, type Link } from './session/link.js';
import { newPublisher } from './session/publisher.js';
import type { TopicMessage } from './session/subscriptions.js';
import type { UserState } from './session/streams.js';
import { memory } from './store/memory.js';
import type { Records } from './store/records.js';
import { newAmbientStream } from './topics/ambient.js';
import { newTopic, type FollowedTopic, type Topic, type TopicHost } from './topics/topic.js';
import { quiet, waitFor } from './wait.js';

/** @internal How `draftwire/drafts` reaches what it needs of a client. */
export const internals = Symbol('internals');

/** @internal */
export interface Internals {
  readonly records: Records;
  readonly tab: string;
  readonly onError: (error: unknown) => void;
  /** Keeps the user's drafts from now on. */
  keep(userState: UserState): void;
  /** What the drafts' part keeps for this client. */
  drafts: unknown;
}

/** The connection of one device, its topics, and what it has not yet been able to send. */
export interface Draftwire {
  /** What the connection is doing. The same object until it changes. */
  readonly state: ConnectionState;
  /** Where changes are kept. The same object until it changes. */
  readonly storage: StorageState;
  /** How many changes and published events the server has not answered yet. */
  readonly pendingCount: number;

  /** Calls the listener whenever `state`, `storage` or `pendingCount` has changed. */
  readonly subscribe: (listener: () => void) => Unsubscribe;

  /** Resolves once the state is `live`; rejects where it becomes `stopped`, or the client is closed. */
  ready(options?: WaitOptions): Promise<void>;

  /** Goes online, and stays so through every loss until `disconnect()`. */
  connect(): void;

  /** Goes offline. Everything that is unsent is kept. Where this tab has the connection, another takes it over. */
  disconnect(): void;

  /** Follows a topic, through every loss, until its `close()`. Each call has a position and handlers of its own. */
  topic<Events extends object = any>(name: string, options?: TopicOptions): Topic<Events>;

  /**
   * Publishes an event, which is kept until the server has answered; resolves with its number. Rejects with the
   * server's refusal, with `queue_full`, with `closed`, and with a TypeError where the data is no JSON. Like all promises
   * of this package it may be left alone: a rejection that nobody handles is no error of the process.
   */
  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement>;

  /**
   * Handles events that were refused when the page that had published them was gone. Each is kept until a handler has
   * seen it, in any tab: with a page that was killed beside others, it may take 3 minutes until it counts as gone.
   */
  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe;

  /** Handles what backends broadcast to everybody: events of one type, or all with `*`. */
  onBroadcast<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe;

  /** Told when broadcasts that were missed cannot be had any more. Do what any of them could have asked for. */
  onMissedBroadcasts(handler: (missed: Missed) => void): Unsubscribe;

  /** Handles what backends send to this user: events of one type, or all with `*`. */
  onUserEvent<Data = unknown>(type: string, handler: (event: StreamEvent<string, Data>) => void): Unsubscribe;

  /** Closes the clients of all tabs, and forgets everything of this user on this device, unsent changes included. */
  logout(options?: WaitOptions): Promise<void>;

  /** Ends the connection and every listener. What is stored stays. */
  close(): void;

  /** @internal */
  readonly [internals]: Internals;
}

/**
 * @param url where the server is, `https://sync.example.com` or `wss://sync.example.com/ws/realtime`
 * @throws TypeError where that is no address
 */
export const Draftwire = newDraftwire as unknown as new (url: string | URL, options: DraftwireOptions) => Draftwire;

function newDraftwire(url: string | URL, options: DraftwireOptions): Draftwire {
  const { onError = (error) => console.error(error), store = memory() } = options;
  const environment = environmentOf(options.environment);
  const transports = transportsOf();
  const tokens = newTokenSource(options.getToken);
  /** Names this client among those that share its store. */
  const tab = randomId();
  /** Known once the store is loaded. */
  let device: string | undefined;
  /** While it shall be online. */
  let link: Link | null = null;
  /** Counts up whenever a link is left: what it still says is ignored. */
  let generation = 0;
  let isOnline = options.connect ?? true;
  let closed: DraftwireError | undefined;
  let state: ConnectionState = { status: isOnline ? 'connecting' : 'offline' };
  let storage: StorageState = { kind: store.kind };
  let userState: UserState | null = null;
  let wantsChanged = false;
  /** Once the user is logged out. */
  let cleared: Promise<void> | undefined;
  const topics = new Set<FollowedTopic>();
  const changed = newListeners(onError);
  const all = newAmbientStream(onError);
  const user = newAmbientStream(onError);
  const records = store.open({ changed: recordsChanged, failed: storeFailed, cleared: close });
  const publisher = newPublisher(records, tab, onError);
  const topicHost: TopicHost = {
    onError,
    records,
    changed: want,
    publish: publisher.publish,
    signal: (...signal) => link?.signal(...signal),
    ended: (topic) => {
      topics.delete(topic);
      want();
    },
  };
  const stopWaking = environment.onWake(() => link?.wake());
  // Where it rejects, `storeFailed` was told why.
  records.loaded.then(start, () => {});

  function transportsOf(): Transport[] {
    const { transport = 'auto' } = options;
    const base = baseOf(url);
    const eventStream: Transport = {
      name: 'event-stream',
      // Loaded where it is needed, which is rare.
      open: async (...open) => new (await import('./connection/event_stream.js')).EventStreamWire(base, environment, ...open),
    };
    return [
      ...(transport !== 'event-stream' && environment.WebSocket ? [webSocketTransport(base, environment)] : []),
      ...(transport !== 'websocket' ? [eventStream] : []),
    ];
  }

  // --- the store --------------------------------------------------------------------------------------------------

  async function start(): Promise<void> {
    if (closed) return;
    await records.run((edit) => {
      if (options.device ?? !edit.get('meta/device')) edit.put('meta/device', options.device ?? randomId());
    });
    device = records.get<string>('meta/device');
    for (const topic of topics) topic.begin();
    join();
  }

  function recordsChanged(keys: ReadonlySet<string>): void {
    userState?.changed(keys);
    const isIn = (table: string) => [...keys].some((key) => key.startsWith(table));
    if (isIn('unpublished/')) publisher.tellUnpublished();
    if (!isIn('command/')) return;
    link?.pump();
    changed.call();
  }

  function storeFailed(error: DraftwireError): void {
    if (closed) return;
    // Another tab has a newer version of this package, which reads what this one does not.
    if (error.code === 'newer_version') return stop({ status: 'stopped', error });
    storage = { kind: 'memory', error };
    onError(error);
    // Without the store there is nothing to share.
    if (link) {
      leave();
      join();
    }
    changed.call();
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  function connect(): void {
    const { status, error } = state as { status: string; error?: DraftwireError };
    // What a newer version has stored is not for this one.
    if (closed || (isOnline && status !== 'stopped') || error?.code === 'newer_version') return;
    leave();
    isOnline = true;
    setState({ status: 'connecting' });
    join();
  }

  function disconnect(): void {
    stop({ status: 'offline' });
  }

  function stop(next: ConnectionState): void {
    isOnline = false;
    leave();
    setState(next);
  }

  function join(): void {
    // A listener may have closed, disconnected or connected the client in between.
    if (device === undefined || !isOnline || link) return;
    const mine = (generation += 1);
    const joined = (records.link ?? ownLink)({
      tab,
      transports,
      device,
      tokens,
      records,
      isVisible: environment.isVisible,
      userState: () => userState,
      events: {
        state: (next) => {
          if (mine === generation) setState(next);
        },
        deliver: (messages) => (mine === generation ? deliver(messages) : undefined),
        answered: publisher.answered,
        failed: onError,
      },
    });
    if (mine !== generation) return joined.close();
    link = joined;
    want();
  }

  function leave(): void {
    generation += 1;
    link?.close();
    link = null;
  }

  function setState(next: ConnectionState): void {
    state = next;
    // Without a connection there is no node.
    if (!('node' in next)) for (const topic of topics) topic.lost();
    changed.call();
  }

  /** Says what is wanted, all changes of one go together. */
  function want(): void {
    if (wantsChanged) return;
    wantsChanged = true;
    queueMicrotask(() => {
      wantsChanged = false;
      link?.want([...topics].map((topic) => topic.want()));
    });
  }

  /** Returns the number of the last message of `all` that was handled: a handler may close the client. */
  function deliver(messages: readonly TopicMessage[]): number | undefined {
    let seq: number | undefined;
    for (const message of messages) {
      if (closed) break;
      const { stream } = message;
      if (stream === 'all') {
        ({ seq } = message as EventMessage);
        all.receive(message);
      } else if (stream === 'user') user.receive(message);
      // A handler may open and close topics; one that is opened begins after this message.
      else for (const topic of [...topics]) if (stream === `topic:${topic.topic.name}`) topic.receive(message);
    }
    for (const topic of topics) topic.keepPosition();
    return seq;
  }

  // --- what applications call -------------------------------------------------------------------------------------

  function ready(wait?: WaitOptions): Promise<void> {
    let look!: () => void;
    const ready = new Promise<void>((resolve, reject) => {
      look = () => {
        if (closed) reject(closed);
        else if (state.status === 'live') resolve();
        else if (state.status === 'stopped') reject(state.error);
      };
    });
    const unsubscribe = changed.add(look);
    look();
    return quiet(waitFor(quiet(ready), wait).finally(unsubscribe));
  }

  function topic(name: string, topicOptions: TopicOptions = {}): Topic {
    const followed = newTopic(name, topicOptions, topicHost);
    topics.add(followed);
    if (closed) followed.topic.close();
    if (device !== undefined) followed.begin();
    want();
    return followed.topic;
  }

  function logout(wait?: WaitOptions): Promise<void> {
    // First: what is changed after the store was cleared would go out as the next user's.
    shut();
    cleared ??= quiet(records.clear().finally(() => records.close()));
    return waitFor(cleared, wait);
  }

  function close(): void {
    shut();
    records.close();
  }

  function shut(): void {
    if (closed) return;
    closed = new DraftwireError('closed');
    disconnect();
    stopWaking();
    for (const followed of [...topics]) followed.topic.close();
    publisher.close(closed);
    userState?.close(closed);
    for (const listeners of [changed, all.handlers, all.missed, user.handlers]) listeners.clear();
  }

  return {
    get state() {
      return state;
    },
    get storage() {
      return storage;
    },
    get pendingCount() {
      return records.count('command');
    },
    subscribe: changed.add,
    ready,
    connect,
    disconnect,
    topic,
    publish: publisher.publish,
    onUnpublished: publisher.onUnpublished,
    onBroadcast: all.handlers.add,
    onMissedBroadcasts: all.missed.add,
    onUserEvent: user.handlers.add,
    logout,
    close,
    [internals]: {
      records,
      tab,
      onError,
      drafts: undefined,
      keep(kept) {
        userState = kept;
        if (closed) kept.close(closed);
        link?.userStateArrived();
      },
    },
  };
}
