import type { WaitOptions } from './api.js';
import { DraftwireError } from './errors.js';

/** A promise of which nobody has to handle the rejection: who does not wait does not care. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** The promise, or what ends the waiting for it. What is waited for goes on. */
export function waitFor<T>(promise: Promise<T>, { signal, timeoutMs }: WaitOptions = {}): Promise<T> {
  if (!signal && timeoutMs === undefined) return promise;
  return quiet(new Promise<T>((resolve, reject) => {
    const abort = () => end(() => reject(new DraftwireError('aborted', 'the wait was aborted', undefined, { cause: signal?.reason })));
    const timer = timeoutMs === undefined
      ? undefined
      : setTimeout(() => end(() => reject(new DraftwireError('timeout', `no result within ${timeoutMs} ms`))), timeoutMs);
    const end = (conclude: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      conclude();
    };
    promise.then((value) => end(() => resolve(value)), (error) => end(() => reject(error)));
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  }));
}

/** A promise that is settled from outside. */
export class Deferred<T> {
  resolve!: (value: T) => void;
  reject!: (error: DraftwireError) => void;
  readonly promise = quiet(new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  }));
}
