// Who is present, and ending connections, against a real node.

import { afterAll, expect } from 'vitest';
import { BadRequestError, ForbiddenError, type Presence } from '../../src/server/index.js';
import { client, eventually } from '../support/client.js';
import { failure, minter, removeShared, test } from './fixture.js';

afterAll(removeShared);

test('who is present in a topic', async ({ shared, dw, topic }) => {
  // The node has to hear itself first.
  const nobody: Presence = { members: [], users: 0, devices: 0, complete: true };
  await eventually(async () => (await dw.presence(topic)).complete);
  expect(await dw.presence(topic)).toEqual(nobody);
  const phone = client(shared, topic, { device: 'phone' });
  const room = phone.topic(topic, { presence: true });
  const leave = room.subscribe(() => {});
  await eventually(() => room.presence?.devices === 1);
  const member = { userId: topic, device: 'phone' };
  expect(await dw.presence(topic)).toEqual({ members: [member], users: 1, devices: 1, complete: true });
  leave();
  phone.close();
  await eventually(async () => (await dw.presence(topic)).devices === 0);
  const stranger = dw.withOptions({ token: minter.source('stranger') });
  expect(await failure(stranger.presence(topic))).toBeInstanceOf(ForbiddenError);
});

test('of many only their number', async ({ start, connect }) => {
  const node = await start({ PRESENCE_LIST_MAX: '1' });
  const dw = connect(node.url);
  const devices = ['phone', 'laptop'].map((device) => client(node, 'alice', { device }));
  const rooms = devices.map((device) => device.topic('room', { presence: true }));
  for (const room of rooms) room.subscribe(() => {});
  await eventually(() => rooms.every((room) => room.presence?.devices === 2));
  expect(await dw.presence('room')).toMatchObject({ members: null, users: 1, devices: 2 });
  for (const device of devices) device.close();
});

test('a user is disconnected, once for each key', async ({ shared, connect, topic }) => {
  const dw = connect(shared.url, { token: minter.source(topic, ['admin']) });
  let tokens = 0;
  const phone = client(shared, topic, { getToken: () => shared.token(topic, { ttlSeconds: 3000 + (tokens += 1) }) });
  await phone.ready();
  const { seq } = await dw.disconnect(topic, { reason: 'rights have changed', key: 'once' });
  await eventually(() => tokens === 2 && phone.state.status === 'live');
  expect(await dw.disconnect(topic, { reason: 'rights have changed', key: 'once' })).toEqual({ seq });
  await phone.publish('room', 'STILL_HERE');
  expect(tokens).toBe(2);
  expect((await dw.disconnect(topic, { code: 4403 })).seq).toBeGreaterThan(seq);
  await eventually(() => phone.state.status === 'stopped');
  expect(phone.state).toMatchObject({ error: { code: 'forbidden' } });
  phone.close();
});

test('what cannot be asked for is refused', async ({ dw, shared, connect, topic }) => {
  expect(await failure(dw.disconnect('alice'))).toBeInstanceOf(ForbiddenError);
  const admin = connect(shared.url, { token: minter.source(topic, ['admin']) });
  for (const options of [{ reason: 'x'.repeat(124) }, { reason: '' }, { code: 1000 as 4403 }]) {
    const refused = await failure(admin.disconnect('alice', options));
    expect(refused).toBeInstanceOf(BadRequestError);
  }
  expect(await failure(admin.disconnect('..'))).toBeInstanceOf(BadRequestError);
});
