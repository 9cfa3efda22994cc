// The reference client of the Draftwire protocol, version 1, for browsers. No dependencies; copy it,
// with connection.js (comes back, sends until answered), following.js (a position on one stream) and
// topics.js.
//
// It keeps one promise: after every `snapshot` and `event` that it emits, the listener has seen the
// stream up to `seq`, all of it, once and in order, whatever the network did meanwhile.
// Commands are sent until they are answered, always under the same id, which makes repeating safe.
//
//   const client = new Draftwire({ url, device, getToken: async () => '…' });
//   client.addEventListener('snapshot', ({ detail }) => replaceAll(detail.drafts));
//   client.addEventListener('event', ({ detail }) => applyOne(detail));
//   client.connect();
//   await client.send('DRAFT_CREATE', { kind: 'order', content: { title: 'Lamps' } });
//
//   const match = client.subscribe('match:1', { presence: true });
//   match.addEventListener('event', ({ detail }) => show(detail));
//   await client.publish('match:1', 'GOAL', { minute: 61 }, { priority: 'high' });
//
// Emitted, each with a `detail`:
//   state     { state, retryInMs?, reason? }  see STATES
//   welcome   the payload of WELCOME
//   snapshot  { drafts, epoch, seq, reset }   the whole state; forget what you had. `reset`: the epoch
//                                             is another, so versions known so far mean nothing now
//   event     an event of the user's stream, in order
//   synced    { resumed, replayed, snapshot } caught up on it, after so many missed events, or after a
//                                             snapshot instead of them
//   broadcast an event of the stream `all`, in order
//   missed    { missedBefore }                what was not seen of the events of `all` before this
//                                             number is gone
//   refused   { code, message }               an ERROR that belongs to no command
//   defect    { stream, message }             the server has broken its promise: an event came twice,
//                                             or one is missing and will be fetched again
//   frame     { direction, messages, at }     every frame, for a log; tokens are left out
// Topics emit their own, see topics.js.

import { Connection, DraftwireError } from './connection.js';
import { Following } from './following.js';
import { Topics } from './topics.js';

export { DraftwireError, randomId, wellFormed } from './connection.js';

/**
 * What a client can be doing.
 * - `offline`: switched off, the state at first and after `disconnect()`.
 * - `waiting`: between two attempts.
 * - `connecting`: on the way to WELCOME.
 * - `catching-up`: connected, missed events of the user or of `all` are arriving.
 * - `live`: everything that arrives on these is new. Topics have states of their own.
 * - `stopped`: the server said not to come back unchanged. `connect()` tries again.
 */
export const STATES = ['offline', 'waiting', 'connecting', 'catching-up', 'live', 'stopped'];

/** Events held back while the first list is on its way. Past it the connection starts over. */
const HELD_MAX = 10_000;

export class Draftwire extends EventTarget {
  #connection;
  #topics;
  #wantsDrafts;
  #user = new Following();
  #all = new Following();
  /** Whether this connection has a `user` stream; one without a token has none. */
  #anonymous = false;
  /** Events of the user that arrived before the first list, or null once the state is known. */
  #held = null;
  /** Whether a snapshot came instead of missed events. */
  #snapshot = false;
  #live = false;

