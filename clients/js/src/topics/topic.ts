import type {
  Acknowledgement, Cursor, Member, Missed, Presence, PublishOptions, Signal, StreamEvent, TopicOptions, TopicState,
  Unsubscribe,
} from '../api.js';
import { newTokenSource } from '../connection/token.js';
import { errorOf, type DraftwireError } from '../errors.js';
import { randomId, toJson } from '../json.js';
import { newHandlers, newListeners } from '../listeners.js';
import { formatCursor, parseCursor, streamEvent, type EventMessage, type Position, type Refused, type SignalMessage, type StreamMessage } from '../protocol.js';
import { isPresence, nextPresence } from '../session/presence.js';
import type { BroughtToken, FollowedMessage, TokenWantedMessage, TopicMessage, Want } from '../session/subscriptions.js';
import { Tracker } from '../session/tracker.js';
import type { Records } from '../store/records.js';

type Type<Events> = keyof Events & string;

/** A topic that is followed, from `Draftwire.topic`. */
export interface Topic<Events extends object = any> {
  readonly name: string;
  /** The same object until it changes. */
  readonly state: TopicState;
  /** Where to come back to, or null before the server's first answer. */
  readonly cursor: Cursor | null;
  /** Who is here. Null while unknown, and without `presence: true`. The same object until it changes. */
  readonly presence: Presence | null;
  /** The list of `presence`, empty where there is none. */
  readonly members: readonly Member[];

  /** Handles events of one type, or all with `*`: every one, once, in order. */
  on<K extends Type<Events>>(type: K, handler: (event: StreamEvent<K, Events[K]>) => void): Unsubscribe;
  on(type: '*', handler: (event: { [K in Type<Events>]: StreamEvent<K, Events[K]> }[Type<Events>]) => void): Unsubscribe;

  /** Handles signals of one type, or all with `*`. */
  onSignal<K extends Type<Events>>(type: K, handler: (signal: Signal<K, Events[K]>) => void): Unsubscribe;
  onSignal(type: '*', handler: (signal: { [K in Type<Events>]: Signal<K, Events[K]> }[Type<Events>]) => void): Unsubscribe;

  /** Told when events that were missed cannot be had any more. Show, or fetch again, what depends on them. */
  onMissed(handler: (missed: Missed) => void): Unsubscribe;

  /** Calls the listener whenever `state` or `presence` has changed. */
  subscribe(listener: () => void): Unsubscribe;

  /** Publishes an event, which is kept until the server has answered; resolves with its number. */
  publish<K extends Type<Events>>(type: K, data: Events[K], options?: PublishOptions): Promise<Acknowledgement>;

  /** Tells those who follow the topic now, if there is a connection now. */
  signal<K extends Type<Events>>(type: K, data: Events[K]): void;

  /** Follows no longer, and ends every handler. */
  close(): void;
}

/** What the topics of a client need of it. */
export interface TopicHost {
  readonly onError: (error: unknown) => void;
  readonly records: Records;
  /** What the topic wants has changed. */
  changed(): void;
  publish(topic: string, type: string, data: unknown, options?: PublishOptions): Promise<Acknowledgement>;
  signal(topic: string, type: string, data: unknown): void;
  /** It was closed, or the server does not allow to follow it. */
  ended(topic: FollowedTopic): void;
}

/** A topic, and what its client tells it. */
export interface FollowedTopic {
  readonly topic: Topic;
  /** The store is loaded: with `from: 'last'`, it goes on where it stopped in a life before. */
  begin(): void;
  want(): Want;
  receive(message: TopicMessage): void;
  /** The handlers of some messages have run: with `from: 'last'`, the position is kept. */
  keepPosition(): void;
  /** The connection is over; the position is not. */
  lost(): void;
}

const NOBODY: readonly Member[] = [];

