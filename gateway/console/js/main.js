// @ts-check
// The console: who is signed in, and which of its views is shown.

import { Caches } from './caches.js';
import { Connections } from './connections.js';
import { element, fill, part, say } from './dom.js';
import { History } from './history.js';
import { follow } from './live.js';
import { Operations } from './operations.js';
import { Overview } from './overview.js';
import { Refused, localToken, token } from './session.js';
import { Settings } from './settings.js';
import { Streams } from './streams.js';

/**
 * A view: what it shows of each picture, and what it does while it is shown.
 *
 * @typedef {{ root: HTMLElement, show?: (picture: any) => void, enter?: () => void, leave?: () => void }} View
 */

const history = new History();

/** By the address after `#`; the first is shown when it names none. @type {Record<string, { title: string, make: () => View }>} */
const VIEWS = {
  overview: { title: Overview.title, make: () => new Overview(history) },
  operations: { title: Operations.title, make: () => new Operations() },
  connections: { title: Connections.title, make: () => new Connections() },
  streams: { title: Streams.title, make: () => new Streams() },
  settings: { title: Settings.title, make: () => new Settings() },
  caches: { title: Caches.title, make: () => new Caches() },
};

const [content, feed, nav, signIn, signOut] = [part('content'), part('feed'), part('views'), part('sign-in'), part('sign-out')];

/** @type {Map<string, View>} */
const made = new Map();
let shown = '';
/** @type {any} */
let picture;
/** @type {AbortController | undefined} */
let following;

/** Shows the view that the address names. */
function route() {
  const wanted = location.hash.slice(1).split('?')[0] ?? '';
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : Object.keys(VIEWS)[0] ?? '';
  for (const link of nav.querySelectorAll('a')) link.ariaCurrent = link.hash === `#${name}` ? 'page' : null;
  if (name === shown) return;
  made.get(shown)?.leave?.();
  shown = name;
  const { title, make } = /** @type {NonNullable<(typeof VIEWS)[string]>} */ (VIEWS[name]);
  let view = made.get(name);
  if (!view) made.set(name, (view = make()));
  document.title = `${title} · Draftwire console`;
  fill(content, element('h1', { class: 'title' }, title), view.root);
  if (picture) view.show?.(picture);
  view.enter?.();
}

/** @param {any} next */
function show(next) {
  picture = next;
  history.push(next);
  made.get(shown)?.show?.(next);
  feed.dataset['state'] = 'good';
  say(feed, `live, from ${next.node}`);
}

/** Follows the cluster with the token that there is. */
async function start() {
  const current = (following = new AbortController());
  signIn.hidden = true;
  for (const root of [content, feed, nav, signOut]) root.hidden = false;
  say(feed, 'connecting');
  route();
  // A node without a memory of the last hour shows what comes.
  history.load(current.signal).catch(() => undefined);
  try {
    await follow(current.signal, show, (reason) => {
      feed.dataset['state'] = 'bad';
      say(feed, `not live: ${reason}`);
    });
  } catch (error) {
    stop(error instanceof Refused && error.status === 403 ? `This token does not open the console: ${error.message}` : String(error instanceof Error ? error.message : error));
  }
}

/** Forgets the token and everything that it has shown. @param {string} reason */
function stop(reason) {
  following?.abort();
  token.clear();
  made.get(shown)?.leave?.();
  made.clear();
  shown = '';
  picture = undefined;
  history.samples = [];
  fill(content);
  for (const root of [content, feed, nav, signOut]) root.hidden = true;
  signIn.hidden = false;
  say(part('sign-in-reason'), reason);
}

/** @param {string} text */
function signInWith(text) {
  token.set(text.trim());
  void start();
}

fill(nav, Object.entries(VIEWS).map(([name, { title }]) => element('a', { href: `#${name}` }, title)));
addEventListener('hashchange', () => {
  if (!content.hidden) route();
});
signOut.addEventListener('click', () => stop(''));
part('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = /** @type {HTMLTextAreaElement} */ (document.getElementById('token'));
  const text = field.value;
  field.value = '';
  signInWith(text);
});
part('sign-in-locally').addEventListener('click', async () => {
  const local = await localToken();
  if (local) signInWith(local);
  else say(part('sign-in-reason'), 'This server hands out no tokens any more.');
});

if (token.get()) void start();
else {
  signIn.hidden = false;
  part('local').hidden = (await localToken()) === null;
}
