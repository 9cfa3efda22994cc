// Several tabs share one connection; what they promise each other, without a browser. test/browser has the real thing.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import type { Draftwire } from '../src/index.js';
import { client, eventually, Network } from './support/client.js';
import { Node } from './support/node.js';
import { Origin, type Tab } from './support/tabs.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

interface Page {
  origin: Origin;
  tab: Tab;
  network: Network;
  dw: Draftwire;
  wake: () => void;
}

function open(origin: Origin, user: string): Page {
  const tab = origin.open();
  const network = new Network();
  let wake = () => {};
  const onWake = (listener: () => void) => {
    wake = listener;
    return () => {};
  };
  const dw = client(node, user, { store: tab.store, network, environment: { onWake } });
  return { origin, tab, network, dw, wake: () => wake() };
}

const connections = (pages: Page[]) => pages.filter(({ network }) => network.size > 0).length;

test('tabs share one connection, drafts, topics and answers', async () => {
  const origin = new Origin();
  const pages = [open(origin, 'alice'), open(origin, 'alice'), open(origin, 'alice')];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  expect(connections(pages)).toBe(1);
  const orders = pages.map(({ dw }) => drafts<{ title: string }>(dw, 'order'));
  const made = orders[2]!.create({ title: 'Chairs' });
  expect(made.status).toBe('saving');
  await made.settled();
  await eventually(() => orders.every((each) => each.get(made.id)?.status === 'synced'));
  await orders[1]!.get(made.id)!.update({ title: 'Oak' }).acknowledged();
  await eventually(() => orders.every((each) => each.get(made.id)?.content.title === 'Oak'));

  const seen: string[] = [];
  const topics = pages.map(({ dw }, i) => {
    const topic = dw.topic('room', { presence: true });
    topic.on('*', ({ seq }) => seen.push(`${i}:${seq}`));
    topic.onSignal('*', () => seen.push(`${i}:signal`));
    return topic;
  });
  await eventually(() => topics.every(({ state, members }) => state.status === 'live' && members.length === 1));
  expect(await topics[1]!.publish('GOAL', 1)).toEqual({ seq: 1 });
  topics[2]!.signal('TYPING', 1);
  await eventually(() => seen.length === 6);
  expect(seen.sort()).toEqual(['0:1', '0:signal', '1:1', '1:signal', '2:1', '2:signal']);
  for (const { dw } of pages) dw.close();
});

