// The reference client of the Draftwire protocol, version 1, for browsers. No dependencies; copy it.
//
// It keeps one promise: after every `snapshot` and `event` that it emits, the listener has seen the
// user's stream up to `client.seq`, all of it, once and in order, whatever the network did meanwhile.
// Commands are sent until they are answered, always under the same id, which makes repeating safe.
//
//   const client = new Draftwire({ url, device, getToken: async () => '…' });
//   client.addEventListener('snapshot', ({ detail }) => replaceAll(detail.drafts));
//   client.addEventListener('event', ({ detail }) => applyOne(detail));
//   client.connect();
//   await client.send('DRAFT_CREATE', { kind: 'order', content: { title: 'Lamps' } });
//
// Emitted, each with a `detail`:
//   state     { state, retryInMs?, reason? }  see STATES
//   welcome   the payload of WELCOME
//   snapshot  { drafts, epoch, seq, reset }   the whole state; forget what you had. `reset`: the epoch
//                                             is another, so versions known so far mean nothing now
//   event     an event of the user's stream, in order
//   synced    { resumed, replayed, snapshot } caught up, after so many missed events, or after a
//                                             snapshot instead of them
//   refused   { code, message }               an ERROR that belongs to no command
//   frame     { direction, message, at }      every message, for a log; tokens are left out

/**
 * What a client can be doing.
 * - `offline`: switched off, the state at first and after `disconnect()`.
 * - `waiting`: between two attempts.
 * - `connecting`: on the way to WELCOME.
 * - `catching-up`: connected, missed events are arriving.
 * - `live`: everything that arrives is new.
 * - `stopped`: the server said not to come back unchanged. `connect()` tries again.
 */
export const STATES = ['offline', 'waiting', 'connecting', 'catching-up', 'live', 'stopped'];

const SUBPROTOCOL = 'draftwire.v1.json';

/** The wait before the n-th attempt is random between 0 and this times 2^n (full jitter), so that
 *  clients that lost the same node do not come back in the same moment. */
const BACKOFF_MS = 500;
const BACKOFF_MS_MAX = 30_000;
/** A connection that lived this long counts as good: the next loss starts the backoff anew. */
const STABLE_MS = 10_000;
/** How long an attempt may take until WELCOME. */
const CONNECT_MS_MAX = 15_000;
/** Commands waiting for their answers. Past it `send` refuses. */
const PENDING_MAX = 1_000;
/** Events held back while the first list is on its way. Past it the connection starts over. */
const HELD_MAX = 10_000;

/** Close codes after which coming back unchanged is pointless. All others: come back, with backoff. */
const FINAL_CLOSES = new Map([
  [4400, 'the server calls this client a misuse of the protocol'],
  [4401, 'the token was not accepted'],
  [4403, 'access was revoked'],
  [1009, 'a message was too large'],
]);
/** Errors that say nothing about the command itself: repeat it, under the same id. */
const PASSING_ERRORS = new Set(['unavailable', 'rate_limited']);

/** A command that was not carried out. `code` is the server's, or one of this client's own:
 *  `queue_full`, `disconnected` (only AUTH and lists), `reset` (the epoch changed before the answer). */
export class DraftwireError extends Error {
  constructor(code, message, payload) {
    super(message);
    this.name = 'DraftwireError';
    this.code = code;
    this.payload = payload;
  }
}

export class Draftwire extends EventTarget {
  #url;
  #getToken;
  #socket = null;
  #state = 'offline';
  #timers = new Map();
  /** Attempts since the last good connection. */
  #attempts = 0;
  /** Increased whenever a connection or an attempt at one is given up: what it still says is ignored. */
  #generation = 0;
  #welcomed = false;
  #token = null;
  /** Tokens refused in a row. */
  #tokensRefused = 0;
  #heartbeatMs = 0;
  #heardAt = 0;
  /** id to { message, resolve, reject, retries, bound }, in the order of sending. */
  #pending = new Map();
  /** Events that arrived before the first list, or null once the state is known. */
  #held = null;
  /** What the server takes, from WELCOME. */
  #messageBytesMax = Infinity;
  /** What coming back has brought so far; `head` ends what was missed. Null on the first connection. */
  #resume = null;
  /** Where this device stands on the user's stream, or null as long as it knows nothing. */
  #cursor = null;