  /**
   * @param {object} options
   * @param {string|URL} options.url the endpoint, `wss://…/ws/realtime`
   * @param {string} options.device a stable id of this device, at most 64 characters
   * @param {(spent: ?string) => Promise<?string>} options.getToken a valid JWT; asked before every
   *   connection. `spent` is a token that was refused or is about to end: bring another one. Null
   *   connects without, for public topics
   * @param {boolean} [options.drafts] false for a device that shows none: it does not ask for the list
   */
  constructor({ url, device, getToken, drafts = true }) {
    super();
    this.device = device;
    this.#wantsDrafts = drafts;
    this.#connection = new Connection({
      url: new URL(url),
      device,
      getToken,
      hear: {
        query: () => this.#cursors(),
        state: (state, more) => this.#emit('state', { state, ...more }),
        welcome: (welcome) => this.#welcome(welcome),
        message: (message) => this.#receive(message),
        lost: () => this.#lost(),
        refused: (error) => this.#emit('refused', error),
        frame: (frame) => this.#emit('frame', frame),
      },
    });
    this.#topics = new Topics(this.#connection);
  }

  get state() {
    const { state } = this.#connection;
    if (state !== 'connected') return state;
    return this.#live ? 'live' : 'catching-up';
  }

  /** The last event seen on the user's stream, 0 before the first. */
  get seq() {
    return this.#user.seq;
  }

  get epoch() {
    return this.#user.epoch;
  }

  /** Commands that have no answer yet. */
  get pendingCount() {
    return this.#connection.pendingCount;
  }

  /** Goes online, and stays so through every loss until `disconnect()` or a final close code. */
  connect() {
    this.#connection.connect();
  }

  /** Goes offline. The positions and all unanswered commands are kept for `connect()`. */
  disconnect() {
    this.#connection.disconnect();
  }

  /**
   * Sends a command until it is answered, over as many connections as that takes.
   * @returns {Promise<{seq?: number, payload?: object}>} the ACK
   * @throws {DraftwireError} the server's refusal
   */
  send(type, payload) {
    return this.#connection.command(type, payload);
  }

  /**
   * Follows a topic, through every loss, until `unsubscribe` or `ended`.
   * @param {string} name
   * @param {object} [options]
   * @param {?string} [options.cursor] where this device stopped; else events come from now on
   * @param {boolean} [options.presence] to be seen there, and to see who else is
   * @param {number} [options.batchMs] events may wait that long for others
   * @param {number} [options.batchMax] so many waiting events end the wait
   * @returns {import('./topics.js').Topic} the one there is if it is already followed
   */
  subscribe(name, options = {}) {
    return this.#topics.subscribe(name, options);
  }

  unsubscribe(name) {
    this.#topics.unsubscribe(name);
  }

  /**
   * Publishes to a topic, as reliably as `send`; a signal only on this connection: it is true only now.
   * @param {object} [options]
   * @param {'normal'|'high'|'critical'} [options.priority]
   * @param {boolean} [options.signal]
   */
  publish(topic, event, data = null, { priority, signal } = {}) {
    return this.#connection.command('PUBLISH', { topic, event, data, priority, signal }, { bound: signal === true });
  }

  // --- connections come and go ----------------------------------------------------------------------

  #cursors() {
    return {
      ...(this.#user.cursor && { cursor: this.#user.cursor }),
      ...(this.#all.cursor && { all: this.#all.cursor }),
    };
  }

  #welcome(welcome) {
    const { epoch } = welcome;
    this.#anonymous = welcome.seq === undefined;
    if (this.#user.cursor) this.#user.resume(welcome.seq);
    if (this.#all.cursor) {
      this.#all.resume(welcome.allSeq);
    } else {
      this.#all.moveTo({ epoch, seq: welcome.allSeq });
      this.#all.begin();
    }
    this.#emit('welcome', welcome);
    this.#emit('state', { state: 'catching-up' });
    // In another epoch old versions mean nothing: what is unanswered waits for the SNAPSHOT.
    if (!this.#user.cursor || this.#user.epoch === epoch) this.#connection.resend();
    this.#topics.resume();
    if (this.#user.cursor || this.#anonymous) return this.#settle();
    if (this.#wantsDrafts) return this.#list();
    this.#user.moveTo({ epoch, seq: welcome.seq });
    return this.#liveOnUser();
  }

  #lost() {
    this.#held = null;
    this.#snapshot = false;
    this.#live = false;
    this.#user.lost();
    this.#all.lost();
    this.#topics.lost();
  }

  /** The state is live once both streams are. */
  #settle() {
    if (this.#live || !this.#all.live || !(this.#user.live || this.#anonymous)) return;
    this.#live = true;
    this.#emit('state', { state: 'live' });
  }

  // --- receiving ------------------------------------------------------------------------------------

  #receive(message) {
    const { stream } = message;
    if (stream === 'user') return this.#receiveUser(message);
    if (stream === 'all') return this.#receiveAll(message);
    if (!stream?.startsWith('topic:')) return undefined;
    return this.#check(message, this.#topics.receive(message));
  }

  #receiveUser(message) {
    switch (message.type) {
      case 'SYNCED':
        return this.#synced(message);
      case 'SNAPSHOT':
        this.#held = null;
        this.#snapshot = true;
        return this.#replace({ ...message, drafts: message.payload.drafts });
      default:
        return Number.isInteger(message.seq) ? this.#event(message) : undefined;
    }
  }

  #receiveAll(message) {
    if (message.type === 'SYNCED') {
      const judged = this.#all.synced(message);
      if (judged === 'missed') this.#emit('missed', { missedBefore: message.missedBefore });
      this.#check(message, judged);
      this.#settle();
    } else if (Number.isInteger(message.seq)) {
      const judged = this.#all.take(message.seq);
      if (judged === 'next') this.#emit('broadcast', message);
      this.#check(message, judged);
    }
  }

  /** Never has anything to do with a correct server. */
  #check({ stream, type, seq }, judged) {
    if (judged === 'seen') this.#emit('defect', { stream, message: `event ${seq} came again` });
    if (judged !== 'gap') return;
    const message = type === 'SYNCED' ? `events before ${seq} are missing` : `gap before event ${seq}`;
    this.#emit('defect', { stream, message });
    // The position makes coming back the cure.
    this.#connection.comeBack(`${stream}: ${message}`);
  }

  // --- the user's stream ----------------------------------------------------------------------------

  /** The first state: a list, and the events after the position that it stands at. */
  #list() {
    const held = [];
    this.#held = held;
    this.#connection.command('DRAFT_LIST', undefined, { bound: true }).then(
      ({ payload }) => {
        // Another connection, or a SNAPSHOT that came meanwhile and is the newer state.
        if (this.#held !== held) return;
        this.#held = null;
        this.#replace(payload);
        for (const event of held) if (event.seq > payload.seq) this.#event(event);
        this.#liveOnUser();
      },
      (error) => {
        if (this.#held === held) this.#connection.comeBack(`the list was refused: ${error.message}`);
      },
    );
  }

  #event(event) {
    if (this.#held) {
      this.#held.push(event);
      if (this.#held.length > HELD_MAX) this.#connection.comeBack('too many events before the list');
      return;
    }
    const judged = this.#user.take(event.seq);
    if (judged === 'next') this.#emit('event', event);
    this.#check(event, judged);
  }

  #replace({ epoch, seq, drafts }) {
    const reset = this.#user.cursor !== null && this.#user.epoch !== epoch;
    this.#user.moveTo({ epoch, seq });
    this.#emit('snapshot', { drafts, epoch, seq, reset });
    if (reset) {
      this.#connection.rejectPending(new DraftwireError('reset', 'the history changed before the answer'));
    }
  }

  #synced(message) {
    if (this.#held || !this.#user.cursor) return;
    const wasLive = this.#user.live;
    const judged = this.#user.synced(message);
    this.#check(message, judged);
    if (judged !== 'gap' && !wasLive) this.#liveOnUser();
  }

  #liveOnUser() {
    this.#emit('synced', { ...this.#user.begin(), snapshot: this.#snapshot });
    this.#settle();
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
