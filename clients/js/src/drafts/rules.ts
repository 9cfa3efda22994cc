// What the server's word does to the drafts of this device. Pure: it reads and changes records, in steps.
//
// The base of a change is the version in whose sight it was made: what waits hides what has come to the same fields since
// its own base, so a change on top of it has that base as well. While it waits unsent, the base moves along with
// every event that it does not overlap with, and with the events of this device's own changes before it. So it stays
// behind only where another device has changed the same fields, and there the server answers with a conflict. Of such an
// answer, what this device has changed itself meanwhile is no conflict: see `isOwn`.

import type { DraftMessage, EventMessage, Refused } from '../protocol.js';
import type { CommandRules } from '../session/commands.js';
import type { RecordsEdit } from '../store/records.js';
import { equal } from '../json.js';
import { applyPatch, overlap, splitPatch, touchedFields, valueAt, type JsonObject } from './merge.js';
import {
  commandKey, commandsOf, draftKey, dropDissolved, forgetDraft, idsOf, outcomeKey, outcomesOf, removeCommand, type DraftCommand, type DraftRecord,
  type OutcomeRecord,
} from './records.js';

/** A command that is made on a version. */
type BasedCommand = Exclude<DraftCommand, { type: 'DRAFT_CREATE' }>;

const DELETED: Refused = { code: 'not_found', message: 'the draft was deleted' };

export const draftRules: CommandRules = {
  lane: (command) => (command as DraftCommand).payload.draftId,
  isAnswered: (command) => (command as DraftCommand).landed !== undefined,
  acknowledged: (records, command, { version }: { version: number }, seq) => acknowledged(records, command as DraftCommand, version, seq !== undefined),
  refused: (records, command, error) => refused(records, command as DraftCommand, error),
};

// --- events ---------------------------------------------------------------------------------------------------------

/** An event of the stream `user`, the next one. */
export function event(records: RecordsEdit, { type, payload, origin, timestamp }: EventMessage, device: string): void {
  // What backends send to the user comes on the same stream, under other types.
  const news = payload as { draftId: string; version: number; kind: string; content: JsonObject; patch: JsonObject };
  switch (type) {
    case 'DRAFT_CREATED':
      return created(records, { ...news, updatedAt: timestamp }, origin === device);
    case 'DRAFT_UPDATED':
      return updated(records, news, timestamp, origin === device);
    case 'DRAFT_DELETED':
      return deleted(records, news.draftId);
  }
}

function created(records: RecordsEdit, { draftId, version, kind, content, updatedAt }: DraftRecord, ours: boolean): void {
  records.put(draftKey(draftId), { draftId, version, kind, content, updatedAt, othersVersion: ours ? 0 : version } satisfies DraftRecord);
  if (!ours) return;
  for (const command of commandsOf(records, draftId)) {
    if (command.type === 'DRAFT_CREATE') records.remove(commandKey(command));
    else moveBase(records, command, version);
  }
}

function updated(records: RecordsEdit, { draftId, version, patch }: { draftId: string; version: number; patch: JsonObject }, timestamp: number, ours: boolean): void {
  const before = records.get<DraftRecord>(draftKey(draftId));
  if (!before || before.version >= version) return;
  const content = applyPatch(before.content, patch);
  const changed = touchedFields(before.content, patch);
  const record: DraftRecord = { ...before, version, content, updatedAt: timestamp, ...provenance(before, changed, version, ours) };
  records.put(draftKey(draftId), record);

  let made = false;
  for (const command of commandsOf(records, draftId)) {
    if (!made && ours && command.type === 'DRAFT_UPDATE' && (command.landed === version || (command.sentAt !== undefined && equal(command.payload.patch, patch)))) {
      // The event says as much as the answer.
      made = true;
      records.remove(commandKey(command));
    } else if (command.landed !== undefined && command.landed <= version) {
      records.remove(commandKey(command));
    } else if (made || (command.type === 'DRAFT_UPDATE' && !overlap(touchedFields(content, command.payload.patch), changed))) {
      moveBase(records, command, version);
    }
  }
  dropDissolved(records, record);
}

/** Who has changed what last. */
function provenance({ own = {}, othersVersion = 0 }: DraftRecord, changed: readonly string[], version: number, ours: boolean): Pick<DraftRecord, 'own' | 'othersVersion'> {
  const left = Object.entries(own).filter(([field]) => !overlap([field], changed));
  const made = changed.map((field) => [field, version] as const);
  return ours ? { own: Object.fromEntries([...left, ...made]), othersVersion } : { own: Object.fromEntries(left), othersVersion: version };
}

function deleted(records: RecordsEdit, draftId: string): void {
  for (const command of commandsOf(records, draftId)) {
    if (command.type === 'DRAFT_DELETE' || command.landed !== undefined) records.remove(commandKey(command));
  }
  for (const outcome of outcomesOf(records, draftId)) if (outcome.result === 'conflict') conflictWithNothing(records, outcome);
  forgetDraft(records, draftId);
}

