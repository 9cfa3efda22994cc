// The script of the demo page: gateway/demo/src with this package, in one file that goes into the server's binary.

import { build } from 'esbuild';
import { join } from 'node:path';
import { ROOT } from './node.js';

/** Where it is committed, so that `cargo run` needs no Node. */
export const DEMO_SCRIPT = join(ROOT, 'gateway/demo/app.js');

const BANNER = '// Made by `npm run demo` in clients/js, from gateway/demo/src and clients/js/src. Do not edit.';

/** Not minified: who looks into the demo shall see something, and changes of it merge. */
export async function demoScript(): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['gateway/demo/src/app.ts'],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    banner: { js: BANNER },
    write: false,
  });
  return outputFiles[0]!.text;
}