  /**
   * @param {object} options
   * @param {string|URL} options.url the endpoint, `wss://…/ws/realtime`
   * @param {string} options.device a stable id of this device, at most 64 characters
   * @param {(spent: ?string) => Promise<string>} options.getToken a valid JWT; asked before every
   *   connection. `spent` is a token that was refused or is about to end: bring another one
   */
  constructor({ url, device, getToken }) {
    super();
    this.#url = new URL(url);
    this.#getToken = getToken;
    this.device = device;
    globalThis.addEventListener?.('online', () => {
      if (this.#state === 'waiting') this.#retryIn(Math.random() * BACKOFF_MS);
    });
  }

  get state() {
    return this.#state;
  }

  /** The last event seen, 0 before the first. */
  get seq() {
    return this.#cursor?.seq ?? 0;
  }

  get epoch() {
    return this.#cursor?.epoch ?? null;
  }

  /** Commands that have no answer yet. */
  get pendingCount() {
    return this.#pending.size;
  }

  /** Goes online, and stays so through every loss until `disconnect()` or a final close code. */
  connect() {
    if (this.#state !== 'offline' && this.#state !== 'stopped') return;
    this.#attempts = 0;
    this.#open();
  }

  /** Goes offline. The position and all unanswered commands are kept for `connect()`. */
  disconnect() {
    this.#giveUp(1000);
    this.#setState('offline');
  }

  /**
   * Sends a command until it is answered, over as many connections as that takes.
   * @returns {Promise<{seq?: number, payload?: object}>} the ACK
   * @throws {DraftwireError} the server's refusal
   */
  send(type, payload) {
    return this.#command(type, payload, false);
  }

  // --- connecting -----------------------------------------------------------------------------------

  async #open() {
    this.#giveUp(1000);
    const generation = this.#generation;
    const current = () => generation === this.#generation;
    this.#setState('connecting');

    let token;
    try {
      token = await this.#getToken(this.#tokensRefused > 0 ? this.#token : null);
    } catch (error) {
      if (current()) this.#comeBack(`no token: ${error.message}`);
      return;
    }
    if (!current()) return;
    this.#token = token;
    this.#after('connect', CONNECT_MS_MAX, () => this.#comeBack('no answer'));

    const url = new URL(this.#url);
    url.searchParams.set('device', this.device);
    if (this.#cursor) url.searchParams.set('cursor', `${this.#cursor.epoch}:${this.#cursor.seq}`);
    let socket;
    try {
      // A browser can set no header here, and a token in the URL would end up in logs.
      socket = new WebSocket(url, [SUBPROTOCOL, `bearer.${token}`]);
    } catch (error) {
      this.#stop(`the token or the address is malformed: ${error.message}`);
      return;
    }
    this.#socket = socket;
    socket.onmessage = ({ data }) => current() && this.#receive(data);
    socket.onclose = ({ code, reason }) => current() && this.#closed(code, reason);
  }

  /** Leaves the present connection or attempt, without waiting for the other side. */
  #giveUp(code) {
    this.#generation += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#socket?.close(code);
    this.#socket = null;
    this.#welcomed = false;
    this.#held = null;
    for (const [id, command] of this.#pending) {
      clearTimeout(command.retryTimer);
      if (!command.bound) continue;
      this.#pending.delete(id);
      command.reject(new DraftwireError('disconnected', 'the connection ended before the answer'));
    }
  }

  #closed(code, reason) {
    const why = FINAL_CLOSES.get(code);
    if (!why) return this.#comeBack(reason || `closed with ${code}`);
    // A token may have ended on the way, and a new one helps; one refused twice in a row does not.
    if (code === 4401 && ++this.#tokensRefused % 2 === 1) return this.#comeBack(why);
    this.#stop(reason ? `${why}: ${reason}` : why);
  }

  #stop(reason) {
    this.#giveUp(1000);
    this.#setState('stopped', { reason });
  }

  #comeBack(reason) {
    this.#giveUp(1000);
    const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(this.#attempts, 16));
    this.#attempts += 1;
    this.#retryIn(Math.random() * ceiling, reason);
  }

  #retryIn(delayMs, reason) {
    this.#setState('waiting', { retryInMs: Math.round(delayMs), reason });
    this.#after('retry', delayMs, () => this.#open());
  }

