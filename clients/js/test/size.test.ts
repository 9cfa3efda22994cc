// What an application pays for the core, as a bundler makes it.

import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { fileURLToPath } from 'node:url';

/** Gzipped. The connection, topics, publishing and broadcasts, with what is unsent in memory. */
const BYTES_MAX = 9_216;

/**
 * The code that is loaded at first. Event streams are loaded where WebSockets are blocked; what sends published events,
 * with the first of them.
 */
async function bundled(entry: string): Promise<number> {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL(`../src/${entry}`, import.meta.url))],
    outdir: 'out',
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    metafile: true,
  });
  const outputs = new Map(Object.entries(metafile.outputs));
  const loaded = new Set<string>();
  const load = (path: string) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { kind, path: imported } of outputs.get(path)!.imports) if (kind === 'import-statement') load(imported);
  };
  load([...outputs].find(([, { entryPoint }]) => entryPoint?.endsWith(entry))![0]);
  const texts = outputFiles.filter(({ path }) => [...loaded].some((name) => path.endsWith(name))).map(({ text }) => text);
  return gzipSync(texts.join(''), { level: 9 }).length;
}

test('the core is below its limit', async () => {
  const bytes = await bundled('index.ts');
  console.log(`the core has ${bytes} bytes, gzipped`);
  expect(bytes).toBeGreaterThan(1_000);
  expect(bytes).toBeLessThan(BYTES_MAX);
});
