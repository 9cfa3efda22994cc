// What the client needs of the platform. Browsers, workers, Bun, Deno and Node 22 have all of it.

/** The part of the WHATWG WebSocket that is used; the package `ws` has it, too. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export interface Environment {
  WebSocket: new (url: string, protocols: string[]) => WebSocketLike;
  fetch: typeof fetch;
  /**
   * Calls the listener whenever the device may have slept, come to the front or changed its network, and returns
   * how to end that. In browsers: `visibilitychange`, `pageshow`, `resume`, `online` and changes of
   * `navigator.connection`. In React Native: changes of `AppState`.
   */
  onWake: (listener: () => void) => () => void;
  /** Whether somebody looks at it: then a dead connection is noticed within 20 s. True where there is no page. */
  isVisible: () => boolean;
}

/** What this platform has, unless it is given. */
export function environmentOf(given: Partial<Environment> = {}): Environment {
  return {
    // Node 20 has none.
    WebSocket: globalThis.WebSocket,
    // Looked up when used: a page may replace it.
    fetch: (...request) => globalThis.fetch(...request),
    isVisible: () => globalThis.document?.visibilityState !== 'hidden',
    onWake,
    ...given,
  };
}

function onWake(listener: () => void): () => void {
  const ending = new AbortController();
  const { document, navigator } = globalThis;
  const on = (target: unknown, ...types: string[]) => {
    for (const type of types) (target as EventTarget | undefined)?.addEventListener?.(type, listener, ending);
  };
  on(globalThis, 'online', 'pageshow');
  on(document, 'visibilitychange', 'resume');
  on((navigator as { connection?: EventTarget } | undefined)?.connection, 'change');
  return () => ending.abort();
}
