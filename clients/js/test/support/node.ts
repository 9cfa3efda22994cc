// A real node of Draftwire, in a temporary folder and on a free port, and tokens that it takes.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SECRET = 'the secret of the tests, 32 bytes or more';

/** DRAFTWIRE_BIN, or what `cargo build` has made. */
function binary(): string {
  // Not by `new URL(…, import.meta.url)`: Vite takes that for a file of a page, and reads it.
  const target = join(dirname(fileURLToPath(import.meta.url)), '../../../../target');
  const built = ['debug', 'release'].map((profile) => join(target, profile, 'draftwire'));
  const found = process.env.DRAFTWIRE_BIN ?? built.find((path) => existsSync(path));
  if (!found) throw new Error('no binary of Draftwire: run `cargo build`, or set DRAFTWIRE_BIN');
  return found;
}

export class Node {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(url: string, process: ChildProcess, folder: string) {
    this.url = url;
    this.#process = process;
    this.#folder = folder;
  }

  /** @param settings further settings, by the names of their environment variables */
  static async start(settings: Record<string, string> = {}): Promise<Node> {
    const folder = await mkdtemp(join(tmpdir(), 'draftwire-js-'));
    const child = spawn(binary(), ['serve'], {
      env: {
        PATH: process.env.PATH ?? '',
        DATA_DIR: folder,
        LISTEN_ADDR: '127.0.0.1:0',
        METRICS_ADDR: '127.0.0.1:0',
        JWT_SECRET: SECRET,
        LOG_FORMAT: 'json',
        COMMANDS_PER_SECOND: '10000',
        ...settings,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the node ended with ${code} before it listened`)));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        const { level, fields = {} } = JSON.parse(line);
        if (fields.listen) resolve(`http://${fields.listen}`);
        if (level === 'ERROR') console.error(line);
      });
    });
    return new Node(url, child, folder);
  }

  token(user: string, { scope = 'subscribe:* publish:*', ttlSeconds = 3600 } = {}): string {
    return signed({ sub: user, scope, exp: Math.floor(Date.now() / 1000) + ttlSeconds });
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

  /** Ends it as an operator does: clients are asked to move. */
  async terminate(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGTERM');
    await ended;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return rm(this.#folder, { recursive: true, force: true });
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function signed(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