/** A change that was made on the version before counts as made on this one. What was sent stays as it is. */
function moveBase(records: RecordsEdit, command: DraftCommand, version: number): void {
  if (command.type === 'DRAFT_CREATE' || command.sentAt !== undefined || command.payload.baseVersion !== version - 1) return;
  records.put(commandKey(command), { ...command, payload: { ...command.payload, baseVersion: version } });
}

/** The draft of a conflict was deleted: what this device wanted is kept, with nothing to be merged into. */
function conflictWithNothing(records: RecordsEdit, outcome: OutcomeRecord): void {
  if (outcome.change === 'delete') return records.remove(outcomeKey(outcome.id));
  records.put(outcomeKey(outcome.id), { ...outcome, result: 'refused', error: DELETED } satisfies OutcomeRecord);
}

// --- snapshots ------------------------------------------------------------------------------------------------------

/** Replaces all drafts. `reset`: in another history, in which versions known so far mean nothing. */
export function snapshot(records: RecordsEdit, drafts: readonly DraftMessage[], reset: boolean): void {
  const present = new Map(drafts.map((draft) => [draft.draftId, draft]));
  for (const { draftId } of [...records.list<DraftRecord>('draft')]) if (!present.has(draftId)) deletedMeanwhile(records, draftId, reset);
  for (const { draftId, version, kind, content, updatedAt } of drafts) {
    const before = records.get<DraftRecord>(draftKey(draftId));
    const record: DraftRecord = before?.version === version && !reset ? before : { draftId, version, kind, content, updatedAt, othersVersion: version };
    records.put(draftKey(draftId), record);
    for (const command of commandsOf(records, draftId)) {
      if (reset) inAnotherHistory(records, command, record);
      else afterSnapshot(records, command, record);
    }
    dropDissolved(records, record);
  }
}

function deletedMeanwhile(records: RecordsEdit, draftId: string, reset: boolean): void {
  if (!reset) return deleted(records, draftId);
  for (const command of commandsOf(records, draftId)) {
    if (command.type === 'DRAFT_UPDATE') keep(records, command, 'refused', { code: 'history_changed', message: 'the draft is missing in the history that the server has now' });
    else if (command.type === 'DRAFT_DELETE') records.remove(commandKey(command));
  }
  deleted(records, draftId);
}

function afterSnapshot(records: RecordsEdit, command: DraftCommand, { version }: DraftRecord): void {
  const made = command.type === 'DRAFT_CREATE' ? command.sentAt !== undefined : command.landed !== undefined && command.landed <= version;
  if (made) concluded(records, command, command.landed);
  // Made on a draft that is only now known to be there.
  else if (command.type !== 'DRAFT_CREATE') moveBase(records, command, 1);
}

/** Versions known so far mean nothing. The user is asked rather than anything guessed. */
function inAnotherHistory(records: RecordsEdit, command: DraftCommand, record: DraftRecord): void {
  const error = { code: 'history_changed', message: 'the server has another history now, and may have lost changes that it had acknowledged' };
  const { content, version } = record;
  if (command.type === 'DRAFT_CREATE') return records.remove(commandKey(command));
  if (command.type === 'DRAFT_DELETE') return keep(records, command, 'conflict', error, { fields: [], version, theirs: content });
  const fields = touchedFields(content, command.payload.patch);
  if (fields.length === 0) return records.remove(commandKey(command));
  keep(records, command, 'conflict', error, { fields, version, theirs: content });
}

// --- answers --------------------------------------------------------------------------------------------------------

function acknowledged(records: RecordsEdit, command: DraftCommand, version: number, changed = false): void {
  const record = records.get<DraftRecord>(draftKey(command.payload.draftId));
  // Its event was here before, or comes later; until then the change is shown from the queue.
  const seen = command.type === 'DRAFT_CREATE' ? record !== undefined : !record || record.gone || record.version >= version;
  if (seen) concluded(records, command, version);
  else records.put(commandKey(command), { ...command, landed: version });
  if (changed) for (const later of commandsOf(records, command.payload.draftId)) moveBase(records, later, version);
}

/** A change is made, and its event was a part of a snapshot: the draft has to learn from the answer what it would have from that. */
function concluded(records: RecordsEdit, command: DraftCommand, version = 0): void {
  const record = records.get<DraftRecord>(draftKey(command.payload.draftId));
  if (record && command.type === 'DRAFT_UPDATE') {
    const { patch } = command.payload;
    const others = touchedFields(record.content, patch);
    const made = touchedFields({}, patch).filter((field) => !overlap([field], others));
    records.put(draftKey(record.draftId), { ...record, own: { ...record.own, ...Object.fromEntries(made.map((field) => [field, version])) } } satisfies DraftRecord);
  }
  removeCommand(records, command);
}

