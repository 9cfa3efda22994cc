// A request, sent until it is answered.

import { ConnectionFailedError, UnexpectedAnswerError } from './errors.js';
import { type Answer, type Request, refusal, retryAfter, unexpected } from './wire.js';

/** The longest pause before the first repetition, in milliseconds. It doubles with each further one. */
const PAUSE_MS = 100;

/** The longest pause before any repetition, in milliseconds, unless the server asks for a longer one. */
export const PAUSE_MAX_MS = 5000;

/** How long calls take at most. */
export interface Limits {
  /** One attempt, in milliseconds. */
  readonly timeoutMs: number;
  /** The whole call with all its repetitions, in milliseconds. */
  readonly deadlineMs: number;
}

/** No answer has come. */
export interface Failure {
  readonly cause: unknown;
  /** Whether the server may have received the request. */
  readonly sent: boolean;
}

/** What an exchange needs of the world. */
export interface Outside {
  /** Returns the token; null where there is none. */
  token(): Promise<string | null>;
  /** Sends a request once. Rejects when the call is over: its signal was aborted, or the client closed. */
  send(request: Request, token: string | null, timeoutMs: number): Promise<Answer | Failure>;
  /** Waits. Rejects as `send` does. */
  pause(ms: number): Promise<void>;
  /** Returns milliseconds that only grow. */
  now(): number;
  /** Returns the Unix time in milliseconds. */
  wall(): number;
  /** Returns a number from 0 to 1. */
  random(): number;
}

/**
 * Returns what `reader` makes of the answer to a request, once it is a success. Repeats the request after failures
 * that pass, 429 and 503 among them; once at most with another token, after 401.
 */
export async function exchange<T>(
  request: Request,
  limits: Limits,
  outside: Outside,
  reader: (answer: Answer) => T,
): Promise<T> {
  const answer = await answered(request, limits, outside);
  try {
    return reader(answer);
  } catch (cause) {
    throw cause instanceof UnexpectedAnswerError ? cause : unexpected(answer, cause);
  }
}

async function answered(request: Request, limits: Limits, outside: Outside): Promise<Answer> {
  const giveUpAt = outside.now() + limits.deadlineMs;
  let renewed = false;
  for (let repetitions = 0; ; repetitions += 1) {
    const token = await outside.token();
    const leftMs = Math.max(1, giveUpAt - outside.now());
    const outcome = await outside.send(request, token, Math.min(limits.timeoutMs, leftMs));
    if (isAnswer(outcome)) {
      if (outcome.status >= 200 && outcome.status < 300) return outcome;
      if (outcome.status === 401 && token !== null && !renewed) {
        // Where the token comes from a function, it may have a newer one.
        renewed = true;
        if ((await outside.token()) !== token) continue;
      }
    }
    const pauseMs = pauseBefore(outcome, repetitions, outside);
    if (!passes(request, outcome) || outside.now() + pauseMs >= giveUpAt) throw failed(outcome, outside);
    await outside.pause(pauseMs);
  }
}

function isAnswer(outcome: Answer | Failure): outcome is Answer {
  return 'status' in outcome;
}

/** Returns the pause before the next attempt: what the server asks for, and full jitter. */
function pauseBefore(outcome: Answer | Failure, repetitions: number, outside: Outside): number {
  const asked = isAnswer(outcome) ? retryAfter(outcome, outside.wall()) : null;
  return (asked ?? 0) + Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** repetitions) * outside.random();
}

/** Returns whether the request may be repeated after this outcome, and whether that may help. */
function passes({ repeatable = true }: Request, outcome: Answer | Failure): boolean {
  if (!isAnswer(outcome)) return repeatable || !outcome.sent;
  // 502 and 504 are a proxy's: its connection to a node has failed, after the request was sent, perhaps.
  return [429, 503].includes(outcome.status) || (repeatable && [502, 504].includes(outcome.status));
}

function failed(outcome: Answer | Failure, outside: Outside): Error {
  if (isAnswer(outcome)) return refusal(outcome, outside.wall());
  return new ConnectionFailedError(`no answer: ${reason(outcome.cause)}`, outcome.cause);
}

/** Returns why fetch has failed; what it says itself is often nothing but that. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message ? `${error.message}: ${error.cause.message}` : error.message;
}
