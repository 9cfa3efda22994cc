// Merge patches, by properties.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyPatch, composePatches, overlap, splitPatch, touchedFields, type JsonObject } from '../src/drafts/merge.js';
import { equal, toJson } from '../src/json.js';

const key = fc.constantFrom('a', 'b', 'c/d', 'e~f', '__proto__', 'constructor');
/** No null: content never has one, because a merge patch cannot write it. */
const content: fc.Arbitrary<JsonObject> = fc.letrec<{ value: unknown; object: JsonObject }>((tie) => ({
  value: fc.oneof({ maxDepth: 3 }, fc.integer({ min: 0, max: 2 }), fc.constantFrom('x', 'y'), fc.array(fc.integer({ max: 2 }), { maxLength: 2 }), tie('object')),
  object: fc.dictionary(key, tie('value'), { maxKeys: 3 }),
})).object;
const patch: fc.Arbitrary<JsonObject> = fc.letrec<{ value: unknown; object: JsonObject }>((tie) => ({
  value: fc.oneof({ maxDepth: 3 }, fc.constant(null), fc.integer({ min: 0, max: 2 }), fc.constantFrom('x', 'y'), tie('object')),
  object: fc.dictionary(key, tie('value'), { maxKeys: 3 }),
})).object;

const holds = (property: fc.IProperty<any>) => fc.assert(property, { numRuns: 1_000 });
const same = (a: unknown, b: unknown) => expect(toJson(a)).toEqual(toJson(b));

describe('a merge patch', () => {
  test('does what the examples of RFC 7396 say', () => {
    const examples: [object, object, object][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
      [{ a: 'b' }, { a: null }, {}],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
      [{ a: 'foo' }, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ];
    for (const [target, by, result] of examples) expect(applyPatch(target, by as JsonObject)).toEqual(result);
  });

  test('done twice is done once, and touches nothing the second time', () => {
    holds(fc.property(content, patch, (before, by) => {
      const after = applyPatch(before, by);
      same(applyPatch(after, by), after);
      expect(touchedFields(after, by)).toEqual([]);
    }));
  });

  test('touches nothing exactly where it changes nothing', () => {
    holds(fc.property(content, patch, (before, by) => {
      expect(touchedFields(before, by).length === 0).toBe(equal(applyPatch(before, by), before));
    }));
  });

  test('after another one is one patch, where there is one', () => {
    holds(fc.property(content, patch, patch, (before, first, second) => {
      const one = composePatches(first, second);
      if (one) same(applyPatch(before, one), applyPatch(applyPatch(before, first), second));
    }));
  });

  test('that does not overlap with what was changed before leaves that as it is', () => {
    holds(fc.property(content, patch, patch, (before, first, second) => {
      const changed = touchedFields(before, first);
      const { inside } = splitPatch(first, changed);
      const between = applyPatch(before, first);
      if (changed.length === 0 || overlap(touchedFields(between, second), changed)) return;
      expect(touchedFields(applyPatch(between, second), inside ?? {})).toEqual([]);
    }));
  });

  test('is the sum of its parts, of which one is about the fields', () => {
    holds(fc.property(content, patch, fc.nat(), fc.nat(), (before, by, skip, take) => {
      const fields = touchedFields(before, by).slice(skip % 3, (skip % 3) + 1 + (take % 2));
      if (fields.length === 0) return;
      const { inside, outside } = splitPatch(by, fields);
      const after = applyPatch(applyPatch(before, outside ?? {}), inside ?? {});
      same(after, applyPatch(before, by));
      expect(overlap(touchedFields(applyPatch(before, inside ?? {}), outside ?? {}), fields)).toBe(false);
    }));
  });
});

test('JSON values are well-formed, frozen, and no longer those that they were made from', () => {
  holds(fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, text) => {
    const original = { value, [text]: text };
    const copy = toJson(original);
    expect(Object.isFrozen(copy)).toBe(true);
    expect(JSON.stringify(copy)).not.toMatch(/[^\\](\\\\)*\\ud[89a-f]/);
    if (!/\p{Surrogate}/u.test(text)) expect(copy).toEqual(JSON.parse(JSON.stringify(original)));
  }));
});
