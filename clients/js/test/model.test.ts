// Two devices of one user, of which one has two tabs, change drafts at random, lose their connections, and are killed
// and started again on what they had stored. Against a real node; afterwards:
// - all pages show what the database has, and what a replay of all events gives;
// - no change was made twice, and those of a device to a field came in its order;
// - no value of another device was replaced or deleted by who had not seen it, other than by a decision of who had;
// - what a page showed went forward, and was taken back only where it was kept as a conflict or a refusal;
// - each conflict was met by a change that was not seen, and ended by a decision or because the server has its value;
// - every change that was stored was made, kept for the user, or replaced by a later one of its device, and its promise
//   has said so.
//
// DRAFTWIRE_SEEDS is how many seeds are run (200), or which (`2001-4000`), DRAFTWIRE_SEED the one that is run alone,
// DRAFTWIRE_REPEATS times. A seed repeats what is done and in which order; how far the server and the other pages have
// come meanwhile is up to the machine.

import 'fake-indexeddb/auto';
import { test } from 'vitest';
import { run } from './model/run.js';
import { Node } from './support/node.js';

const { DRAFTWIRE_SEED: ONLY, DRAFTWIRE_SEEDS = '200', DRAFTWIRE_REPEATS = '1' } = process.env;
const AT_ONCE = 16;
/** Seeds with one node: what it remembers of them is removed with it. */
const SEEDS_PER_NODE = 500;

function seeds(): number[] {
  if (ONLY !== undefined) return Array.from({ length: Number(DRAFTWIRE_REPEATS) }, () => Number(ONLY));
  const [first, last] = DRAFTWIRE_SEEDS.includes('-') ? DRAFTWIRE_SEEDS.split('-').map(Number) : [1, Number(DRAFTWIRE_SEEDS)];
  return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
}

/** Runs all of them, some at once, and returns what has failed. After a failure no further one begins. */
async function runAll(node: Node, all: readonly number[]): Promise<Error[]> {
  const left = [...all];
  const failures: Error[] = [];
  const worker = async () => {
    while (left.length > 0 && failures.length === 0) await run(node, left.shift()!).catch((error) => failures.push(error));
  };
  await Promise.all(Array.from({ length: ONLY === undefined ? AT_ONCE : 1 }, worker));
  return failures;
}

const all = seeds();
test(`two devices and a simple model, ${ONLY === undefined ? `seeds ${all[0]} to ${all.at(-1)}` : `seed ${ONLY}`}`, { timeout: all.length * 60_000 }, async () => {
  for (let i = 0; i < all.length; i += SEEDS_PER_NODE) {
    const slice = all.slice(i, i + SEEDS_PER_NODE);
    const node = await Node.start({ CONNECTIONS_PER_USER: '1000' });
    try {
      const failures = await runAll(node, slice);
      for (const { message } of failures) console.error(message);
      if (failures.length > 0) throw failures[0];
    } finally {
      await node.remove();
    }
    if (all.length > SEEDS_PER_NODE) console.log(`seeds to ${slice.at(-1)}: ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
  }
});
