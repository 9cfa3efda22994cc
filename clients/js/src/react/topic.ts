import { useCallback, useEffect, useInsertionEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type {
  Acknowledgement, Cursor, Member, Missed, Presence, PublishOptions, Signal, StreamEvent, TopicOptions, TopicState,
} from '../api.js';
import { randomId } from '../json.js';
import { useDraftwire } from './provider.js';
import { TopicHandle } from './topic_handles.js';

type Type<Events> = keyof Events & string;

/** Handlers of events by their type; `*` handles all. */
export type EventHandlers<Events> = { [K in Type<Events>]?: (event: StreamEvent<K, Events[K]>) => void } & {
  '*'?: (event: { [K in Type<Events>]: StreamEvent<K, Events[K]> }[Type<Events>]) => void;
};

/** Handlers of signals by their type; `*` handles all. */
export type SignalHandlers<Events> = { [K in Type<Events>]?: (signal: Signal<K, Events[K]>) => void } & {
  '*'?: (signal: { [K in Type<Events>]: Signal<K, Events[K]> }[Type<Events>]) => void;
};

/**
 * The handlers and `getToken` are those of the last render, and may be other functions in each. Other values of what else
 * `TopicOptions` has end what is followed, and begin anew. Of components that share a topic, the one that came last
 * brings its tokens.
 */
export interface UseTopicOptions<Events extends object = any> extends TopicOptions {
  /** Called with every event, once, in order, for as long as the component is mounted. */
  on?: EventHandlers<Events>;
  onSignal?: SignalHandlers<Events>;
  /** Called when events that were missed cannot be had any more. Fetch again what depends on them. */
  onMissed?: (missed: Missed) => void;
}

/** What `useTopic` returns. The object stays the same until `state` or `presence` changes. */
export interface UsedTopic<Events extends object = any> {
  readonly state: TopicState;
  /** Who is here. Null while unknown, and without `presence: true`. */
  readonly presence: Presence | null;
  /** The list of `presence`, empty where there is none. */
  readonly members: readonly Member[];
  /** Where to come back to, or null before the server's first answer. */
  cursor(): Cursor | null;
  /** Publishes an event, which is kept until the server has answered; resolves with its number. */
  publish<K extends Type<Events>>(type: K, data: Events[K], options?: PublishOptions): Promise<Acknowledgement>;
  /** Tells those who follow the topic now, if there is a connection now. */
  signal<K extends Type<Events>>(type: K, data: Events[K]): void;
}

const WAITING: TopicState = { status: 'waiting' };
const NOBODY: readonly Member[] = [];

/**
 * Follows a topic while the component is mounted. Components with the same options share one position, so one that
 * comes later begins with the next event; with a cursor in `from`, each is sent everything after it.
 */
export function useTopic<Events extends object = any>(name: string, options: UseTopicOptions<Events> = {}): UsedTopic<Events> {
  const client = useDraftwire();
  const handle = useHandle(name, options);
  const { state, presence } = useStates(handle);

  const handlers = useRef(options);
  useInsertionEffect(() => {
    handlers.current = options;
  });
  useEffect(() => {
    const { topic, release } = handle.acquire();
    const ends = [
      topic.on('*', (event) => call(handlers.current.on, event)),
      topic.onSignal('*', (signal) => call(handlers.current.onSignal, signal)),
      topic.onMissed((missed) => handlers.current.onMissed?.(missed)),
      release,
    ];
    return () => {
      for (const end of ends) end();
    };
  }, [handle]);

  return useMemo(() => ({
    state,
    presence,
    members: presence?.members ?? NOBODY,
    cursor: () => handle.topic?.cursor ?? null,
    publish: (type, data, publish) => client.publish(name, type, data, publish),
    signal: (type, data) => handle.topic?.signal(type, data),
  }), [client, name, handle, state, presence]);
}

/** Who is present on a topic, where this user is seen as well while the component is mounted. Null while unknown. */
export function usePresence(name: string, { getToken }: Pick<TopicOptions, 'getToken'> = {}): Presence | null {
  return useStates(useHandle(name, { presence: true, ...(getToken && { getToken }) })).presence;
}

function useHandle(name: string, { presence, from, batchMs, batchMax, getToken }: TopicOptions): TopicHandle {
  const client = useDraftwire();
  const [component] = useState(randomId);
  const lastGetToken = useRef(getToken);
  useInsertionEffect(() => {
    lastGetToken.current = getToken;
  });
  const hasTokens = getToken !== undefined;
  const owner = from === undefined || from === 'now' || from === 'last' ? null : component;
  return useMemo(() => {
    const options: TopicOptions = {
      ...(presence !== undefined && { presence }),
      ...(from !== undefined && { from }),
      ...(batchMs !== undefined && { batchMs }),
      ...(batchMax !== undefined && { batchMax }),
    };
    return new TopicHandle(client, name, options, owner, hasTokens ? (request) => lastGetToken.current?.(request) ?? null : null);
  }, [client, name, presence, from, batchMs, batchMax, owner, hasTokens]);
}

function useStates(handle: TopicHandle): { state: TopicState; presence: Presence | null } {
  const subscribe = useCallback((listener: () => void) => {
    const { topic, release } = handle.acquire();
    const unsubscribe = topic.subscribe(listener);
    return () => {
      unsubscribe();
      release();
    };
  }, [handle]);
  const state = useSyncExternalStore(subscribe, () => handle.topic?.state ?? WAITING, () => WAITING);
  const presence = useSyncExternalStore(subscribe, () => handle.topic?.presence ?? null, () => null);
  return { state, presence };
}

/** The handler of the type, then the one of all types, as a topic does. One that throws does not keep the other from it. */
function call<T extends { readonly type: string }>(handlers: object | undefined, value: T): void {
  const byType = handlers as Record<string, ((value: T) => void) | undefined> | undefined;
  try {
    if (byType && Object.hasOwn(byType, value.type)) byType[value.type]?.(value);
  } finally {
    byType?.['*']?.(value);
  }
}
