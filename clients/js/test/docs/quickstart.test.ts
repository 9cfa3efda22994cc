// docs/quickstart.md as somebody follows it: its files, a real node, and two devices in Chromium.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Browser, type Page, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createServer, type ViteDevServer } from 'vite';
import { eventually } from '../support/client.js';
import { Node } from '../support/node.js';
import { freePort } from '../support/port.js';
import { filesOf, INSTALL_MS, page, project, tsc } from './page.js';

const SECRET = 'the secret of the quickstart, 32 bytes or more';

let folder: string;
let node: Node;
let backend: ChildProcess;
let vite: ViteDevServer;
let browser: Browser;
const ports = { plain: 0, react: 0 };

beforeAll(async () => {
  folder = await project();
  ports.plain = await freePort();
  ports.react = await freePort();
  const text = await page('quickstart.md');
  const here = (part: string) => part.replaceAll('3000', String(ports.plain)).replaceAll('5173', String(ports.react));
  const [, origins] = /ALLOWED_ORIGINS=(\S+)/.exec(text)!;
  node = await Node.start({ JWT_SECRET: SECRET, ALLOWED_ORIGINS: here(origins!) });

  const files = filesOf(text);
  expect([...files.keys()]).toEqual(['server.mjs', 'index.html', 'vite.config.ts', 'src/main.tsx', 'src/App.tsx']);
  for (const [name, content] of files) {
    const path = join(folder, /config|src/.test(name) ? 'orders' : '.', name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, here(content).replaceAll('http://127.0.0.1:8080', node.url));
  }
  await writeFile(join(folder, 'jwt-secret'), `${SECRET}\n`);
  // What the template of Vite has.
  await writeFile(join(folder, 'orders/index.html'), '<!doctype html><div id="root"></div><script type="module" src="/src/main.tsx"></script>');
  await writeFile(join(folder, 'orders/package.json'), '{ "type": "module" }');
  await writeFile(join(folder, 'orders/tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, noUnusedLocals: true, noUnusedParameters: true, verbatimModuleSyntax: true, allowImportingTsExtensions: true,
      noEmit: true, skipLibCheck: true, types: [], jsx: 'react-jsx', target: 'ES2022', lib: ['ES2022', 'DOM'], module: 'ESNext', moduleResolution: 'Bundler',
    },
    include: ['src'],
  }));

  backend = spawn(process.execPath, ['server.mjs'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  await eventually(() => fetch(`http://127.0.0.1:${ports.plain}/token`).then(({ ok }) => ok, () => false));
  const root = join(folder, 'orders');
  vite = await createServer({ root, configFile: join(root, 'vite.config.ts'), logLevel: 'error', server: { port: ports.react, strictPort: true } });
  await vite.listen();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] });
}, INSTALL_MS);
afterAll(async () => {
  await browser?.close();
  await vite?.close();
  if (backend?.kill()) await once(backend, 'exit');
  await node?.remove();
  await rm(folder, { recursive: true, force: true });
});

/** Opens a page as another device does, with a storage of its own. */
async function device(kind: keyof typeof ports): Promise<Page> {
  const opened = await (await browser.newContext()).newPage();
  opened.setDefaultTimeout(50_000);
  opened.on('pageerror', (error) => console.error('in the page:', error));
  await opened.goto(`http://${kind === 'plain' ? '127.0.0.1' : 'localhost'}:${ports[kind]}/`);
  await opened.getByText('live, 0 unsent').waitFor();
  return opened;
}

const press = (on: Page, name: string) => on.getByRole('button', { name }).click();
const shows = (on: Page, ...values: string[]) => eventually(async () => {
  const found = await on.locator('input').evaluateAll((inputs) => inputs.map((input) => (input as HTMLInputElement).value));
  return JSON.stringify(found) === JSON.stringify(values);
});

test('the plain page: two devices, one of them offline and closed meanwhile', async () => {
  const [phone, laptop] = [await device('plain'), await device('plain')];
  await press(phone, 'New order');
  await shows(laptop, 'Chairs', '4');
  await press(phone, 'Go offline');
  await phone.locator('[name=title]').fill('Oak chairs');
  await phone.getByText('offline, 1 unsent').waitFor();
  await laptop.locator('[name=quantity]').fill('6');
  await laptop.getByText('live, 0 unsent').waitFor();
  await phone.reload();
  for (const on of [phone, laptop]) await shows(on, 'Oak chairs', '6');
  await phone.getByText('live, 0 unsent').waitFor();
});

test('with React, beside the plain page: a conflict is for the user to decide', async () => {
  await tsc(join(folder, 'orders'), '-p', '.');
  const [react, plain] = [await device('react'), await device('plain')];
  await shows(react, 'Oak chairs', '6');
  await press(react, 'Go offline');
  await react.locator('[name=quantity]').fill('7');
  await plain.locator('[name=quantity]').fill('8');
  await plain.getByText('live, 0 unsent').waitFor();
  await press(react, 'Go online');
  await react.getByText('Another device has changed this to 8 Oak chairs.').waitFor();
  await shows(react, 'Oak chairs', '7');
  await press(react, 'Keep mine');
  for (const on of [react, plain]) await shows(on, 'Oak chairs', '7');
  expect(await react.getByText('Another device').count()).toBe(0);
});

test('the backend serves no other file of its folder', async () => {
  for (const path of ['jwt-secret', 'server.mjs', 'node_modules/draftwire/dist/%2e%2e/package.json']) {
    expect((await fetch(`http://127.0.0.1:${ports.plain}/${path}`)).status).toBe(404);
  }
});
