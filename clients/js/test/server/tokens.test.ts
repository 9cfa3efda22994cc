// Tokens, judged by real nodes.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, vi } from 'vitest';
import { ForbiddenError, type MinterOptions, TokenMinter, UnauthorizedError } from '../../src/server/index.js';
import { brief, minter, removeShared, test } from './fixture.js';
import { ROOT, SECRET } from '../support/node.js';

afterAll(removeShared);
afterEach(() => void vi.useRealTimers());

const key = (name: string): string => readFileSync(join(ROOT, 'gateway/src/auth/test_keys', name), 'utf8');

function part(token: string, index: number): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString());
}

const claims = (token: string) => part(token, 1) as { iat: number; exp: number };

test('a token says who may do what until when', async () => {
  vi.useFakeTimers({ now: 1_800_000_000_999 });
  const token = await minter.mint('älice', ['subscribe:match:*', 'publish:chat'], { expiresIn: 300 });
  const scope = 'subscribe:match:* publish:chat';
  expect(claims(token)).toEqual({ sub: 'älice', scope, iat: 1_800_000_000, exp: 1_800_000_300 });
  expect(part(token, 0)).toEqual({ alg: 'HS256', typ: 'JWT' });
  expect(claims(await minter.mint('alice'))).not.toHaveProperty('scope');
  const more = claims(await minter.mint('alice', [], { expiresIn: 60.9, claims: { tenant: 7, sub: 'bob' } }));
  expect(more).toEqual({ sub: 'bob', tenant: 7, iat: 1_800_000_000, exp: 1_800_000_060 });
});

test('a right is a right', async ({ shared, connect, topic }) => {
  const desk = connect(shared.url, { token: await minter.mint('desk', [`publish:${topic}`, `subscribe:${topic}`]) });
  expect((await desk.publish(topic, 'GOAL')).seq).toBe(1);
  expect(await brief(desk.history(topic))).toHaveLength(1);
  await expect(desk.publish(`${topic}-2`, 'GOAL')).rejects.toBeInstanceOf(ForbiddenError);
  const other = new TokenMinter({ secret: new TextEncoder().encode('another secret'.repeat(4)) });
  const stranger = connect(shared.url, { token: other.source('desk', ['service']) });
  await expect(stranger.publish(topic, 'GOAL')).rejects.toBeInstanceOf(UnauthorizedError);
});

test.for([['rsa', 'RS256'], ['ec', 'ES256'], ['ed', 'EdDSA']] as const)(
  'a private key signs for its public key: %s',
  async ([name, alg], { start, connect }) => {
    const own = new TokenMinter({ privateKey: key(`${name}.pem`), keyId: 'k1' });
    expect(part(await own.mint('alice'), 0)).toEqual({ alg, typ: 'JWT', kid: 'k1' });
    const node = await start({ JWT_SECRET: '', JWT_PUBLIC_KEY: join(ROOT, `gateway/src/auth/test_keys/${name}.pub`) });
    const dw = connect(node.url, { token: own.source('desk', ['service']) });
    expect((await dw.publish('match:1', 'GOAL')).seq).toBe(1);
    await expect(connect(node.url).publish('match:1', 'GOAL')).rejects.toBeInstanceOf(UnauthorizedError);
  },
);

test('a server with claims of its own', async ({ start, connect }) => {
  const node = await start({
    JWT_AUDIENCE: 'sync',
    JWT_ISSUER: 'https://app.example',
    JWT_USER_CLAIM: 'uid',
    JWT_SCOPE_CLAIM: 'app.rights',
  });
  const fixed = { secret: SECRET, audience: 'sync', issuer: 'https://app.example' };
  const own = new TokenMinter({ ...fixed, userClaim: 'uid', scopeClaim: 'app.rights' });
  const desk = connect(node.url, { token: own.source('desk', ['service']) });
  expect((await desk.publishUser('alice', 'INVITED')).seq).toBe(1);
  const nested = new TokenMinter(fixed).mint('desk', [], { claims: { uid: 7, app: { rights: ['service'] } } });
  expect((await connect(node.url, { token: await nested }).publishUser('alice', 'INVITED')).seq).toBe(2);
  await expect(connect(node.url).publish('match:1', 'GOAL')).rejects.toThrow('aud');
});

test('what cannot sign is refused, and not quoted', async () => {
  const refusals: readonly (readonly [MinterOptions, string])[] = [
    [{ secret: 'short' }, 'at least 32'],
    [{}, 'a secret or a private key'],
    [{ secret: SECRET, privateKey: key('ec.pem') }, 'a secret or a private key'],
    [{ privateKey: key('ec.pub') }, 'PKCS #8'],
    [{ privateKey: SECRET }, 'PKCS #8'],
    [{ privateKey: '-----BEGIN PRIVATE KEY-----\nsecre\n-----END PRIVATE KEY-----' }, 'not base64'],
    [{ privateKey: '-----BEGIN PRIVATE KEY-----\nsecret==\n-----END PRIVATE KEY-----' }, 'a kind that is not supported'],
  ];
  for (const [options, reason] of refusals) {
    expect(() => new TokenMinter(options)).toThrow(reason);
    expect(() => new TokenMinter(options)).not.toThrow(/secre\b|secret=|the nodes/);
  }
  const cut = key('ec.pem').replace(/(\n.{40}).*\n/, '$1\n');
  await expect(new TokenMinter({ privateKey: cut }).mint('alice')).rejects.toThrow('the private key is broken');
  expect(JSON.stringify(minter)).toBe('{}');
});

test('what makes no sense in a token is refused', async () => {
  for (const scopes of [['service desk'], [''], ['publish:\u00a0*'], 'service' as never]) {
    expect(() => minter.source('alice', scopes)).toThrow(RangeError);
    await expect(minter.mint('alice', scopes)).rejects.toThrow(RangeError);
  }
  for (const expiresIn of [0, 0.9, -5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => minter.source('alice', [], { expiresIn })).toThrow('at least 1 second');
  }
});

test('a source renews its token before it ends', async () => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  const source = minter.source('alice', ['service'], { expiresIn: 600 });
  const first = await source();
  vi.setSystemTime(1_800_000_539_999);
  expect(await source()).toBe(first);
  vi.setSystemTime(1_800_000_540_000);
  expect(claims(await source()).exp).toBe(1_800_000_540 + 600);
  // The clock is put right: a token that seems to come from the future would be kept for too long.
  vi.setSystemTime(1_799_996_400_000);
  expect(claims(await source()).exp).toBe(1_799_996_400 + 600);
});
