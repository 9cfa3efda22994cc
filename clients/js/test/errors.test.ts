// Errors, and that docs/errors.md has each of them, with what this client does.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Draftwire, DraftwireError } from '../src/index.js';
import { FakeServer } from '../src/testing/index.js';
import { ROOT } from './support/node.js';

test('an error keeps its code, its payload and its cause', () => {
  const cause = new Error('below');
  const error = new DraftwireError('storage', 'the disk is full', { bytes: 1 }, { cause });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ name: 'DraftwireError', code: 'storage', payload: { bytes: 1 }, cause });
});

/** The rows of the table below a heading, as cells without backquotes. */
async function table(page: string, heading: string): Promise<string[][]> {
  const text = await readFile(join(ROOT, 'docs', page), 'utf8');
  const [, section = ''] = text.split(`\n## ${heading}\n`);
  const rows = section.split('\n## ')[0]!.split('\n').filter((line) => line.startsWith('| '));
  return rows.slice(1).map((row) => row.split('|').slice(1, -1).map((cell) => cell.trim().replaceAll('`', '')));
}

test('docs/errors.md has every code of this package', async () => {
  const source = await readFile(join(ROOT, 'clients/js/src/errors.ts'), 'utf8');
  const [, union = ''] = /export type ErrorCode =([^;]*);/.exec(source)!;
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code!);
  expect(codes.length).toBeGreaterThan(15);
  const documented = [...await table('errors.md', 'Error codes'), ...await table('errors.md', 'Errors of the package for JavaScript')];
  expect(documented.map(([code]) => code)).toEqual(codes);
  expect(documented.filter((cells) => cells.length !== 4 || cells.includes(''))).toEqual([]);
});

test('every error code of the protocol is one of this package', async () => {
  const [protocol, errors] = await Promise.all([table('protocol.md', 'Error codes'), table('errors.md', 'Error codes')]);
  expect(protocol.map(([code]) => code)).toEqual(errors.map(([code]) => code));
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('after every close code of the protocol the client does what the protocol says', async () => {
  const [protocol, errors] = await Promise.all([table('protocol.md', 'Close codes'), table('errors.md', 'Close codes')]);
  expect(protocol.map(([code]) => code).sort()).toEqual(errors.map(([code]) => code).sort());
  const stops: Record<string, string> = {};
  /** After which the client asks for another token. */
  const fresh: string[] = [];
  for (const [code, comeBack] of protocol) {
    const server = new FakeServer();
    const stale: (string | undefined)[] = [];
    const dw = new Draftwire('https://sync.example.com', {
      getToken: (request) => {
        stale.push(request.stale);
        return 'alice';
      },
      environment: server.environment,
      transport: 'websocket',
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(dw.state.status, code).toBe('live');
    server.drop(Number(code));
    if (dw.state.status === 'stopped') stops[code!] = dw.state.error.code;
    else expect(dw.state.status, code).toBe('waiting');
    if (comeBack === 'yes') expect(dw.state, code).toMatchObject({ status: 'waiting', error: expect.any(DraftwireError) });
    await vi.advanceTimersByTimeAsync(31_000);
    if (stale.at(-1) === 'alice') fresh.push(code!);
    dw.close();
  }
  expect(stops).toEqual({ 4400: 'protocol', 4403: 'forbidden', 4409: 'replaced' });
  expect(fresh.sort()).toEqual(['4401', '4410']);
});
