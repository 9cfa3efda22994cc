// The topics that a device follows. They outlive connections: after each WELCOME all of them are
// subscribed to again in one command, each from where it stopped.

import { UNAVAILABLE, backoff } from './connection.js';
import { Following } from './following.js';

/**
 * One topic, from `Draftwire.subscribe`. Emits, each with a `detail`:
 *   state     { state }                  see `state`
 *   event     an event, the next one, always
 *   synced    { resumed, replayed }      caught up, after so many missed events
 *   missed    { missedBefore }           what was not seen of the events before this number is gone
 *   signal    { event, origin, payload } true only now
 *   presence  see `presence`; null while unknown
 *   ended     { code, message }          the server lets this device follow it no longer, or not at all
 */
export class Topic extends EventTarget {
  #following;
  #options;
  #state = 'waiting';
  #members = null;
  #presence = null;

  constructor(name, { cursor = null, ...options }) {
    super();
    this.name = name;
    this.#following = new Following(cursor);
    this.#options = options;
  }

  /** `waiting` for a connection or the server's answer, `catching-up`, `live` or `ended`. */
  get state() {
    return this.#state;
  }

  /** The last event seen, 0 before the first. */
  get seq() {
    return this.#following.seq;
  }

  /** Where to come back to, `<epoch>:<seq>`, or null before the first answer. */
  get cursor() {
    return this.#following.cursor;
  }

  /** Who is here, `{ members, users, devices }`, as the server says; `members` is null where they are
   *  too many for a list. Null while unknown, and for those who did not ask to be seen. */
  get presence() {
    return this.#presence;
  }

  // --- what Topics tells it -------------------------------------------------------------------------

  /** How to ask for it. */
  request() {
    const { cursor } = this.#following;
    return { topic: this.name, ...(cursor !== null && { cursor }), ...this.#options };
  }

  /** The server's answer to that. */
  accepted({ epoch, seq }) {
    if (this.#following.cursor === null) {
      this.#following.moveTo({ epoch, seq });
      this.#begin();
    } else {
      this.#following.resume(seq);
      this.#setState('catching-up');
    }
  }

  end({ code, message }) {
    this.#following.lost();
    this.#setPresence(null, null);
    this.#setState('ended');
    this.#emit('ended', { code, message });
  }

  lost() {
    this.#following.lost();
    this.#setPresence(null, null);
    this.#setState('waiting');
  }

  /** @returns {'seen'|'gap'|undefined} how the server has broken its promise, if it has */
  receive(message) {
    const { type, payload } = message;
    // Of a subscription that was given up a moment ago.
    if (this.#state === 'waiting' || this.#state === 'ended') return undefined;
    switch (type) {
      case 'SYNCED':
        return this.#synced(message);
      case 'SIGNAL':
        return this.#emit('signal', message);
      case 'PRESENCE':
        return this.#setPresence(payload.members ? mapOf(payload.members) : null, payload);
      case 'JOIN':
        this.#members?.set(key(payload), { userId: payload.userId, device: payload.device });
        return this.#setPresence(this.#members, payload);
      case 'LEAVE':
        this.#members?.delete(key(payload));
        return this.#setPresence(this.#members, payload);
      case 'UNSUBSCRIBED':
        return this.end(payload);
      default:
        return Number.isInteger(message.seq) ? this.#event(message) : undefined;
    }
  }

  #event(event) {
    const judged = this.#following.take(event.seq);
    if (judged !== 'next') return judged;
    return this.#emit('event', event);
  }

  #synced(message) {
    const judged = this.#following.synced(message);
    if (judged === 'gap') return judged;
    if (judged === 'missed') this.#emit('missed', { missedBefore: message.missedBefore });
    if (this.#following.live && this.#state !== 'live') this.#begin();
    return undefined;
  }

  #begin() {
    this.#emit('synced', this.#following.begin());
    this.#setState('live');
  }

  #setPresence(members, counts) {
    const before = this.#presence;
    this.#members = members;
    this.#presence = counts && {
      members: members && Array.from(members.values()),
      users: counts.users,
      devices: counts.devices,
    };
    if (before !== this.#presence) this.#emit('presence', this.#presence);
  }

  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#emit('state', { state });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export class Topics {
  #connection;
  #topics = new Map();
  #failures = 0;

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }

  /** See `Draftwire.subscribe`. */
  subscribe(name, options) {
    const known = this.#topics.get(name);
    if (known) return known;
    const topic = new Topic(name, options);
    this.#topics.set(name, topic);
    if (this.#connection.state === 'connected') this.#ask([topic]);
    return topic;
  }

  unsubscribe(name) {
    const topic = this.#topics.get(name);
    if (!topic) return;
    this.#topics.delete(name);
    topic.end({ code: 'unsubscribed', message: 'this device has unsubscribed' });
    if (this.#connection.state !== 'connected') return;
    // A connection that ends before the answer has ended this, too.
    this.#connection.command('UNSUBSCRIBE', { topic: name }, { bound: true }).catch(() => {});
  }

  /** After WELCOME. */
  resume() {
    this.#failures = 0;
    this.#ask(Array.from(this.#topics.values()));
  }

  lost() {
    for (const topic of this.#topics.values()) topic.lost();
  }

  /** See `Topic.receive`. */
  receive(message) {
    const topic = this.#topics.get(message.stream.slice('topic:'.length));
    const defect = topic?.receive(message);
    if (topic?.state === 'ended') this.#topics.delete(topic.name);
    return defect;
  }

  /** Always as a list, whose topics are answered each for itself. */
  #ask(topics) {
    if (topics.length === 0) return;
    this.#connection.request('SUBSCRIBE', { topics: topics.map((topic) => topic.request()) }, {
      bound: true,
      // Events may follow in the same frame.
      resolve: ({ payload }) => topics.forEach((topic, i) => this.#answered(topic, payload.topics[i])),
      reject: (error) => {
        if (error.code !== 'disconnected') for (const topic of topics) this.#answered(topic, error);
      },
    });
  }

  #answered(topic, answer) {
    // Given up meanwhile, or asked for twice.
    if (this.#topics.get(topic.name) !== topic || topic.state !== 'waiting') return;
    if (!answer.code) {
      this.#failures = 0;
      topic.accepted(answer);
    } else if (answer.code === UNAVAILABLE) {
      this.#connection.after('subscribe', backoff(this.#failures++), () => {
        this.#ask(Array.from(this.#topics.values()).filter(({ state }) => state === 'waiting'));
      });
    } else {
      this.#topics.delete(topic.name);
      topic.end(answer);
    }
  }
}

function mapOf(members) {
  return new Map(members.map((member) => [key(member), member]));
}

function key({ userId = null, device }) {
  return JSON.stringify([userId, device]);
}
