// Real nodes of Draftwire, each a process with a folder of its own, and tokens that they take.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// Not by `new URL(…, import.meta.url)`: Vite takes that for a file of a page, and reads it.
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../../..');
export const SECRET = 'the secret of the tests, 32 bytes or more';

/** DRAFTWIRE_BIN, or what `cargo build` has made. */
function binary(): string {
  const target = process.env['CARGO_TARGET_DIR'] ?? join(ROOT, 'target');
  const built = ['debug', 'release'].map((profile) => join(target, profile, 'draftwire'));
  const found = process.env['DRAFTWIRE_BIN'] ?? built.find((path) => existsSync(path));
  if (!found) throw new Error('no binary of Draftwire: run `cargo build`, or set DRAFTWIRE_BIN');
  return resolve(found);
}

/** An embedded node; it can be killed, and started again on the same ports. */
export class Node {
  readonly #folder: string;
  readonly #settings: Record<string, string>;
  #process: ChildProcess | undefined;
  /** Any free ones at the first start. */
  #address = '127.0.0.1:0';
  #metricsAddress = '127.0.0.1:0';

  private constructor(folder: string, settings: Record<string, string>) {
    this.#folder = folder;
    this.#settings = settings;
  }

  /** @param settings further settings, by the names of their environment variables; empty ones are not set */
  static async start(settings: Record<string, string> = {}): Promise<Node> {
    const node = new Node(await mkdtemp(join(tmpdir(), 'draftwire-js-')), settings);
    try {
      await node.start();
    } catch (error) {
      await node.remove();
      throw error;
    }
    return node;
  }

  get url(): string {
    return `http://${this.#address}`;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Starts it, with the database in this folder, and waits until it listens. */
  async start(data = 'data'): Promise<void> {
    const settings = {
      DATA_DIR: join(this.#folder, data),
      LISTEN_ADDR: this.#address,
      METRICS_ADDR: this.#metricsAddress,
      JWT_SECRET: SECRET,
      LOG_FORMAT: 'json',
      COMMANDS_PER_SECOND: '10000',
      ...this.#settings,
    };
    // A setting in the developer's shell is none of the test's.
    const env = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== ''));
    const child = spawn(binary(), ['serve'], { cwd: this.#folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    await new Promise<void>((resolve, reject) => {
      const errors: string[] = [];
      child.once('exit', (code) => reject(new Error(`the node ended with ${code} before it listened\n${errors.join('\n')}`)));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        if (!line.startsWith('{')) return errors.push(line);
        const { level, fields = {} } = JSON.parse(line);
        if (level === 'ERROR') console.error(line);
        if (!fields.listen) return;
        this.#address = fields.listen;
        this.#metricsAddress = fields.metrics;
        resolve();
      });
    });
  }

  token(user: string, { scope = 'subscribe:* publish:*', ttlSeconds = 3600 } = {}): string {
    return signed({ sub: user, scope, exp: Math.floor(Date.now() / 1000) + ttlSeconds });
  }

  /** A token of one topic; for everybody where no user is named. */
  topicToken(topic: string, { user, scope, ttlSeconds = 3600 }: { user?: string; scope?: string; ttlSeconds?: number } = {}): string {
    return signed({ topic, sub: user, scope, exp: Math.floor(Date.now() / 1000) + ttlSeconds });
  }

  /** A request of a backend. */
  async api(method: string, path: string, token: string, body?: unknown): Promise<any> {
    const response = await fetch(new URL(path, this.url), {
      method,
      headers: { Authorization: `Bearer ${token}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  /** The value of a metric with its labels, zero when it is not there yet. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://${this.#metricsAddress}/metrics`)).text();
    const found = text.split('\n').find((line) => line.startsWith(`${name} `));
    return Number(found?.slice(name.length) ?? 0);
  }

  /** Ends it at once, without a chance to answer what it is doing. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Ends it as an operator does: it drains, and clients are asked to move. */
  terminate(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** Ends it, and removes its folder. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}

function signed(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
