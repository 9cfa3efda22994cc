// The topics that components follow: one handle for all that want the same, for as long as one of them is mounted.

import type { TopicOptions, Unsubscribe } from '../api.js';
import type { Draftwire } from '../draftwire.js';
import type { Topic } from '../topics/topic.js';

type GetToken = NonNullable<TopicOptions['getToken']>;

interface Handle {
  readonly topic: Topic;
  /** What components use it, each as often as it subscribes. */
  readonly users: Set<TopicUser>;
}

/** One use. Of those that have tokens, the one that came last is asked. */
interface TopicUser {
  readonly getToken: GetToken | null;
}

/** By the client, and there by what is wanted. */
const handles = new WeakMap<Draftwire, Map<string, Handle>>();

export class TopicHandle {
  readonly #client: Draftwire;
  readonly #name: string;
  readonly #options: TopicOptions;
  readonly #getToken: GetToken | null;
  readonly #key: string;

  /**
   * @param owner keeps it apart from those of other components that want the same
   * @param getToken as of the options; which function it is keeps nothing apart
   */
  constructor(client: Draftwire, name: string, options: TopicOptions, owner: string | null, getToken: GetToken | null) {
    this.#client = client;
    this.#name = name;
    this.#options = options;
    this.#getToken = getToken;
    this.#key = JSON.stringify([name, options, owner, getToken !== null]);
  }

  /** The topic while any component follows it. */
  get topic(): Topic | undefined {
    return handles.get(this.#client)?.get(this.#key)?.topic;
  }

  /** Follows the topic until the returned function is called. */
  acquire(): { topic: Topic; release: Unsubscribe } {
    const known = handles.get(this.#client) ?? new Map<string, Handle>();
    handles.set(this.#client, known);
    const handle = known.get(this.#key) ?? this.#open();
    known.set(this.#key, handle);
    const user: TopicUser = { getToken: this.#getToken };
    handle.users.add(user);
    const release = () => {
      if (!handle.users.delete(user)) return;
      // Strict mode, fast refresh and a move from one component to another end effects and start them again at once:
      // the handle keeps its position for that long, and so misses and repeats nothing.
      queueMicrotask(() => {
        if (handle.users.size > 0 || known.get(this.#key) !== handle) return;
        known.delete(this.#key);
        handle.topic.close();
      });
    };
    return { topic: handle.topic, release };
  }

  #open(): Handle {
    const users = new Set<TopicUser>();
    const getToken: GetToken = (request) => [...users].at(-1)?.getToken?.(request) ?? null;
    return { users, topic: this.#client.topic(this.#name, { ...this.#options, ...(this.#getToken && { getToken }) }) };
  }
}
