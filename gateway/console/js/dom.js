// @ts-check
// Elements. Text is only ever set as text: names of users and reasons come from outside.

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | ((event: Event) => void) | undefined>} Attributes */

/**
 * A new element. Attributes that begin with `on` are listeners; those that are false or undefined are left out.
 *
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? '' : String(value));
  }
  made.append(...kept(children));
  return made;
}

/**
 * Replaces what an element holds.
 *
 * @param {Element} root
 * @param {...(Child | Child[])} children
 */
export function fill(root, ...children) {
  root.replaceChildren(...kept(children));
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function kept(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * The element of the page that has a role.
 *
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} role
 * @returns {Kind}
 */
export function part(role) {
  return /** @type {Kind} */ (document.querySelector(`[data-role="${role}"]`));
}

/**
 * Sets a text. One that is there already stays, so that it is not read aloud again.
 *
 * @param {Element} root
 * @param {string} text
 */
export function say(root, text) {
  if (root.textContent !== text) root.textContent = text;
}

/**
 * A table whose rows are told apart by keys: a row that stays keeps its element, and with it focus and selection.
 */
export class Table {
  /**
   * @param {string} caption
   * @param {{ title: string, number?: boolean }[]} columns
   * @param {string} empty What stands in it without rows.
   */
  constructor(caption, columns, empty) {
    this.columns = columns;
    this.body = element('tbody');
    this.empty = element('p', { class: 'note' }, empty);
    const heads = columns.map(({ title, number }) =>
      element('th', { scope: 'col', class: number ? 'number' : undefined }, title),
    );
    const table = element('table', {}, element('caption', {}, caption), element('thead', {}, element('tr', {}, heads)), this.body);
    this.scroll = element('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption }, table);
    this.root = element('div', {}, this.scroll, this.empty);
    /** @type {Map<string, HTMLTableRowElement>} */
    this.rows = new Map();
    this.show([]);
  }

  /**
   * Shows these rows in this order.
   *
   * @param {{ key: string, cells: Child[], state?: string | undefined }[]} rows
   */
  show(rows) {
    const shown = new Map();
    for (const [place, { key, cells, state }] of rows.entries()) {
      const row = this.rows.get(key) ?? element('tr', { 'data-key': key });
      if (state) row.dataset['state'] = state;
      else delete row.dataset['state'];
      this.#fill(row, cells);
      if (this.body.children[place] !== row) this.body.insertBefore(row, this.body.children[place] ?? null);
      shown.set(key, row);
    }
    for (const [key, row] of this.rows) if (!shown.has(key)) row.remove();
    this.rows = shown;
    this.empty.hidden = rows.length > 0;
    this.scroll.hidden = rows.length === 0;
  }

  /**
   * @param {HTMLTableRowElement} row
   * @param {Child[]} cells
   */
  #fill(row, cells) {
    for (const [place, child] of cells.entries()) {
      let cell = row.children[place];
      if (!cell) {
        const { title, number } = this.columns[place] ?? { title: '' };
        cell = element(place === 0 ? 'th' : 'td', {
          scope: place === 0 ? 'row' : undefined,
          class: number ? 'number' : undefined,
          'data-title': title,
        });
        row.append(cell);
      }
      if (child instanceof Node) {
        if (!cell.firstChild?.isEqualNode(child)) fill(cell, child);
      } else say(cell, child === null || child === undefined || child === false ? '' : String(child));
    }
  }
}
