// Drafts over a real node: what becomes of a change on this device and on others.

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { drafts, type Conflict } from '../src/drafts/index.js';
import { memory } from '../src/index.js';
import { client, eventually, Network } from './support/client.js';
import { Node } from './support/node.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

interface Order {
  title: string;
  quantity: number;
  note?: string;
  address?: { street?: string; city?: string };
}

/** Two devices of a user of their own. */
function devices(user: string) {
  return ['phone', 'laptop'].map((device) => {
    const network = new Network();
    const dw = client(node, user, { device, network });
    return { dw, network, orders: drafts<Order>(dw, 'order') };
  }) as [Device, Device];
}
type Device = { dw: ReturnType<typeof client>; network: Network; orders: ReturnType<typeof drafts<Order>> };

async function offline({ dw, network }: Device, work: () => void | Promise<void>): Promise<void> {
  network.cut();
  dw.disconnect();
  await work();
  network.mend();
  dw.connect();
}

test('a change shows at once, is stored, sent, confirmed, and comes to the other device', async () => {
  const [phone, laptop] = devices('alice');
  const order = phone.orders.create({ title: 'Chairs', quantity: 4 });
  expect(phone.orders.list).toEqual([order]);
  const change = order.update({ quantity: 6 });
  expect(order.content).toEqual({ title: 'Chairs', quantity: 6 });
  await change.stored;
  expect(order.status).toBe('pending');
  await order.settled();
  expect(order.snapshot).toMatchObject({ status: 'synced', pendingCount: 0, kind: 'order' });
  const other = await eventually(() => laptop.orders.get(order.id));
  expect(other.content).toEqual({ title: 'Chairs', quantity: 6 });
  other.delete();
  expect(laptop.orders.list).toEqual([]);
  await eventually(() => phone.orders.list.length === 0);
  expect(order.snapshot).toMatchObject({ deleted: true, content: { title: 'Chairs', quantity: 6 } });
  phone.dw.close();
  laptop.dw.close();
});

test('the cursor says which events the drafts include, also when a client says that it is live', async () => {
  const [phone, laptop] = devices('cursor');
  expect(phone.orders.cursor).toBeNull();
  const order = phone.orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  await eventually(() => phone.orders.cursor !== null && phone.orders.cursor === laptop.orders.cursor);
  const left = laptop.orders.cursor!;
  expect(left).toMatch(/:1$/);
  const live: [string | null, number | undefined][] = [];
  laptop.dw.subscribe(() => {
    if (laptop.dw.state.status === 'live') live.push([laptop.orders.cursor, laptop.orders.get(order.id)?.content.quantity]);
  });
  await offline(laptop, async () => {
    for (const quantity of [5, 6, 7]) await order.update({ quantity }).acknowledged();
  });
  await laptop.dw.ready();
  expect(live[0]).toEqual([left.replace(/1$/, '4'), 7]);
  phone.dw.close();
  laptop.dw.close();
});

test('two devices change different fields offline, and neither waits for the other', async () => {
  const [phone, laptop] = devices('bob');
  const mine = phone.orders.create({ title: 'Chairs', quantity: 4 });
  const theirs = await eventually(() => laptop.orders.get(mine.id));
  await offline(phone, async () => {
    mine.update({ title: 'Oak chairs' });
    mine.update({ address: { city: 'Bern' } });
    mine.update({ title: 'Oak chairs, old' });
    theirs.update({ quantity: 8, address: { street: 'Main' } });
    await theirs.settled();
  });
  await mine.settled();
  const merged = { title: 'Oak chairs, old', quantity: 8, address: { city: 'Bern', street: 'Main' } };
  await eventually(() => mine.snapshot.version === theirs.snapshot.version && theirs.content.address?.city);
  expect(mine.content).toEqual(merged);
  expect(theirs.content).toEqual(merged);
  expect(mine.status).toBe('synced');
  phone.dw.close();
  laptop.dw.close();
});

