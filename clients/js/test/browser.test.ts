// What only a real browser can show: IndexedDB, several tabs, frozen ones, a network that is gone, a kill.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { drafts } from '../src/drafts/index.js';
import type { InPage, Order } from './browser/page.js';
import { Browser } from './support/browser.js';
import { client, eventually } from './support/client.js';
import { Node } from './support/node.js';
import { Observer } from './support/observer.js';

declare const inPage: InPage;

/** Not by frames, which hidden pages have none of. */
const POLLING = { polling: 20 };

let node: Node;
let browser: Browser;
let user = 0;
beforeAll(async () => {
  node = await Node.start({ ALLOWED_ORIGINS: '*' });
});
afterAll(() => node.remove());
beforeEach(async () => {
  user += 1;
  browser = await Browser.start('page.ts');
});
afterEach(() => browser.stop());

const token = () => node.token(`user-${user}`);
const stored = async () => (await node.api('GET', 'v1/drafts', token())).drafts;

async function start(page: Page, connect = true): Promise<void> {
  await page.evaluate(([url, jwt, online]) => inPage.start(url, jwt, online), [node.url, token(), connect] as const);
}

const live = (page: Page) => page.waitForFunction(() => inPage.app!.dw.state.status === 'live', undefined, POLLING);
const sockets = (page: Page) => page.evaluate(() => inPage.sockets());

test('a page with twenty unsent edits is killed, and opened a minute later: all are made, once and in order, and another device has them', async () => {
  const observer = await Observer.watch(node, `user-${user}`);
  const laptop = client(node, `user-${user}`, { device: 'laptop' });
  const orders = drafts<Order>(laptop, 'order');
  const first = await browser.page();
  await start(first);
  const ids = await first.evaluate(async () => {
    const { dw, orders } = inPage.app!;
    const made = ['one', 'two'].map((title) => orders.create({ title }));
    await Promise.all(made.map((draft) => draft.settled()));
    dw.disconnect();
    // By turns, so that none takes up the one before.
    for (let n = 1; n <= 20; n += 1) await made[n % 2]!.update({ n }).stored;
    return made.map(({ id }) => id);
  });
  expect(observer.events.length).toBe(2);
  await browser.kill();

  await browser.open();
  const second = await browser.page();
  await second.evaluate(() => {
    const { now } = Date;
    Date.now = () => now() + 60_000;
  });
  await start(second, false);
  await second.waitForFunction(() => inPage.app!.dw.pendingCount === 20, undefined, POLLING);
  const shown = await second.evaluate(() => inPage.app!.orders.list.map(({ id, status, content }) => ({ id, status, content })));
  expect(shown).toEqual(ids.map((id, i) => ({ id, status: 'pending', content: { title: ['one', 'two'][i], n: 20 - i } })).sort((a, b) => (a.id < b.id ? -1 : 1)));
  await second.evaluate(() => inPage.app!.dw.connect());
  await second.waitForFunction(() => inPage.app!.dw.pendingCount === 0, undefined, POLLING);
  await eventually(() => observer.events.length === 22);
  expect(observer.events.slice(2).map(({ payload }) => payload.patch)).toEqual(Array.from({ length: 20 }, (_, i) => ({ n: i + 1 })));
  const database = await stored();
  const inDatabase = database.map(({ content, draftId, version }: any) => ({ id: draftId, version, status: 'synced', content })).sort((a: any, b: any) => (a.id < b.id ? -1 : 1));
  expect(inDatabase.map(({ version }: any) => version)).toEqual([11, 11]);
  const page = await second.evaluate(() => inPage.app!.orders.list.map(({ content, id, snapshot: { version }, status }) => ({ id, version, status, content })));
  expect(page).toEqual(inDatabase);
  await eventually(() => orders.list.every(({ snapshot }) => snapshot.version === 11));
  expect(orders.list.map(({ content, id, snapshot: { version }, status }) => ({ id, version, status, content }))).toEqual(inDatabase);
  laptop.close();
  observer.close();
});

