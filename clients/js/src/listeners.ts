import type { Unsubscribe } from './api.js';

/**
 * Functions of the application that are called when something happens. One that throws keeps nobody else from being
 * called. One that is added or removed during a call is, from that moment on, in or out for the next call; a removed
 * one is not called any more in this one either.
 */
export interface Listeners<Arguments extends unknown[] = []> {
  add(listener: (...values: Arguments) => void): Unsubscribe;
  readonly size: number;
  call(...values: Arguments): void;
  clear(): void;
}

export function newListeners<Arguments extends unknown[] = []>(onError: (error: unknown) => void): Listeners<Arguments> {
  /** Each in an object of its own: the same function added twice is called twice, and each ends for itself. */
  const entries = new Set<{ readonly listener: (...values: Arguments) => void }>();
  return {
    add(listener) {
      const entry = { listener };
      entries.add(entry);
      return () => {
        entries.delete(entry);
      };
    },
    get size() {
      return entries.size;
    },
    call(...values) {
      for (const entry of [...entries]) {
        if (!entries.has(entry)) continue;
        try {
          entry.listener(...values);
        } catch (error) {
          onError(error);
        }
      }
    },
    clear: () => entries.clear(),
  };
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
      const listeners = byType.get(type) ?? newListeners(onError);
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
