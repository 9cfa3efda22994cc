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
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort!: () => void;
  const waiting = new Promise<T>((resolve, reject) => {
    promise.then(resolve, reject);
    abort = () => reject(new DraftwireError('aborted', undefined, undefined, { cause: signal?.reason }));
    if (timeoutMs !== undefined) timer = setTimeout(() => reject(new DraftwireError('timeout', `no result within ${timeoutMs} ms`)), timeoutMs);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
  });
  return quiet(waiting.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
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