test.each(['keepMine', 'keepTheirs', 'merge'] as const)('a conflict keeps both values: %s', async (choice) => {
  const [phone, laptop] = devices(`carol-${choice}`);
  const mine = phone.orders.create({ title: 'Chairs', quantity: 4 });
  const theirs = await eventually(() => laptop.orders.get(mine.id));
  const told: Conflict<Order>[] = [];
  phone.orders.on('conflict', (conflict, draft) => {
    expect(draft).toBe(mine);
    told.push(conflict);
  });
  await offline(phone, async () => {
    mine.update({ title: 'Mine', note: 'kept' });
    theirs.update({ title: 'Theirs' });
    await theirs.settled();
  });
  const conflict = await eventually(() => told[0]);
  expect(conflict).toMatchObject({ kind: 'update', fields: ['/title'], mine: { title: 'Mine' }, theirs: { title: 'Theirs' } });
  expect(mine.status).toBe('conflict');
  expect(mine.content.title).toBe('Mine');
  // Only what is in conflict waits.
  await eventually(() => theirs.content.note === 'kept');
  // Typed on meanwhile: a part of the same decision.
  mine.update({ title: 'Mine, longer' });
  expect(theirs.content.title).toBe('Theirs');
  const [open] = mine.snapshot.conflicts;
  expect(open).toMatchObject({ mine: { title: 'Mine, longer' } });
  if (choice === 'keepMine') open!.keepMine();
  if (choice === 'keepTheirs') open!.keepTheirs();
  if (choice === 'merge') open!.merge({ title: 'Both' });
  const title = { keepMine: 'Mine, longer', keepTheirs: 'Theirs', merge: 'Both' }[choice];
  await eventually(() => theirs.content.title === title && mine.status === 'synced');
  expect(mine.content).toEqual(theirs.content);
  expect(told.length).toBe(1);
  phone.dw.close();
  laptop.dw.close();
});

test('a deletion that met a change is a conflict, and the draft is there again', async () => {
  const [phone, laptop] = devices('dave');
  const mine = phone.orders.create({ title: 'Chairs', quantity: 4 });
  const theirs = await eventually(() => laptop.orders.get(mine.id));
  await offline(phone, async () => {
    mine.delete();
    theirs.update({ quantity: 5 });
    await theirs.settled();
  });
  const conflict = await eventually(() => mine.snapshot.conflicts[0]);
  expect(conflict).toMatchObject({ kind: 'delete', mine: null, theirs: { quantity: 5 } });
  expect(phone.orders.list).toEqual([mine]);
  conflict.keepMine();
  await eventually(() => laptop.orders.list.length === 0 && phone.orders.list.length === 0);
  phone.dw.close();
  laptop.dw.close();
});

test('changes of a draft that was deleted elsewhere are kept until they are dismissed', async () => {
  const [phone, laptop] = devices('erin');
  const mine = phone.orders.create({ title: 'Chairs', quantity: 4 });
  const theirs = await eventually(() => laptop.orders.get(mine.id));
  await offline(phone, async () => {
    mine.update({ title: 'Mine' });
    theirs.delete();
    await theirs.settled();
  });
  const refusal = await eventually(() => mine.snapshot.refusals[0]);
  expect(refusal).toMatchObject({ kind: 'update', mine: { title: 'Mine' }, error: { code: 'not_found' } });
  expect(mine.snapshot).toMatchObject({ status: 'refused', deleted: true, content: { title: 'Chairs' } });
  expect(phone.orders.list).toEqual([mine]);
  refusal.dismiss();
  expect(phone.orders.list).toEqual([]);
  // As by another tab, which had the draft before its eyes.
  mine.update({ title: 'Too late' });
  await eventually(() => mine.status === 'refused');
  expect(phone.orders.list).toEqual([mine]);
  expect(mine.snapshot.refusals[0]).toMatchObject({ mine: { title: 'Too late' } });
  phone.dw.close();
  laptop.dw.close();
});

