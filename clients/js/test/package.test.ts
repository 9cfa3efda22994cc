// The package as it is installed: packed, in a fresh project, with TypeScript, Vite and plain Node.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Node } from './support/node.js';

const HERE = fileURLToPath(new URL('..', import.meta.url));
const program = (name: string) => join(HERE, 'node_modules/.bin', name);
let folder: string;
let node: Node;

async function run(command: string, parameters: string[], cwd = folder): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, parameters, { cwd });
    return stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${parameters.join(' ')}\n${stdout}\n${stderr}`, { cause: error });
  }
}

const APPLICATION = `
import { Draftwire, memory, type ConnectionState } from 'draftwire';
import { drafts, type Conflict } from 'draftwire/drafts';
import { indexedDb } from 'draftwire/indexeddb';
import { FakeServer } from 'draftwire/testing';

interface Order { title: string; quantity: number; lines?: { sku: string }[]; address?: { city: string } }
interface Events { GOAL: { minute: number } }

const dw = new Draftwire('https://sync.example.com', { getToken: async ({ signal }) => (await fetch('/token', { signal })).text(), store: memory() });
const orders = drafts<Order>(dw, 'order');
const order = orders.create({ title: 'Chairs', quantity: 4 });
order.update({ quantity: 6, address: { city: null } });
// @ts-expect-error: no such field
order.update({ colour: 'red' });
// @ts-expect-error: of another type
order.update({ quantity: 'six' });
orders.on('conflict', (conflict: Conflict<Order>) => conflict.merge({ title: \`\${conflict.mine?.title} or \${conflict.theirs.title}\` }));
const room = dw.topic<Events>('match:1', { presence: true, from: 'last' });
room.on('GOAL', ({ data }) => data.minute.toFixed());
// @ts-expect-error: no such event
room.on('GOALS', () => {});
const state: ConnectionState = dw.state;
if (state.status === 'stopped') console.log(state.error.code);
export { dw, indexedDb, FakeServer };
`;

beforeAll(async () => {
  node = await Node.start();
  folder = await mkdtemp(join(tmpdir(), 'draftwire-package-'));
  await run('npm', ['run', 'build'], HERE);
  const [{ filename }] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', folder], HERE));
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'application', private: true, type: 'module' }));
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${filename}`]);
});
afterAll(async () => {
  await node.remove();
  await rm(folder, { recursive: true, force: true });
});

test('it has idb alone with it, and nothing that is not for applications', async () => {
  const installed = Object.keys(JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8')).packages);
  expect(installed.sort()).toEqual(['', 'node_modules/draftwire', 'node_modules/idb']);
  const { exports } = JSON.parse(await readFile(join(folder, 'node_modules/draftwire/package.json'), 'utf8'));
  for (const entry of Object.values<any>(exports)) {
    for (const file of typeof entry === 'string' ? [entry] : Object.values<string>(entry)) await readFile(join(folder, 'node_modules/draftwire', file));
  }
});

test.each(['NodeNext', 'Bundler'])('TypeScript takes it with every check, resolved as by %s', async (resolution) => {
  await writeFile(join(folder, 'application.ts'), APPLICATION);
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, skipLibCheck: false, types: [],
      target: 'ES2022', lib: ['ES2022', 'DOM'], module: resolution === 'Bundler' ? 'ESNext' : resolution, moduleResolution: resolution,
    },
    files: ['application.ts'],
  }));
  await run(program('tsc'), ['-p', '.']);
});

test('the examples of the README are right', async () => {
  const readme = await readFile(join(HERE, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code);
  expect(examples.length).toBeGreaterThan(3);
  await writeFile(join(folder, 'readme.ts'), examples.join('\n'));
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, types: [], target: 'ES2022', lib: ['ES2022', 'DOM'], module: 'NodeNext', moduleResolution: 'NodeNext' },
    files: ['readme.ts'],
  }));
  await run(program('tsc'), ['-p', '.']);
});

test('Vite builds it', async () => {
  await writeFile(join(folder, 'application.ts'), APPLICATION);
  await writeFile(join(folder, 'index.html'), '<!doctype html><script type="module" src="/application.ts"></script>');
  await run(program('vite'), ['build', '--logLevel', 'warn']);
  expect(await readFile(join(folder, 'dist/index.html'), 'utf8')).toContain('/assets/');
});

test('plain Node runs it, also where there is no WebSocket', async () => {
  await writeFile(join(folder, 'device.js'), `
    import { Draftwire } from 'draftwire';
    import { drafts } from 'draftwire/drafts';
    const [url, token] = process.argv.slice(2);
    const dw = new Draftwire(url, { getToken: () => token });
    const order = drafts(dw, 'order').create({ title: 'Chairs' });
    await order.settled({ timeoutMs: 30_000 });
    console.log(JSON.stringify(order.snapshot));
    dw.close();
  `);
  const snapshot = JSON.parse(await run(process.execPath, ['device.js', node.url, node.token('alice')]));
  expect(snapshot).toMatchObject({ status: 'synced', content: { title: 'Chairs' } });
});

// Last, because it installs more.
test.each(['18', '19'])('the examples for React are right with React %s, and render on a server', async (version) => {
  const [, example] = /```tsx\n(.*?)```/s.exec(await readFile(join(HERE, 'README.md'), 'utf8'))!;
  const react = ['react', 'react-dom', '@types/react'].map((name) => `${name}@${version}`);
  await run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefer-offline', ...react]);
  await writeFile(join(folder, 'page.tsx'), example!);
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, types: [], jsx: 'react-jsx', target: 'ES2022', lib: ['ES2022', 'DOM'], module: 'NodeNext', moduleResolution: 'NodeNext',
    },
    files: ['page.tsx'],
  }));
  await run(program('tsc'), ['-p', '.']);
  await writeFile(join(folder, 'render.js'), `
    import { Draftwire } from 'draftwire';
    import { createElement, version } from 'react';
    import { renderToString } from 'react-dom/server';
    import { App, Match, OrderForm, Orders, Status } from './page.js';
    const dw = new Draftwire('https://sync.example.com', { getToken: () => null, connect: false });
    const parts = [Orders, OrderForm, Match, Status].map((part) => createElement(part, { key: part.name, id: '1' }));
    console.log(version, renderToString(createElement(App, { dw }, parts)).replaceAll('<!-- -->', ''));
    dw.close();
  `);
  // Next.js, for one, takes hooks from nowhere else.
  expect(await readFile(join(folder, 'node_modules/draftwire/dist/react/index.js'), 'utf8')).toMatch(/^(\/\/.*\n|\n)*'use client';/);
  const [found, ...html] = (await run(process.execPath, ['render.js'])).trim().split(' ');
  expect(found).toMatch(new RegExp(`^${version}\\.`));
  expect(html.join(' ')).toBe('<p>Loading</p><button disabled="">0 watch</button><p>offline, 0 unsent</p>');
});
