// One device's connection to Draftwire, through every loss: it comes back with backoff and jitter,
// renews its token, notices silence, and sends each command until it is answered, always under the
// same id, which makes repeating safe. What the streams say it leaves to others.

const SUBPROTOCOL = 'draftwire.v1.json';

/** The wait before the n-th attempt is random between 0 and this times 2^n (full jitter), so that
 *  clients that lost the same node do not come back in the same moment. */
const BACKOFF_MS = 500;
const BACKOFF_MS_MAX = 30_000;
/** A connection that lived this long counts as good: the next loss starts the backoff anew. */
const STABLE_MS = 10_000;
/** How long an attempt may take until WELCOME. */
const CONNECT_MS_MAX = 15_000;
/** Commands waiting for their answers. Past it they are refused. */
const PENDING_MAX = 1_000;

/** Close codes after which coming back unchanged is pointless. All others: come back, with backoff. */
const FINAL_CLOSES = new Map([
  [4400, 'the server calls this client a misuse of the protocol'],
  [4401, 'the token was not accepted'],
  [4403, 'access was revoked'],
  [4409, 'this device has connected elsewhere'],
  [1009, 'a message was too large'],
]);
/** The error that says nothing about the command itself: repeat it, under the same id. */
export const UNAVAILABLE = 'unavailable';

/** A command that was not carried out. `code` is the server's, or one of this client's own:
 *  `queue_full`, `disconnected` (only what is of no use on another connection), `reset` (the epoch
 *  changed before the answer). */
export class DraftwireError extends Error {
  constructor(code, message, payload) {
    super(message);
    this.name = 'DraftwireError';
    this.code = code;
    this.payload = payload;
  }
}

export class Connection {
  #url;
  #device;
  #getToken;
  #hear;
  #socket = null;
  #state = 'offline';
  #timers = new Map();
  /** Attempts since the last good connection. */
  #attempts = 0;
  /** Increased whenever a connection or an attempt at one is given up: what it still says is ignored. */
  #generation = 0;
  #token = null;
  /** Tokens refused in a row. */
  #tokensRefused = 0;
  #renewedAt = 0;
  #heartbeatMs = 0;
  #heardAt = 0;
  /** id to { message, resolve, reject, bound, waits }, in the order of sending. `waits`: it was refused for
   *  the moment, or is held back behind one that was, and goes out when the pause is over. */
  #pending = new Map();
  /** Whether there is such a pause. */
  #pausing = false;
  /** Pauses since a command was carried out. */
  #pauses = 0;
  /** What the server takes, from WELCOME. */
  #messageBytesMax = Infinity;

