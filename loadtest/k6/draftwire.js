// A user of Draftwire for k6: several devices that edit a draft together, and check what they are sent
// (protocol draftwire.v1, docs/protocol.md). What the scripts beside this one share.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/experimental/websockets';

const URLS = (__ENV.URL || 'ws://127.0.0.1:8080')
  .split(',')
  .map((url) => (/^wss?:\/\/[^/]+\/?$/.test(url) ? `${url.replace(/\/$/, '')}/ws/realtime` : url));
const DEVICES = Number(__ENV.DEVICES || 3);
const RATE = Number(__ENV.USER_RATE || 1);
const STAY_MS = milliseconds(__ENV.STAY || '10s');

// How long changes may take, after a user's last one, before they count as missing.
const LINGER_MS = milliseconds(__ENV.SETTLE || '3s');

// How long a device may take to connect.
const CONNECT_MS = 10_000;

// The pause of a user whose devices did not connect.
const PAUSE_MS = 1000;

// Fields of a draft that a device changes in turn. A change of a field that the device's last one of the
// same field is not known to have reached yet would be a conflict.
const FIELDS = 16;

const connecting = new Trend('draftwire_connecting', true);
const toDevice = new Trend('draftwire_change_to_device', true);
const success = new Rate('draftwire_success');
const wrong = {
  lost: new Counter('draftwire_events_lost'),
  repeated: new Counter('draftwire_events_repeated'),
  outOfOrder: new Counter('draftwire_events_out_of_order'),
};

// Users, and the thresholds that decide the exit code. Times are in milliseconds.
export const TIERS = {
  light: { users: 10, connect: 1000, arrive: 50, success: 1 },
  medium: { users: 20, connect: 1500, arrive: 75, success: 0.99 },
  heavy: { users: 30, connect: 2000, arrive: 100, success: 0.99 },
  beyond: { users: 50, connect: 3000, arrive: 150, success: 0.95 },
};

export function tier(name) {
  const found = TIERS[name];
  if (!found) throw new Error(`no tier ${name}: one of ${Object.keys(TIERS).join(', ')}`);
  return found;
}

// CONNECT_P95 and ARRIVE_P95 (milliseconds) are other thresholds than the tier's.
export function thresholds(tier, abort = false) {
  const limit = (threshold) => [{ threshold, abortOnFail: abort, delayAbortEval: '5s' }];
  return {
    draftwire_connecting: limit(`p(95)<${__ENV.CONNECT_P95 || tier.connect}`),
    draftwire_change_to_device: limit(`p(95)<${__ENV.ARRIVE_P95 || tier.arrive}`),
    draftwire_success: limit(`rate>=${tier.success}`),
    draftwire_events_lost: limit('count==0'),
    draftwire_events_repeated: limit('count==0'),
    draftwire_events_out_of_order: limit('count==0'),
  };
}

export function milliseconds(text) {
  const [, number, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) || [];
  if (!unit) throw new Error(`${text}: a number with a unit is needed: 250ms, 10s, 5m, 1h`);
  return Number(number) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit];
}

