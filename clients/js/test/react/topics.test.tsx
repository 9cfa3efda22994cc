// @vitest-environment happy-dom
// Topics and presence as hooks, over a real node.

import { act } from '@testing-library/react';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { usePresence, useTopic, type UsedTopic, type UseTopicOptions } from '../../src/react/index.js';
import { client, Network } from '../support/client.js';
import { Node } from '../support/node.js';
import { complaints, kept, mount, shown, unmountAll } from './app.js';

interface Match {
  GOAL: { minute: number };
  TYPING: { text: string };
}

let node: Node;
let topic: string;
let count = 0;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());
beforeEach(() => {
  topic = `match:${(count += 1)}`;
});
afterEach(() => {
  unmountAll();
  expect(complaints.splice(0)).toEqual([]);
});

const device = (user: string, options: Parameters<typeof client>[2] = {}) => kept(client(node, user, options));

/** What is sent over the connections of a client. */
function tapped() {
  const sent: { type: string }[] = [];
  const { WebSocket } = new Network();
  const environment = {
    WebSocket: class extends WebSocket {
      override send(data: string) {
        sent.push(JSON.parse(data));
        super.send(data);
      }
    },
  };
  return { environment, count: (type: string) => sent.filter((message) => message.type === type).length };
}

/** A component that follows the topic, and what it was told. */
function follower(options: UseTopicOptions<Match> = {}) {
  const log: number[] = [];
  const follower = { log, used: undefined as unknown as UsedTopic<Match>, renders: 0, Component };
  function Component() {
    follower.renders += 1;
    follower.used = useTopic<Match>(topic, { on: { GOAL: ({ data }) => log.push(data.minute) }, ...options });
    return null;
  }
  return follower;
}

const isLive = ({ used }: ReturnType<typeof follower>) => used.state.status === 'live';

async function goals(dw: ReturnType<typeof client>, ...minutes: number[]): Promise<void> {
  await act(async () => {
    for (const minute of minutes) await dw.publish(topic, 'GOAL', { minute });
  });
}

test('strict mode subscribes once, and loses and repeats nothing', async () => {
  const network = tapped();
  const dw = device('alice', { environment: network.environment });
  const one = follower();
  const { unmount } = mount(dw, <one.Component />);
  await shown(() => isLive(one));
  expect(network.count('SUBSCRIBE')).toBe(1);
  const { renders } = one;
  await goals(dw, 1, 2, 3);
  await shown(() => one.log.length >= 3);
  expect(one.log).toEqual([1, 2, 3]);
  // Events are for handlers; nothing that is shown has changed.
  expect(one.renders).toBe(renders);
  unmount();
  await shown(() => network.count('UNSUBSCRIBE') === 1);
});

test('several components share one subscription, and a late one knows the state at once', async () => {
  const network = tapped();
  const dw = device('bob', { environment: network.environment });
  const [one, two, late] = [follower(), follower(), follower()];
  const { show } = mount(dw, [<one.Component key="1" />, <two.Component key="2" />]);
  await shown(() => isLive(one) && isLive(two));
  await goals(dw, 1);
  await shown(() => one.log.length && two.log.length);
  show([<two.Component key="2" />, <late.Component key="3" />]);
  expect(late.used.state.status).toBe('live');
  await goals(dw, 2);
  await shown(() => two.log.length === 2 && late.log.length);
  expect([one.log, two.log, late.log]).toEqual([[1], [1, 2], [2]]);
  // All go, and another comes in the same commit.
  const other = follower();
  show(<other.Component key="4" />);
  expect(other.used.state.status).toBe('live');
  await goals(dw, 3);
  await shown(() => other.log.length);
  expect([two.log, other.log]).toEqual([[1, 2], [3]]);
  expect([network.count('SUBSCRIBE'), network.count('UNSUBSCRIBE')]).toEqual([1, 0]);
});

test('each component with a cursor is sent everything after it, once', async () => {
  const dw = device('carol');
  const first = follower();
  const { show } = mount(dw, <first.Component key="1" />);
  await shown(() => isLive(first));
  const from = first.used.cursor()!;
  await goals(dw, 1, 2);
  await shown(() => first.log.length === 2);
  const [one, two] = [follower({ from }), follower({ from })];
  show([<first.Component key="1" />, <one.Component key="2" />]);
  await shown(() => one.log.length === 2);
  show([<first.Component key="1" />, <one.Component key="2" />, <two.Component key="3" />]);
  await shown(() => two.log.length === 2);
  await goals(dw, 3);
  await shown(() => [first, one, two].every(({ log }) => log.length >= 3));
  expect([first.log, one.log, two.log]).toEqual([[1, 2, 3], [1, 2, 3], [1, 2, 3]]);
});

