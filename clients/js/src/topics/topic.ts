import type {
  Acknowledgement, Cursor, Member, Missed, Presence, PublishOptions, Signal, StreamEvent, TopicOptions, TopicState,
  Unsubscribe,
} from '../api.js';
import { randomId, toJson } from '../json.js';
import { Listeners } from '../listeners.js';
import { formatCursor, isEvent, parseCursor, type EventMessage, type Position, type Refused, type StreamMessage } from '../protocol.js';
import { nextPresence } from '../session/presence.js';
import { errorOf } from '../session/session.js';
import type { FollowedMessage, TopicMessage, Want } from '../session/subscriptions.js';
import { Tracker } from '../session/tracker.js';

type Type<Events> = keyof Events & string;

/** What a topic needs of its client. */
export interface TopicHost {
  readonly onError: (error: unknown) => void;
  /** What the topic wants has changed. */
  changed(): void;
  publish(topic: string, type: string, data: unknown, options?: PublishOptions): Promise<Acknowledgement>;
  signal(topic: string, type: string, data: unknown): void;
  closed(topic: Topic): void;
}

/** A topic that is followed, from `Draftwire.topic`. */
export class Topic<Events extends object = any> {
  readonly name: string;
  readonly #host: TopicHost;
  readonly #options: TopicOptions;
  readonly #tracker: Tracker;
  /** Another one when it has to begin again at its cursor. */
  #handle = randomId();
  #state: TopicState = { status: 'waiting' };
  #presence: Presence | null = null;
  readonly #changed: Listeners;
  readonly #missed: Listeners<[Missed]>;
  readonly #events = new Map<string, Listeners<[any]>>();
  readonly #signals = new Map<string, Listeners<[any]>>();

  /** @internal */
  constructor(name: string, options: TopicOptions, host: TopicHost) {
    const { from = 'now' } = options;
    this.name = name;
    this.#options = options;
    this.#host = host;
    this.#changed = new Listeners(host.onError);
    this.#missed = new Listeners(host.onError);
    this.#tracker = new Tracker(from === 'now' || from === 'last' ? null : parseCursor(from));
  }

  /** The same object until it changes. */
  get state(): TopicState {
    return this.#state;
  }

  /** Where to come back to, or null before the server's first answer. */
  get cursor(): Cursor | null {
    return this.#tracker.position && formatCursor(this.#tracker.position);
  }

  /** Who is here. Null while unknown, and without `presence: true`. The same object until it changes. */
  get presence(): Presence | null {
    return this.#presence;
  }

  /** The list of `presence`, empty where there is none. */
  get members(): readonly Member[] {
    return this.#presence?.members ?? NOBODY;
  }