  /**
   * @param {object} options
   * @param {URL} options.url the endpoint
   * @param {string} options.device a stable id of this device
   * @param {(spent: ?string) => Promise<?string>} options.getToken see Draftwire
   * @param {object} options.hear whom to tell, each called at once:
   *   `query()` answers the parameters of the next attempt, the cursors above all;
   *   `state(state, more)`; `welcome(payload)`, before which nothing else comes;
   *   `message(message)`, those that are not about the connection itself; `lost()`, the connection or
   *   the attempt is over; `refused(error)`, an ERROR that belongs to no command; `frame(frame)`
   */
  constructor({ url, device, getToken, hear }) {
    this.#url = url;
    this.#device = device;
    this.#getToken = getToken;
    this.#hear = hear;
    globalThis.addEventListener?.('online', () => {
      if (this.#state === 'waiting') this.#retryIn(Math.random() * BACKOFF_MS);
    });
  }

  /** `offline`, `waiting`, `connecting`, `connected` (since WELCOME) or `stopped`. */
  get state() {
    return this.#state;
  }

  /** Commands that have no answer yet. */
  get pendingCount() {
    return this.#pending.size;
  }

  connect() {
    if (this.#state !== 'offline' && this.#state !== 'stopped') return;
    this.#attempts = 0;
    this.#open();
  }

  /** All unanswered commands are kept for `connect()`. */
  disconnect() {
    this.#giveUp();
    this.#setState('offline');
  }

  /** Leaves this connection for another one, after a pause. */
  comeBack(reason) {
    this.#giveUp();
    const delayMs = backoff(this.#attempts);
    this.#attempts += 1;
    this.#retryIn(delayMs, reason);
  }

  /**
   * Sends a command until it is answered; `bound`: as long as this connection lasts.
   * @returns {Promise<{seq?: number, payload?: object}>} the ACK
   */
  command(type, payload, { bound = false } = {}) {
    return new Promise((resolve, reject) => this.request(type, payload, { bound, resolve, reject }));
  }

  /** The same for those who must have the answer before the next message of its frame, for which a
   *  promise is too late. */
  request(type, payload, { bound, resolve, reject }) {
    if (this.#pending.size >= PENDING_MAX) {
      reject(new DraftwireError('queue_full', `${PENDING_MAX} commands have no answer yet`));
      return;
    }
    const message = { type, id: randomId(), payload: wellFormed(payload) };
    // Only what changes something has to keep its order. All of that outlives the connection.
    const waits = this.#pausing && !bound;
    this.#pending.set(message.id, { message, resolve, reject, bound, waits });
    if (this.#state === 'connected' && !waits) this.#transmit(message);
  }

  /** Sends what was not answered on earlier connections. */
  resend() {
    for (const command of this.#pending.values()) {
      command.waits = false;
      this.#transmit(command.message);
    }
  }

  /** Gives up the commands of earlier connections. */
  rejectPending(error) {
    for (const [id, command] of this.#pending) {
      if (command.bound) continue;
      this.#settle(id, () => command.reject(error));
      // Otherwise the server would wait for it to come again before it takes others.
      if (command.waits) this.#transmit({ type: 'PING', id });
    }
  }

  /** Does something later, unless this connection ends before, or the same is asked for again. */
  after(name, delayMs, action) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(action, delayMs));
  }

  // --- connecting -----------------------------------------------------------------------------------

  async #open() {
    this.#giveUp();
    const generation = this.#generation;
    const current = () => generation === this.#generation;
    this.#setState('connecting');

    let token;
    try {
      token = await this.#getToken(this.#tokensRefused > 0 ? this.#token : null);
    } catch (error) {
      if (current()) this.comeBack(`no token: ${error.message}`);
      return;
    }
    if (!current()) return;
    this.#token = token;
    this.after('connect', CONNECT_MS_MAX, () => this.comeBack('no answer'));

    const url = new URL(this.#url);
    const query = { device: this.#device, batch: 1, ...this.#hear.query() };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    let socket;
    try {
      // A browser can set no header here, and a token in the URL would end up in logs.
      socket = new WebSocket(url, [SUBPROTOCOL, ...(token ? [`bearer.${token}`] : [])]);
    } catch (error) {
      this.#stop(`the token or the address is malformed: ${error.message}`);
      return;
    }
    this.#socket = socket;
    socket.onmessage = ({ data }) => current() && this.#receive(data, current);
    socket.onclose = ({ code, reason }) => current() && this.#closed(code, reason);
  }

  /** Leaves the present connection or attempt, without waiting for the other side. */
  #giveUp() {
    this.#generation += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#pausing = false;
    this.#socket?.close(1000);
    this.#socket = null;
    for (const [id, command] of this.#pending) {
      if (!command.bound) continue;
      this.#pending.delete(id);
      command.reject(new DraftwireError('disconnected', 'the connection ended before the answer'));
    }
    this.#hear.lost();
  }

  #closed(code, reason) {
    const why = FINAL_CLOSES.get(code);
    if (!why) return this.comeBack(reason || `closed with ${code}`);
    // A token may have ended on the way, and a new one helps; one refused twice in a row does not.
    if (code === 4401 && ++this.#tokensRefused % 2 === 1) return this.comeBack(why);
    this.#stop(reason ? `${why}: ${reason}` : why);
  }

  #stop(reason) {
    this.#giveUp();
    this.#setState('stopped', { reason });
  }

  #retryIn(delayMs, reason) {
    this.#setState('waiting', { retryInMs: Math.round(delayMs), reason });
    this.after('retry', delayMs, () => this.#open());
  }

  // --- receiving ------------------------------------------------------------------------------------

  /** A frame holds a message, or several in an array: `batch=1` asks for that. */
  #receive(data, current) {
    this.#heardAt = Date.now();
    let messages;
    try {
      messages = [JSON.parse(data)].flat();
    } catch {
      return this.comeBack('the server sent something that is not JSON');
    }
    this.#logFrame('in', messages);
    // One of them may end the connection; the rest then comes again on the next.
    for (const message of messages) if (current()) this.#handle(message);
  }