// TOKEN, or one for this user that is signed with JWT_SECRET (HS256, RFC 7519).
function token(user) {
  if (__ENV.TOKEN) return __ENV.TOKEN;
  if (!__ENV.JWT_SECRET) throw new Error('no tokens: give JWT_SECRET as the servers have it, or a TOKEN');
  const part = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');
  const exp = Math.floor((Date.now() + STAY_MS) / 1000) + 3600;
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp })}`;
  return `${signed}.${crypto.hmac('sha256', __ENV.JWT_SECRET, signed, 'base64rawurl')}`;
}

// The name of the run; another run's users have other drafts. Call it in `setup`.
export function run() {
  return { run: `k6-${Math.random().toString(36).slice(2, 10)}` };
}

// One user, for as long as it stays: an iteration. It ends when the last socket has closed.
export function user(data) {
  const name = `${data.run}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}`;
  new User(name).come();
}

class User {
  constructor(name) {
    this.name = name;
    this.draftId = name;
    this.token = token(name);
    this.devices = [];
    this.awaited = new Map();
    this.timers = [];
    this.leaving = false;
  }

  come() {
    this.begun = Date.now();
    for (let number = 0; number < DEVICES; number += 1) this.devices.push(new Device(this, number));
    this.later(CONNECT_MS, () => this.devices.every((device) => device.seq !== undefined) || this.leave());
  }

  later(after, what) {
    this.timers.push(setTimeout(what, after));
  }

  // All devices follow before the first change: each of them has to have every one.
  welcomed() {
    if (this.devices.length < DEVICES || this.devices.some((device) => device.seq === undefined)) return;
    this.devices[0].send('DRAFT_CREATE', 'create', { draftId: this.draftId, content: {} });
  }

  // Whoever changes a draft has to have it.
  created() {
    if (this.devices.some((device) => device.version === 0)) return;
    const first = Date.now();
    const change = (number) => {
      // Its moment is fixed: what comes late is late by that, too.
      const intended = first + (number * 1000) / RATE;
      if (intended >= this.begun + STAY_MS) {
        this.later(LINGER_MS, () => this.leave());
        return;
      }
      this.later(Math.max(0, intended - Date.now()), () => {
        this.devices[number % DEVICES].change(number, intended);
        change(number + 1);
      });
    };
    change(0);
  }

  await(number, intended) {
    this.awaited.set(number, { intended, missing: DEVICES - 1 });
  }

  arrived(number) {
    const change = this.awaited.get(number);
    if (!change || this.leaving) return;
    toDevice.add(Date.now() - change.intended);
    success.add(true);
    change.missing -= 1;
    if (change.missing === 0) this.awaited.delete(number);
  }

  leave() {
    if (this.leaving) return;
    this.leaving = true;
    this.timers.forEach(clearTimeout);
    for (const change of this.awaited.values()) {
      for (let missing = 0; missing < change.missing; missing += 1) success.add(false);
    }
    this.devices.forEach((device) => device.leave());
    // Nobody who is not let in comes back without a pause.
    if (this.devices.some((device) => !device.connected)) setTimeout(() => {}, PAUSE_MS);
  }
}

class Device {
  constructor(user, number) {
    this.user = user;
    this.name = `d${number + 1}`;
    this.version = 0;
    this.connected = false;
    const headers = { Authorization: `Bearer ${user.token}` };
    const url = URLS[number % URLS.length];
    this.socket = new WebSocket(`${url}?device=${this.name}`, 'draftwire.v1.json', { headers });
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    // What went wrong is seen by what does not come.
    this.socket.onerror = () => {};
    this.socket.onclose = () => {
      if (user.leaving) return;
      // The user is not all there, and makes no changes.
      if (this.connected) success.add(false);
      user.leave();
    };
  }

  leave() {
    if (!this.connected) success.add(false);
    this.socket.close();
  }

  send(type, id, payload) {
    this.socket.send(JSON.stringify({ type, id, payload }));
  }

  change(number, intended) {
    this.user.await(number, intended);
    const patch = { [`${this.name}-${Math.floor(number / DEVICES) % FIELDS}`]: number };
    this.send('DRAFT_UPDATE', `c${number}`, { draftId: this.user.draftId, baseVersion: this.version, patch });
  }

  take(message) {
    switch (message.type) {
      case 'WELCOME':
        this.connected = true;
        this.seq = message.payload.seq;
        connecting.add(Date.now() - this.user.begun);
        success.add(true);
        this.user.welcomed();
        break;
      default:
        if (message.stream === 'user' && message.seq !== undefined) this.event(message);
    }
  }

  // Every event once and in order.
  event({ seq, origin, payload }) {
    if (seq > this.seq + 1) wrong.lost.add(seq - this.seq - 1);
    else if (seq === this.seq) wrong.repeated.add(1);
    else if (seq < this.seq) wrong.outOfOrder.add(1);
    this.seq = Math.max(this.seq, seq);
    if (payload.draftId !== this.user.draftId) return;
    const created = this.version === 0;
    this.version = payload.version;
    if (created) this.user.created();
    const [number] = Object.values(payload.patch || {});
    if (number !== undefined && origin !== this.name) this.user.arrived(number);
  }
}
