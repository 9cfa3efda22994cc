// Real nodes for the tests of `draftwire/server`, each a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readFileSync, closeSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../../../..');
export const SECRET = 'the secret of the nodes in these tests';

/** How long the tests wait for anything, in milliseconds. */
export const DEADLINE_MS = 50_000;

/** The server: `DRAFTWIRE_BIN`, or what Cargo has built. */
function binary(): string {
  const target = process.env['CARGO_TARGET_DIR'] ?? join(ROOT, 'target');
  const path = resolve(process.env['DRAFTWIRE_BIN'] ?? join(target, 'debug/draftwire'));
  if (!existsSync(path)) throw new Error(`${path} is missing: cargo build --bin draftwire, or set DRAFTWIRE_BIN`);
  return path;
}

/** A port that nobody uses just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  return address.port;
}

/** Waits for a condition that something outside of the test brings about. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** An embedded node in a folder; it can be killed, and started again on the same port. */
export class Node {
  readonly folder = mkdtempSync(join(tmpdir(), 'draftwire-'));
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    readonly metricsPort: number,
    readonly settings: Record<string, string>,
  ) {}

  /** Starts a node on free ports. */
  static async start(settings: Record<string, string> = {}): Promise<Node> {
    const node = new Node(await freePort(), await freePort(), settings);
    try {
      await node.start();
    } catch (error) {
      await node.remove();
      throw error;
    }
    return node;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, and waits until it is ready. */
  async start(data = 'data'): Promise<void> {
    const settings = {
      DATA_DIR: join(this.folder, data),
      LISTEN_ADDR: `127.0.0.1:${this.port}`,
      METRICS_ADDR: `127.0.0.1:${this.metricsPort}`,
      JWT_SECRET: SECRET,
      ...this.settings,
    };
    // A setting in the developer's shell is none of the test's.
    const env = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== ''));
    const log = openSync(join(this.folder, 'log'), 'a');
    const child = spawn(binary(), ['serve'], { cwd: this.folder, env, stdio: ['ignore', log, log] });
    this.#process = child;
    closeSync(log);
    await until('the node is ready', async () => {
      if (child.exitCode !== null) throw new Error(readFileSync(join(this.folder, 'log'), 'utf8'));
      const answer = await fetch(`${this.url}/readyz`).catch(() => undefined);
      return answer?.status === 200;
    });
  }

  /** Ends it at once, without a chance to answer what it is doing. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Lets it drain and end. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** The value of a metric with its labels, zero when it is not there yet. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.metricsPort}/metrics`)).text();
    const found = text.split('\n').find((line) => line.startsWith(`${name} `));
    return Number(found?.slice(name.length) ?? 0);
  }

  /** Ends it and removes its folder. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}