test('another tab takes over when the one with the connection is killed, and nothing is lost or repeated', async () => {
  const origin = new Origin();
  const pages = [open(origin, 'bob'), open(origin, 'bob')];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  const leads = pages.findIndex(({ tab }) => tab === origin.leader);
  const [leader, follower] = [pages[leads]!, pages[1 - leads]!];
  const topic = follower.dw.topic('room-1');
  const seqs: number[] = [];
  topic.on('*', ({ seq }) => seqs.push(seq));
  await eventually(() => topic.state.status === 'live');
  const published = Array.from({ length: 10 }, (_, i) => follower.dw.publish('room-1', 'GOAL', i));
  leader.network.cut();
  leader.tab.kill();
  const more = Array.from({ length: 10 }, (_, i) => follower.dw.publish('room-1', 'GOAL', 10 + i));
  await Promise.all([...published, ...more]);
  await eventually(() => seqs.length === 20);
  expect(seqs).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  const { events } = await node.api('GET', 'v1/topics/room-1/events', node.token('bob'));
  expect(events.map(({ payload }: { payload: number }) => payload)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  follower.dw.close();
});

test('a tab that comes to the front takes over from one that is frozen, which follows when it wakes', async () => {
  const origin = new Origin();
  const pages = [open(origin, 'carol'), open(origin, 'carol')];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  const leads = pages.findIndex(({ tab }) => tab === origin.leader);
  const [leader, follower] = [pages[leads]!, pages[1 - leads]!];
  leader.tab.freeze();
  follower.wake();
  await eventually(() => origin.leader === follower.tab);
  await follower.dw.ready();
  leader.tab.thaw();
  await leader.dw.publish('room-2', 'GOAL', 1);
  expect(connections(pages)).toBe(1);
  expect(follower.network.size).toBe(1);
  for (const { dw } of pages) dw.close();
});

test('a tab that has lost messages of the one with the connection gets them again', async () => {
  const origin = new Origin();
  const pages = [open(origin, 'frank'), open(origin, 'frank')];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  const leads = pages.findIndex(({ tab }) => tab === origin.leader);
  const [leader, follower] = [pages[leads]!, pages[1 - leads]!];
  const seen: number[][] = [[], []];
  const topics = [leader, follower].map(({ dw }, i) => {
    const topic = dw.topic('room-3');
    topic.on('*', ({ seq }) => seen[i]!.push(seq));
    return topic;
  });
  const orders = [leader, follower].map(({ dw }) => drafts<{ n: number }>(dw, 'order'));
  await eventually(() => topics.every(({ state }) => state.status === 'live'));
  const order = orders[0]!.create({ n: 0 });
  await eventually(() => orders[1]!.get(order.id));
  follower.tab.freeze();
  for (let n = 1; n <= 5; n += 1) {
    await leader.dw.publish('room-3', 'GOAL', n);
    await order.update({ n }).acknowledged();
  }
  follower.tab.thaw({ lost: true });
  await leader.dw.publish('room-3', 'GOAL', 6);
  await order.update({ n: 6 }).acknowledged();
  await eventually(() => seen[1]!.length === 6 && orders[1]!.get(order.id)!.content.n === 6);
  expect(seen).toEqual([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]);
  for (const { dw } of pages) dw.close();
});

/** Two tabs with an order in each, of which the first one leads. */
async function twoTabs(user: string) {
  const origin = new Origin();
  const pages = [open(origin, user), open(origin, user)];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  pages.sort((a, b) => Number(b.tab === origin.leader) - Number(a.tab === origin.leader));
  const lists = pages.map(({ dw }) => drafts<{ title: string; note?: string }>(dw, 'order'));
  const made = lists[0]!.create({ title: 'Chairs' });
  await made.settled();
  const orders = await eventually(() => lists.every((list) => list.get(made.id)?.status === 'synced') && lists.map((list) => list.get(made.id)!));
  return { pages, orders, close: () => pages.forEach(({ dw }) => dw.close()) };
}

/** Another device changes the order, which both tabs have changed without a connection. */
async function inConflict(user: string) {
  const { orders, pages, ...rest } = await twoTabs(user);
  pages.forEach(({ network }) => network.cut());
  await orders[0]!.update({ title: 'Mine' }).stored;
  await node.api('PATCH', `v1/drafts/${orders[0]!.id}?baseVersion=1&device=laptop`, node.token(user), { title: 'Theirs' });
  pages.forEach(({ network, wake }) => {
    network.mend();
    wake();
  });
  await eventually(() => orders.every(({ status }) => status === 'conflict'));
  return { orders, pages, ...rest };
}

test('what is typed in a tab that has not heard yet of the change before is no conflict', async () => {
  const { close, orders: [leading, typing], pages } = await twoTabs('grace');
  await typing!.update({ title: 'C' }).stored;
  pages[1]!.tab.freeze();
  await eventually(() => leading!.status === 'synced' && leading!.content.title === 'C');
  // It still waits here.
  expect(typing!.status).toBe('pending');
  const change = typing!.update({ title: 'Ch' });
  await change.stored;
  pages[1]!.tab.thaw();
  await change.acknowledged();
  await eventually(() => [leading!, typing!].every(({ status, content }) => status === 'synced' && content.title === 'Ch'));
  close();
});

test('what a tab has stored when it was killed is sent when the page is opened again', async () => {
  const { close, orders: [leading, typing], pages } = await twoTabs('judy');
  pages[1]!.tab.mute();
  await typing!.update({ title: 'Oak' }).stored;
  pages[1]!.tab.kill();
  pages[1]!.dw.disconnect();
  const again = client(node, 'judy', { store: pages[1]!.origin.open().store });
  await eventually(() => leading!.status === 'synced' && leading!.content.title === 'Oak');
  again.close();
  close();
});

test('a decision drops what was seen, and not what another tab has added meanwhile', async () => {
  const { close, orders: [deciding, typing], pages } = await inConflict('heidi');
  pages[0]!.tab.freeze();
  await typing!.update({ title: 'Mine, longer' }).stored;
  deciding!.snapshot.conflicts[0]!.keepTheirs();
  await eventually(() => deciding!.snapshot.conflicts[0]?.mine?.title === 'Mine, longer');
  pages[0]!.tab.thaw();
  deciding!.snapshot.conflicts[0]!.keepTheirs();
  await eventually(() => [deciding!, typing!].every(({ status, content }) => status === 'synced' && content.title === 'Theirs'));
  close();
});

test('what is merged is made, though another tab has decided the conflict', async () => {
  const { close, orders: [deciding, merging], pages } = await inConflict('ivan');
  pages[1]!.tab.freeze();
  const [conflict] = merging!.snapshot.conflicts;
  deciding!.snapshot.conflicts[0]!.keepTheirs();
  await eventually(() => deciding!.status === 'synced');
  await conflict!.merge({ title: 'Both' }).stored;
  pages[1]!.tab.thaw();
  await eventually(() => [deciding!, merging!].every(({ status, content }) => status === 'synced' && content.title === 'Both'));
  // As in a window that is still open.
  await conflict!.keepMine().acknowledged();
  await eventually(() => deciding!.content.title === 'Mine');
  close();
});

test('logging out in one tab ends all of them and forgets everything', async () => {
  const origin = new Origin();
  const pages = [open(origin, 'dave'), open(origin, 'dave')];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  await drafts(pages[0]!.dw, 'order').create({ title: 'x' }).settled();
  await pages[1]!.dw.logout();
  await eventually(() => pages.every(({ dw }) => dw.state.status === 'offline'));
  expect((await origin.store.load()).records.size).toBe(0);
});

test('a tab without the code for drafts lets one that has it lead', async () => {
  const origin = new Origin();
  const plain = open(origin, 'erin');
  await plain.dw.ready();
  const other = open(origin, 'erin');
  const order = drafts<{ title: string }>(other.dw, 'order').create({ title: 'x' });
  await order.settled();
  expect(origin.leader).toBe(other.tab);
  plain.dw.close();
  other.dw.close();
});
