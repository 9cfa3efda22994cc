// The topics that components follow: one handle for all that want the same, for as long as one of them is mounted.

import type { TopicOptions, Unsubscribe } from '../api.js';
import type { Draftwire } from '../draftwire.js';
import type { Topic } from '../topics/topic.js';

interface Handle {
  readonly topic: Topic;
  /** How many components use it, each as often as it subscribes. */
  users: number;
}

/** By the client, and there by what is wanted. */
const handles = new WeakMap<Draftwire, Map<string, Handle>>();

export class TopicHandle {
  readonly #client: Draftwire;
  readonly #name: string;
  readonly #options: TopicOptions;
  readonly #key: string;

  /** @param owner keeps it apart from those of other components that want the same */
  constructor(client: Draftwire, name: string, options: TopicOptions, owner: string | null) {
    this.#client = client;
    this.#name = name;
    this.#options = options;
    this.#key = JSON.stringify([name, options, owner]);
  }

  /** The topic while any component follows it. */
  get topic(): Topic | undefined {
    return handles.get(this.#client)?.get(this.#key)?.topic;
  }

  /** Follows the topic until the returned function is called. */
  acquire(): { topic: Topic; release: Unsubscribe } {
    const known = handles.get(this.#client) ?? new Map<string, Handle>();
    handles.set(this.#client, known);
    const handle = known.get(this.#key) ?? { topic: this.#client.topic(this.#name, this.#options), users: 0 };
    known.set(this.#key, handle);
    handle.users += 1;
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      handle.users -= 1;
      // Strict mode, fast refresh and a move from one component to another end effects and start them again at once:
      // the handle keeps its position for that long, and so misses and repeats nothing.
      queueMicrotask(() => {
        if (handle.users > 0 || known.get(this.#key) !== handle) return;
        known.delete(this.#key);
        handle.topic.close();
      });
    };
    return { topic: handle.topic, release };
  }
}
