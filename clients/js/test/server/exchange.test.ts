// When a request is repeated, and when no more: the pure part, with a clock of its own.

import { expect, test } from 'vitest';
import {
  BadRequestError,
  ConflictError,
  ConnectionFailedError,
  NotFoundError,
  RateLimitedError,
  RefusedError,
  UnavailableError,
  UnexpectedAnswerError,
} from '../../src/server/index.js';
import { exchange, type Failure, PAUSE_MAX_MS } from '../../src/server/exchange.js';
import { type Answer, refusal, type Request } from '../../src/server/wire.js';

const WALL = 1_800_000_000_000;

function answer(status: number, body: string, headers: Record<string, string> = {}): Answer {
  return { status, body, headers: new Headers(headers) };
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return answer(status, JSON.stringify({ title: '…', status, detail: 'why', code }), headers);
}

const OK = answer(200, '{}');
const UNAVAILABLE = problem(503, 'unavailable', { 'retry-after': '1' });
const LOST: Failure = { cause: new Error('reset'), sent: true };
const UNSENT: Failure = { cause: new Error('refused'), sent: false };

interface Given {
  readonly request?: Partial<Request>;
  readonly chance?: number;
  readonly deadlineMs?: number;
}

/** Carries a request out with given outcomes, of which the last one stays; tells what it asked for. */
async function run(outcomes: (Answer | Failure)[], { request, chance = 1, deadlineMs = 60_000 }: Given = {}) {
  const [pauses, timeouts, left] = [[] as number[], [] as number[], [...outcomes]];
  let now = 0;
  const result = await exchange(
    { method: 'POST', path: '/v1/x', ...request },
    { timeoutMs: 10_000, deadlineMs },
    {
      token: async () => 'token',
      send: async (_, __, timeoutMs) => {
        timeouts.push(timeoutMs);
        return (left.length > 1 ? left.shift() : left[0]) ?? OK;
      },
      pause: async (ms) => {
        pauses.push(ms);
        now += ms;
      },
      now: () => now,
      wall: () => WALL,
      random: () => chance,
    },
    (answer) => answer,
  ).catch((error: unknown) => error);
  return { result, pauses, timeouts };
}

test('failures that pass are repeated', async () => {
  const others = [problem(429, 'rate_limited'), answer(503, '<html>'), answer(502, ''), answer(504, '')];
  for (const outcome of [UNAVAILABLE, ...others, LOST, UNSENT]) {
    const { result, timeouts } = await run([outcome, outcome, outcome, OK]);
    expect(result).toBe(OK);
    expect(timeouts).toHaveLength(4);
  }
});

test('all else is not', async () => {
  const outcomes = [
    problem(400, 'bad_request'),
    problem(401, 'unauthorized'),
    problem(403, 'forbidden'),
    problem(404, 'not_found'),
    problem(409, 'conflict'),
    problem(412, 'conflict'),
    problem(413, 'too_large'),
    problem(500, 'new_code'),
    problem(500, 'constructor'),
    answer(301, '', { location: 'https://elsewhere' }),
    answer(500, '<html>'),
    answer(500, '{"code":7,"detail":"x"}'),
  ];
  for (const outcome of outcomes) {
    const { result, timeouts } = await run([outcome, OK]);
    expect(result instanceof RefusedError || result instanceof UnexpectedAnswerError).toBe(true);
    expect(result).toMatchObject({ status: outcome.status });
    expect(timeouts).toHaveLength(1);
  }
});

test('pauses grow up to a bound and are random', async () => {
  const outcomes = [...Array<Failure>(10).fill(LOST), OK];
  const { pauses } = await run(outcomes);
  expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, ...Array(4).fill(PAUSE_MAX_MS)]);
  expect((await run(outcomes, { chance: 0.5 })).pauses.slice(0, 3)).toEqual([50, 100, 200]);
  // However long it goes on.
  const long = await run([...Array<Failure>(5000).fill(LOST), OK], { chance: 0.001, deadlineMs: 1_000_000 });
  expect(long.result).toBe(OK);
  expect(Math.max(...long.pauses)).toBe(PAUSE_MAX_MS * 0.001);
});

