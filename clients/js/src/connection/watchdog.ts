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

export interface Watchdog {
  /**
   * Watches a new connection.
   * @param quietMs the silence after which the other side is asked
   * @param heartbeatMs what the server calls its heartbeat
   */
  start(quietMs: number, heartbeatMs: number): void;
  stop(): void;
  /** There was a sign of life. */
  heard(): void;
  /** The device may have slept or changed its network: asks at once, and waits for no more than WAKE_MS. */
  wake(): void;
  /** Looks whether it is dead. Also called from outside, where timers are slowed down: in a hidden tab. */
  tick(): void;
}

export function newWatchdog({ isVisible, ping, dead }: Watched): Watchdog {
  let timer: ReturnType<typeof setInterval> | undefined;
  let quietMs = 0;
  let heartbeatMs = 0;
  let heardAt = 0;
  /** When the last PING went that was followed by nothing yet. */
  let pingedAt: number | null = null;
  /** Until when there has to be a sign of life after a wake event. */
  let deadline: number | null = null;
  let wokenAt = -Infinity;
  let tickedAt = 0;

  function start(quiet: number, heartbeat: number): void {
    stop();
    quietMs = quiet;
    heartbeatMs = heartbeat;
    heard();
    tickedAt = Date.now();
    timer = setInterval(tick, TICK_MS);
  }

  function stop(): void {
    clearInterval(timer);
    timer = undefined;
  }

  function heard(): void {
    heardAt = performance.now();
    pingedAt = deadline = null;
  }

  function wake(): void {
    const now = performance.now();
    if (timer === undefined || now - wokenAt < WAKE_PAUSE_MS) return;
    wokenAt = now;
    deadline ??= now + WAKE_MS;
    ask(now);
    setTimeout(tick, WAKE_MS + 10);
  }

  function tick(): void {
    if (timer === undefined) return;
    const now = performance.now();
    // Timers that come late have slept. Only the wall clock goes on meanwhile everywhere; one that was put right
    // causes no more than a PING.
    const late = Math.abs(Date.now() - tickedAt) > 3 * TICK_MS;
    tickedAt = Date.now();
    if (late) wake();
    const visible = isVisible();
    const silentMs = now - heardAt;
    // After a sleep, what has arrived meanwhile is only about to be read: the deadline of the wake event counts.
    if (deadline !== null ? now >= deadline : silentMs >= (visible ? SILENT_MS_MAX : 2 * heartbeatMs)) {
      stop();
      dead();
    } else if (pingedAt === null && silentMs >= (visible ? quietMs : Math.max(quietMs, heartbeatMs / 2))) {
      ask(now);
    }
  }

  function ask(now: number): void {
    pingedAt = now;
    ping();
  }

  return { start, stop, heard, wake, tick };
}