test('a refusal takes back exactly its own change', async () => {
  const [phone, laptop] = devices('frank');
  const order = phone.orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  await offline(phone, () => {
    order.update({ quantity: 5 });
    // 64 KiB are the server's limit; another draft in between, so that they stay three changes.
    phone.orders.create({ title: 'Lamps', quantity: 1 });
    const large = order.update({ note: 'x'.repeat(70_000) });
    phone.orders.create({ title: 'Desks', quantity: 2 });
    order.update({ title: 'Oak chairs' });
    large.acknowledged().catch(() => {});
  });
  await order.settled();
  expect(order.snapshot).toMatchObject({ status: 'refused', content: { title: 'Oak chairs', quantity: 5 } });
  expect(order.snapshot.refusals[0]).toMatchObject({ error: { code: 'too_large' }, mine: { note: expect.any(String) } });
  expect(order.content).not.toHaveProperty('note');
  phone.dw.close();
  laptop.dw.close();
});

test('a client that starts again shows its drafts at once and sends what is left', async () => {
  const store = memory();
  const network = new Network();
  const first = client(node, 'grace', { store, network });
  const orders = drafts<Order>(first, 'order');
  const order = orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  first.disconnect();
  await order.update({ quantity: 5 }).stored;
  await order.update({ title: 'Oak' }).stored;
  first.close();

  const second = client(node, 'grace', { store, network, connect: false });
  const again = drafts<Order>(second, 'order');
  const shown = await eventually(() => again.get(order.id));
  expect(shown.snapshot).toMatchObject({ status: 'pending', content: { title: 'Oak', quantity: 5 } });
  expect(second.state.status).toBe('offline');
  second.connect();
  await shown.settled();
  const { drafts: stored } = await node.api('GET', 'v1/drafts', node.token('grace'));
  expect(stored[0]).toMatchObject({ version: shown.snapshot.version, content: { title: 'Oak', quantity: 5 } });
  second.close();
});

