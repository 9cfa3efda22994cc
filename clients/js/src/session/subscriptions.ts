// The topics that a connection follows: what the handles of all tabs want, and what the server was asked for. One
// thing at a time is asked for each topic; when it is answered, both are compared again. So a topic that is closed
// and opened at once, any number of times, ends as it was asked for last.

import type { Cursor, Presence } from '../api.js';
import { backoff } from '../connection/backoff.js';
import type { Connection } from '../connection/connection.js';
import { formatCursor, isEvent, parseCursor, type Answer, type Position, type Refused, type StreamMessage } from '../protocol.js';
import { nextPresence } from './presence.js';
import { Tracker } from './tracker.js';

/** What one handle of a topic wants. */
export interface Want {
  /** Names the handle among those of all tabs; another one when it has to begin again at its cursor. */
  readonly handle: string;
  readonly topic: string;
  /** Null: from now on. */
  readonly cursor: Cursor | null;
  readonly presence?: boolean;
  readonly batchMs?: number;
  readonly batchMax?: number;
}

/**
 * What handles are told besides the server's messages: the topic is followed, its next event is `seq` + 1. Who wants
 * no older ones begins after `head`. `live` says that nothing older is on its way.
 */
export interface FollowedMessage extends Position {
  readonly type: 'FOLLOWED';
  readonly stream: string;
  readonly head: number;
  readonly live: boolean;
}

export type TopicMessage = StreamMessage | FollowedMessage;

interface Subscription {
  readonly topic: string;
  readonly tracker: Tracker;
  /** What was asked for last, without an answer yet; `paused` after one that was refused for the moment. */
  asked: 'subscribe' | 'unsubscribe' | 'paused' | null;
  followed: boolean;
  /** The options with which it is followed. */
  options: string;
  /** Where it has to begin again, for a handle that is behind. */
  rewind: Cursor | null;
  presence: Presence | null;
}

export interface SubscriptionsEvents {
  /** For all handles of a topic. */
  deliver(message: TopicMessage): void;
  /** The server has broken its promise: the connection has to begin again. */
  gap(stream: string): void;
}

export class Subscriptions {
  readonly #connection: Connection;
  readonly #events: SubscriptionsEvents;
  /** By tab. */
  readonly #wants = new Map<string, readonly Want[]>();
  readonly #subscriptions = new Map<string, Subscription>();
  #handles = new Set<string>();
  #failures = 0;

  constructor(connection: Connection, events: SubscriptionsEvents) {
    this.#connection = connection;
    this.#events = events;
  }

  /** Says all that a tab wants now. */
  want(tab: string, wants: readonly Want[]): void {
    if (wants.length > 0) this.#wants.set(tab, wants);
    else this.#wants.delete(tab);
    const before = this.#handles;
    this.#handles = new Set([...this.#wants.values()].flat().map(({ handle }) => handle));
    for (const want of wants) if (!before.has(want.handle)) this.#begin(want);
    this.#reconcile();
  }

  /** After WELCOME: everything is asked for again, each from where it stopped. */
  welcome(): void {
    this.#failures = 0;
    this.#reconcile();
  }

  lost(): void {
    for (const subscription of this.#subscriptions.values()) {
      subscription.followed = subscription.tracker.live = false;
      subscription.asked = subscription.presence = null;
    }
  }

  receive(message: StreamMessage): void {
    const subscription = this.#subscriptions.get(topicOf(message.stream));
    // Of a subscription that was given up a moment ago.
    if (!subscription?.followed) return;
    const { tracker } = subscription;
    switch (message.type) {
      case 'UNSUBSCRIBED':
        return this.#refused(subscription, message as { payload: Refused });
      case 'PRESENCE':
      case 'JOIN':
      case 'LEAVE':
        subscription.presence = nextPresence(subscription.presence, message as Parameters<typeof nextPresence>[1]);
        break;
      case 'SYNCED':
        if (tracker.synced(message) === 'gap') return this.#events.gap(message.stream);
        break;
      default:
        if (!isEvent(message)) break;
        switch (tracker.take(message.seq)) {
          case 'gap':
            return this.#events.gap(message.stream);
          case 'seen':
            return;
        }
    }
    this.#events.deliver(message);
  }

