import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.{ts,tsx}'],
    // A test that waits for a real process or a real browser; what is faster does not notice.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
