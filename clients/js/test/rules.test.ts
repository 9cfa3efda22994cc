// What becomes of changes while the server's answers and other devices' events come in between, in an order that a real
// server has only now and then.

import { afterEach, expect, test } from 'vitest';
import { draftRules, event, snapshot } from '../src/drafts/rules.js';
import type { DraftCommand } from '../src/drafts/records.js';
import { drafts } from '../src/drafts/index.js';
import { internals } from '../src/draftwire.js';
import { Draftwire } from '../src/index.js';
import type { DraftMessage } from '../src/protocol.js';
import { commandKey } from '../src/session/commands.js';

interface Note {
  title?: string;
  note?: string;
}

let dw: Draftwire;
afterEach(() => dw.close());

/** A device that has one draft, `d`, at version 1, and the server as far as it says something. */
async function phone() {
  dw = new Draftwire('http://server.invalid', { getToken: () => 'token', device: 'phone', connect: false });
  const notes = drafts<Note>(dw, 'note');
  const { records } = dw[internals];
  const waiting = () => [...records.list<DraftCommand>('command')];
  const server = {
    created: (content: Note) => records.run((edit) => event(edit, {
      type: 'DRAFT_CREATED', stream: 'user', seq: 1, timestamp: 1, origin: 'laptop', payload: { draftId: 'd', version: 1, kind: 'note', content },
    } as any, 'phone')),
    updated: (version: number, patch: Note, origin = 'laptop') => records.run((edit) => event(edit, {
      type: 'DRAFT_UPDATED', stream: 'user', seq: version, timestamp: version, origin, payload: { draftId: 'd', version, baseVersion: version - 1, patch },
    } as any, 'phone')),
    deleted: (version: number) => records.run((edit) => event(edit, {
      type: 'DRAFT_DELETED', stream: 'user', seq: version, timestamp: version, origin: 'laptop', payload: { draftId: 'd', version, baseVersion: version - 1 },
    } as any, 'phone')),
    snapshot: (version: number, content: Note) => records.run((edit) => snapshot(edit, [draft(version, content)], false)),
    acknowledges: (version: number) => records.run((edit) => draftRules.acknowledged(edit, waiting()[0]!, { version }, version)),
    refuses: (fields: string[], version: number, content: Note) => records.run((edit) => {
      draftRules.refused(edit, waiting()[0]!, { code: 'conflict', message: 'changed', payload: { draft: draft(version, content), fields } });
    }),
  };
  await records.loaded;
  await server.created({ title: 'Chairs' });
  return {
    note: notes.get('d')!,
    server,
    waiting: () => waiting().map(({ payload }) => payload),
    /** The first one is on its way. */
    sends: () => records.run((edit) => edit.put(commandKey(waiting()[0]!), { ...waiting()[0]!, sentAt: Date.now() })),
  };
}

function draft(version: number, content: Note): DraftMessage {
  return { draftId: 'd', version, kind: 'note', content: { ...content }, updatedAt: version };
}

test('a change on top of one that waits is made in sight of the same version', async () => {
  const { note, server, waiting } = await phone();
  note.update({ title: 'Mine' });
  await server.updated(2, { title: 'Theirs', note: 'theirs' });
  // The other title is behind the one that waits, the other note is not.
  note.update({ title: 'Mine, longer', note: 'mine' });
  expect(waiting()).toEqual([
    { draftId: 'd', baseVersion: 1, patch: { title: 'Mine, longer' } },
    { draftId: 'd', baseVersion: 2, patch: { note: 'mine' } },
  ]);
  note.delete();
  expect(waiting()[2]).toEqual({ draftId: 'd', baseVersion: 1 });
});

test('what this device has changed itself is no conflict, though the base was left behind', async () => {
  const { note, server, sends, waiting } = await phone();
  note.update({ title: 'Mine', note: 'mine' });
  await sends();
  const longer = note.update({ title: 'Mine, longer' });
  await server.updated(2, { note: 'theirs' });
  await server.refuses(['/note'], 2, { title: 'Chairs', note: 'theirs' });
  expect(waiting()[0]).toEqual({ draftId: 'd', baseVersion: 2, patch: { title: 'Mine' } });
  await sends();
  await server.updated(3, { title: 'Mine' }, 'phone');
  await sends();
  await server.refuses(['/title'], 3, { title: 'Mine', note: 'theirs' });
  expect(waiting()).toEqual([{ draftId: 'd', baseVersion: 3, patch: { title: 'Mine, longer' } }]);
  expect(note.snapshot.conflicts.map(({ fields }) => fields)).toEqual([['/note']]);
  await expect(longer.acknowledged({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  await sends();
  await server.updated(4, { title: 'Mine, longer' }, 'phone');
  await longer.acknowledged();
});

test('it is a conflict where another device has changed it since', async () => {
  const { note, server, sends, waiting } = await phone();
  note.update({ title: 'Mine' });
  await sends();
  await server.updated(2, { note: 'theirs' });
  note.update({ title: 'Mine, longer' });
  await server.updated(3, { title: 'Mine' }, 'phone');
  await sends();
  // Its event is on the way.
  await server.refuses(['/title'], 4, { title: 'Theirs', note: 'theirs' });
  expect(waiting()).toEqual([]);
  expect(note.snapshot.conflicts).toMatchObject([{ mine: { title: 'Mine, longer' }, theirs: { title: 'Theirs' } }]);
});

test('a change of nothing waits for the changes before it', async () => {
  const { note, waiting } = await phone();
  note.update({ title: 'Mine' });
  await expect(note.update({}).acknowledged({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  expect(waiting().length).toBe(1);
});

test('a deletion after changes of this device alone is none either', async () => {
  const { note, server, sends, waiting } = await phone();
  note.update({ title: 'Mine' });
  await sends();
  note.delete();
  // The draft came with a snapshot, then the answer: there was no event.
  await server.snapshot(2, { title: 'Mine' });
  await server.acknowledges(2);
  expect(waiting()).toEqual([{ draftId: 'd', baseVersion: 2 }]);
});

test('a conflict in a draft that was deleted meanwhile is a refusal', async () => {
  const { note, server, sends } = await phone();
  note.update({ title: 'Mine' });
  await sends();
  await server.deleted(3);
  await server.refuses(['/title'], 2, { title: 'Theirs' });
  expect(note.snapshot).toMatchObject({ conflicts: [], refusals: [{ error: { code: 'not_found' }, mine: { title: 'Mine' } }], deleted: true });
});
