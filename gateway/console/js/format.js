// @ts-check
// Numbers as people read them. Pure.

/** @param {number} value @param {number} digits */
const fixed = (value, digits) => value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** A whole number. @param {number} value */
export const count = (value) => Math.round(value).toLocaleString('en');

/** How often in a second. @param {number} value */
export const rate = (value) => (value >= 100 || value === 0 ? count(value) : fixed(value, 1));

/** Milliseconds. @param {number} value */
export function millis(value) {
  if (value >= 1000 && (value >= 10_000 || value % 1000 === 0)) return `${fixed(value / 1000, value % 1000 === 0 ? 0 : 1)} s`;
  if (value >= 100) return `${count(value)} ms`;
  return `${fixed(value, value >= 10 ? 1 : 2)} ms`;
}

/** A share of 0 to 1. @param {number} value */
export const percent = (value) => `${fixed(value * 100, value > 0 && value < 0.1 ? 1 : 0)} %`;

/** @param {number} value */
export function bytes(value) {
  let [rest, unit] = [value, 'B'];
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (rest < 1024) break;
    [rest, unit] = [rest / 1024, next];
  }
  return `${fixed(rest, unit === 'B' || rest >= 100 ? 0 : 1)} ${unit}`;
}

/** How long something takes or has lasted, in milliseconds. @param {number} value */
export function span(value) {
  const seconds = Math.max(0, Math.floor(value / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

/** A moment, Unix milliseconds. @param {number} value */
export const moment = (value) => new Date(value).toLocaleString('en-GB', { dateStyle: 'short', timeStyle: 'medium' });
