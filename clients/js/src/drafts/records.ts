// How drafts stand in the store.

import { equal } from '../json.js';
import type { Refused } from '../protocol.js';
import { commandKey, type Command } from '../session/commands.js';
import type { RecordsEdit, RecordsView } from '../store/records.js';
import { applyPatch, type JsonObject } from './merge.js';

/** A draft as the server has it, under `draft/<id>`. */
export interface DraftRecord {
  readonly draftId: string;
  readonly version: number;
  readonly kind: string;
  readonly content: JsonObject;
  readonly updatedAt: number;
  /** The fields that this device has changed last, and in which version. */
  readonly own?: Readonly<Record<string, number>>;
  /** The last version that another device may have made. */
  readonly othersVersion?: number;
  /** It was deleted, and changes of this device are left that were made on it. */
  readonly gone?: true;
}

/** A change in the queue. */
export type DraftCommand = Command & {
  /** The version that it has made, of which the event is still on its way. */
  readonly landed?: number;
  /** The kind of the draft as it was seen: it may be gone when the answer comes. */
  readonly kind: string;
  /** The id of the draft was made here, so nobody else can have created it. */
  readonly generated?: boolean;
  /** Its ids before it was made on another version. */
  readonly formerly?: readonly string[];
} & (
    | { readonly type: 'DRAFT_CREATE'; readonly payload: { readonly draftId: string; readonly kind: string; readonly content: JsonObject } }
    | { readonly type: 'DRAFT_UPDATE'; readonly payload: { readonly draftId: string; readonly baseVersion: number; readonly patch: JsonObject } }
    | { readonly type: 'DRAFT_DELETE'; readonly payload: { readonly draftId: string; readonly baseVersion: number } }
  );

/** What the server did not take, kept until the user has decided, under `outcome/<id>`. */
export interface OutcomeRecord {
  readonly id: string;
  readonly draftId: string;
  readonly kind: string;
  /** The ids of the commands that have come to this. */
  readonly commands: readonly string[];
  readonly result: 'conflict' | 'refused';
  readonly change: 'create' | 'update' | 'delete';
  /** What this device wanted, in the order in which it was made; the content of a creation; nothing for a deletion. */
  readonly patches: readonly JsonObject[];
  readonly error: Refused;
  /** With a conflict: the fields (none for all of them), and the draft that it was refused on. */
  readonly fields?: readonly string[];
  readonly version?: number;
  readonly theirs?: JsonObject;
}

/** All ids under which somebody may wait for it. */
export const idsOf = ({ formerly = [], id }: DraftCommand) => [...formerly, id];

export const draftKey = (draftId: string) => `draft/${draftId}`;
export const outcomeKey = (id: string) => `outcome/${id}`;

/** The changes of a draft that have no answer, in their order. */
export function commandsOf(records: RecordsView, draftId: string): DraftCommand[] {
  const commands: DraftCommand[] = [];
  for (const command of records.list<DraftCommand>('command')) if (command.payload.draftId === draftId) commands.push(command);
  return commands;
}

export function outcomesOf(records: RecordsView, draftId: string): OutcomeRecord[] {
  return [...records.list<OutcomeRecord>('outcome')].filter((outcome) => outcome.draftId === draftId);
}

/** The draft is not on the server any more. It stays visible while something of this device is left on it. */
export function forgetDraft(records: RecordsEdit, draftId: string): void {
  const record = records.get<DraftRecord>(draftKey(draftId));
  if (!record) return;
  const left = commandsOf(records, draftId).length + outcomesOf(records, draftId).length > 0;
  if (left) records.put(draftKey(draftId), { ...record, gone: true } satisfies DraftRecord);
  else records.remove(draftKey(draftId));
}

/** A command leaves the queue. A draft that was there only for it goes with it. */
export function removeCommand(records: RecordsEdit, command: DraftCommand): void {
  records.remove(commandKey(command));
  forgetIfGone(records, command.payload.draftId);
}

/** An outcome is decided. A draft that was there only for it goes with it. */
export function removeOutcome(records: RecordsEdit, { id, draftId }: Pick<OutcomeRecord, 'id' | 'draftId'>): void {
  records.remove(outcomeKey(id));
  forgetIfGone(records, draftId);
}

function forgetIfGone(records: RecordsEdit, draftId: string): void {
  if (records.get<DraftRecord>(draftKey(draftId))?.gone) forgetDraft(records, draftId);
}

/** The other device's content in a conflict: from the stream once that has come so far, else from the refusal. */
export function theirsOf(record: DraftRecord | undefined, { version = 0, theirs = {} }: OutcomeRecord): JsonObject {
  return record && record.version >= version ? record.content : theirs;
}

/** What this device wanted, on top of a content. */
export function applyAll(content: JsonObject, patches: readonly JsonObject[]): JsonObject {
  return patches.reduce(applyPatch, content);
}

/** Forgets conflicts that have dissolved: the server now has what this device wanted. */
export function dropDissolved(records: RecordsEdit, record: DraftRecord): void {
  for (const outcome of outcomesOf(records, record.draftId)) {
    if (outcome.result !== 'conflict' || outcome.change === 'delete') continue;
    const theirs = theirsOf(record, outcome);
    if (equal(applyAll(theirs, outcome.patches), theirs)) removeOutcome(records, outcome);
  }
}

export { commandKey };
