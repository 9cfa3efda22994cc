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

const visible = () => globalThis.document?.visibilityState !== 'hidden';

/** What this platform has. */
export function environmentOf(given: Partial<Environment> = {}): Environment {
  return {
    // Looked up when used: a page may replace them, and Node 20 has no WebSocket.
    WebSocket: given.WebSocket ?? globalThis.WebSocket,
    fetch: given.fetch ?? ((...request) => globalThis.fetch(...request)),
    isVisible: given.isVisible ?? visible,
    onWake: given.onWake ?? onWake,
  };
}

function onWake(listener: () => void): () => void {
  const ending = new AbortController();
  const { document, navigator } = globalThis;
  const on = (target: EventTarget | undefined, type: string) => target?.addEventListener?.(type, listener, ending);
  on(globalThis as unknown as EventTarget, 'online');
  on(globalThis as unknown as EventTarget, 'pageshow');
  on(document, 'visibilitychange');
  on(document, 'resume');
  on((navigator as { connection?: EventTarget } | undefined)?.connection, 'change');
  return () => ending.abort();
}
