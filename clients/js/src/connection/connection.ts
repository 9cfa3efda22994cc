// One device's connection, through every loss: it comes back with backoff and jitter, brings fresh tokens, and
// notices silence. What the streams say, and which changes wait for answers, is the session's.

import type { ConnectionState } from '../api.js';
import { DraftwireError } from '../errors.js';
import { parse, randomId } from '../json.js';
import { BLOCKED_MS, CONNECT_MS_MAX, SILENT_ATTEMPTS, STABLE_MS } from '../limits.js';
import type { Answer, ClientMessage, Refused, ServerMessage, StreamMessage, Welcome } from '../protocol.js';
import { backoff } from './backoff.js';
import { errorOfClose, FINAL } from './close_codes.js';
import type { TokenSource } from './token.js';
import type { Transport, Wire } from './transport.js';
import { newWatchdog } from './watchdog.js';

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

export interface Connection {
  /** The server's welcome while there is a connection. */
  readonly welcome: Welcome | null;
  readonly transport: Transport;
  /** Goes online, and stays so. */
  connect(): void;
  disconnect(): void;
  /** Leaves this connection for another one, at once. */
  reopen(): void;
  stop(error: DraftwireError): void;
  /** Leaves this connection for another one, after a pause. */
  again(error: DraftwireError): void;
  /** The device may have slept or changed its network. */
  wake(): void;
  /** Looks whether the connection is dead, where timers are slowed down. */
  tick(): void;
  /**
   * Asks something of this connection alone. The answer is told before the next message of its frame; it never
   * comes when the connection is lost before.
   */
  request(type: string, payload: unknown, answered: (answer: Answer) => void): void;
  /** Sends a command. Returns why it can never be sent, if that is so. */
  send(message: ClientMessage): DraftwireError | undefined;
  /** Does something later, unless this connection ends before, or the same is asked for again. */
  after(name: string, delayMs: number, action: () => void): void;
  /** The same after a random pause, which grows with the failures so far. */
  pause(name: string, failures: number, action: () => void): void;
}

