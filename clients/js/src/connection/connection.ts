// One device's connection, through every loss: it comes back with backoff and jitter, brings fresh tokens, and
// notices silence. What the streams say, and which changes wait for answers, is the session's.

import type { ConnectionState } from '../api.js';
import { DraftwireError, type ErrorCode } from '../errors.js';
import { randomId } from '../json.js';
import type { Answer, ClientMessage, Refused, ServerMessage, StreamMessage, Welcome } from '../protocol.js';
import { backoff } from './backoff.js';
import { judgeClose } from './close_codes.js';
import { TokenSource } from './token.js';
import type { Transport, Wire } from './transport.js';
import { Watchdog } from './watchdog.js';

/** A connection that lived this long counts as good: the next loss starts the backoff anew. */
const STABLE_MS = 10_000;
/** How long an attempt may take until WELCOME. */
const CONNECT_MS_MAX = 15_000;
/** Attempts in a row that end without a word of the server, after which the next transport is tried. */
const SILENT_ATTEMPTS = 2;
/** How long a transport that did not get through is not tried first again. */
const BLOCKED_MS = 300_000;

/** Whom the connection tells. Everything is told at once, in the order in which it came. */
export interface ConnectionEvents {
  /** Offline, waiting, connecting or stopped. */
  state(state: ConnectionState): void;
  /** The positions to go on from. */
  cursors(): { cursor?: string; all?: string };
  /** The first message of a connection. */
  welcome(welcome: Welcome): void;
  stream(message: StreamMessage): void;
  /** The answer to a command that `request` does not know. */
  answer(answer: Answer): void;
  /** All messages of one frame have been told. */
  frameEnd(): void;
  /** A command was too large for the server, which has closed the connection for it. */
  tooLarge(error: DraftwireError): void;
  /** The connection is over, or the attempt at one. */
  lost(): void;
}

