// The topics that a connection follows: what the handles of all tabs want, and what the server was asked for. One
// thing at a time is asked for each topic; when it is answered, both are compared again. So a topic that is closed
// and opened at once, any number of times, ends as it was asked for last.

import type { Presence } from '../api.js';
import type { Connection } from '../connection/connection.js';
import { randomId } from '../json.js';
import { BATCH_MAX } from '../limits.js';
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
  /** Where the topic has tokens of its own: what was brought last, null before. */
  readonly token?: BroughtToken | null | undefined;
}

/** What `getToken` of a topic has brought. Whose handle is told `unauthorized` ends, and wants nothing any more. */
export interface BroughtToken {
  /** Which TOKEN_WANTED it answers. */
  readonly request: string;
  /** Null: the connection's own rights have to do. Absent where none came. */
  readonly token?: string | null;
}

/** Asks the handles that have tokens of their own for one, for this subscription. */
export interface TokenWantedMessage {
  readonly type: 'TOKEN_WANTED';
  readonly stream: string;
  readonly request: string;
  /** It was refused, is about to end, or was for the connection before. */
  readonly stale: string | undefined;
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

export type TopicMessage = StreamMessage | FollowedMessage | TokenWantedMessage;

interface Subscription {
  readonly topic: string;
  readonly stream: string;
  readonly tracker: Tracker;
  /** What was asked for last, without an answer yet; `paused` after one that was refused for the moment. */
  asked?: 'subscribe' | 'unsubscribe' | 'token' | 'paused' | undefined;
  followed?: boolean;
  /** With what it was subscribed to last: from where, and the options as the server takes them. */
  start?: Position | null;
  options?: object;
  /** Where it has to begin again, for a handle that is behind. */
  rewind?: Position | null | undefined;
  presence?: Presence | undefined;
  /** The topic's own token, as it was sent last. */
  token?: string | undefined;
  /** The last TOKEN_WANTED, while no token that answers it was used. */
  request?: string | undefined;
  /** Whether its token is about to end. */
  expiring?: boolean;
  /** Whether its token was refused, and the one before was not. */
  refusedOnce?: boolean;
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
  /** Whether a pause is under way, which all that have to wait share, and how many there were in a row. */
  let isPausing = false;
  let pauses = 0;

  function want(tab: string, wants: readonly Want[]): void {
    const before = wantsByTab.get(tab) ?? [];
    if (wants.length > 0) wantsByTab.set(tab, wants);
    else wantsByTab.delete(tab);
    for (const each of wants) if (!before.some(({ handle }) => handle === each.handle)) begin(each);
    reconcile();
  }

  function welcome(): void {
    pauses = 0;
    reconcile();
  }

  function lost(): void {
    isPausing = false;
    for (const subscription of subscriptions.values()) left(subscription);
  }

  function left(subscription: Subscription): void {
    subscription.followed = subscription.tracker.live = subscription.expiring = false;
    subscription.asked = subscription.presence = subscription.request = undefined;
  }

  function receive(message: StreamMessage): void {
    const { stream } = message;
    const subscription = subscriptions.get(stream.slice('topic:'.length));
    // Of a subscription that was given up a moment ago.
    if (!subscription?.followed) return;
    if (message.type === 'UNSUBSCRIBED' || message.type === 'TOKEN_EXPIRING') {
      subscription.expiring = message.type === 'TOKEN_EXPIRING';
      subscription.followed = subscription.expiring;
      if (!subscription.followed) refused(subscription, message.payload as Refused);
      return reconcile();
    }
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
    if (subscription.request) tellTokenWanted(subscription);
    if (from && (from.epoch !== position?.epoch || from.seq !== position.seq)) subscription.rewind = earlier(subscription.rewind, from);
    if (!subscription.followed || !position) return;
    tellFollowed(subscription, position.seq, live && !subscription.rewind);
    if (presence && subscription.presence) {
      deliver({ type: 'PRESENCE', stream: subscription.stream, payload: subscription.presence } as StreamMessage);
    }
  }

