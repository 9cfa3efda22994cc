// @ts-check
// The last hour, for the sparklines: what the node remembers, and from then on what is seen here.

import { askJson } from './session.js';

const STEP_MS = 10_000;
const SAMPLES_MAX = 360;

/** @typedef {{ at: number, [series: string]: number }} Sample */

export class History {
  constructor() {
    /** @type {Sample[]} */
    this.samples = [];
  }

  /** Asks for what was before the page was opened. @param {AbortSignal} signal */
  async load(signal) {
    const { samples } = await askJson('v1/admin/cluster/history', { signal });
    const first = this.samples[0]?.at ?? Infinity;
    this.samples = [...samples.filter((/** @type {Sample} */ sample) => sample.at < first), ...this.samples].slice(-SAMPLES_MAX);
  }

  /** @param {any} picture */
  push({ asOf, latency, sums }) {
    const newest = this.samples.at(-1);
    if (newest && asOf - newest.at < STEP_MS) return;
    this.samples.push({
      at: asOf,
      meanMs: latency.meanMs,
      p95Ms: latency.p95Ms,
      p99Ms: latency.p99Ms,
      messagesIn: sums.rates.messagesIn,
      messagesOut: sums.rates.messagesOut,
      connections: sums.connections.total,
      users: sums.users,
      reconnectionsPerMinute: sums.rates.reconnectionsPerMinute,
    });
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
  }

  /** @param {string} series */
  of(series) {
    return this.samples.map((sample) => sample[series] ?? 0);
  }
}