  #handle(message) {
    const { type, payload } = message;
    switch (type) {
      case 'WELCOME':
        return this.#welcome(payload);
      case 'ACK':
        this.#pauses = 0;
        return this.#settle(message.id, (command) => command.resolve({ seq: message.seq, payload }));
      case 'ERROR':
        return this.#refused(message);
      case 'PONG':
        return undefined;
      case 'TOKEN_EXPIRING':
        return this.#renewSoon(payload.inMs);
      case 'RECONNECT':
        // The server spreads its clients over time, so this wait needs no jitter of its own.
        return this.after('move', payload.inMs, () => this.#open());
      default:
        return this.#hear.message(message);
    }
  }

  #welcome(welcome) {
    this.#clear('connect');
    this.#tokensRefused = 0;
    this.#heartbeatMs = welcome.heartbeatMs;
    this.#messageBytesMax = welcome.maxMessageBytes;
    this.after('stable', STABLE_MS, () => {
      this.#attempts = 0;
    });
    this.#watch();
    this.#state = 'connected';
    this.#hear.welcome(welcome);
  }

  /** A token that is shorter than the server's warning is announced at once, and so is the one after
   *  it: renewals follow each other in half of such a token's life, not as fast as they can. */
  #renewSoon(inMs) {
    const delayMs = Date.now() - this.#renewedAt < inMs ? inMs / 2 : 0;
    this.after('renew', delayMs, () => this.#renewToken());
  }

  async #renewToken() {
    this.#renewedAt = Date.now();
    const generation = this.#generation;
    try {
      const token = await this.#getToken(this.#token);
      if (generation !== this.#generation) return;
      this.#token = token;
      await this.command('AUTH', { token }, { bound: true });
    } catch (error) {
      // The socket will close with 4401 and the next attempt asks for a token again.
      this.#hear.refused({ code: error.code ?? 'unauthorized', message: error.message });
    }
  }

  // --- commands -------------------------------------------------------------------------------------

  #refused({ id, code, message, payload }) {
    const command = this.#pending.get(id);
    if (!command) return this.#hear.refused({ code, message });
    if (code === UNAVAILABLE) {
      command.waits = true;
      return this.#pause();
    }
    return this.#settle(id, () => command.reject(new DraftwireError(code, message, payload)));
  }

  /** What was refused for the moment goes out again together, in its order, and what came up meanwhile
   *  behind it: the server takes it in no other. */
  #pause() {
    if (this.#pausing) return;
    this.#pausing = true;
    const delayMs = backoff(this.#pauses);
    this.#pauses += 1;
    this.after('repeat', delayMs, () => {
      this.#pausing = false;
      for (const command of this.#pending.values()) {
        if (!command.waits) continue;
        command.waits = false;
        this.#transmit(command.message);
      }
    });
  }

  #settle(id, conclude) {
    const command = this.#pending.get(id);
    if (!command) return;
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
    this.#logFrame('out', [message]);
  }

  // --- time -----------------------------------------------------------------------------------------

  /** Browsers hide the server's pings from scripts, so silence is broken by a PING of our own; twice
   *  the heartbeat without a word is a dead connection, whatever the socket believes. */
  #watch() {
    this.after('watch', this.#heartbeatMs / 2, () => {
      const silentMs = Date.now() - this.#heardAt;
      if (silentMs >= 2 * this.#heartbeatMs) return this.comeBack('no sign of life');
      if (silentMs >= this.#heartbeatMs / 2) this.#transmit({ type: 'PING' });
      return this.#watch();
    });
  }

  #clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  // --- telling --------------------------------------------------------------------------------------

  #setState(state, more = {}) {
    this.#state = state;
    this.#hear.state(state, more);
  }

  #logFrame(direction, messages) {
    const shown = messages.map((message) => (message.type === 'AUTH' ? { ...message, payload: { token: '…' } } : message));
    this.#hear.frame({ direction, messages: shown, at: Date.now() });
  }
}

/** How long to wait before trying again, after so many failures: random, see BACKOFF_MS. */
export function backoff(failures) {
  return Math.random() * Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(failures, 16));
}

/** A copy of a JSON value whose texts are Unicode. JavaScript cuts texts in the middle of an emoji, and half
 *  of one is no character: no server takes it. U+FFFD stands for it then. */
export function wellFormed(value) {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value !== 'object' || value === null) return value;
  if (typeof value.toJSON === 'function') return wellFormed(value.toJSON());
  // Not by assignment, to which `__proto__` is no member.
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.toWellFormed(), wellFormed(inner)]));
}

/** 128 random bits as text. Not `crypto.randomUUID`, which exists on secure origins only. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
