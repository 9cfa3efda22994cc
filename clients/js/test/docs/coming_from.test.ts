// docs/coming-from.md: the types of Draftwire's side, each example with the clients that the page begins with.

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { INSTALL_MS, page, project, tsc } from './page.js';

let folder: string;
beforeAll(async () => {
  folder = await project();
}, INSTALL_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the examples are right', async () => {
  const [clients, ...examples] = [...(await page('coming-from.md')).matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!);
  expect(examples.length).toBe(4);
  const files = examples.map((_, i) => `example-${i + 1}.ts`);
  for (const [i, file] of files.entries()) await writeFile(join(folder, file), `${clients}\n${examples[i]}`);
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, types: [], target: 'ES2022', lib: ['ES2022', 'DOM'], module: 'NodeNext', moduleResolution: 'NodeNext' },
    files,
  }));
  await tsc(folder, '-p', '.');
});

test('every section that the page points to is there', async () => {
  const text = await page('coming-from.md');
  const anchors = [...text.matchAll(/^## (.*)$/gm)].map(([, title]) => title!.toLowerCase().replace(/[^\w\s-]/g, '').replaceAll(' ', '-'));
  const links = [...text.matchAll(/\]\(#([\w-]+)\)/g)].map(([, anchor]) => anchor!);
  expect(links.length).toBeGreaterThan(3);
  expect(links.filter((link) => !anchors.includes(link))).toEqual([]);
});
