// JSON merge patches (RFC 7396): what DRAFT_UPDATE sends and DRAFT_UPDATED carries.

/** Applies a merge patch and returns the result. Neither argument is changed. */
export function applyPatch(target, patch) {
  if (!isObject(patch)) return patch;
  const result = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else setOwn(result, key, applyPatch(ownValue(result, key), value));
  }
  return result;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function ownValue(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

// A plain assignment to `__proto__` would change the prototype instead of adding a member.
function setOwn(object, key, value) {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}