export function newConnection({ transports, device, tokens, isVisible, events }: ConnectionOptions): Connection {
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  /** What is asked of this connection alone, by id. */
  const requests = new Map<string, (answer: Answer) => void>();
  let wire: Wire | null = null;
  let welcome: Welcome | null = null;
  let isOn = false;
  /** Counts up whenever a connection or an attempt is given up: what it still says is ignored. */
  let generation = 0;
  /** Attempts since the last good connection. */
  let attempts = 0;
  /** When the next attempt is due, while one is waited for, and why the last one has failed. */
  let retryAt = 0;
  let failure: DraftwireError | undefined;
  let token: string | null = null;
  /** Tokens refused in a row. */
  let tokensRefused = 0;
  /** The transport in use, and until when those before it are not tried. */
  let transport = 0;
  let silentAttempts = 0;
  let blockedUntil = 0;

  const watchdog = newWatchdog({
    isVisible,
    ping: () => send({ type: 'PING' }),
    dead,
  });

  function connect(): void {
    if (isOn) return;
    isOn = true;
    attempts = tokensRefused = 0;
    void open();
  }

  function disconnect(): void {
    isOn = false;
    tokens.cancel();
    giveUp();
  }

  function reopen(): void {
    if (wire) void open();
  }

  function stop(error: DraftwireError): void {
    disconnect();
    events.state({ status: 'stopped', error });
  }

  function again(error: DraftwireError): void {
    giveUp();
    // Whoever was told of it may have ended it for good.
    if (isOn) retryIn(backoff(attempts++), error);
  }

  function dead(): void {
    again(new DraftwireError('unreachable', 'the server does not answer'));
  }

  function wake(): void {
    const delayMs = backoff(0) / 4;
    // Wake events that come in a row must not put the attempt off.
    if (performance.now() + delayMs < retryAt) retryIn(delayMs, failure!);
    watchdog.wake();
  }

  function request(type: string, payload: unknown, answered: (answer: Answer) => void): void {
    const id = randomId();
    requests.set(id, answered);
    const error = send({ type, id, payload });
    if (error) answer({ type: 'ERROR', id, code: error.code, message: error.message });
  }

  function send(message: ClientMessage): DraftwireError | undefined {
    const text = JSON.stringify(message);
    const bytes = new TextEncoder().encode(text).length;
    // Sent, it would close this connection, and every one after it.
    if (welcome && bytes > welcome.maxMessageBytes) return new DraftwireError('too_large', `the message has ${bytes} bytes`);
    if (welcome) wire?.send(message, text);
    return undefined;
  }

  function after(name: string, delayMs: number, action: () => void): void {
    clearTimeout(timers.get(name));
    timers.set(name, setTimeout(action, delayMs));
  }

  function pause(name: string, failures: number, action: () => void): void {
    after(name, backoff(failures), action);
  }

  // --- connecting -------------------------------------------------------------------------------------------------

  async function open(): Promise<void> {
    giveUp();
    const mine = generation;
    const current = () => isOn && mine === generation;
    events.state({ status: 'connecting' });
    if (!current()) return;
    try {
      const fresh = await tokens.get();
      if (!current()) return;
      token = fresh;
    } catch (error) {
      if (current()) end(error as DraftwireError, (error as DraftwireError).code === 'unauthorized');
      return;
    }
    chooseTransport();
    after('connect', CONNECT_MS_MAX, () => {
      silentAttempts += 1;
      dead();
    });
    try {
      const opened = await transports[transport]!.open({ device, token, ...events.cursors() }, {
        frame: (text) => {
          if (current()) receive(text, current);
        },
        alive: () => {
          if (current()) watchdog.heard();
        },
        closed: (code, reason) => {
          if (current()) closed(code, reason);
        },
      });
      if (current()) wire = opened;
      else opened.close();
    } catch (cause) {
      if (!current()) return;
      // WebSocket refuses what it can never send; everything else, such as code that does not load, may pass.
      const isMalformed = (cause as Error).name === 'SyntaxError';
      end(new DraftwireError(isMalformed ? 'bad_request' : 'unreachable', String(cause)), isMalformed);
    }
  }

  function end(error: DraftwireError, isFinal: boolean): void {
    if (isFinal) stop(error);
    else again(error);
  }

  /** A transport that is blocked on the way, as WebSockets are by some proxies, says nothing at all. */
  function chooseTransport(): void {
    if (transport > 0 && performance.now() > blockedUntil) transport = silentAttempts = 0;
    if (silentAttempts < SILENT_ATTEMPTS) return;
    silentAttempts = 0;
    transport = (transport + 1) % transports.length;
    blockedUntil = performance.now() + BLOCKED_MS;
  }

  /** Leaves the present connection or attempt, without waiting for the other side. */
  function giveUp(): void {
    generation += 1;
    for (const timer of timers.values()) clearTimeout(timer);
    timers.clear();
    requests.clear();
    retryAt = 0;
    watchdog.stop();
    wire?.close();
    wire = welcome = null;
    events.lost();
  }

  function closed(code?: number, reason?: string): void {
    const error = errorOfClose(code, reason);
    const isRefused = error.code === 'unauthorized';
    if (error.code === 'unreachable' && !welcome) silentAttempts += 1;
    if (error.code === 'too_large') events.tooLarge(error);
    // Once disconnected, the rights may be others.
    if (isRefused || error.code === 'disconnected') tokens.spent(token);
    if (isRefused) tokensRefused += 1;
    // A token may have ended on the way, and another one helps; two that were refused in a row say that none does.
    const isFinal = isRefused ? tokensRefused > 1 || token === null : FINAL.includes(error.code);
    end(error, isFinal);
  }

  function retryIn(delayMs: number, error: DraftwireError): void {
    failure = error;
    retryAt = performance.now() + delayMs;
    after('retry', delayMs, open);
    events.state({ status: 'waiting', retryAt: Date.now() + delayMs, error });
  }

  // --- receiving --------------------------------------------------------------------------------------------------

  function receive(text: string, current: () => boolean): void {
    watchdog.heard();
    let messages;
    try {
      messages = [parse(text)].flat() as ServerMessage[];
    } catch {
      return closed(undefined, 'no JSON');
    }
    // One of them may end the connection; the rest then comes again on the next.
    for (const message of messages) if (current()) handle(message);
    if (current()) events.frameEnd();
  }

  function handle(message: ServerMessage): void {
    switch (message.type) {
      case 'WELCOME':
        return welcomed((message as { payload: Welcome }).payload);
      case 'ACK':
      case 'ERROR':
      case 'PONG':
        return answer(message as Answer);
      case 'RECONNECT':
        // The server spreads its clients over time, so this wait needs no jitter of its own.
        return after('move', (message as { payload: { inMs: number } }).payload.inMs, open);
      default:
        // A message of a newer server may be about no stream; what is about the token of a topic names one.
        if (typeof (message as StreamMessage).stream === 'string') events.stream(message as StreamMessage);
        else if (message.type === 'TOKEN_EXPIRING') void renew(0);
    }
  }

  function welcomed(payload: Welcome): void {
    clearTimeout(timers.get('connect'));
    tokensRefused = silentAttempts = 0;
    welcome = payload;
    after('stable', STABLE_MS, () => {
      attempts = 0;
    });
    watchdog.start(wire!.quietMs, welcome.heartbeatMs);
    events.welcome(welcome);
  }

  function answer(message: Answer): void {
    const answered = requests.get(message.id!);
    if (!answered) return events.answer(message);
    requests.delete(message.id!);
    answered(message);
  }

  // --- tokens -----------------------------------------------------------------------------------------------------

  /** The connection goes on with the token that it has until this succeeds; it ends with 4401 if it never does. */
  async function renew(failures: number): Promise<void> {
    const mine = generation;
    const later = () => pause('renew', failures, () => renew(failures + 1));
    tokens.spent(token);
    const fresh = await tokens.get().catch(() => undefined);
    if (mine !== generation) return;
    if (fresh === undefined) return later();
    request('AUTH', { token: fresh }, (message) => {
      if (message.type === 'ACK') {
        token = fresh;
        return;
      }
      const refused = message as Refused;
      if (refused.code === 'unauthorized') tokens.spent(fresh);
      // Another user has signed in: this connection is none of theirs.
      if (refused.code === 'forbidden') stop(new DraftwireError('wrong_user', refused.message));
      else later();
    });
  }

  return {
    get welcome() {
      return welcome;
    },
    get transport() {
      return transports[transport]!;
    },
    connect,
    disconnect,
    reopen,
    stop,
    again,
    wake,
    tick: watchdog.tick,
    request,
    send,
    after,
    pause,
  };
}