  /** A handle is new: what it needs to know of a topic that is followed already. */
  #begin({ topic, cursor, presence }: Want): void {
    const subscription = this.#subscriptions.get(topic);
    if (!subscription) return;
    const { tracker, followed } = subscription;
    const position = tracker.position && formatCursor(tracker.position);
    if (cursor !== null && cursor !== position) subscription.rewind = earlier(subscription.rewind, cursor);
    if (!followed || !tracker.position) return;
    const stream = `topic:${topic}`;
    const live = tracker.live && subscription.rewind === null;
    this.#events.deliver({ type: 'FOLLOWED', stream, head: tracker.position.seq, live, ...tracker.position });
    if (presence && subscription.presence) {
      const { members, users, devices } = subscription.presence;
      this.#events.deliver({ type: 'PRESENCE', stream, payload: { ...(members && { members }), users, devices } });
    }
  }

  /** Asks for whatever is not as it is wanted. */
  #reconcile(): void {
    if (!this.#connection.welcome) return;
    const wanted = new Map<string, Want>();
    for (const want of [...this.#wants.values()].flat()) {
      const known = wanted.get(want.topic);
      wanted.set(want.topic, known ? union(known, want) : want);
    }
    const subscribe: Record<string, unknown>[] = [];
    for (const want of wanted.values()) {
      const subscription = this.#subscriptionOf(want);
      const options = optionsOf(want);
      if (subscription.asked) continue;
      if (!subscription.followed) {
        const { position } = subscription.tracker;
        const cursor = subscription.rewind ?? (position && formatCursor(position));
        subscription.asked = 'subscribe';
        subscription.options = JSON.stringify(options);
        subscribe.push({ topic: want.topic, ...(cursor !== null && { cursor }), ...options });
      } else if (subscription.rewind !== null || subscription.options !== JSON.stringify(options)) {
        // Subscribing to what is followed already changes nothing.
        this.#unsubscribe(subscription);
      }
    }
    if (subscribe.length > 0) this.#subscribe(subscribe);
    for (const subscription of this.#subscriptions.values()) {
      if (wanted.has(subscription.topic) || subscription.asked) continue;
      if (subscription.followed) this.#unsubscribe(subscription);
      else this.#subscriptions.delete(subscription.topic);
    }
  }

  #subscriptionOf({ topic, cursor }: Want): Subscription {
    let subscription = this.#subscriptions.get(topic);
    if (!subscription) {
      const tracker = new Tracker(cursor === null ? null : parseCursor(cursor));
      subscription = { topic, tracker, asked: null, followed: false, options: '', rewind: null, presence: null };
      this.#subscriptions.set(topic, subscription);
    }
    return subscription;
  }

  /** Always as a list, whose topics are answered each for itself. */
  #subscribe(topics: readonly Record<string, unknown>[]): void {
    this.#connection.request('SUBSCRIBE', { topics }, (answer: Answer) => {
      topics.forEach(({ topic, cursor }, i) => {
        const subscription = this.#subscriptions.get(topic as string)!;
        subscription.asked = null;
        const result = answer.type === 'ACK' ? answer.payload.topics[i] : answer;
        if (result.code) this.#refused(subscription, { payload: result });
        else this.#accepted(subscription, cursor as Cursor | undefined, result);
      });
      this.#reconcile();
    });
  }

  #accepted(subscription: Subscription, cursor: Cursor | undefined, { epoch, seq }: Position): void {
    const { tracker } = subscription;
    this.#failures = 0;
    subscription.followed = true;
    if (cursor === undefined) tracker.position = { epoch, seq };
    else tracker.position = parseCursor(cursor);
    if (cursor === subscription.rewind) subscription.rewind = null;
    tracker.live = cursor === undefined;
    const stream = `topic:${subscription.topic}`;
    this.#events.deliver({ type: 'FOLLOWED', stream, head: seq, live: tracker.live, ...tracker.position });
  }

  #refused(subscription: Subscription, { payload }: { payload: Refused }): void {
    subscription.followed = false;
    if (payload.code === 'unavailable') {
      subscription.asked = 'paused';
      this.#connection.after('subscribe', backoff(this.#failures), () => {
        for (const waiting of this.#subscriptions.values()) if (waiting.asked === 'paused') waiting.asked = null;
        this.#reconcile();
      });
      this.#failures += 1;
      return;
    }
    // An UNSUBSCRIBE has overtaken it, which #reconcile sets right.
    if (payload.code === 'conflict') return;
    this.#subscriptions.delete(subscription.topic);
    for (const [tab, wants] of this.#wants) this.#wants.set(tab, wants.filter(({ topic }) => topic !== subscription.topic));
    this.#events.deliver({ type: 'UNSUBSCRIBED', stream: `topic:${subscription.topic}`, payload });
  }

  #unsubscribe(subscription: Subscription): void {
    subscription.asked = 'unsubscribe';
    this.#connection.request('UNSUBSCRIBE', { topic: subscription.topic }, () => {
      subscription.asked = null;
      subscription.followed = subscription.tracker.live = false;
      subscription.presence = null;
      this.#reconcile();
    });
  }
}

function topicOf(stream: string): string {
  return stream.slice('topic:'.length);
}

/** What serves both: everybody's presence, and nobody waits longer than they want to. */
function union(a: Want, b: Want): Want {
  const batched = a.batchMs !== undefined && b.batchMs !== undefined;
  return {
    handle: a.handle,
    topic: a.topic,
    cursor: a.cursor === null || b.cursor === null ? (a.cursor ?? b.cursor) : earlier(a.cursor, b.cursor),
    presence: a.presence === true || b.presence === true,
    ...(batched && { batchMs: Math.min(a.batchMs!, b.batchMs!), batchMax: Math.min(a.batchMax ?? 100, b.batchMax ?? 100) }),
  };
}

function optionsOf({ presence, batchMs, batchMax }: Want): Record<string, unknown> {
  return { ...(presence && { presence }), ...(batchMs !== undefined && { batchMs }), ...(batchMs !== undefined && batchMax !== undefined && { batchMax }) };
}

/** The one that more events come after; of two histories the first, since only the server knows what is left. */
function earlier(a: Cursor | null, b: Cursor): Cursor {
  if (a === null) return b;
  const [first, second] = [parseCursor(a), parseCursor(b)];
  return first.epoch === second.epoch && second.seq < first.seq ? b : a;
}
