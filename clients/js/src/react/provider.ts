import { createContext, createElement, useContext, type ReactElement, type ReactNode } from 'react';
import type { Draftwire } from '../draftwire.js';

const ClientContext = createContext<Draftwire | null>(null);

/**
 * Gives a client to all hooks below it. It neither opens nor closes the client: make the client where a user signs in,
 * outside of components, and close it where they sign out. With another client every hook moves over to that one.
 */
export function DraftwireProvider({ client, children }: { client: Draftwire; children?: ReactNode }): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/**
 * The client of the nearest `DraftwireProvider`.
 * @throws Error where there is none
 */
export function useDraftwire(): Draftwire {
  const client = useContext(ClientContext);
  if (!client) throw new Error('no Draftwire client: put a <DraftwireProvider client={…}> around this component');
  return client;
}