test('two devices, a week offline, a hundred conflicting and a hundred merging edits of each: nothing is lost silently', async () => {
  // What a device has missed in a week is not in the log any more: it gets a snapshot.
  const forgetful = await Node.start({ RETENTION_USER_EVENTS: '20', RETENTION_INTERVAL: '10ms' });
  const stores = { phone: memory(), laptop: memory() };
  const open = (device: 'phone' | 'laptop', connect: boolean) => {
    const dw = client(forgetful, 'mallory', { device, store: stores[device], connect });
    return { dw, orders: drafts<Order>(dw, 'order') };
  };
  const [phone, laptop] = [open('phone', true), open('laptop', true)];
  const ids = Array.from({ length: 100 }, (_, i) => phone.orders.create({ title: `Chairs ${i}`, quantity: 0 }).id).sort();
  await eventually(() => [phone, laptop].every(({ orders }) => orders.list.filter(({ status }) => status === 'synced').length === 100));
  for (const [name, { dw, orders }] of Object.entries({ phone, laptop })) {
    dw.disconnect();
    for (const id of ids) orders.get(id)!.update({ title: `${id} of the ${name}` });
    for (const id of ids) orders.get(id)!.update(name === 'phone' ? { quantity: 7 } : { note: 'fragile' });
    await orders.get(ids[99]!)!.update({}).stored;
    expect(dw.pendingCount).toBe(200);
    dw.close();
  }

  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 7 * 86_400_000 });
  const first = open('phone', true);
  await eventually(() => first.orders.loaded && first.dw.pendingCount === 0);
  // A hundred creations and two hundred changes, of which twenty are left.
  await eventually(async () => (await forgetful.metric('draftwire_retention_events_removed_total{stream="user"}')) >= 280);
  // What the node has in memory of the log is gone with it.
  await forgetful.kill();
  await forgetful.start();
  await first.dw.ready();
  const second = open('laptop', true);
  await eventually(() => second.orders.loaded && second.dw.pendingCount === 0);
  expect(await forgetful.metric('draftwire_snapshots_total')).toBe(1);
  const read = async (): Promise<any[]> => (await forgetful.api('GET', 'v1/drafts', forgetful.token('mallory'))).drafts.sort((a: any, b: any) => (a.draftId < b.draftId ? -1 : 1));
  expect((await read()).map(({ content }) => content)).toEqual(ids.map((id) => ({ title: `${id} of the phone`, quantity: 7, note: 'fragile' })));
  expect(second.orders.list.map(({ snapshot: { conflicts, content } }) => ({ content, conflicts: conflicts.map(({ mine, theirs }) => [mine, theirs]) }))).toEqual(ids.map((id) => {
    const theirs = { title: `${id} of the phone`, quantity: 7, note: 'fragile' };
    const mine = { title: `${id} of the laptop` };
    return { content: { ...theirs, ...mine }, conflicts: [[mine, theirs]] };
  }));
  expect(first.orders.list.map(({ snapshot }) => snapshot.conflicts.length)).toEqual(ids.map(() => 0));

  for (const [i, { snapshot }] of second.orders.list.entries()) {
    if (i % 2 === 0) snapshot.conflicts[0]!.keepMine();
    else snapshot.conflicts[0]!.keepTheirs();
  }
  const decided = ids.map((id, i) => ({ title: `${id} of the ${i % 2 === 0 ? 'laptop' : 'phone'}`, quantity: 7, note: 'fragile' }));
  await eventually(() => [first, second].every(({ orders }) => orders.list.every(({ content, status }, i) => status === 'synced' && content.title === decided[i]!.title)));
  expect((await read()).map(({ content }) => content)).toEqual(decided);
  for (const { orders } of [first, second]) expect(orders.list.map(({ content }) => content)).toEqual(decided);
  for (const { dw } of [first, second]) dw.close();
  vi.useRealTimers();
  await forgetful.remove();
});

test('the store of one user is not sent as another', async () => {
  const store = memory();
  const first = client(node, 'heidi', { store, connect: false });
  first.connect();
  await first.ready();
  first.disconnect();
  await drafts<Order>(first, 'order').create({ title: 'Secret', quantity: 1 }).update({}).stored;
  first.close();
  const second = client(node, 'ivan', { store });
  await expect(second.ready()).rejects.toMatchObject({ code: 'wrong_user' });
  expect((await node.api('GET', 'v1/drafts', node.token('ivan'))).drafts).toEqual([]);
  await second.logout();
  const third = client(node, 'ivan', { store });
  await third.ready();
  expect(drafts<Order>(third, 'order').list).toEqual([]);
  third.close();
});

test('halves of characters, numbers that are none, and calls that are not waited for', async () => {
  const dw = client(node, 'judy');
  const orders = drafts<any>(dw, 'order');
  const order = orders.create({ title: `half \ud83d`, '\udc00': 1, nested: ['\ud83d\ude00', 'a\\ud83d'] });
  await order.settled();
  expect(order.snapshot).toMatchObject({ status: 'synced', content: { title: 'half \ufffd', '\ufffd': 1, nested: ['😀', 'a\\ud83d'] } });
  expect(() => order.update({ quantity: Number.NaN })).toThrow(TypeError);
  expect(() => orders.create({ big: 1n })).toThrow(TypeError);
  const abort = new AbortController();
  dw.disconnect();
  const change = order.update({ title: 'x' });
  await expect(change.acknowledged({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  abort.abort();
  await expect(change.acknowledged({ signal: abort.signal })).rejects.toMatchObject({ code: 'aborted' });
  await expect(dw.ready({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  dw.close();
  await expect(change.acknowledged()).rejects.toMatchObject({ code: 'closed' });
});
