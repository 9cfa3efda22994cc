import { expect, test } from 'vitest';
import { DraftwireError } from '../src/index.js';

test('an error keeps its code, its payload and its cause', () => {
  const cause = new Error('below');
  const error = new DraftwireError('storage', 'the disk is full', { bytes: 1 }, { cause });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ name: 'DraftwireError', code: 'storage', payload: { bytes: 1 }, cause });
});
