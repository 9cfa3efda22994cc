// The topics that a connection follows: what the handles of all tabs want, and what the server was asked for. One
// thing at a time is asked for each topic; when it is answered, both are compared again. So a topic that is closed
// and opened at once, any number of times, ends as it was asked for last.

import type { Presence } from '../api.js';
import { backoff } from '../connection/backoff.js';
import type { Connection } from '../connection/connection.js';
import { formatCursor, type Answer, type Position, type Refused, type StreamMessage } from '../protocol.js';
import { isPresence, nextPresence } from './presence.js';
import { Tracker } from './tracker.js';

/** What one handle of a topic wants. */
export interface Want {
  /** Names the handle among those of all tabs; another one when it has to begin again at its position. */
  readonly handle: string;
  readonly topic: string;
  /** Null: from now on. */
  readonly from: Position | null;
  readonly presence?: boolean | undefined;
  readonly batchMs?: number | undefined;
  readonly batchMax?: number | undefined;
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

/** The server's default. */
const BATCH_MAX = 100;

interface Subscription {
  readonly topic: string;
  readonly tracker: Tracker;
  /** What was asked for last, without an answer yet; `paused` after one that was refused for the moment. */
  asked: 'subscribe' | 'unsubscribe' | 'paused' | null;
  followed: boolean;
  /** With what it was subscribed to last: from where, and the options as the server takes them. */
  start: Position | null;
  options: object;
  /** Where it has to begin again, for a handle that is behind. */
  rewind: Position | null;
  presence: Presence | null;
}

export interface SubscriptionsEvents {
  /** For all handles of a topic. */
  deliver(message: TopicMessage): void;
  /** The server has broken its promise: the connection has to begin again. */
  gap(stream: string): void;
}

export interface Subscriptions {
  /** Says all that a tab wants now. */
  want(tab: string, wants: readonly Want[]): void;
  /** After WELCOME: everything is asked for again, each from where it stopped. */
  welcome(): void;
  lost(): void;
  receive(message: StreamMessage): void;
}

export function newSubscriptions(connection: Connection, { deliver, gap }: SubscriptionsEvents): Subscriptions {
  const wantsByTab = new Map<string, readonly Want[]>();
  const subscriptions = new Map<string, Subscription>();
  let failures = 0;

  function want(tab: string, wants: readonly Want[]): void {
    const before = wantsByTab.get(tab) ?? [];
    if (wants.length > 0) wantsByTab.set(tab, wants);
    else wantsByTab.delete(tab);
    for (const each of wants) if (!before.some(({ handle }) => handle === each.handle)) begin(each);
    reconcile();
  }

  function welcome(): void {
    failures = 0;
    reconcile();
  }

  function lost(): void {
    for (const subscription of subscriptions.values()) left(subscription);
  }

  function left(subscription: Subscription): void {
    subscription.followed = subscription.tracker.live = false;
    subscription.asked = subscription.presence = null;
  }

  function receive(message: StreamMessage): void {
    const { stream } = message;
    const subscription = subscriptions.get(stream.slice('topic:'.length));
    // Of a subscription that was given up a moment ago.
    if (!subscription?.followed) return;
    if (message.type === 'UNSUBSCRIBED') return refused(subscription, message.payload as Refused);
    if (isPresence(message)) subscription.presence = nextPresence(subscription.presence, message);
    const judged = subscription.tracker.judge(message);
    if (judged === 'gap') gap(stream);
    else if (judged !== 'seen') deliver(message);
  }

  /** A handle is new: what it needs to know of a topic that is followed already. */
  function begin({ topic, from, presence }: Want): void {
    const subscription = subscriptions.get(topic);
    if (!subscription) return;
    const { position, live } = subscription.tracker;
    if (from && (from.epoch !== position?.epoch || from.seq !== position.seq)) subscription.rewind = earlier(subscription.rewind, from);
    if (!subscription.followed || !position) return;
    tellFollowed(subscription, position.seq, live && !subscription.rewind);
    if (presence && subscription.presence) {
      deliver({ type: 'PRESENCE', stream: `topic:${topic}`, payload: subscription.presence } as StreamMessage);
    }
  }

  /** Asks for whatever is not as it is wanted. */
  function reconcile(): void {
    if (!connection.welcome) return;
    const wanted = new Map<string, Want>();
    for (const each of [...wantsByTab.values()].flat()) {
      const known = wanted.get(each.topic);
      wanted.set(each.topic, known ? union(known, each) : each);
    }
    const missing: Subscription[] = [];
    for (const each of wanted.values()) {
      const subscription = subscriptionOf(each);
      const options = optionsOf(each);
      if (subscription.asked) continue;
      if (!subscription.followed) {
        subscription.asked = 'subscribe';
        subscription.start = subscription.rewind ?? subscription.tracker.position;
        subscription.options = options;
        missing.push(subscription);
      } else if (subscription.rewind || JSON.stringify(subscription.options) !== JSON.stringify(options)) {
        // Subscribing to what is followed already changes nothing.
        unsubscribe(subscription);
      }
    }
    if (missing.length > 0) subscribe(missing);
    for (const subscription of subscriptions.values()) {
      if (wanted.has(subscription.topic) || subscription.asked) continue;
      if (subscription.followed) unsubscribe(subscription);
      else subscriptions.delete(subscription.topic);
    }
  }

  function subscriptionOf({ topic, from }: Want): Subscription {
    const subscription = subscriptions.get(topic) ?? {
      topic, tracker: new Tracker(from), asked: null, followed: false, start: null, options: {}, rewind: null, presence: null,
    };
    subscriptions.set(topic, subscription);
    return subscription;
  }

  /** Always as a list, whose topics are answered each for itself. */
  function subscribe(missing: readonly Subscription[]): void {
    const topics = missing.map(({ topic, start, options }) => ({ topic, cursor: start && formatCursor(start), ...options }));
    connection.request('SUBSCRIBE', { topics }, (answer: Answer) => {
      missing.forEach((subscription, i) => {
        subscription.asked = null;
        const result = answer.type === 'ACK' ? answer.payload.topics[i] : answer;
        if (result.code) refused(subscription, result);
        else accepted(subscription, result);
      });
      reconcile();
    });
  }

  function accepted(subscription: Subscription, { epoch, seq }: Position): void {
    const { tracker, start } = subscription;
    failures = 0;
    subscription.followed = true;
    tracker.live = !start;
    tracker.position = start ?? { epoch, seq };
    if (start === subscription.rewind) subscription.rewind = null;
    tellFollowed(subscription, seq, tracker.live);
  }

  function tellFollowed({ topic, tracker }: Subscription, head: number, live: boolean): void {
    deliver({ type: 'FOLLOWED', stream: `topic:${topic}`, head, live, ...tracker.position! });
  }

  function refused(subscription: Subscription, payload: Refused): void {
    const { topic } = subscription;
    subscription.followed = false;
    if (payload.code === 'unavailable') {
      subscription.asked = 'paused';
      connection.after('subscribe', backoff(failures), () => {
        for (const waiting of subscriptions.values()) if (waiting.asked === 'paused') waiting.asked = null;
        reconcile();
      });
      failures += 1;
    // With `conflict` an UNSUBSCRIBE has overtaken it, which reconcile sets right.
    } else if (payload.code !== 'conflict') {
      subscriptions.delete(topic);
      for (const [tab, wants] of wantsByTab) wantsByTab.set(tab, wants.filter((each) => each.topic !== topic));
      deliver({ type: 'UNSUBSCRIBED', stream: `topic:${topic}`, payload });
    }
  }

  function unsubscribe(subscription: Subscription): void {
    subscription.asked = 'unsubscribe';
    connection.request('UNSUBSCRIBE', { topic: subscription.topic }, () => {
      left(subscription);
      reconcile();
    });
  }

  return { want, welcome, lost, receive };
}

/** What serves both: everybody's presence, and nobody waits longer than they want to. */
function union(a: Want, b: Want): Want {
  return {
    ...a,
    from: earlier(a.from, b.from),
    presence: a.presence || b.presence,
    batchMs: a.batchMs && b.batchMs && Math.min(a.batchMs, b.batchMs),
    batchMax: Math.min(a.batchMax ?? BATCH_MAX, b.batchMax ?? BATCH_MAX),
  };
}

function optionsOf({ presence, batchMs, batchMax = BATCH_MAX }: Want): object {
  return { presence: presence || undefined, batchMs, batchMax: batchMs && batchMax };
}

/** The one that more events come after; of two histories the first, since only the server knows what is left. */
function earlier(a: Position | null, b: Position | null): Position | null {
  return !a || (b && a.epoch === b.epoch && b.seq < a.seq) ? b : a;
}
