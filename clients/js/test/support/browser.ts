// A real Chromium with a profile that outlives it, and a server for its page.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Browser as Connected, type Page, chromium } from 'playwright-core';
import { build } from 'vite';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run',
  '--remote-debugging-port=0', 'about:blank',
];

export class Browser {
  readonly #folder: string;
  readonly #server: Server;
  #process: ChildProcess | null = null;
  #connected: Connected | null = null;

  private constructor(folder: string, server: Server) {
    this.#folder = folder;
    this.#server = server;
  }

  /** @param entry a module of `test/browser` that runs in the page */
  static async start(entry: string): Promise<Browser> {
    const script = await bundled(fileURLToPath(new URL(`../browser/${entry}`, import.meta.url)));
    const server = createServer((request, response) => {
      const isScript = request.url === '/page.js';
      response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
      response.end(isScript ? script : '<!doctype html><title>page</title><script type="module" src="/page.js"></script>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const browser = new Browser(await mkdtemp(join(tmpdir(), 'draftwire-chromium-')), server);
    await browser.open();
    return browser;
  }

  /** Starts Chromium, on what an earlier one has left. */
  async open(): Promise<void> {
    const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
    const child = spawn(path, [`--user-data-dir=${this.#folder}`, ...FLAGS], { detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    const address = await new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`${path} ended with ${code}`)));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        const [, found] = /DevTools listening on (ws:\S+)/.exec(line) ?? [];
        if (found) resolve(found);
      });
    });
    this.#connected = await chromium.connectOverCDP(address);
  }

  async page(): Promise<Page> {
    const page = await this.#connected!.contexts()[0]!.newPage();
    page.on('pageerror', (error) => console.error('in the page:', error));
    await page.goto(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`);
    await page.waitForFunction('globalThis.inPage !== undefined', undefined, { polling: 20 });
    return page;
  }

  /** Ends every process of it at once, as a crash or a loss of power does. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child) return;
    this.#process = null;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    process.kill(-child.pid!, 'SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    this.#server.closeAllConnections();
    this.#server.close();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 10 });
  }
}

async function bundled(entry: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    build: { write: false, minify: false, target: 'es2022', modulePreload: false, rollupOptions: { input: entry, output: { inlineDynamicImports: true } } },
  });
  const { output } = result as Extract<typeof result, { output: unknown }>;
  const chunk = output[0];
  return chunk.code;
}