export function newTopic(name: string, { from = 'now', presence: isPresent, batchMs, batchMax, getToken }: TopicOptions, host: TopicHost): FollowedTopic {
  const { onError, records } = host;
  const tracker = new Tracker(/^(now|last)$/.test(from) ? null : parseCursor(from));
  const positionKey = `position/topic:${name}`;
  const changed = newListeners(onError);
  const missed = newListeners<[Missed]>(onError);
  const events = newHandlers(onError);
  const signals = newHandlers(onError);
  /** Another one when it has to begin again at its cursor. */
  let handle = randomId();
  const tokens = getToken && newTokenSource((request) => getToken({ ...request, topic: name }));
  let brought: BroughtToken | null = null;
  let state: TopicState = { status: 'waiting' };
  let presence: Presence | null = null;

  const topic: Topic = {
    name,
    get state() {
      return state;
    },
    get cursor() {
      return tracker.position && formatCursor(tracker.position);
    },
    get presence() {
      return presence;
    },
    get members() {
      return presence?.members ?? NOBODY;
    },
    on: events.add,
    onSignal: signals.add,
    onMissed: missed.add,
    subscribe: changed.add,
    publish: (type, data, publish) => host.publish(name, type, data, publish),
    signal: (type, data) => host.signal(name, type, toJson(data)),
    close: () => end({ status: 'ended' }),
  };

  function setState(next: TopicState): void {
    if (next.status === state.status && next.error === state.error) return;
    state = next;
    changed.call();
  }

  function end(ended: TopicState): void {
    if (state.status === 'ended') return;
    presence = null;
    tokens?.cancel();
    setState(ended);
    for (const listeners of [changed, missed, events, signals]) listeners.clear();
    host.ended(followed);
  }

  async function bringToken({ request, stale }: TokenWantedMessage): Promise<void> {
    if (!tokens) return;
    // One that another connection had is of no use on this one either.
    tokens.spent(stale ?? brought?.token);
    try {
      brought = { request, token: await tokens.get() };
    } catch (cause) {
      const error = cause as DraftwireError;
      // Other handles of the topic may bring one.
      if (error.code === 'unauthorized') return end({ status: 'ended', error });
      brought = { request };
      if (state.status === 'waiting') setState({ status: 'waiting', error });
    }
    host.changed();
  }

  /** Messages of the tab with the connection were lost on the way here. */
  function again(): void {
    if (state.status === 'waiting') return;
    handle = randomId();
    setState({ status: 'waiting' });
    host.changed();
  }

  function receive(message: TopicMessage): void {
    switch (message.type) {
      case 'FOLLOWED': {
        const { epoch, seq, head, live } = message as FollowedMessage;
        const { position } = tracker;
        tracker.position ??= { epoch, seq: head };
        const isNew = !position || (live && position.epoch === epoch && position.seq >= seq);
        return setState({ status: isNew ? 'live' : 'catching-up' });
      }
      case 'SIGNAL': {
        const { event, origin, payload } = message as SignalMessage;
        const signal: Signal = { type: event, origin, data: payload };
        return signals.call(signal);
      }
      case 'TOKEN_WANTED':
        return void bringToken(message as TokenWantedMessage);
      case 'UNSUBSCRIBED':
        return end({ status: 'ended', error: errorOf((message as { payload: Refused }).payload) });
    }
    if (isPresence(message)) {
      if (!isPresent) return;
      presence = nextPresence(presence, message);
      return changed.call();
    }
    // Without a position it is not followed yet: the message is for other handles.
    if (!tracker.position) return;
    switch (tracker.judge(message as StreamMessage)) {
      case 'next':
        return events.call(streamEvent(message as EventMessage));
      case 'missed':
        return missed.call({ before: (message as { missedBefore?: number }).missedBefore! });
      case 'synced':
        return setState({ status: 'live' });
      case 'gap':
        return again();
    }
  }

  const followed: FollowedTopic = {
    topic,
    receive: (message) => {
      if (state.status !== 'ended') receive(message);
    },
    want: () => ({ handle, topic: name, from: tracker.position, presence: isPresent, batchMs, batchMax, token: tokens && brought }),
    begin() {
      if (from === 'last') tracker.position ??= records.get<Position>(positionKey) ?? null;
    },
    keepPosition() {
      const { position } = tracker;
      if (from !== 'last' || !position) return;
      const kept = records.get<Position>(positionKey);
      // Never backwards, where another tab was faster.
      if (kept?.epoch !== position.epoch || kept.seq < position.seq) void records.run((edit) => edit.put(positionKey, position));
    },
    lost() {
      if (state.status === 'ended' || (state.status === 'waiting' && !presence)) return;
      presence = null;
      state = { status: 'waiting' };
      changed.call();
    },
  };
  return followed;
}
