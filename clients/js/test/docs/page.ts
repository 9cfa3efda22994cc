// The documentation's examples, and a project that has the package as it is built now.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/** How long `project` may take, beside whatever else the machine does; for `beforeAll`. */
export const INSTALL_MS = 180_000;

/** @param name of a file in `docs/` */
export function page(name: string): Promise<string> {
  return readFile(join(PACKAGE, '../../docs', name), 'utf8');
}

/** The files that a page shows, each after a line with its name. */
export function filesOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$/gms)].map(([, name, content]) => [name!, content!]));
}

/** Makes a temporary folder where `draftwire`, React, Vite and TypeScript are installed. */
export async function project(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'draftwire-docs-'));
  const modules = join(folder, 'node_modules');
  // In a folder of its own: other tests build into `dist` meanwhile.
  const installed = join(modules, 'draftwire');
  await mkdir(installed, { recursive: true });
  await copyFile(join(PACKAGE, 'package.json'), join(installed, 'package.json'));
  await tsc(PACKAGE, '-p', 'tsconfig.build.json', '--outDir', join(installed, 'dist'));
  for (const name of ['idb', 'react', 'react-dom', 'vite', '@vitejs/plugin-react', '@types/react', '@types/react-dom']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(PACKAGE, 'node_modules', name), join(modules, name));
  }
  return folder;
}

/** Runs the compiler; rejects with what it found. */
export async function tsc(cwd: string, ...options: string[]): Promise<void> {
  try {
    await promisify(execFile)(join(PACKAGE, 'node_modules/.bin/tsc'), options, { cwd });
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout, { cause: error });
  }
}
