// Compares what the pages of a run have done and shown with the events that the server has made of it.

import { expect } from 'vitest';
import type { DraftEvent } from '../support/observer.js';
import { NEVER, type Edit, type Ledger, type Moment, type Seat } from './ledger.js';

/** What the stream says about values: each is made by one event, and replaced by at most one. */
interface History {
  /** The number of the event that has made a value. */
  readonly made: ReadonlyMap<string, number>;
  /** Values in one field, one after the other. */
  readonly changes: readonly { readonly before: string; readonly after: string; readonly origin: string }[];
  /** Deleted drafts, with the values that they had. */
  readonly deletions: readonly { readonly draftId: string; readonly values: readonly string[]; readonly origin: string }[];
}

export function judge(ledger: Ledger, events: readonly DraftEvent[], seats: readonly Seat[]): void {
  const history = historyOf(events);
  const { edits } = ledger;
  const of = (device: string) => seats.filter((seat) => seat.device === device);

  for (const { before, after, origin } of history.changes) checkChange(ledger, edits.get(before)!, edits.get(after)!, origin);
  for (const { draftId, values, origin } of history.deletions) {
    const others = values.map((value) => edits.get(value)!).filter(({ seat }) => seat.device !== origin);
    const knew = ledger.removals.some((removal) => removal.draftId === draftId && removal.seat.device === origin && others.every((edit) => knows(removal, edit)));
    expect(knew, `${origin} deleted ${ledger.number(draftId)} without having shown all of ${others.map(({ value }) => value)}`).toBe(true);
  }
  checkOrder(ledger, history);
  checkReplacements(ledger, history);
  checkOutcomes(ledger, history);
  for (const edit of edits.values()) checkAccount(ledger, history, edit);
  for (const { seat } of edits.values()) expect(of(seat.device)).toContain(seat);
}

function historyOf(events: readonly DraftEvent[]): History {
  const made = new Map<string, number>();
  const changes: History['changes'][number][] = [];
  const deletions: History['deletions'][number][] = [];
  const drafts = new Map<string, Map<string, string>>();
  for (const { type, payload: { draftId, content, patch }, seq, origin } of events) {
    const draft = drafts.get(draftId) ?? new Map<string, string>();
    drafts.set(draftId, draft);
    if (type === 'DRAFT_DELETED') deletions.push({ draftId, values: [...draft.values()], origin });
    for (const [field, after] of Object.entries((content ?? patch ?? {}) as Record<string, string>)) {
      expect(made.has(after), `${after} was made twice`).toBe(false);
      made.set(after, seq);
      const before = draft.get(field);
      draft.set(field, after);
      if (before !== undefined) changes.push({ before, after, origin });
    }
  }
  return { made, changes, deletions };
}

function knows({ seat, at }: { seat: Seat; at: Moment }, { value }: Edit): boolean {
  return (seat.knownSince.get(value) ?? Infinity) < at;
}

/** A change of the field that may have come to the store after the edit. */
function mayFollow(later: { readonly storedAt: Moment }, earlier: Edit): boolean {
  return later.storedAt > earlier.first.at;
}

/**
 * A value of another device is replaced by who had seen it, or by a decision of who had. Between the tabs of a device the
 * one that is stored later wins.
 */
function checkChange(ledger: Ledger, before: Edit, after: Edit, origin: string): void {
  expect(after.seat.device).toBe(origin);
  const { draftId, field } = after;
  const decided = ledger.decisions.some((decision) => decision.draftId === draftId && decision.fields.includes(field)
    && decision.seat.device === origin && decision.storedAt > after.at && knows(decision, before));
  const fine = before.seat.device === origin || knows(after, before) || decided;
  expect(fine, `${after.value} replaced ${before.value} silently`).toBe(true);
}

/** What a device has stored before something else was done comes before it. */
function checkOrder({ edits }: Ledger, { made }: History): void {
  for (const one of edits.values()) {
    for (const other of edits.values()) {
      if (one.draftId !== other.draftId || one.field !== other.field || one.seat.device !== other.seat.device || one.storedAt >= other.at) continue;
      const [first, second] = [made.get(one.value), made.get(other.value)];
      if (first === undefined || second === undefined) continue;
      expect(first, `${one.value} came after ${other.value}`).toBeLessThan(second);
    }
  }
}

