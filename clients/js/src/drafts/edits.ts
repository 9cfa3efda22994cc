// What the user does to drafts. Pure: it changes records, in steps.

import { equal } from '../json.js';
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
  readonly version: number;
  /** Fields of which a change waits for the server, and the version that it was made on: what has come since is behind it. */
  readonly hidden: ReadonlyMap<string, number>;
}

export function createDraft(records: RecordsEdit, author: Author, payload: { draftId: string; kind: string; content: JsonObject }, generated: boolean): void {
  enqueue(records, { ...author, type: 'DRAFT_CREATE', payload, kind: payload.kind, generated } as Omit<DraftCommand, 'order'>);
}

/**
 * Changes a draft.
 * @returns the ids of the commands that carry the change; one that was not sent yet takes it up
 */
export function updateDraft(records: RecordsEdit, author: Author, seen: Seen, wanted: JsonObject): string[] {
  const patch = amendConflicts(records, author, seen.draftId, wanted);
  if (!patch) return [author.id];
  const parts = [...byBase(patch, seen)];
  // Nothing is changed, and waits for what was changed before.
  if (parts.length === 0) parts.push([seen.version, patch]);
  return parts.map(([base, part], i) => {
    const id = i === parts.length - 1 ? author.id : `${author.id}.${i}`;
    return updateFields(records, { ...author, id }, seen, baseOf(records, seen.draftId, base), part);
  });
}

/** A patch in parts, each of which was made in sight of one version. */
function byBase(patch: JsonObject, { hidden, version }: Seen): Map<number, JsonObject> {
  const parts = new Map<number, JsonObject>();
  for (const entry of Object.entries(patch)) {
    const base = Math.min(version, hidden.get(entry[0]) ?? version);
    parts.set(base, Object.fromEntries([...Object.entries(parts.get(base) ?? {}), entry]));
  }
  return parts;
}

function updateFields(records: RecordsEdit, author: Author, { draftId, kind }: Seen, baseVersion: number, patch: JsonObject): string {
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
  const { draftId, hidden, kind, version } = seen;
  const commands = commandsOf(records, draftId);
  const neverSent = commands[0]?.type === 'DRAFT_CREATE' && commands.every(({ sentAt }) => sentAt === undefined);
  // The server never hears of it.
  if (neverSent) for (const command of commands) records.remove(commandKey(command));
  else enqueueChange(records, author, kind, 'DRAFT_DELETE', { draftId, baseVersion: baseOf(records, draftId, Math.min(version, ...hidden.values())) });
}

function enqueueChange(records: RecordsEdit, author: Author, kind: string, type: 'DRAFT_UPDATE' | 'DRAFT_DELETE', payload: object): void {
  enqueue(records, { ...author, type, payload, kind } as Omit<DraftCommand, 'order'>);
}

/** A draft that was seen before the server had it is seen as it was made. Another tab may know that it has it now. */
function baseOf(records: RecordsView, draftId: string, version: number): number {
  return version === 0 && records.get(draftKey(draftId)) ? 1 : version;
}

/** A conflict as the user has seen it when deciding it. */
export interface Decided {
  readonly seen: OutcomeRecord;
  /** Whether it was still open. Of two tabs that decide at once the first one counts. */
  readonly isOpen: boolean;
}

/**
 * Makes this device's change again, or another one instead of it, on the version of the draft that the user has seen:
 * where another tab knows a newer one meanwhile, the server compares with that.
 * @returns the ids of the commands that carry the change
 */
export function resolveConflict(records: RecordsEdit, author: Author, { isOpen, seen }: Decided, baseVersion: number, instead?: JsonObject): string[] {
  const { draftId, kind } = seen;
  const stored = records.get<OutcomeRecord>(outcomeKey(seen.id));
  if (!stored && isOpen && !instead) return [];
  const outcome = stored ?? seen;
  if (instead) dropOutcome(records, seen);
  else removeOutcome(records, outcome);
  if (!instead && seen.change === 'delete') {
    enqueueChange(records, author, kind, 'DRAFT_DELETE', { draftId, baseVersion });
    return [author.id];
  }
  // Where the patches are not one, each is a command of its own.
  const patches = instead ? [instead] : composed(outcome.patches);
  return patches.map((patch, i) => {
    const id = i === patches.length - 1 ? author.id : `${author.id}.${i}`;
    enqueueChange(records, { ...author, id }, kind, 'DRAFT_UPDATE', { draftId, baseVersion, patch });
    return id;
  });
}

/** Drops this device's change as the user has seen it. With what another tab has added, it stays. */
export function dropOutcome(records: RecordsEdit, seen: OutcomeRecord): void {
  const outcome = records.get<OutcomeRecord>(outcomeKey(seen.id));
  if (outcome && equal(outcome.patches, seen.patches)) removeOutcome(records, outcome);
}

/** As few patches as can be. */
export function composed(patches: readonly JsonObject[]): JsonObject[] {
  return patches.reduce<JsonObject[]>((before, patch) => {
    const last = before.at(-1);
    const one = last && composePatches(last, patch);
    return one ? [...before.slice(0, -1), one] : [...before, patch];
  }, []);
}
