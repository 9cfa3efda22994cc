// The examples of the documentation: their types are checked, and they run as they stand there.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { expect } from 'vitest';
import { test } from './fixture.js';
import { ROOT, SECRET } from '../support/node.js';

const PACKAGE = resolve(import.meta.dirname, '../..');

/** Where the program of a page seems to stand. */
const PROGRAM = join(PACKAGE, 'src/server/example.ts');

/** Compiles a program that stands beside the entry `draftwire/server`, with what it imports, into a folder. */
function compile(source: string, folder: string): string[] {
  const { config } = ts.readConfigFile(join(PACKAGE, 'tsconfig.json'), (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, PACKAGE);
  Object.assign(options, {
    outDir: folder,
    rootDir: join(PACKAGE, 'src'),
    // An example uses a part of what it defines.
    noUnusedLocals: false,
  });
  const host = ts.createCompilerHost(options);
  const [read, exists] = [host.getSourceFile, host.fileExists];
  host.getSourceFile = (path, target, ...more) =>
    path === PROGRAM ? ts.createSourceFile(path, source, target) : read(path, target, ...more);
  host.fileExists = (path) => path === PROGRAM || exists(path);
  const program = ts.createProgram([PROGRAM], options, host);
  const found = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  return found.map(({ messageText, file, start }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line + 1 : 0;
    return `${file?.fileName}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}

test('the examples of docs/backends.md run', async ({ start }) => {
  const page = readFileSync(join(ROOT, 'docs/backends.md'), 'utf8');
  const examples = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, example]) => example);
  expect(examples.length).toBeGreaterThanOrEqual(5);
  const node = await start();
  const source = examples
    .join('\n')
    .replaceAll(`'draftwire/server'`, `'./index.js'`)
    .replaceAll('http://127.0.0.1:8080', node.url);
  const folder = mkdtempSync(join(tmpdir(), 'draftwire-docs-'));
  try {
    expect(compile(source, folder)).toEqual([]);
    const env = { ...process.env, JWT_SECRET: SECRET };
    const { stdout } = await promisify(execFile)(process.execPath, ['server/example.js'], { cwd: folder, env });
    expect(stdout).toBe('3000 events, up to number 3000\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
