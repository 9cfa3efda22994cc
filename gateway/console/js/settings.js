// @ts-check
// Settings: what holds, where it comes from, and changes at run time.

import { Table, element, fill, say } from './dom.js';
import { moment, percent } from './format.js';
import { ask, askJson } from './session.js';

const REFRESH_MS = 5_000;

const TAKES_EFFECT = { restart: 'with a restart', 'at once': 'at once', 'new connections': 'for new connections' };

/** @param {any} setting */
function rollOut({ percent: part, by }) {
  return part === undefined || part === null || part === 100 ? '' : ` for ${percent(part / 100)} by ${by}`;
}

export class Settings {
  static title = 'Settings';

  constructor() {
    this.filter = element('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', oninput: () => this.#show() });
    this.changedOnly = element('input', { type: 'checkbox', onchange: () => this.#show() });
    this.note = element('p', { class: 'note', role: 'status', 'data-role': 'settings-note' });
    this.table = new Table(
      'Settings',
      [{ title: 'Setting' }, { title: 'Value' }, { title: 'From' }, { title: 'Takes effect' }, { title: 'Last change' }, { title: '' }],
      'No setting is so named.',
    );
    this.history = new Table(
      'Changes at run time, the newest first',
      [{ title: 'Version', number: true }, { title: 'Setting' }, { title: 'Value' }, { title: 'Who' }, { title: 'When' }, { title: 'Why' }],
      'Nothing was changed at run time.',
    );
    this.dialog = new ChangeDialog(() => this.#load());
    this.root = element(
      'div',
      { 'data-role': 'settings' },
      element(
        'form',
        { class: 'filter', onsubmit: (event) => event.preventDefault() },
        element('label', {}, 'Find a setting', this.filter),
        element('label', { class: 'check' }, this.changedOnly, ' changed at run time only'),
      ),
      this.note,
      this.table.root,
      element('section', { 'aria-label': 'Changes' }, element('h2', {}, 'Changes'), this.history.root),
      this.dialog.root,
    );
    /** @type {any[]} */
    this.settings = [];
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  enter() {
    void this.#load();
    this.timer = setInterval(() => void this.#load(), REFRESH_MS);
  }

  leave() {
    clearInterval(this.timer);
  }

  async #load() {
    try {
      const [{ settings }, { changes }] = await Promise.all([askJson('v1/admin/settings'), askJson('v1/admin/settings/history?limit=100')]);
      say(this.note, '');
      this.settings = settings;
      this.#show();
      this.history.show(
        changes.map((/** @type {any} */ change) => ({
          key: `change-${change.version}`,
          cells: [
            change.version,
            change.name,
            change.value === null ? 'as the nodes were started' : `${change.value}${rollOut(change)}`,
            change.who,
            moment(change.at),
            change.reason ?? '',
          ],
        })),
      );
    } catch (error) {
      say(this.note, error instanceof Error ? error.message : String(error));
    }
  }

  #show() {
    const wanted = this.filter.value.trim().toUpperCase().replaceAll('-', '_');
    const rows = this.settings.filter(({ name, version }) => name.includes(wanted) && (!this.changedOnly.checked || version > 0));
    this.table.show(
      rows.map((setting) => ({
        key: setting.name,
        state: setting.state === 'applied' || !setting.state ? undefined : 'bad',
        cells: [
          setting.name,
          `${setting.value ?? '(not shown)'}${rollOut(setting)}${setting.problem ? ` (${setting.state}: ${setting.problem})` : ''}`,
          setting.source ?? setting.state,
          /** @type {Record<string, string>} */ (TAKES_EFFECT)[setting.changes] ?? '',
          setting.who ? `${setting.who}, ${moment(setting.at)}` : '',
          setting.changes === 'restart' || !setting.changes
            ? ''
            : element('button', { type: 'button', 'data-setting': setting.name, 'aria-label': `Change ${setting.name}` }, 'Change'),
        ],
      })),
    );
    // One listener for all: rows stay when they are shown again.
    this.table.body.onclick = (event) => {
      const name = event.target instanceof HTMLElement ? event.target.dataset['setting'] : undefined;
      if (name) void this.dialog.open(name);
    };
  }
}

/** Changes one setting, on the version that was looked at: of two operators, one is told. */
class ChangeDialog {
  /** @param {() => Promise<void>} changed */
  constructor(changed) {
    this.changed = changed;
    this.title = element('h2', {});
    this.value = element('input', { required: true, maxlength: 4096, autocomplete: 'off', spellcheck: 'false', name: 'value' });
    this.percent = element('input', { type: 'number', min: 0, max: 100, step: 1, value: 100, required: true, name: 'percent' });
    this.by = element(
      'select',
      { name: 'by' },
      ['user', 'connection', 'node'].map((by) => element('option', { value: by }, by)),
    );
    this.reason = element('input', { maxlength: 512, autocomplete: 'off', name: 'reason' });
    this.error = element('p', { role: 'alert', class: 'error', 'data-role': 'setting-error' });
    this.form = element(
      'form',
      { method: 'dialog', onsubmit: (event) => this.#submit(event) },
      this.title,
      element('label', {}, 'Value, as in the environment', this.value),
      element('label', {}, 'Percent', this.percent),
      element('label', {}, 'Of each', this.by),
      element('label', {}, 'Reason', this.reason),
      this.error,
      element(
        'p',
        { class: 'actions' },
        element('button', { type: 'button', class: 'quiet', onclick: () => this.root.close() }, 'Cancel'),
        element('button', { type: 'button', 'data-role': 'unset', onclick: () => void this.#unset() }, 'As the nodes were started'),
        element('button', { type: 'submit', class: 'primary', 'data-role': 'set' }, 'Change'),
      ),
    );
    this.root = element('dialog', { 'aria-label': 'Change a setting' }, this.form);
    this.name = '';
    this.etag = '';
  }

  /** @param {string} name */
  async open(name) {
    this.name = name;
    say(this.title, name);
    say(this.error, '');
    this.root.showModal();
    try {
      const answer = await ask(this.#path());
      this.etag = answer.headers.get('etag') ?? '';
      const setting = await answer.json();
      this.value.value = setting.value ?? '';
      this.percent.value = String(setting.percent ?? 100);
      this.by.value = setting.by ?? 'user';
      this.reason.value = '';
      this.value.select();
    } catch (error) {
      this.#fail(error);
    }
  }

  #path() {
    return `v1/admin/settings/${encodeURIComponent(this.name)}`;
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const part = Number(this.percent.value);
    void this.#send('PUT', this.#path(), {
      value: this.value.value,
      ...(part === 100 ? {} : { percent: part, by: this.by.value }),
      ...(this.reason.value.trim() ? { reason: this.reason.value.trim() } : {}),
    });
  }

  #unset() {
    const reason = this.reason.value.trim();
    return this.#send('DELETE', `${this.#path()}${reason ? `?reason=${encodeURIComponent(reason)}` : ''}`, undefined);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   */
  async #send(method, path, body) {
    try {
      await ask(path, { method, body, headers: this.etag ? { 'if-match': this.etag } : {} });
      this.root.close();
      await this.changed();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    fill(this.error, error instanceof Error ? error.message : String(error));
  }
}
