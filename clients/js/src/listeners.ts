import type { Unsubscribe } from './api.js';

/**
 * Functions of the application that are called when something happens. One that throws keeps nobody else from being
 * called. One that is added or removed during a call is, from that moment on, in or out for the next call; a removed
 * one is not called any more in this one either.
 */
export class Listeners<Arguments extends unknown[] = []> {
  /** Each in an object of its own: the same function added twice is called twice, and each ends for itself. */
  readonly #entries = new Set<{ readonly listener: (...values: Arguments) => void }>();
  readonly #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  add(listener: (...values: Arguments) => void): Unsubscribe {
    const entry = { listener };
    this.#entries.add(entry);
    return () => {
      this.#entries.delete(entry);
    };
  }

  get size(): number {
    return this.#entries.size;
  }

  call(...values: Arguments): void {
    for (const entry of [...this.#entries]) {
      if (!this.#entries.has(entry)) continue;
      try {
        entry.listener(...values);
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  clear(): void {
    this.#entries.clear();
  }
}

/** Handlers of events or signals by their type. Those of `*` handle all of them, after those of the type. */
export interface Handlers {
  add(type: string, handler: (value: any) => void): Unsubscribe;
  call(value: { readonly type: string }): void;
  clear(): void;
}

export function newHandlers(onError: (error: unknown) => void): Handlers {
  const byType = new Map<string, Listeners<[unknown]>>();
  return {
    add(type, handler) {
      const listeners = byType.get(type) ?? new Listeners(onError);
      byType.set(type, listeners);
      return listeners.add(handler);
    },
    call(value) {
      byType.get(value.type)?.call(value);
      byType.get('*')?.call(value);
    },
    clear() {
      for (const listeners of byType.values()) listeners.clear();
    },
  };
}
