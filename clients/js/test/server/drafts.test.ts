// Drafts over HTTP, against a real node.

import { afterAll, expect } from 'vitest';
import { BadRequestError, ConflictError, NotFoundError, RefusedError } from '../../src/server/index.js';
import { failure, minter, removeShared, test } from './fixture.js';

afterAll(removeShared);

test('a draft lives', async ({ dw, topic }) => {
  const { drafts } = dw.withOptions({ token: minter.source(topic) });
  const created = await drafts.create({ title: 'Chairs', é: { n: 1 } }, { draftId: 'order-1', kind: 'order' });
  expect(created).toEqual({ draftId: 'order-1', version: 1, seq: 1 });
  const draft = await drafts.get('order-1');
  expect(draft).toMatchObject({ draftId: 'order-1', version: 1, kind: 'order', content: { title: 'Chairs', é: { n: 1 } } });
  expect(draft.updatedAt).toBeGreaterThan(1_700_000_000_000);

  const updated = await drafts.update('order-1', { title: null, quantity: 6 }, { baseVersion: 1 });
  expect(updated).toEqual({ draftId: 'order-1', version: 2, seq: 2 });
  expect(await drafts.update('order-1', { quantity: 6 }, { ifMatch: 2 })).toMatchObject({ version: 2, seq: null });
  const listed = await drafts.list();
  expect(listed.drafts.map(({ content }) => content)).toEqual([{ quantity: 6, é: { n: 1 } }]);
  expect(listed.cursor).toMatch(/^[0-9a-f]+:2$/);

  expect((await drafts.delete('order-1', { baseVersion: 2 })).version).toBe(3);
  expect((await drafts.list()).drafts).toEqual([]);
  await expect(drafts.get('order-1')).rejects.toBeInstanceOf(NotFoundError);
  // Its id is not used again.
  const taken = await drafts.create({}, { draftId: 'order-1' }).catch((error: unknown) => error);
  expect(taken).toBeInstanceOf(ConflictError);
  expect(taken).toMatchObject({ draft: null, fields: [], version: null });
});

test('a repeated creation makes one draft', async ({ dw }) => {
  const first = await dw.drafts.create({ title: 'Lamps' }, { key: 'new-1' });
  expect(await dw.drafts.create({ title: 'Lamps' }, { key: 'new-1' })).toEqual(first);
  await dw.drafts.create({ title: 'Lamps' });
  expect((await dw.drafts.list()).drafts).toHaveLength(2);
  // The same key of another device is another command.
  expect(await dw.withOptions({ device: 'laptop' }).drafts.create({ title: 'Lamps' }, { key: 'new-1' })).not.toEqual(first);
});

test('a conflict has both sides', async ({ dw }) => {
  await dw.drafts.create({ title: 'Chairs', quantity: 4 }, { draftId: 'd' });
  await dw.drafts.update('d', { quantity: 6 }, { baseVersion: 1 });
  // Another field: merged.
  expect((await dw.drafts.update('d', { title: 'Oak chairs' }, { baseVersion: 1 })).version).toBe(3);
  const conflict = await dw.drafts.update('d', { quantity: 8 }, { baseVersion: 1 }).catch((error: unknown) => error);
  expect(conflict).toBeInstanceOf(ConflictError);
  expect(conflict).toMatchObject({ code: 'conflict', status: 409, fields: ['/quantity'], version: 3 });
  expect(conflict).toMatchObject({ draft: { content: { title: 'Oak chairs', quantity: 6 } } });
});

test('ifMatch demands a version', async ({ dw }) => {
  await dw.drafts.create({ n: 1 }, { draftId: 'd' });
  await dw.drafts.update('d', { n: 2 }, { ifMatch: '*' });
  const calls = [dw.drafts.update('d', { n: 3 }, { ifMatch: 1 }), dw.drafts.delete('d', { ifMatch: 1 })];
  for (const conflict of await Promise.all(calls.map(failure))) {
    expect(conflict).toBeInstanceOf(ConflictError);
    expect(conflict).toMatchObject({ status: 412, version: 2, draft: null });
  }
  await expect(dw.drafts.update('d', { n: 3 }, {})).rejects.toMatchObject({ code: 'bad_request', status: 428 });
  await expect(dw.drafts.update('d', { n: 3 }, { baseVersion: 2, ifMatch: 2 })).rejects.toThrow('not both');
  expect((await dw.drafts.delete('d', { ifMatch: 2 })).version).toBe(3);
});

test('bad input is refused by the server', async ({ dw }) => {
  await expect(dw.drafts.create([1] as never)).rejects.toThrow('content');
  await expect(dw.drafts.create({}, { draftId: 'two words' })).rejects.toThrow('draftId');
  for (const name of ['', '.', '..', 'a/b', 'é']) {
    await expect(dw.drafts.delete(name)).rejects.toBeInstanceOf(RefusedError);
  }
  let nested = {};
  for (let depth = 0; depth < 150; depth += 1) nested = { in: nested };
  await expect(dw.drafts.create(nested)).rejects.toThrow('100');
  const device = dw.withOptions({ device: 'x'.repeat(65) });
  await expect(device.drafts.create({})).rejects.toBeInstanceOf(BadRequestError);
});
