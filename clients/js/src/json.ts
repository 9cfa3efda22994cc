// JSON values: what may be sent, and what equals what.

/** 128 random bits as text. Not `crypto.randomUUID`, which exists on secure origins only. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * A copy of a value as JSON has it, frozen: later changes of the original do not reach it. Half of a surrogate pair,
 * which JavaScript leaves where it cuts a text in the middle of an emoji, and no server takes, becomes U+FFFD.
 * @throws TypeError for what JSON does not have: a number that is none, a BigInt, a cycle
 */
export function toJson<T>(value: T): T {
  const text = JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'number' && !Number.isFinite(inner)) throw new TypeError(`${inner} is no JSON number`);
    return inner;
  });
  if (text === undefined) throw new TypeError(`${typeof value} is no JSON value`);
  // JSON.stringify escapes half pairs, and nothing else in this range; a backslash of the text itself is doubled.
  return parse(text.replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, '$1\uFFFD')) as T;
}

/** As JSON.parse, frozen. `__proto__` becomes an ordinary member. */
export function parse(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) => Object.freeze(value));
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether two JSON values are equal; the order of keys does not matter. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((value, i) => equal(value, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}
