import type { Unsubscribe } from './api.js';

/**
 * Functions of the application that are called when something happens. One that throws keeps nobody else from being
 * called. One that is added or removed during a call is, from that moment on, in or out for the next call; a removed
 * one is not called any more in this one either.
 */
export class Listeners<Arguments extends unknown[] = []> {
  readonly #functions = new Map<object, (...values: Arguments) => void>();
  readonly #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  add(listener: (...values: Arguments) => void): Unsubscribe {
    // The same function added twice is called twice, as two subscriptions that end each for itself.
    const key = {};
    this.#functions.set(key, listener);
    return () => {
      this.#functions.delete(key);
    };
  }

  get size(): number {
    return this.#functions.size;
  }

  call(...values: Arguments): void {
    for (const [key, listener] of [...this.#functions]) {
      if (!this.#functions.has(key)) continue;
      try {
        listener(...values);
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  clear(): void {
    this.#functions.clear();
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