  /** Handles events of one type, or all with `*`: every one, once, in order. */
  on<K extends Type<Events>>(type: K, handler: (event: StreamEvent<K, Events[K]>) => void): Unsubscribe;
  on(type: '*', handler: (event: { [K in Type<Events>]: StreamEvent<K, Events[K]> }[Type<Events>]) => void): Unsubscribe;
  on(type: string, handler: (event: any) => void): Unsubscribe {
    return listenersOf(this.#events, type, this.#host.onError).add(handler);
  }

  /** Handles signals of one type, or all with `*`. */
  onSignal<K extends Type<Events>>(type: K, handler: (signal: Signal<K, Events[K]>) => void): Unsubscribe;
  onSignal(type: '*', handler: (signal: { [K in Type<Events>]: Signal<K, Events[K]> }[Type<Events>]) => void): Unsubscribe;
  onSignal(type: string, handler: (signal: any) => void): Unsubscribe {
    return listenersOf(this.#signals, type, this.#host.onError).add(handler);
  }

  /** Told when events that were missed cannot be had any more. Show, or fetch again, what depends on them. */
  onMissed(handler: (missed: Missed) => void): Unsubscribe {
    return this.#missed.add(handler);
  }

  /** Calls the listener whenever `state` or `presence` has changed. */
  readonly subscribe = (listener: () => void): Unsubscribe => this.#changed.add(listener);

  /** Publishes an event, which is kept until the server has answered; resolves with its number. */
  publish<K extends Type<Events>>(type: K, data: Events[K], options?: PublishOptions): Promise<Acknowledgement> {
    return this.#host.publish(this.name, type, data, options);
  }

  /** Tells those who follow the topic now, if there is a connection now. */
  signal<K extends Type<Events>>(type: K, data: Events[K]): void {
    this.#host.signal(this.name, type, toJson(data));
  }

  /** Follows no longer, and ends every handler. */
  close(): void {
    if (this.#state.status === 'ended') return;
    this.#end({ status: 'ended' });
    this.#host.closed(this);
  }

  // --- what the client tells it -----------------------------------------------------------------------------------

  /** @internal */
  get keepsPosition(): boolean {
    return this.#options.from === 'last';
  }

  /** @internal Where it stopped in a life before. */
  goOnFrom(position: Position | undefined): void {
    if (position && !this.#tracker.position) this.#tracker.position = position;
  }

  /** @internal */
  get position(): Position | null {
    return this.#tracker.position;
  }

  /** @internal */
  want(): Want {
    const { presence, batchMs, batchMax } = this.#options;
    return {
      handle: this.#handle,
      topic: this.name,
      cursor: this.cursor,
      ...(presence !== undefined && { presence }),
      ...(batchMs !== undefined && { batchMs }),
      ...(batchMax !== undefined && { batchMax }),
    };
  }

  /** @internal The connection is over; the position is not. */
  lost(): void {
    if (this.#state.status === 'ended') return;
    this.#tracker.live = false;
    const changed = this.#state.status !== 'waiting' || this.#presence !== null;
    this.#presence = null;
    this.#state = { status: 'waiting' };
    if (changed) this.#changed.call();
  }

  /** @internal */
  receive(message: TopicMessage): void {
    if (this.#state.status === 'ended') return;
    switch (message.type) {
      case 'FOLLOWED':
        return this.#followed(message as FollowedMessage);
      case 'SYNCED':
        return this.#synced(message as { seq: number });
      case 'SIGNAL': {
        const { event, origin, payload } = message as Extract<StreamMessage, { type: 'SIGNAL' }>;
        return this.#emit<Signal>(this.#signals, { type: event, origin, data: payload });
      }
      case 'PRESENCE':
      case 'JOIN':
      case 'LEAVE':
        if (!this.#options.presence) return;
        this.#presence = nextPresence(this.#presence, message as Parameters<typeof nextPresence>[1]);
        return this.#changed.call();
      case 'UNSUBSCRIBED':
        this.#end({ status: 'ended', error: errorOf((message as { payload: Refused }).payload) });
        return this.#host.closed(this);
      default:
        if (isEvent(message as StreamMessage)) this.#event(message as EventMessage);
    }
  }

  #followed({ epoch, seq, head, live }: FollowedMessage): void {
    const { position } = this.#tracker;
    if (position) return this.#setStatus(live && position.epoch === epoch && position.seq >= seq ? 'live' : 'catching-up');
    this.#tracker.position = { epoch, seq: head };
    this.#setStatus('live');
  }

  #synced(message: { seq: number; missedBefore?: number }): void {
    // Without a position it is not followed yet: the message is for other handles.
    if (!this.#tracker.position) return;
    switch (this.#tracker.synced(message)) {
      case 'missed':
        return this.#missed.call({ before: message.missedBefore! });
      case 'synced':
        return this.#setStatus('live');
      case 'gap':
        return this.#again();
    }
  }

  #event(message: EventMessage): void {
    // What other handles are sent again, and what was sent before this one has a position.
    if (!this.#tracker.position) return;
    const judged = this.#tracker.take(message.seq);
    if (judged === 'gap') return this.#again();
    if (judged === 'next') this.#emit(this.#events, streamEvent(message));
  }

  /** Messages of the tab with the connection were lost on the way here. */
  #again(): void {
    if (this.#state.status === 'waiting') return;
    this.#handle = randomId();
    this.#setStatus('waiting');
    this.#host.changed();
  }

  #emit<T extends { readonly type: string }>(listeners: ReadonlyMap<string, Listeners<[any]>>, value: T): void {
    listeners.get(value.type)?.call(value);
    listeners.get('*')?.call(value);
  }

  #setStatus(status: 'waiting' | 'catching-up' | 'live'): void {
    if (this.#state.status === status || this.#state.status === 'ended') return;
    this.#state = { status };
    this.#changed.call();
  }

  #end(state: TopicState): void {
    this.#state = state;
    this.#presence = null;
    this.#changed.call();
    for (const listeners of [this.#changed, this.#missed, ...this.#events.values(), ...this.#signals.values()]) listeners.clear();
  }
}

const NOBODY: readonly Member[] = [];

/** The listeners for one type, made when first asked for. */
export function listenersOf(map: Map<string, Listeners<[any]>>, type: string, onError: (error: unknown) => void): Listeners<[any]> {
  let listeners = map.get(type);
  if (!listeners) map.set(type, listeners = new Listeners(onError));
  return listeners;
}

export function streamEvent({ type, seq, timestamp, origin, priority = 'normal', payload }: EventMessage): StreamEvent {
  return { type, seq, timestamp, origin, priority, data: payload };
}
