// What all parts of the page do with its elements.

const HIGHLIGHT_MS = 1600;

/** A new element from a template. */
export function copy(templateId) {
  return document.getElementById(templateId).content.firstElementChild.cloneNode(true);
}

/** The element that has a role within another one. */
export function part(root, role) {
  return root.querySelector(`[data-role="${role}"]`);
}

/** Marks something as just changed, for a moment. */
export function highlight(element) {
  clearTimeout(Number(element.dataset.highlight));
  element.classList.remove('touched');
  void element.offsetWidth; // Reading the layout restarts the animation.
  element.classList.add('touched');
  element.dataset.highlight = setTimeout(() => element.classList.remove('touched'), HIGHLIGHT_MS);
}

/** What the states of a connection are called. */
export const STATE_TEXT = {
  offline: 'Offline',
  waiting: 'Reconnecting',
  connecting: 'Connecting',
  'catching-up': 'Catching up',
  live: 'Live',
  stopped: 'Stopped',
};

/** What a connection has got after it was away. */
export function caughtUp(replayed) {
  return `caught up: ${replayed} missed ${replayed === 1 ? 'event' : 'events'}`;
}

/** An address on this server, also where the page is not at its root. */
export function address(path) {
  return new URL(path, document.baseURI.split(/[?#]/)[0]);
}
