// What all parts of the page do with its elements.

const HIGHLIGHT_MS = 1600;

/** A new element from a template. */
export function copy(templateId: string): HTMLElement {
  const template = document.getElementById(templateId) as HTMLTemplateElement;
  return template.content.firstElementChild!.cloneNode(true) as HTMLElement;
}

/** The element that has a role within another one. */
export function part<Kind extends HTMLElement = HTMLElement>(root: ParentNode, role: string): Kind {
  return root.querySelector<Kind>(`[data-role="${role}"]`)!;
}

/** Sets a text. One that is there already stays, so that it is not read aloud again. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Marks something as just changed, for a moment. */
export function highlight(element: HTMLElement): void {
  clearTimeout(Number(element.dataset['highlight']));
  element.classList.remove('touched');
  void element.offsetWidth; // Reading the layout restarts the animation.
  element.classList.add('touched');
  element.dataset['highlight'] = String(setTimeout(() => element.classList.remove('touched'), HIGHLIGHT_MS));
}

/** An address on this server, also where the page is not at its root. */
export function address(path = ''): URL {
  return new URL(path, new URL('.', document.baseURI));
}

/** 128 random bits as text. Not `crypto.randomUUID`, which exists on secure origins only. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
