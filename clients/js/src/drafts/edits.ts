// What the user does to drafts. Pure: it changes records, in steps.

import { enqueue } from '../session/commands.js';
import type { RecordsEdit, RecordsView } from '../store/records.js';
import { applyPatch, composePatches, splitPatch, type JsonObject } from './merge.js';
import {
  commandKey, commandsOf, draftKey, outcomeKey, outcomesOf, removeOutcome, type DraftCommand, type OutcomeRecord,
} from './records.js';

/** Who makes a change: the id of its command, and the tab that waits for it. */
export interface Author {
  readonly id: string;
  readonly tab: string;
}

/** What is changed, as it was seen. */
export interface Seen {
  readonly draftId: string;
  readonly kind: string;
  readonly baseVersion: number;
}

export function createDraft(records: RecordsEdit, author: Author, payload: { draftId: string; kind: string; content: JsonObject }, generated: boolean): void {
  enqueue(records, { ...author, type: 'DRAFT_CREATE', payload, kind: payload.kind, generated } as Omit<DraftCommand, 'order'>);
}

/**
 * Changes a draft.
 * @returns the id of the command that carries the change: one that was not sent yet takes it up
 */
export function updateDraft(records: RecordsEdit, author: Author, seen: Seen, wanted: JsonObject): string {
  const { draftId, kind } = seen;
  const patch = amendConflicts(records, author, draftId, wanted);
  if (!patch) return author.id;
  const baseVersion = baseOf(records, seen);
  const last = commandsOf(records, draftId).at(-1);
  // Only the last one in the whole queue: the order stays as it was made.
  if (last && last.sentAt === undefined && last.order === records.get<number>('meta/order')) {
    if (last.type === 'DRAFT_CREATE') {
      const content = applyPatch(last.payload.content, patch);
      records.put(commandKey(last), { ...last, payload: { ...last.payload, content } });
      return last.id;
    }
    const composed = last.type === 'DRAFT_UPDATE' && last.payload.baseVersion === baseVersion && composePatches(last.payload.patch, patch);
    if (composed) {
      records.put(commandKey(last), { ...last, payload: { ...last.payload, patch: composed } });
      return last.id;
    }
  }
  enqueueChange(records, author, kind, 'DRAFT_UPDATE', { draftId, baseVersion, patch });
  return author.id;
}

/** Changes of fields in conflict wait for the same decision. Returns what else there is in the patch. */
function amendConflicts(records: RecordsEdit, { id }: Author, draftId: string, patch: JsonObject): JsonObject | null {
  let rest: JsonObject | null = patch;
  for (const outcome of outcomesOf(records, draftId)) {
    if (!rest || outcome.result !== 'conflict' || outcome.change === 'delete') continue;
    const { inside, outside }: ReturnType<typeof splitPatch> = splitPatch(rest, outcome.fields ?? []);
    if (!inside) continue;
    records.put(outcomeKey(outcome.id), {
      ...outcome,
      patches: composed([...outcome.patches, inside]),
      commands: [...outcome.commands, id],
    } satisfies OutcomeRecord);
    rest = outside;
  }
  return rest;
}

export function deleteDraft(records: RecordsEdit, author: Author, seen: Seen): void {
  const { draftId, kind } = seen;
  const commands = commandsOf(records, draftId);
  const neverSent = commands[0]?.type === 'DRAFT_CREATE' && commands.every(({ sentAt }) => sentAt === undefined);
  // The server never hears of it.
  if (neverSent) for (const command of commands) records.remove(commandKey(command));
  else enqueueChange(records, author, kind, 'DRAFT_DELETE', { draftId, baseVersion: baseOf(records, seen) });
}

function enqueueChange(records: RecordsEdit, author: Author, kind: string, type: 'DRAFT_UPDATE' | 'DRAFT_DELETE', payload: object): void {
  enqueue(records, { ...author, type, payload, kind } as Omit<DraftCommand, 'order'>);
}

/** A draft that was seen before the server had it is seen as it was made. Another tab may know that it has it now. */
function baseOf(records: RecordsView, { draftId, baseVersion }: Seen): number {
  return baseVersion === 0 && records.get(draftKey(draftId)) ? 1 : baseVersion;
}

/**
 * Makes this device's change again, or another one instead of it, on the version of the draft that the user has seen:
 * where another tab knows a newer one meanwhile, the server compares with that.
 */
export function resolveConflict(records: RecordsEdit, author: Author, outcomeId: string, baseVersion: number, instead?: JsonObject): void {
  const outcome = records.get<OutcomeRecord>(outcomeKey(outcomeId));
  if (!outcome) return;
  const { draftId, kind } = outcome;
  removeOutcome(records, outcome);
  if (outcome.change === 'delete' && !instead) {
    return enqueueChange(records, author, kind, 'DRAFT_DELETE', { draftId, baseVersion });
  }
  // Where the patches are not one, each is a command of its own.
  const patches = instead ? [instead] : composed(outcome.patches);
  patches.forEach((patch, i) => {
    const id = i === patches.length - 1 ? author.id : `${author.id}.${i}`;
    enqueueChange(records, { ...author, id }, kind, 'DRAFT_UPDATE', { draftId, baseVersion, patch });
  });
}

/** Drops this device's change. */
export function dropOutcome(records: RecordsEdit, outcomeId: string): void {
  const outcome = records.get<OutcomeRecord>(outcomeKey(outcomeId));
  if (outcome) removeOutcome(records, outcome);
}

/** As few patches as can be. */
export function composed(patches: readonly JsonObject[]): JsonObject[] {
  return patches.reduce<JsonObject[]>((before, patch) => {
    const last = before.at(-1);
    const one = last && composePatches(last, patch);
    return one ? [...before.slice(0, -1), one] : [...before, patch];
  }, []);
}
