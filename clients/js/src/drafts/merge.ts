// Merge patches (RFC 7396) and the fields that they touch, by the rules of the server (docs/protocol.md, "Merging and
// conflicts"). Pure; no argument is changed.

import { equal, isObject } from '../json.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Applies a merge patch. */
export function applyPatch(target: unknown, patch: JsonObject): JsonObject {
  const result: Record<string, unknown> = isObject(target) ? copy(target) : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else set(result, key, isObject(value) ? applyPatch(own(result, key), value) : value);
  }
  return Object.freeze(result);
}

/** JSON pointers (RFC 6901) of the fields whose value a patch changes. */
export function touchedFields(content: unknown, patch: JsonObject, path = ''): string[] {
  return Object.entries(patch).flatMap(([key, wanted]) => {
    const pointer = `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const existing = own(content, key);
    if (wanted === null) return existing === undefined ? [] : [pointer];
    if (!isObject(wanted)) return equal(existing, wanted) ? [] : [pointer];
    if (isObject(existing)) return touchedFields(existing, wanted, pointer);
    if (existing !== undefined) return [pointer];
    // Two devices may fill a field that neither had, each a part of it: the parts are what is touched.
    const parts = touchedFields({}, wanted, pointer);
    return parts.length > 0 ? parts : [pointer];
  });
}

/** What a content has at a JSON pointer. */
export function valueAt(content: unknown, pointer: string): unknown {
  const keys = pointer.split('/').slice(1).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  return keys.reduce(own, content);
}

/** Whether one of the fields is, is in, or holds one of the others. */
export function overlap(some: readonly string[], others: readonly string[]): boolean {
  return some.some((one) => others.some((other) => related(one, other)));
}

/** The part of a patch that is about the fields, and the rest; null where there is none. No fields are all fields. */
export function splitPatch(patch: JsonObject, fields: readonly string[]): { inside: JsonObject | null; outside: JsonObject | null } {
  if (fields.length === 0) return { inside: patch, outside: null };
  const [inside, outside] = split(patch, fields, '');
  return { inside, outside };
}

function split(patch: JsonObject, fields: readonly string[], path: string): [JsonObject | null, JsonObject | null] {
  const [inside, outside]: Record<string, unknown>[] = [{}, {}];
  for (const [key, value] of Object.entries(patch)) {
    const pointer = `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (fields.some((field) => field === pointer || pointer.startsWith(`${field}/`))) {
      set(inside!, key, value);
    } else if (!fields.some((field) => field.startsWith(`${pointer}/`))) {
      set(outside!, key, value);
    } else if (isObject(value) && Object.keys(value).length > 0) {
      const parts = split(value, fields, pointer);
      if (parts[0]) set(inside!, key, parts[0]);
      if (parts[1]) set(outside!, key, parts[1]);
    } else {
      // It replaces or removes what holds a field.
      set(inside!, key, value);
    }
  }
  return [orNull(inside!), orNull(outside!)];
}

/**
 * One patch that does what the two do one after the other, whatever they are applied to. Null where there is none: a
 * merge patch cannot replace an object by another one.
 */
export function composePatches(first: JsonObject, second: JsonObject): JsonObject | null {
  const result = copy(first);
  for (const [key, value] of Object.entries(second)) {
    const before = own(result, key);
    if (!isObject(value) || before === undefined) {
      set(result, key, value);
    } else if (isObject(before)) {
      const inner = composePatches(before, value);
      if (!inner) return null;
      set(result, key, inner);
    } else {
      return null;
    }
  }
  return Object.freeze(result);
}

function related(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}

function own(object: unknown, key: string): unknown {
  return isObject(object) && Object.hasOwn(object, key) ? object[key] : undefined;
}

function copy(object: JsonObject): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object));
}

/** A plain assignment to `__proto__` would change the prototype instead of adding a member. */
function set(object: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

function orNull(object: JsonObject): JsonObject | null {
  return Object.keys(object).length > 0 ? Object.freeze(object) : null;
}
