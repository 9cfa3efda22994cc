// @ts-check
// The first line: whether anything is lost, late or unsure just now. Pure.

import { count, millis } from './format.js';

/**
 * @param {any} picture
 * @returns {{ state: 'good' | 'unsure' | 'late' | 'lost', text: string }}
 */
export function verdict(picture) {
  const bound = `An event that no copy announces is read from the log within ${millis(picture.sweepIntervalMs)}.`;
  const codes = new Set(picture.warnings.map((/** @type {any} */ warning) => warning.code));
  const { historyLosses } = picture.sums.totals;
  if (historyLosses > 0) {
    const times = historyLosses === 1 ? 'once' : `${count(historyLosses)} times`;
    return { state: 'lost', text: `The database has lost acknowledged events ${times}. Every device is told, and begins anew.` };
  }
  if (codes.has('store_unavailable')) {
    return { state: 'late', text: 'Changes are refused: the store does not answer. Nothing that was acknowledged is lost.' };
  }
  if (codes.has('bus_untrusted')) {
    return { state: 'late', text: `Events may be late, and none is lost: the bus is not known to deliver. ${bound}` };
  }
  if (!picture.complete || picture.sums.staleNodes > 0) {
    return { state: 'unsure', text: `Not every node can be heard. Nothing is lost by that. ${bound}` };
  }
  return { state: 'good', text: `Nothing is lost, late or unsure. ${bound}` };
}

/** The limits of the badge for the average latency, in milliseconds. */
export const [LATENCY_ORANGE, LATENCY_RED] = [100, 250];

/**
 * @param {{ count: number, meanMs: number }} latency
 * @returns {'idle' | 'green' | 'orange' | 'red'}
 */
export function badge({ count: events, meanMs }) {
  if (events === 0) return 'idle';
  if (meanMs > LATENCY_RED) return 'red';
  return meanMs > LATENCY_ORANGE ? 'orange' : 'green';
}
