import type {
  Acknowledgement, Cursor, EventMap, Member, Missed, Presence, PublishOptions, Signal, StreamEvent, TopicState, Unsubscribe,
} from '../api.js';

type Type<Events> = keyof Events & string;

/** A topic that is followed, from `Draftwire.topic`. */
export interface Topic<Events extends EventMap = EventMap> {
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
  readonly subscribe: (listener: () => void) => Unsubscribe;

  /** Publishes an event, which is kept until the server has answered; resolves with its number. */
  publish<K extends Type<Events>>(type: K, data: Events[K], options?: PublishOptions): Promise<Acknowledgement>;
  /** Tells those who follow the topic now, if there is a connection now. */
  signal<K extends Type<Events>>(type: K, data: Events[K]): void;
  /** Follows no longer, and ends every handler. */
  close(): void;
}
