// What is said about the match, and where.

import type { Cursor } from 'draftwire';
import type { Draftwire } from 'draftwire/server';
import { epochOf, seqOf } from './states.js';

export const TOPIC = 'match:1';
export const BROADCAST = 'CACHE_INVALIDATED';
/** The types of its events, and what they are called. */
export const KINDS: Record<string, string> = { GOAL: 'Goal', CARD: 'Card', SUBSTITUTION: 'Substitution', COMMENT: 'Comment' };

/** How much of what was said before a new viewer is shown, in events. */
const EARLIER_MAX = 30;

/** Where viewers begin, so that the page does not open empty: a little before the head, if that much is kept. */
export async function beginning(api: Draftwire): Promise<Cursor> {
  const history = api.history(TOPIC, null, { pageSize: 1 });
  const { value: oldest } = await history.next();
  const head = history.head!;
  const floor = oldest?.kind === 'event' ? oldest.seq - 1 : seqOf(head);
  return `${epochOf(head)}:${Math.max(floor, seqOf(head) - EARLIER_MAX)}`;
}
