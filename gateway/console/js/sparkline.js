// @ts-check
// A line of the last hour, without axes: whether something goes up or down.

const [WIDTH, HEIGHT] = [120, 28];
const SVG = 'http://www.w3.org/2000/svg';

/** What can be drawn: one line that is moved, not drawn anew as an element. */
export class Sparkline {
  constructor() {
    this.root = document.createElementNS(SVG, 'svg');
    this.root.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.root.setAttribute('preserveAspectRatio', 'none');
    this.root.setAttribute('class', 'sparkline');
    this.root.setAttribute('aria-hidden', 'true');
    this.line = document.createElementNS(SVG, 'path');
    this.root.append(this.line);
  }

  /**
   * @param {readonly number[]} values From the oldest on.
   */
  draw(values) {
    this.line.setAttribute('d', path(values));
  }
}

/**
 * @param {readonly number[]} values
 * @returns {string}
 */
export function path(values) {
  if (values.length < 2) return '';
  const most = Math.max(...values);
  const x = (/** @type {number} */ place) => ((place / (values.length - 1)) * WIDTH).toFixed(1);
  // From zero on: a line that fills its height exaggerates.
  const y = (/** @type {number} */ value) => (HEIGHT - 1 - (most > 0 ? value / most : 0) * (HEIGHT - 2)).toFixed(1);
  return values.map((value, place) => `${place === 0 ? 'M' : 'L'}${x(place)} ${y(value)}`).join('');
}