/** What a page shows in a field goes forward, and what is taken back is kept for the user. */
function checkReplacements(ledger: Ledger, { deletions, made }: History): void {
  for (const { seat, draftId, before, after, isHeld } of ledger.replacements) {
    const [one, other] = [ledger.edits.get(before)!, ledger.edits.get(after)];
    const { device } = seat;
    const said = `${seat.name} showed ${after || 'nothing'} instead of ${before}`;
    const isRemoved = deletions.some((deletion) => deletion.draftId === draftId) || ledger.removals.some((removal) => removal.draftId === draftId && removal.seat.device === device && mayFollow(removal, one));
    // What has taken its place may have been made, or taken back, before this page showed it.
    if (isHeld || (!other && isRemoved) || followers(ledger, one).some(({ value }) => made.has(value) || ledger.wasHeld(device, value))) continue;
    expect(other, said).toBeDefined();
    const [first, second] = [made.get(before), made.get(after)];
    if (other!.seat.device === device) {
      // Its own device's: made later, unless the two were made at once in two tabs.
      if (one.seat.device === device) expect(mayFollow(other!, one), said).toBe(true);
    } else {
      expect(first, `${said}, and nothing was made of it`).toBeDefined();
    }
    if (first !== undefined && second !== undefined) expect(first, said).toBeLessThan(second);
  }
}

/** What its device may have put in the place of an edit. */
function followers({ edits }: Ledger, one: Edit): Edit[] {
  return [...edits.values()].filter((other) => other !== one && other.draftId === one.draftId && other.field === one.field
    && other.seat.device === one.seat.device && mayFollow(other, one));
}

/** Each was met by something that its user had not seen, and is over by a decision, or because the server has what it held. */
function checkOutcomes(ledger: Ledger, { made, deletions }: History): void {
  const { edits, outcomes, removals } = ledger;
  for (const { id, device, draftId, kind, result, fields, held, decided, shownAt } of outcomes.values()) {
    const said = `${result} of ${kind} ${ledger.number(draftId)} on ${device} (${id})`;
    const others = [...edits.values()].filter((edit) => edit.draftId === draftId && edit.seat.device !== device && made.has(edit.value));
    const own = [...edits.values()].filter((edit) => edit.draftId === draftId && edit.seat.device === device && edit.first.at < shownAt);
    // What was done on top of a change that met something belongs to it.
    const isMet = (other: Edit) => own.some(({ field, first }) => field === other.field && !knows(first, other));
    if (result === 'conflict' && kind === 'update') {
      for (const field of fields) {
        expect(others.some((other) => other.field === field && isMet(other)), `${said}: nobody else has changed ${field}`).toBe(true);
      }
    } else if (result === 'conflict') {
      expect(kind).toBe('delete');
      // Whether it was seen behind what still waited for the server, its own page does not know either.
      expect(others.length, `${said}: nobody else has changed it`).toBeGreaterThan(0);
    } else {
      expect(result, said).toBe('not_found');
      const gone = deletions.some((deletion) => deletion.draftId === draftId) || removals.some((removal) => removal.draftId === draftId);
      expect(gone, `${said}: nobody has deleted it`).toBe(true);
    }
    for (const value of held) {
      expect(decided?.has(value) || isAccounted(ledger, made, edits.get(value)!), `${value} has vanished from ${said}`).toBe(true);
    }
    expect(decided !== null || held.size > 0 || others.length > 0, `${said} has vanished`).toBe(true);
  }
}

/** A stored edit was made, given up, or replaced by this device; and the promise of its change has said which. */
function checkAccount(ledger: Ledger, { made }: History, edit: Edit): void {
  const { change, storedAt, value } = edit;
  expect(storedAt === NEVER || isAccounted(ledger, made, edit), `${value} was lost`).toBe(true);
  if (change?.result === 'acknowledged') {
    expect(isAccounted(ledger, made, edit), `${value} was acknowledged and never made`).toBe(true);
  } else if (change && change.result !== null) {
    expect(change.result, value).not.toBe('other');
    // Changes are sent together: it may be the one before that has met something.
    const isShown = isReplaced(ledger, made, edit) || [...ledger.outcomes.values()].some(({ device, draftId }) => device === edit.seat.device && draftId === edit.draftId);
    expect(isShown, `${value} was ${change.result} and never shown as that`).toBe(true);
  }
}

/** What has become of an edit is known. */
function isAccounted(ledger: Ledger, made: History['made'], edit: Edit): boolean {
  return made.has(edit.value) || ledger.wasDropped(edit.seat.device, edit.value) || isReplaced(ledger, made, edit);
}

/** Whether an edit or a deletion of the same device has taken its place before it was sent. */
function isReplaced(ledger: Ledger, made: History['made'], edit: Edit): boolean {
  const { draftId, seat: { device } } = edit;
  return ledger.removals.some((removal) => removal.draftId === draftId && removal.seat.device === device && mayFollow(removal, edit))
    || followers(ledger, edit).some(({ value }) => made.has(value) || ledger.wasDropped(device, value));
}