test('a lost connection misses nothing, and the state says so', async () => {
  const network = new Network();
  const dw = device('dave', { network });
  const one = follower();
  mount(dw, <one.Component />);
  await shown(() => isLive(one));
  act(() => {
    network.cut();
    dw.disconnect();
  });
  await shown(() => one.used.state.status === 'waiting');
  await goals(device('erin'), 1, 2);
  network.mend();
  act(() => dw.connect());
  await shown(() => one.log.length === 2 && isLive(one));
  expect(one.log).toEqual([1, 2]);
});

test('handlers are those of the last render', async () => {
  const dw = device('frank');
  const log: string[] = [];
  let used!: UsedTopic<Match>;
  function View({ name }: { name: string }) {
    used = useTopic<Match>(topic, {
      on: { GOAL: ({ data }) => log.push(`${name} ${data.minute}`), '*': ({ type }) => log.push(`${name} ${type}`) },
      onSignal: { TYPING: ({ data }) => log.push(`${name} ${data.text}`) },
    });
    return null;
  }
  const { show } = mount(dw, <View name="first" />);
  await shown(() => used.state.status === 'live');
  await act(() => used.publish('GOAL', { minute: 1 }));
  await shown(() => log.length === 2);
  show(<View name="second" />);
  await act(() => used.publish('GOAL', { minute: 2 }));
  await shown(() => log.length === 4);
  const writer = device('grace').topic<Match>(topic);
  await shown(() => writer.state.status === 'live');
  writer.signal('TYPING', { text: 'hm' });
  await shown(() => log.length === 5);
  expect(log).toEqual(['first 1', 'first GOAL', 'second 2', 'second GOAL', 'second hm']);
});

test('presence is who is mounted', async () => {
  const names = new Map<string, string | undefined>();
  let renders = 0;
  function Here({ name }: { name: string }) {
    names.set(name, usePresence(topic)?.members?.map(({ userId }) => userId).sort().join());
    renders += 1;
    return null;
  }
  const all = (expected: string, ...who: string[]) => () => who.every((name) => names.get(name) === expected);
  mount(device('heidi'), [<Here key="1" name="heidi 1" />, <Here key="2" name="heidi 2" />]);
  await shown(all('heidi', 'heidi 1', 'heidi 2'));
  const other = mount(device('ivan'), <Here name="ivan" />);
  await shown(all('heidi,ivan', 'heidi 1', 'heidi 2', 'ivan'));
  const before = renders;
  await goals(device('judy'), 1);
  expect(renders).toBe(before);
  other.unmount();
  await shown(all('heidi', 'heidi 1', 'heidi 2'));
});

test('a topic with tokens of its own asks the last render of the component that came last', async () => {
  const asked: string[] = [];
  const guest = device('lena', { getToken: () => node.token('lena', { scope: '' }) });
  let used: UsedTopic = undefined!;
  function Room({ name }: { name: string }) {
    used = useTopic(topic, {
      getToken: () => {
        asked.push(name);
        return node.topicToken(topic, { ttlSeconds: 1_000 + asked.length });
      },
    });
    return null;
  }
  const { show } = mount(guest, <Room name="first" />);
  await shown(() => used.state.status === 'live');
  show(<Room name="second" />);
  const again = async () => {
    await act(async () => {
      guest.disconnect();
      guest.connect();
    });
    await shown(() => used.state.status === 'live');
  };
  await again();
  show([<Room key="1" name="one" />, <Room key="2" name="another" />]);
  await shown(() => used.state.status === 'live');
  await again();
  expect(asked).toEqual(['first', 'second', 'another']);
});

test('a topic that is not allowed ends with the reason', async () => {
  const dw = device('kim', { getToken: () => node.token('kim', { scope: 'subscribe:other' }) });
  const one = follower();
  mount(dw, <one.Component />);
  await shown(() => one.used.state.status === 'ended');
  expect(one.used.state).toMatchObject({ error: { code: 'forbidden' } });
});

test('with another client, topics move over, and a closed client ends them', async () => {
  const [first, second] = [device('leo'), device('mia')];
  let members: string | undefined;
  const one = follower();
  function Here() {
    members = usePresence(topic)?.members?.map(({ userId }) => userId).join();
    return null;
  }
  const view = [<one.Component key="1" />, <Here key="2" />];
  const { show } = mount(first, view);
  await shown(() => isLive(one) && members === 'leo');
  first.close();
  await shown(() => one.used.state.status === 'ended');
  expect(members).toBeUndefined();
  show(view, second);
  await shown(() => isLive(one) && members === 'mia');
  await goals(second, 1);
  await shown(() => one.log.length);
  expect(one.log).toEqual([1]);
});

test('the types are those of the application', () => {
  // Checked by `tsc`, never called.
  void function Types() {
    const { publish } = useTopic<Match>('match:1', { on: { GOAL: ({ data }) => data.minute.toFixed() } });
    // @ts-expect-error: no such event
    useTopic<Match>('match:1', { on: { GOALS: () => {} } });
    // @ts-expect-error: other data
    return publish('GOAL', { text: 'one' });
  };
});
