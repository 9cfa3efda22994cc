import { expect, test } from 'vitest';
import { DEMO_SCRIPT, demoScript } from './support/demo.js';

test('gateway/demo/app.js is what its sources and this package make', async () => {
  await expect(await demoScript()).toMatchFileSnapshot(DEMO_SCRIPT, 'it is out of date: run `npm run demo` in clients/js, and commit gateway/demo/app.js');
});