test('the server says how long to wait at least', async () => {
  expect((await run([UNAVAILABLE, OK], { chance: 0 })).pauses).toEqual([1000]);
  expect((await run([UNAVAILABLE, OK], { chance: 1 })).pauses).toEqual([1100]);
  const waits = async (text: string) =>
    (await run([problem(429, 'rate_limited', { 'retry-after': text }), OK], { chance: 0 })).pauses;
  expect(await waits(new Date(WALL + 7000).toUTCString())).toEqual([7000]);
  for (const text of [new Date(WALL - 7000).toUTCString(), 'soon', '-1', '1.5', '', '2027-01-16']) {
    expect(await waits(text)).toEqual([0]);
  }
});

test('the deadline ends it with the last failure', async () => {
  const unavailable = await run([UNAVAILABLE], { deadlineMs: 5000, chance: 0 });
  expect(unavailable.result).toBeInstanceOf(UnavailableError);
  expect(unavailable.result).toMatchObject({ message: 'why', detail: 'why', retryAfterMs: 1000 });
  expect(unavailable.timeouts).toEqual([5000, 4000, 3000, 2000, 1000]);

  const lost = await run([LOST], { deadlineMs: 5000 });
  expect(lost.result).toBeInstanceOf(ConnectionFailedError);
  expect(lost.result).toMatchObject({ code: 'unreachable', message: 'no answer: reset', cause: LOST.cause });

  // What the server asks for would not fit: waiting makes no sense.
  const late = await run([problem(429, 'rate_limited', { 'retry-after': '3600' }), OK]);
  expect(late.result).toBeInstanceOf(RateLimitedError);
  expect(late.pauses).toEqual([]);
});

test('what must not happen twice is repeated only if it did not happen', async () => {
  const request = { repeatable: false };
  for (const outcome of [UNAVAILABLE, UNSENT]) expect((await run([outcome, OK], { request })).result).toBe(OK);
  for (const outcome of [LOST, answer(502, ''), answer(504, '')]) {
    expect((await run([outcome, OK], { request })).timeouts).toHaveLength(1);
  }
});

test('problems become errors of their code', () => {
  const refused = (status: number, body: unknown) => refusal(answer(status, JSON.stringify(body)), WALL);
  const missing = refused(404, { code: 'not_found', detail: 'draft d1 does not exist' });
  expect(missing).toBeInstanceOf(NotFoundError);
  expect(missing).toMatchObject({ code: 'not_found', status: 404, payload: undefined });
  // Of a newer server.
  const withheld = refused(451, { code: 'withheld', detail: 'why', payload: [1], more: true });
  expect(withheld.constructor).toBe(RefusedError);
  expect(withheld).toMatchObject({ code: 'withheld', payload: [1] });
  expect(refused(405, { code: 'bad_request', detail: 'no such method' })).toBeInstanceOf(BadRequestError);
  // A payload that is none of the protocol.
  const broken = refused(409, { code: 'conflict', detail: 'x', payload: { draftId: 'd', fields: 7 } });
  expect(broken).toBeInstanceOf(UnexpectedAnswerError);
  expect(refused(409, { code: 'conflict', detail: 'x', payload: 7 })).toBeInstanceOf(ConflictError);
});

test('an answer of somebody else says what it was', () => {
  const proxy = refusal(answer(502, `<html>Bad Gateway${'x'.repeat(1000)}`), WALL);
  expect(proxy.message).toContain('502');
  expect(proxy.message).toContain('<html>Bad Gateway');
  expect(proxy.message.length).toBeLessThan(400);
  const moved = refusal(answer(308, '', { location: 'https://new.example/' }), WALL);
  expect(moved.message).toContain('a redirect to https://new.example/');
});
