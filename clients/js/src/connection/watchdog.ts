// Notices that a connection is dead: a network that is gone says nothing.

/** How long the other side may be silent while somebody looks. With TICK_MS it is noticed within 20 s. */
const SILENT_MS_MAX = 17_000;
const TICK_MS = 2_500;
/** How long the other side has to answer after the device was woken or its network has changed. */
const WAKE_MS = 4_000;
/** Wake events come in bunches. */
const WAKE_PAUSE_MS = 500;

export interface Watched {
  isVisible(): boolean;
  /** Asks the other side for a sign of life. */
  ping(): void;
  /** It is dead. Not called again before `start`. */
  dead(): void;
}

export class Watchdog {
  readonly #watched: Watched;
  #timer: ReturnType<typeof setInterval> | undefined;
  #quietMs = 0;
  #heartbeatMs = 0;
  #heardAt = 0;
  /** When the last PING went that was followed by nothing yet. */
  #pingedAt: number | null = null;
  /** Until when there has to be a sign of life after a wake event. */
  #deadline: number | null = null;
  #wokenAt = -Infinity;
  #tickedAt = 0;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /**
   * Watches a new connection.
   * @param quietMs the silence after which the other side is asked
   * @param heartbeatMs what the server calls its heartbeat
   */
  start(quietMs: number, heartbeatMs: number): void {
    this.stop();
    this.#quietMs = quietMs;
    this.#heartbeatMs = heartbeatMs;
    this.heard();
    this.#tickedAt = Date.now();
    this.#timer = setInterval(() => this.tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** There was a sign of life. */
  heard(): void {
    this.#heardAt = performance.now();
    this.#pingedAt = this.#deadline = null;
  }

  /** The device may have slept or changed its network: asks at once, and waits for no more than WAKE_MS. */
  wake(): void {
    const now = performance.now();
    if (this.#timer === undefined || now - this.#wokenAt < WAKE_PAUSE_MS) return;
    this.#wokenAt = now;
    this.#deadline ??= now + WAKE_MS;
    this.#ping(now);
    setTimeout(() => this.tick(), WAKE_MS + 10);
  }

  /** Looks whether it is dead. Also called from outside, where timers are slowed down: in a hidden tab. */
  tick(): void {
    if (this.#timer === undefined) return;
    const now = performance.now();
    // Timers that come late have slept. Only the wall clock goes on meanwhile everywhere; one that was put right
    // causes no more than a PING.
    const late = Math.abs(Date.now() - this.#tickedAt) > 3 * TICK_MS;
    this.#tickedAt = Date.now();
    if (late) this.wake();
    const visible = this.#watched.isVisible();
    const silentMs = now - this.#heardAt;
    const silentMsMax = visible ? SILENT_MS_MAX : 2 * this.#heartbeatMs;
    // After a sleep, what has arrived meanwhile is only about to be read: the deadline of the wake event counts.
    if (this.#deadline !== null ? now >= this.#deadline : silentMs >= silentMsMax) {
      this.stop();
      this.#watched.dead();
      return;
    }
    const quietMs = visible ? this.#quietMs : Math.max(this.#quietMs, this.#heartbeatMs / 2);
    if (silentMs >= quietMs && this.#pingedAt === null) this.#ping(now);
  }

  #ping(now: number): void {
    this.#pingedAt = now;
    this.#watched.ping();
  }
}