function refused(records: RecordsEdit, command: DraftCommand, error: Refused): void {
  const { draft = null, fields = [] } = (error.payload ?? {}) as { draft?: DraftMessage | null; fields?: string[] };
  // The event of its deletion may come before the answer that still knew it.
  const gone = error.code === 'not_found' || (error.code === 'conflict' && (draft === null || records.get<DraftRecord>(draftKey(command.payload.draftId))?.gone));
  switch (command.type) {
    case 'DRAFT_DELETE':
      if (gone) return removeCommand(records, command);
      if (draft && isOwn(records, command, draft)) return again(records, command, draft.version);
      if (draft) return keep(records, command, 'conflict', error, { fields: [], version: draft.version, theirs: draft.content });
      return keep(records, command, 'refused', error);
    case 'DRAFT_CREATE':
      if (!draft) return keep(records, command, 'refused', error);
      // The server has forgotten that it carried it out.
      if (command.generated || equal(draft.content, command.payload.content)) return acknowledged(records, command, draft.version);
      return keep(records, command, 'conflict', error, {
        fields: touchedFields(draft.content, command.payload.content),
        version: draft.version,
        theirs: draft.content,
      });
    case 'DRAFT_UPDATE':
      if (gone || !draft) return keep(records, command, 'refused', error.code === 'conflict' && gone ? DELETED : error);
      if (fields.length === 0 && isOwn(records, command, draft)) return again(records, command, draft.version);
      const met = fields.filter((field) => !isOwn(records, command, draft, field));
      if (met.length === 0 && fields.length > 0) return again(records, command, draft.version);
      return conflict(records, command, error, met, draft);
  }
}

/**
 * Whether nobody but this device has changed the draft, or a field of it, since the base of a command. The command was
 * made on top of that change, or in another tab at the same time. It was a step too late to move along: its base stayed
 * behind for another field, or its tab had not heard of the change yet.
 */
function isOwn(records: RecordsEdit, { payload: { draftId, baseVersion } }: BasedCommand, draft: DraftMessage, field?: string): boolean {
  const record = records.get<DraftRecord>(draftKey(draftId));
  if (!record) return false;
  const { content, own = {}, othersVersion = record.version, version } = record;
  if (version >= draft.version && othersVersion <= baseVersion) return true;
  if (field === undefined) return false;
  const since = Object.entries(own).find(([each]) => field === each || field.startsWith(`${each}/`))?.[1] ?? 0;
  // Events that are still on their way may have changed it.
  return since > baseVersion && (version >= draft.version || equal(valueAt(content, field), valueAt(draft.content, field)));
}

/** A command, or a part of it, goes out once more, on another version. It is another one to the server. */
function again(records: RecordsEdit, command: BasedCommand, baseVersion: number, part?: JsonObject): void {
  const { formerly: _, sentAt: __, landed: ___, id, ...rest } = command;
  const [name, count = 0] = id.split('r');
  records.put(commandKey(command), {
    ...rest,
    id: `${name}r${Number(count) + 1}`,
    payload: { ...command.payload, baseVersion, ...(part && { patch: part }) },
    // Who waits for all of it knows already that a part was not taken.
    ...(!part && { formerly: idsOf(command) }),
  });
}

/** Only the fields in conflict wait for the user; the rest of the change is sent again. */
function conflict(records: RecordsEdit, command: DraftCommand & { type: 'DRAFT_UPDATE' }, error: Refused, fields: readonly string[], { version, content }: DraftMessage): void {
  const { inside, outside } = splitPatch(command.payload.patch, fields);
  const patches = [inside ?? command.payload.patch];
  const commands = idsOf(command);
  if (inside && outside && touchedFields(content, outside).length > 0) again(records, command, version, outside);
  else records.remove(commandKey(command));
  // What was typed on top of it meanwhile belongs to the same decision.
  for (const later of commandsOf(records, command.payload.draftId)) {
    if (later.type !== 'DRAFT_UPDATE' || later.sentAt !== undefined || later.order <= command.order) continue;
    const parts = splitPatch(later.payload.patch, fields);
    if (!parts.inside) continue;
    patches.push(parts.inside);
    commands.push(...idsOf(later));
    if (parts.outside) records.put(commandKey(later), { ...later, payload: { ...later.payload, patch: parts.outside } });
    else records.remove(commandKey(later));
  }
  putOutcome(records, command, { commands, patches, result: 'conflict', error: bare(error), fields, version, theirs: content });
}

/** The change leaves the queue, and is kept for the user. */
function keep(records: RecordsEdit, command: DraftCommand, result: OutcomeRecord['result'], error: Refused, met: Partial<OutcomeRecord> = {}): void {
  records.remove(commandKey(command));
  const patches = command.type === 'DRAFT_CREATE' ? [command.payload.content] : command.type === 'DRAFT_UPDATE' ? [command.payload.patch] : [];
  putOutcome(records, command, { commands: idsOf(command), patches, result, error: bare(error), ...met });
}

const CHANGES = { DRAFT_CREATE: 'create', DRAFT_UPDATE: 'update', DRAFT_DELETE: 'delete' } as const;

function putOutcome(records: RecordsEdit, command: DraftCommand, outcome: Pick<OutcomeRecord, 'commands' | 'patches' | 'result' | 'error'> & Partial<OutcomeRecord>): void {
  const { id, kind, type, payload: { draftId } } = command;
  records.put(outcomeKey(id), { id, draftId, kind, change: CHANGES[type], ...outcome } satisfies OutcomeRecord);
}

/** Without the draft, which the record has already. */
function bare({ code, message }: Refused): Refused {
  return { code, message };
}