  /** Asks for whatever is not as it is wanted. */
  function reconcile(): void {
    if (!connection.welcome) return;
    const wanted = new Map<string, Want[]>();
    for (const each of [...wantsByTab.values()].flat()) wanted.set(each.topic, [...(wanted.get(each.topic) ?? []), each]);
    const missing: Subscription[] = [];
    for (const wants of wanted.values()) {
      const want = wants.reduce(union);
      const subscription = subscriptionOf(want);
      const { followed, request } = subscription;
      const options = optionsOf(want);
      const needsToken = (!followed || subscription.expiring) && wants.some(({ token }) => token !== undefined);
      const answers = wants.flatMap(({ token }) => (token && token.request === request ? token : []));
      // One is enough, also where it comes while another one is waited for.
      const brought = answers.find(({ token }) => token !== undefined);
      const isAsking = subscription.asked === 'token';
      if (brought || (isAsking && !needsToken)) subscription.asked = subscription.request = undefined;
      else if (isAsking && answers.length > 0) pause(subscription);
      if (subscription.asked) continue;
      if (needsToken && !brought) {
        subscription.asked = 'token';
        subscription.request = randomId();
        tellTokenWanted(subscription);
      } else if (!followed || brought) {
        subscription.asked = 'subscribe';
        subscription.start = subscription.rewind ?? subscription.tracker.position;
        subscription.token = brought?.token ?? undefined;
        if (!followed) subscription.options = options;
        missing.push(subscription);
      } else if (subscription.rewind || JSON.stringify(subscription.options) !== JSON.stringify(options)) {
        // Subscribing to what is followed already changes nothing but its token.
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
    const subscription = subscriptions.get(topic) ?? { topic, stream: `topic:${topic}`, tracker: new Tracker(from) };
    subscriptions.set(topic, subscription);
    return subscription;
  }

  /** Always as a list, whose topics are answered each for itself. */
  function subscribe(missing: readonly Subscription[]): void {
    const topics = missing.map(({ topic, start, token, options }) => (
      { topic, cursor: start && formatCursor(start), token, ...options }
    ));
    connection.request('SUBSCRIBE', { topics }, (answer: Answer) => {
      missing.forEach((subscription, i) => {
        subscription.asked = undefined;
        const result = answer.type === 'ACK' ? answer.payload.topics[i] : answer;
        if (result.code) refused(subscription, result);
        else accepted(subscription, result);
      });
      reconcile();
    });
  }

  function accepted(subscription: Subscription, { epoch, seq }: Position): void {
    const { tracker, start, followed } = subscription;
    pauses = 0;
    subscription.expiring = subscription.refusedOnce = false;
    // It was about its token alone.
    if (followed) return;
    subscription.followed = true;
    tracker.live = !start;
    tracker.position = start ?? { epoch, seq };
    if (start === subscription.rewind) subscription.rewind = undefined;
    tellFollowed(subscription, seq, tracker.live);
  }

  function tellFollowed({ stream, tracker }: Subscription, head: number, live: boolean): void {
    deliver({ type: 'FOLLOWED', stream, head, live, ...tracker.position! });
  }

  function tellTokenWanted({ stream, request, token }: Subscription): void {
    deliver({ type: 'TOKEN_WANTED', stream, request: request!, stale: token });
  }

  function refused(subscription: Subscription, payload: Refused): void {
    const { topic, stream, token, followed, refusedOnce } = subscription;
    // What is followed goes on with the token that it has.
    if (followed || payload.code === 'unavailable') {
      pause(subscription);
    } else if (payload.code === 'unauthorized' && token !== undefined && !refusedOnce) {
      // It may have ended on the way, and another one helps.
      subscription.refusedOnce = true;
    // With `conflict` an UNSUBSCRIBE has overtaken it, which reconcile sets right.
    } else if (payload.code !== 'conflict') {
      subscriptions.delete(topic);
      for (const [tab, wants] of wantsByTab) wantsByTab.set(tab, wants.filter((each) => each.topic !== topic));
      deliver({ type: 'UNSUBSCRIBED', stream, payload });
    }
  }

  function pause(subscription: Subscription): void {
    subscription.asked = 'paused';
    if (isPausing) return;
    isPausing = true;
    connection.pause('subscribe', pauses, () => {
      isPausing = false;
      for (const waiting of subscriptions.values()) if (waiting.asked === 'paused') waiting.asked = waiting.request = undefined;
      reconcile();
    });
    pauses += 1;
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
function earlier<T extends Position | null | undefined>(a: T, b: T): T {
  return !a || (b && a.epoch === b.epoch && b.seq < a.seq) ? b : a;
}