  // --- receiving ------------------------------------------------------------------------------------

  #receive(data) {
    this.#heardAt = Date.now();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return this.#comeBack('the server sent something that is not JSON');
    }
    this.#logFrame('in', message);
    const { type, payload } = message;
    switch (type) {
      case 'WELCOME':
        return this.#welcome(payload);
      case 'SYNCED':
        return message.stream === 'user' ? this.#synced(message.seq) : undefined;
      case 'SNAPSHOT':
        return message.stream === 'user' ? this.#snapshot(message) : undefined;
      case 'ACK':
        return this.#settle(message.id, (command) => command.resolve({ seq: message.seq, payload }));
      case 'ERROR':
        return this.#refused(message);
      case 'PONG':
        return undefined;
      case 'TOKEN_EXPIRING':
        return this.#renewToken();
      case 'RECONNECT':
        // The server spreads its clients over time, so this wait needs no jitter of its own.
        return this.#after('move', payload.inMs, () => this.#open());
      default:
        if (message.stream === 'user' && Number.isInteger(message.seq)) this.#event(message);
        return undefined;
    }
  }

  #welcome(welcome) {
    this.#clear('connect');
    this.#welcomed = true;
    this.#tokensRefused = 0;
    this.#resume = this.#cursor ? { head: welcome.seq, replayed: 0, snapshot: false } : null;
    this.#heartbeatMs = welcome.heartbeatMs;
    this.#messageBytesMax = welcome.maxMessageBytes;
    this.#after('stable', STABLE_MS, () => {
      this.#attempts = 0;
    });
    this.#watch();
    this.#emit('welcome', welcome);
    this.#setState('catching-up');
    // In another epoch old versions mean nothing: what is unanswered waits for the SNAPSHOT.
    if (!this.#cursor || this.#cursor.epoch === welcome.epoch) {
      for (const command of this.#pending.values()) this.#transmit(command.message);
    }
    if (!this.#cursor) this.#list();
  }

  /** The first state: a list, and the events after the position that it stands at. */
  #list() {
    this.#held = [];
    const generation = this.#generation;
    this.#command('DRAFT_LIST', undefined, true).then(
      ({ payload }) => {
        // A SNAPSHOT that came meanwhile is the newer state.
        if (generation !== this.#generation || !this.#held) return;
        const held = this.#held;
        this.#held = null;
        this.#replace(payload);
        for (const event of held) this.#event(event);
        this.#live();
      },
      (error) => {
        if (generation === this.#generation) this.#comeBack(`the list was refused: ${error.message}`);
      },
    );
  }

  #event(event) {
    if (this.#held) {
      this.#held.push(event);
      if (this.#held.length > HELD_MAX) this.#comeBack('too many events before the list');
      return;
    }
    if (!this.#cursor || event.seq <= this.#cursor.seq) return;
    // Never happens with a correct server. The cursor makes coming back the cure for it.
    if (event.seq !== this.#cursor.seq + 1) return this.#comeBack(`gap before seq ${event.seq}`);
    this.#cursor.seq = event.seq;
    if (this.#resume && event.seq <= this.#resume.head) this.#resume.replayed += 1;
    this.#emit('event', event);
  }

  #snapshot({ epoch, seq, payload }) {
    this.#held = null;
    if (this.#resume) this.#resume.snapshot = true;
    this.#replace({ epoch, seq, drafts: payload.drafts });
  }

  #replace({ epoch, seq, drafts }) {
    const reset = this.#cursor !== null && this.#cursor.epoch !== epoch;
    this.#cursor = { epoch, seq };
    this.#emit('snapshot', { drafts, epoch, seq, reset });
    if (!reset) return;
    for (const [id, command] of this.#pending) {
      if (command.bound) continue;
      this.#pending.delete(id);
      command.reject(new DraftwireError('reset', 'the history changed before the answer'));
    }
  }

  #synced(seq) {
    if (this.#held || !this.#cursor) return;
    if (seq > this.#cursor.seq) return this.#comeBack(`synced at ${seq}, but events are missing`);
    this.#live();
  }

  #live() {
    if (this.#state !== 'catching-up') return;
    const { replayed = 0, snapshot = false } = this.#resume ?? {};
    this.#emit('synced', { resumed: this.#resume !== null, replayed, snapshot });
    this.#setState('live');
  }

  async #renewToken() {
    const generation = this.#generation;
    try {
      const token = await this.#getToken(this.#token);
      if (generation !== this.#generation) return;
      this.#token = token;
      await this.#command('AUTH', { token }, true);
    } catch (error) {
      // The socket will close with 4401 and the next attempt asks for a token again.
      this.#emit('refused', { code: error.code ?? 'unauthorized', message: error.message });
    }
  }

  // --- commands -------------------------------------------------------------------------------------

  /** `bound`: only of use on this connection, so not repeated on the next. */
  #command(type, payload, bound) {
    if (this.#pending.size >= PENDING_MAX) {
      return Promise.reject(new DraftwireError('queue_full', `${PENDING_MAX} commands have no answer yet`));
    }
    const message = { type, id: randomId(), payload };
    return new Promise((resolve, reject) => {
      this.#pending.set(message.id, { message, resolve, reject, retries: 0, bound });
      if (this.#welcomed) this.#transmit(message);
    });
  }

  #refused({ id, code, message, payload }) {
    const command = this.#pending.get(id);
    if (!command) return this.#emit('refused', { code, message });
    if (PASSING_ERRORS.has(code)) {
      const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(command.retries, 16));
      command.retries += 1;
      command.retryTimer = setTimeout(() => this.#transmit(command.message), Math.random() * ceiling);
      return undefined;
    }
    return this.#settle(id, () => command.reject(new DraftwireError(code, message, payload)));
  }

  #settle(id, conclude) {
    const command = this.#pending.get(id);
    if (!command) return;
    clearTimeout(command.retryTimer);
    this.#pending.delete(id);
    conclude(command);
  }

  #transmit(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const text = JSON.stringify(message);
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > this.#messageBytesMax) {
      // Sent, it would close this connection, and every one after it.
      const error = new DraftwireError('too_large', `${bytes} bytes; the server takes ${this.#messageBytesMax}`);
      this.#settle(message.id, (command) => command.reject(error));
      return;
    }
    this.#socket.send(text);
    this.#logFrame('out', message);
  }

  // --- time -----------------------------------------------------------------------------------------

  /** Browsers hide the server's pings from scripts, so silence is broken by a PING of our own; twice
   *  the heartbeat without a word is a dead connection, whatever the socket believes. */
  #watch() {
    this.#after('watch', this.#heartbeatMs / 2, () => {
      const silentMs = Date.now() - this.#heardAt;
      if (silentMs >= 2 * this.#heartbeatMs) return this.#comeBack('no sign of life');
      if (silentMs >= this.#heartbeatMs / 2) this.#transmit({ type: 'PING' });
      return this.#watch();
    });
  }

  #after(name, delayMs, action) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(action, delayMs));
  }

  #clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  // --- telling --------------------------------------------------------------------------------------

  #setState(state, more = {}) {
    this.#state = state;
    this.#emit('state', { state, ...more });
  }

  #logFrame(direction, message) {
    const shown = message.type === 'AUTH' ? { ...message, payload: { token: '…' } } : message;
    this.#emit('frame', { direction, message: shown, at: Date.now() });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** 128 random bits as text. Not `crypto.randomUUID`, which exists on secure origins only. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