test('tabs share one connection, and another one takes over from a closed or frozen one', async () => {
  const pages = [await browser.page(), await browser.page(), await browser.page()];
  for (const page of pages) await start(page);
  await Promise.all(pages.map(live));
  const counts = () => Promise.all(pages.map(sockets));
  const leading = async () => {
    const found = await counts();
    return found.reduce((sum, count) => sum + count, 0) === 1 && `${found.indexOf(1)}`;
  };
  const first = Number(await eventually(leading));
  // What one does, all have.
  await pages[2]!.evaluate(() => inPage.app!.orders.create({ title: 'Chairs' }).settled());
  for (const page of pages) await page.waitForFunction(() => inPage.app!.orders.list[0]?.status === 'synced', undefined, POLLING);
  await pages[1]!.evaluate(() => inPage.app!.dw.publish('room', 'GOAL', 1));
  for (const page of pages) await page.waitForFunction(() => inPage.app!.seqs.join() === '1', undefined, POLLING);

  await pages.splice(first, 1)[0]!.close();
  const leads = Number(await eventually(leading));
  await pages[1]!.evaluate(() => inPage.app!.dw.publish('room', 'GOAL', 2));
  for (const page of pages) await page.waitForFunction(() => inPage.app!.seqs.join() === '1,2', undefined, POLLING);

  const [leader, other] = [pages[leads]!, pages[1 - leads]!];
  const cdp = await leader.context().newCDPSession(leader);
  // The page runs no code, and keeps its lock: a page that is in sight is not frozen by setWebLifecycleState.
  await cdp.send('Debugger.enable');
  await cdp.send('Debugger.pause');
  await other.evaluate(() => {
    void inPage.app!.orders.list[0]!.update({ n: 1 });
  });
  await other.waitForFunction(() => inPage.app!.orders.list[0]?.status === 'synced' && inPage.sockets() === 1, undefined, POLLING);
  await cdp.send('Debugger.disable');
  await leader.waitForFunction(() => inPage.sockets() === 0 && inPage.app!.orders.list[0]?.content.n === 1, undefined, POLLING);
  await other.evaluate(() => inPage.app!.dw.publish('room', 'GOAL', 3));
  for (const page of pages) await page.waitForFunction(() => inPage.app!.seqs.join() === '1,2,3', undefined, POLLING);
});

test('without a network changes wait, and are made when it is back', async () => {
  const page = await browser.page();
  await start(page);
  await live(page);
  await page.context().setOffline(true);
  await page.evaluate(() => inPage.app!.orders.create({ title: 'Chairs' }).update({ n: 1 }).stored);
  // Nothing can be connected to, and what was connected gets no answer.
  await page.evaluate(() => fetch('/').then(() => Promise.reject(new Error('online')), () => {}));
  expect(await page.evaluate(() => inPage.app!.orders.list[0]!.status)).toBe('pending');
  expect(await stored()).toEqual([]);
  await page.context().setOffline(false);
  await page.waitForFunction(() => inPage.app!.orders.list[0]?.status === 'synced', undefined, POLLING);
  expect(await stored()).toMatchObject([{ content: { title: 'Chairs', n: 1 } }]);
});

test('event streams and requests do the same for a page of another origin', async () => {
  const page = await browser.page();
  await page.evaluate(([url, jwt]) => inPage.start(url, jwt, true, 'event-stream'), [node.url, token()] as const);
  await live(page);
  await page.evaluate(async () => {
    const { dw, orders } = inPage.app!;
    const order = orders.create({ title: 'Chairs' });
    await order.settled();
    await order.update({ n: 1 }).acknowledged();
    await dw.publish('room', 'GOAL', 1);
  });
  await page.waitForFunction(() => inPage.app!.seqs.length === 1, undefined, POLLING);
  expect(await sockets(page)).toBe(0);
  expect(await stored()).toMatchObject([{ content: { title: 'Chairs', n: 1 } }]);
});

test('a database of a newer version stops a tab with an older one, and says so', async () => {
  const page = await browser.page();
  await start(page);
  await live(page);
  await page.evaluate(() => new Promise((resolve) => {
    const opening = indexedDB.open('draftwire:app', 99);
    opening.onsuccess = () => {
      opening.result.close();
      resolve(undefined);
    };
  }));
  const code = () => page.waitForFunction(() => {
    const { state } = inPage.app!.dw;
    return state.status === 'stopped' && state.error.code;
  }, undefined, POLLING).then((handle) => handle.jsonValue());
  expect(await code()).toBe('newer_version');
  await page.evaluate(() => inPage.app!.dw.connect());
  expect(await code()).toBe('newer_version');
  await page.reload();
  await page.waitForFunction('globalThis.inPage !== undefined');
  await start(page);
  expect(await code()).toBe('newer_version');
});
