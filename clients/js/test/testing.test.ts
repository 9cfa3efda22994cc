// The fake server, and with it what a real one does rarely.

import { expect, test } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { Draftwire } from '../src/index.js';
import { FakeServer } from '../src/testing/index.js';
import { eventually } from './support/client.js';

interface Order {
  title: string;
  quantity: number;
}

function open(server: FakeServer, user = 'alice', device = 'phone') {
  const dw = new Draftwire('https://sync.example.com', { getToken: () => user, device, environment: server.environment, transport: 'websocket' });
  return { dw, orders: drafts<Order>(dw, 'order') };
}

test('drafts, topics and broadcasts work as with a real one', async () => {
  const server = new FakeServer();
  const { dw, orders } = open(server);
  const seen: unknown[] = [];
  dw.onBroadcast('*', ({ data }) => seen.push(data));
  dw.onUserEvent('NOTICE', ({ data }) => seen.push(data));
  const room = dw.topic('room', { presence: true });
  room.on('*', ({ data }) => seen.push(data));
  await dw.ready();
  await eventually(() => room.members.length === 1 && room.state.status === 'live');
  const order = orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  server.change('alice', 'DRAFT_UPDATE', { draftId: order.id, baseVersion: 1, patch: { quantity: 5 } });
  await eventually(() => order.content.quantity === 5);
  server.publish('room', 'GOAL', 1);
  server.broadcast('PRICES', 2);
  server.sendToUser('alice', 'NOTICE', 3);
  await eventually(() => seen.length === 3);
  server.repeat();
  server.broadcast('PRICES', 4);
  await eventually(() => seen.length === 4);
  expect(seen.sort()).toEqual([1, 2, 3, 4]);
  expect(server.drafts('alice')).toMatchObject([{ id: order.id, version: 2, content: { title: 'Chairs', quantity: 5 } }]);
  dw.close();
  expect(server.connectionCount).toBe(0);
});

test('an answer that is lost is asked for again, and the change is made once', async () => {
  const server = new FakeServer();
  const { dw, orders } = open(server);
  const order = orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  server.loseNextAnswer();
  await order.update({ quantity: 5 }).acknowledged();
  server.loseNextAnswer();
  expect(await dw.publish('room', 'GOAL')).toEqual({ seq: 1 });
  expect(server.drafts('alice')).toMatchObject([{ version: 2 }]);
  dw.close();
});

test('what is refused for the moment is made later, in its order', async () => {
  const server = new FakeServer();
  const { dw } = open(server);
  await dw.ready();
  const types: string[] = [];
  const room = dw.topic('room');
  room.on('*', ({ type }) => types.push(type));
  await eventually(() => room.state.status === 'live');
  for (let i = 0; i < 3; i += 1) server.refuseNext('unavailable');
  await Promise.all(['ONE', 'TWO', 'THREE'].map((type) => dw.publish('room', type)));
  await eventually(() => types.length === 3);
  expect(types).toEqual(['ONE', 'TWO', 'THREE']);
  dw.close();
});

test('in another history the user is asked about what is pending, and nothing is guessed', async () => {
  const server = new FakeServer();
  const { dw, orders } = open(server);
  const order = orders.create({ title: 'Chairs', quantity: 4 });
  await order.settled();
  await order.update({ quantity: 5 }).acknowledged();
  await eventually(() => order.snapshot.version === 2);
  server.goDown();
  const change = order.update({ title: 'Oak chairs' });
  await change.stored;
  server.restore('alice', 1);
  server.comeUp();
  await expect(change.acknowledged()).rejects.toMatchObject({ code: 'history_changed' });
  expect(order.snapshot).toMatchObject({ version: 1, status: 'conflict', content: { title: 'Oak chairs', quantity: 4 } });
  order.snapshot.conflicts[0]!.keepMine();
  await eventually(() => order.status === 'synced');
  expect(server.drafts('alice')).toMatchObject([{ content: { title: 'Oak chairs', quantity: 4 } }]);
  dw.close();
});