export interface ConnectionOptions {
  /** In the order of preference. */
  readonly transports: readonly Transport[];
  readonly device: string;
  readonly tokens: TokenSource;
  readonly isVisible: () => boolean;
  readonly events: ConnectionEvents;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #tokens: TokenSource;
  readonly #watchdog: Watchdog;
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  /** What is asked of this connection alone, by id. */
  readonly #requests = new Map<string, (answer: Answer) => void>();
  #wire: Wire | null = null;
  #welcome: Welcome | null = null;
  #status: 'offline' | 'waiting' | 'connecting' | 'connected' | 'stopped' = 'offline';
  /** Counts up whenever a connection or an attempt is given up: what it still says is ignored. */
  #generation = 0;
  /** Attempts since the last good connection, and when the next one is due. */
  #attempts = 0;
  #retryAt = 0;
  #token: string | null = null;
  /** Tokens refused in a row. */
  #tokensRefused = 0;
  #renewedAt = -Infinity;
  /** The transport in use, and until when those before it are not tried. */
  #transport = 0;
  #silentAttempts = 0;
  #blockedUntil = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#events = options.events;
    this.#tokens = options.tokens;
    this.#watchdog = new Watchdog({
      isVisible: options.isVisible,
      ping: () => void this.send({ type: 'PING' }),
      dead: () => this.again(new DraftwireError('unreachable', 'no sign of life')),
    });
  }

  /** The server's welcome while there is a connection. */
  get welcome(): Welcome | null {
    return this.#welcome;
  }

  get transport(): Transport {
    return this.#options.transports[this.#transport]!;
  }

  /** Goes online, and stays so. */
  connect(): void {
    if (this.#status !== 'offline' && this.#status !== 'stopped') return;
    this.#attempts = this.#tokensRefused = 0;
    void this.#open();
  }

  disconnect(): void {
    this.#tokens.cancel();
    this.#giveUp();
    this.#setState({ status: 'offline' });
  }

  /** Leaves this connection for another one, at once. */
  reopen(): void {
    if (this.#status === 'connecting' || this.#status === 'connected') void this.#open();
  }

  stop(error: DraftwireError): void {
    this.#tokens.cancel();
    this.#giveUp();
    this.#setState({ status: 'stopped', error });
  }

  /** Leaves this connection for another one, after a pause. */
  again(error: DraftwireError): void {
    this.#giveUp();
    this.#retryIn(backoff(this.#attempts), error);
    this.#attempts += 1;
  }

  /** The device may have slept or changed its network. */
  wake(): void {
    const delayMs = backoff(0) / 4;
    // Wake events that come in a row must not put the attempt off.
    if (this.#status === 'waiting' && performance.now() + delayMs < this.#retryAt) this.#retryIn(delayMs);
    this.#watchdog.wake();
  }

  /** Looks whether the connection is dead, where timers are slowed down. */
  tick(): void {
    this.#watchdog.tick();
  }

  /**
   * Asks something of this connection alone. The answer is told before the next message of its frame; it never
   * comes when the connection is lost before.
   */
  request(type: string, payload: unknown, answered: (answer: Answer) => void): void {
    const id = randomId();
    this.#requests.set(id, answered);
    const error = this.send({ type, id, payload });
    if (error) this.#answer({ type: 'ERROR', id, code: error.code, message: error.message });
  }

  /** Sends a command. Returns why it can never be sent, if that is so. */
  send(message: ClientMessage): DraftwireError | undefined {
    const text = JSON.stringify(message);
    const max = this.#welcome?.maxMessageBytes ?? Infinity;
    // A UTF-16 unit is at most three bytes, so that most messages need not be counted.
    const bytes = text.length * 3 > max ? new TextEncoder().encode(text).length : 0;
    // Sent, it would close this connection, and every one after it.
    if (bytes > max) return new DraftwireError('too_large', `the message has ${bytes} bytes; the server takes ${max}`);
    if (this.#welcome) this.#wire?.send(message, text);
    return undefined;
  }

  /** Does something later, unless this connection ends before, or the same is asked for again. */
  after(name: string, delayMs: number, action: () => void): void {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(action, delayMs));
  }

  // --- connecting -------------------------------------------------------------------------------------------------

  async #open(): Promise<void> {
    this.#giveUp();
    const generation = this.#generation;
    const current = () => generation === this.#generation;
    this.#setState({ status: 'connecting' });

    let token: string | null;
    try {
      token = await this.#tokens.get();
    } catch (error) {
      if (current()) this.#tokenFailed(error as DraftwireError);
      return;
    }
    if (!current()) return;
    this.#token = token;
    this.#chooseTransport();
    this.after('connect', CONNECT_MS_MAX, () => {
      this.#silentAttempts += 1;
      this.again(new DraftwireError('unreachable', 'no answer'));
    });
    try {
      const wire = await this.transport.open({ device: this.#options.device, token, ...this.#events.cursors() }, {
        messages: (messages) => {
          if (current()) this.#receive(messages, current);
        },
        alive: () => {
          if (current()) this.#watchdog.heard();
        },
        closed: (code, reason) => {
          if (current()) this.#closed(code, reason);
        },
      });
      if (current()) this.#wire = wire;
      else wire.close();
    } catch (cause) {
      if (!current()) return;
      // WebSocket refuses what it can never send; everything else, such as code that does not load, may pass.
      if ((cause as Error).name !== 'SyntaxError') this.again(new DraftwireError('unreachable', String(cause)));
      else this.stop(new DraftwireError('bad_request', 'the token is malformed', undefined, { cause }));
    }
  }

  #tokenFailed(error: DraftwireError): void {
    if (error.code === 'unauthorized') this.stop(error);
    else this.again(error);
  }

  /** A transport that is blocked on the way, as WebSockets are by some proxies, says nothing at all. */
  #chooseTransport(): void {
    if (this.#transport > 0 && performance.now() > this.#blockedUntil) this.#transport = this.#silentAttempts = 0;
    if (this.#silentAttempts < SILENT_ATTEMPTS) return;
    this.#silentAttempts = 0;
    this.#transport = (this.#transport + 1) % this.#options.transports.length;
    this.#blockedUntil = performance.now() + BLOCKED_MS;
  }

  /** Leaves the present connection or attempt, without waiting for the other side. */
  #giveUp(): void {
    this.#generation += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#requests.clear();
    this.#watchdog.stop();
    this.#wire?.close();
    this.#wire = null;
    this.#welcome = null;
    this.#events.lost();
  }

  #closed(code: number, reason: string): void {
    const verdict = judgeClose(code, reason);
    if (verdict.error.code === 'unreachable' && !this.#welcome) this.#silentAttempts += 1;
    switch (verdict.then) {
      case 'stop':
        return this.stop(verdict.error);
      case 'token':
        // A token may have ended on the way, and another one helps; two that were refused in a row say that none does.
        this.#tokens.spent(this.#token);
        this.#tokensRefused += 1;
        return this.#tokensRefused < 2 && this.#token !== null ? this.again(verdict.error) : this.stop(verdict.error);
      case 'smaller':
        this.#events.tooLarge(verdict.error);
        return this.again(verdict.error);
      case 'retry':
        return this.again(verdict.error);
    }
  }

  #retryIn(delayMs: number, error?: DraftwireError): void {
    if (error) this.#setState({ status: 'waiting', retryAt: Date.now() + delayMs, error });
    this.#retryAt = performance.now() + delayMs;
    this.after('retry', delayMs, () => void this.#open());
  }

  #setState(state: Exclude<ConnectionState, { status: 'live' | 'catching-up' }>): void {
    this.#status = state.status;
    this.#events.state(state);
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  #receive(messages: readonly ServerMessage[], current: () => boolean): void {
    this.#watchdog.heard();
    // One of them may end the connection; the rest then comes again on the next.
    for (const message of messages) if (current()) this.#handle(message);
    if (current()) this.#events.frameEnd();
  }

  #handle(message: ServerMessage): void {
    switch (message.type) {
      case 'WELCOME':
        return this.#welcomed((message as { payload: Welcome }).payload);
      case 'ACK':
      case 'ERROR':
      case 'PONG':
        return this.#answer(message as Answer);
      case 'TOKEN_EXPIRING':
        return this.#renewSoon((message as { payload: { inMs: number } }).payload.inMs);
      case 'RECONNECT':
        // The server spreads its clients over time, so this wait needs no jitter of its own.
        return this.after('move', (message as { payload: { inMs: number } }).payload.inMs, () => void this.#open());
      default:
        // A message of a newer server may be about no stream.
        if (typeof (message as StreamMessage).stream === 'string') this.#events.stream(message as StreamMessage);
    }
  }

  #welcomed(welcome: Welcome): void {
    clearTimeout(this.#timers.get('connect'));
    this.#tokensRefused = this.#silentAttempts = 0;
    this.#welcome = welcome;
    this.after('stable', STABLE_MS, () => {
      this.#attempts = 0;
    });
    this.#watchdog.start(this.#wire!.quietMs, welcome.heartbeatMs);
    this.#status = 'connected';
    this.#events.welcome(welcome);
  }

  #answer(answer: Answer): void {
    const answered = answer.id === undefined ? undefined : this.#requests.get(answer.id);
    if (!answered) return this.#events.answer(answer);
    this.#requests.delete(answer.id!);
    answered(answer);
  }

  // --- tokens -----------------------------------------------------------------------------------------------------

  /** A token that is shorter than the server's warning is announced at once, and so is the one after it: renewals
   *  follow each other in half of such a token's life, not as fast as they can. */
  #renewSoon(inMs: number): void {
    const now = performance.now();
    this.after('renew', now - this.#renewedAt < inMs ? inMs / 2 : 0, () => void this.#renew(0));
  }

  /** The connection goes on with the token that it has until this succeeds; it ends with 4401 if it never does. */
  async #renew(failures: number): Promise<void> {
    const generation = this.#generation;
    const later = () => this.after('renew', backoff(failures), () => void this.#renew(failures + 1));
    this.#renewedAt = performance.now();
    this.#tokens.spent(this.#token);
    let token: string | null;
    try {
      token = await this.#tokens.get();
    } catch {
      if (generation === this.#generation) later();
      return;
    }
    if (generation !== this.#generation) return;
    this.request('AUTH', { token }, (answer) => {
      if (answer.type === 'ACK') {
        this.#token = token;
        return;
      }
      const { code, message } = answer as Refused;
      if (code === 'unauthorized') this.#tokens.spent(token);
      // Another user has signed in: this connection is none of theirs.
      if (code === 'forbidden') this.stop(new DraftwireError('wrong_user' satisfies ErrorCode, message));
      else later();
    });
  }
}
