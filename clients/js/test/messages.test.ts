import { expect, test } from 'vitest';
import { messagesSource } from './support/messages.js';

test('src/messages.ts is what docs/schemas says; if not, run `npm run messages`', async () => {
  await expect(await messagesSource()).toMatchFileSnapshot('../src/messages.ts');
});
