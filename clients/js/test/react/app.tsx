// What the tests of `draftwire/react` share: applications on a real node, each with a client of its own.

import { act, cleanup, render } from '@testing-library/react';
import { StrictMode, type ReactNode } from 'react';
import type { Draftwire } from '../../src/index.js';
import { DraftwireProvider } from '../../src/react/index.js';

/** What React complains of; empty after a clean test. */
export const complaints: unknown[][] = [];
console.error = (...complaint: unknown[]) => complaints.push(complaint);

const clients: Draftwire[] = [];

/** Closed by `unmountAll`. */
export function kept(client: Draftwire): Draftwire {
  clients.push(client);
  return client;
}

export function inStrictMode(client: Draftwire, children: ReactNode) {
  return <StrictMode><DraftwireProvider client={client}>{children}</DraftwireProvider></StrictMode>;
}

/** Renders in strict mode: every effect runs, is cleaned up, and runs again. */
export function mount(client: Draftwire, children: ReactNode) {
  const { rerender, unmount } = render(inStrictMode(client, children));
  return { unmount, show: (next: ReactNode, other = client) => rerender(inStrictMode(other, next)) };
}

export function unmountAll(): void {
  cleanup();
  for (const client of clients.splice(0)) client.close();
}

/** Waits as `eventually` does, and lets React render what has changed meanwhile. */
export async function shown<T>(look: () => T | false | undefined | null): Promise<T> {
  for (;;) {
    const value = look();
    if (value) return value;
    await act(() => new Promise((resolve) => setTimeout(resolve, 5)));
  }
}
