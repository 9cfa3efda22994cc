const BASE_MS = 500;
const MAX_MS = 30_000;

/**
 * How long to wait before the next attempt, after so many failures: random between 0 and 1 s, 2 s, … 30 s (full
 * jitter), so that clients that lost the same node do not come back in the same moment.
 */
export function backoff(failures: number, random: () => number = Math.random): number {
  return random() * Math.min(MAX_MS, BASE_MS * 2 ** Math.min(failures + 1, 16));
}
