// Made by `npm run demo` in clients/js, from gateway/demo/src and clients/js/src. Do not edit.
var __defProp = Object.defineProperty;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __esm = (fn, res, err) => function __init() {
  if (err) throw err[0];
  try {
    return fn && (res = (0, fn[__getOwnPropNames(fn)[0]])(fn = 0)), res;
  } catch (e) {
    throw err = [e], e;
  }
};
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};

// clients/js/src/limits.ts
var TOKEN_MS_MAX, CONNECT_MS_MAX, STABLE_MS, SILENT_ATTEMPTS, BLOCKED_MS, QUIET_MS, WINDOW, QUEUE_MAX, MEMORY_MS, BATCH_MAX;
var init_limits = __esm({
  "clients/js/src/limits.ts"() {
    "use strict";
    TOKEN_MS_MAX = 1e4;
    CONNECT_MS_MAX = 15e3;
    STABLE_MS = 1e4;
    SILENT_ATTEMPTS = 2;
    BLOCKED_MS = 3e5;
    QUIET_MS = 1e4;
    WINDOW = 32;
    QUEUE_MAX = 1e4;
    MEMORY_MS = 23 * 36e5;
    BATCH_MAX = 100;
  }
});

// clients/js/src/session/publishing.ts
function publishRules(keyOf, isThere2) {
  return {
    acknowledged: (records, command) => records.remove(keyOf(command)),
    refused: (records, command, error) => {
      records.remove(keyOf(command));
      const tab2 = isThere2(command.tab) ? command.tab : null;
      records.put(`unpublished/${command.id}`, { ...command, tab: tab2, error });
    }
  };
}
var init_publishing = __esm({
  "clients/js/src/session/publishing.ts"() {
    "use strict";
  }
});

// clients/js/src/session/command_queue.ts
var command_queue_exports = {};
__export(command_queue_exports, {
  newCommandQueue: () => newCommandQueue
});
function newCommandQueue({ records, connection, keyOf, userState, answered: answered2, isThere: isThere2 }) {
  const publishing = publishRules(keyOf, isThere2);
  const rules = (type) => type === "PUBLISH" ? publishing : userState();
  const inFlight = /* @__PURE__ */ new Map();
  const expected = /* @__PURE__ */ new Set();
  let isOpen = false;
  let isPausing = false;
  let pauses = 0;
  function open() {
    isOpen = true;
    for (const id of expected) {
      if (inFlight.has(id) || findCommand(records, id)) continue;
      expected.delete(id);
      connection.send({ type: "PING", id });
    }
    pump();
  }
  function lost() {
    isOpen = isPausing = false;
    inFlight.clear();
    expected.clear();
  }
  function pump() {
    if (!isOpen || isPausing) return;
    const lanes = /* @__PURE__ */ new Set();
    const unmarked = [];
    let count = 0;
    for (const command of records.list("command")) {
      const rule = rules(command.type);
      if (!rule) continue;
      const lane = rule.lane?.(command);
      if (lane && lanes.has(lane)) break;
      if (lane) lanes.add(lane);
      if (rule.isAnswered?.(command)) continue;
      if ((count += 1) > WINDOW) break;
      if (inFlight.has(command.id)) continue;
      if (!records.isCommitted(keyOf(command))) break;
      if (command.sentAt === void 0) unmarked.push(command);
      else if (unmarked.length > 0) break;
      else send2(command);
    }
    if (unmarked.length > 0) mark(unmarked);
  }
  function receive(id, outcome) {
    const command = inFlight.get(id);
    if (!command) return false;
    inFlight.delete(id);
    if (outcome.error?.code === "unavailable") {
      expected.add(id);
      pause2();
    } else {
      pauses = 0;
      expected.delete(id);
      conclude(command, outcome);
    }
    return true;
  }
  function tooLarge(message) {
    const bytes = (command) => JSON.stringify(command.payload).length;
    const largest = [...inFlight.values()].sort((a, b) => bytes(b) - bytes(a))[0];
    if (largest) conclude(largest, { error: { code: "too_large", message } });
  }
  function send2(command) {
    const { id, type, payload, sentAt } = command;
    if (type === "PUBLISH" && !expected.has(id) && Date.now() - sentAt > MEMORY_MS) {
      return conclude(command, { error: { code: "unknown_outcome", message: "no answer came for 23 hours, so the server may have forgotten the id of the event" } });
    }
    inFlight.set(id, command);
    const error = connection.send({ type, id, payload });
    if (!error) return;
    inFlight.delete(id);
    conclude(command, { error });
  }
  function mark(commands) {
    const ids = new Set(commands.map(({ id }) => id));
    const marked = records.run((edit) => {
      for (const command of edit.list("command")) {
        if (ids.has(command.id) && command.sentAt === void 0) edit.put(keyOf(command), { ...command, sentAt: Date.now() });
      }
    });
    void marked.then(pump);
  }
  function conclude(command, outcome) {
    const rule = rules(command.type);
    const concluded2 = records.run((edit) => {
      const queued = findCommand(edit, command.id);
      if (!queued || !rule) return;
      if (outcome.error) rule.refused(edit, queued, outcome.error);
      else rule.acknowledged(edit, queued, outcome.payload, outcome.seq);
    });
    void concluded2.then(() => answered2(command.id, outcome));
    pump();
  }
  function pause2() {
    if (isPausing) return;
    isPausing = true;
    connection.pause("repeat", pauses, () => {
      isPausing = false;
      pump();
    });
    pauses += 1;
  }
  return { open, lost, pump, receive, tooLarge };
}
function findCommand(records, id) {
  for (const command of records.list("command")) if (command.id === id) return command;
  return void 0;
}
var init_command_queue = __esm({
  "clients/js/src/session/command_queue.ts"() {
    "use strict";
    init_limits();
    init_publishing();
  }
});

// clients/js/src/connection/event_stream.ts
var event_stream_exports = {};
__export(event_stream_exports, {
  EventLines: () => EventLines,
  EventStreamWire: () => EventStreamWire
});
function parseCursor2(cursor) {
  const at = cursor.lastIndexOf(":");
  return { epoch: cursor.slice(0, at), seq: Number(cursor.slice(at + 1)) };
}
function parseId(id) {
  return id.split(";").filter(Boolean).flatMap((group) => {
    const [, epoch, streams] = /^([^/]+)\/(.*)$/.exec(group) ?? [];
    return (streams ?? "").split(",").filter(Boolean).map((stream) => {
      const at = stream.lastIndexOf("=");
      return [stream.slice(0, at), { epoch, seq: Number(stream.slice(at + 1)) }];
    });
  });
}
function problemOf(body) {
  try {
    const { code, detail, payload } = JSON.parse(body);
    return { code: code ?? "unavailable", message: detail ?? "", ...payload !== void 0 && { payload } };
  } catch {
    return { code: "unavailable", message: "the answer is not one of Draftwire: a proxy may have given it" };
  }
}
var TOKEN_REFUSED, TOO_MANY, OVERLOADED, MISUSE, EventStreamWire, EventLines;
var init_event_stream = __esm({
  "clients/js/src/connection/event_stream.ts"() {
    "use strict";
    TOKEN_REFUSED = 4401;
    TOO_MANY = 4429;
    OVERLOADED = 1013;
    MISUSE = 4400;
    EventStreamWire = class {
      // Comments come every 15 s, so silence says enough.
      quietMs = Infinity;
      #base;
      #fetch;
      #device;
      #events;
      /** Ends everything, and the present stream. */
      #closed = new AbortController();
      #stream = new AbortController();
      #token;
      #welcomed = false;
      /** Where the client stands, by stream. */
      #positions = /* @__PURE__ */ new Map();
      #topics = /* @__PURE__ */ new Set();
      /** Commands go one after the other: requests have no order among each other. */
      #commands = Promise.resolve();
      constructor(base, { fetch: fetch2 }, request, events) {
        this.#base = base;
        this.#fetch = fetch2;
        this.#device = request.device;
        this.#token = request.token;
        this.#events = events;
        if (request.cursor !== void 0) this.#positions.set("user", parseCursor2(request.cursor));
        if (request.all !== void 0) this.#positions.set("all", parseCursor2(request.all));
        void this.#follow();
      }
      send(message) {
        if (message.type === "PING") return this.#reopen();
        this.#commands = this.#commands.then(() => this.#command(message)).catch(() => this.#end(void 0, "a request failed"));
      }
      close() {
        this.#closed.abort();
        this.#stream.abort();
      }
      // --- what comes -------------------------------------------------------------------------------------------------
      #reopen() {
        if (this.#closed.signal.aborted) return;
        this.#stream.abort();
        void this.#follow();
      }
      async #follow() {
        const stream = new AbortController();
        this.#stream = stream;
        try {
          const query = new URLSearchParams({ device: this.#device });
          if (this.#topics.size > 0) query.set("topics", [...this.#topics].join(","));
          if (this.#positions.size > 0) query.set("cursor", this.#id());
          const response = await this.#request(`v1/stream?${query}`, { signal: stream.signal });
          if (!response.ok || !response.body) return this.#refused(response.status, await response.text());
          const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
          const lines = new EventLines();
          for (; ; ) {
            const { done, value } = await reader.read();
            if (stream.signal.aborted) return;
            if (done) break;
            this.#events.alive();
            for (const { id, data } of lines.push(value)) this.#received(id, data);
          }
          this.#end(void 0, "the event stream has ended");
        } catch (error) {
          if (!stream.signal.aborted) this.#end(void 0, String(error));
        }
      }
      #received(id, data) {
        const { type } = JSON.parse(data);
        for (const [name, position2] of parseId(id)) this.#positions.set(name, position2);
        if (type === "WELCOME" && this.#welcomed) return;
        this.#welcomed ||= type === "WELCOME";
        this.#events.frame(data);
      }
      /** The positions as the server writes them: `7f3a/user=42,all=7;91bc/topic:a=1`. */
      #id() {
        const epochs = /* @__PURE__ */ new Map();
        for (const [name, { epoch, seq }] of this.#positions) {
          epochs.set(epoch, [...epochs.get(epoch) ?? [], `${name}=${seq}`]);
        }
        return [...epochs].map(([epoch, streams]) => `${epoch}/${streams.join(",")}`).join(";");
      }
      #refused(status, body) {
        const detail = problemOf(body).message;
        if (status === 401) return this.#end(TOKEN_REFUSED, detail);
        if (status === 429) return this.#end(TOO_MANY, detail);
        if (status >= 500) return this.#end(OVERLOADED, detail);
        if (status === 403) return this.#end(void 0, detail);
        this.#end(status === 400 ? MISUSE : void 0, detail);
      }
      #end(code, reason2) {
        if (this.#closed.signal.aborted) return;
        this.close();
        this.#events.closed(code, reason2);
      }
      // --- what is asked ----------------------------------------------------------------------------------------------
      async #command({ type, id, payload }) {
        if (this.#closed.signal.aborted) return;
        const values = payload ?? {};
        const draft = `v1/drafts/${encodeURIComponent(values.draftId ?? "")}`;
        switch (type) {
          case "SUBSCRIBE":
            return this.#subscribe(id, values.topics);
          case "UNSUBSCRIBE":
            this.#topics.delete(values.topic);
            this.#positions.delete(`topic:${values.topic}`);
            this.#reopen();
            return this.#tell({ type: "ACK", id });
          case "AUTH":
            this.#token = values.token;
            this.#reopen();
            return this.#tell({ type: "ACK", id, payload: {} });
          case "DRAFT_LIST":
            return this.#answer(id, "GET", "v1/drafts");
          case "DRAFT_CREATE":
            return this.#answer(id, "POST", "v1/drafts", values);
          case "DRAFT_UPDATE":
            return this.#answer(id, "PATCH", `${draft}?baseVersion=${values.baseVersion}`, values.patch);
          case "DRAFT_DELETE":
            return this.#answer(id, "DELETE", values.baseVersion === void 0 ? draft : `${draft}?baseVersion=${values.baseVersion}`);
          case "PUBLISH": {
            const { topic, ...event2 } = values;
            return this.#answer(id, "POST", `v1/topics/${encodeURIComponent(topic)}/events`, event2);
          }
        }
      }
      /** The history of a topic says where it stands, and whether it may be followed. */
      async #subscribe(id, topics) {
        const results = await Promise.all(topics.map(async ({ topic, cursor }) => {
          const response = await this.#request(`v1/topics/${encodeURIComponent(topic)}/events?limit=1`);
          const body = await response.text();
          if (!response.ok) return { topic, ...problemOf(body) };
          const { epoch, head } = JSON.parse(body);
          this.#topics.add(topic);
          this.#positions.set(`topic:${topic}`, cursor ? parseCursor2(cursor) : { epoch, seq: head });
          return { topic, epoch, seq: head };
        }));
        this.#tell({ type: "ACK", id, payload: { topics: results } });
        this.#reopen();
      }
      async #answer(id, method, path2, body) {
        const url = `${path2}${path2.includes("?") ? "&" : "?"}device=${encodeURIComponent(this.#device)}`;
        const response = await this.#request(url, {
          method,
          ...method !== "GET" && { headers: { "Idempotency-Key": id } },
          ...body !== void 0 && { body: JSON.stringify(body) }
        });
        const text2 = await response.text();
        if (this.#closed.signal.aborted) return;
        if (response.status === 401) return this.#end(TOKEN_REFUSED, problemOf(text2).message);
        if (!response.ok) return this.#tell({ type: "ERROR", id, ...problemOf(text2) });
        const payload = text2 === "" ? {} : JSON.parse(text2);
        this.#tell({ type: "ACK", id, ...payload.seq !== void 0 && { seq: payload.seq }, payload });
      }
      #tell(message) {
        if (!this.#closed.signal.aborted) this.#events.frame(JSON.stringify(message));
      }
      #request(path2, { headers: headers2, ...init } = {}) {
        const authorization = this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
        return this.#fetch(new URL(path2, this.#base), {
          signal: this.#closed.signal,
          cache: "no-store",
          credentials: "omit",
          ...init,
          headers: { ...authorization, ...headers2 }
        });
      }
    };
    EventLines = class {
      #text = "";
      #id = "";
      #data = [];
      push(text2) {
        const events = [];
        const lines = (this.#text + text2).split("\n");
        this.#text = lines.pop();
        for (const line2 of lines.map((each) => each.replace(/\r$/, ""))) {
          if (line2 === "") {
            if (this.#data.length > 0) events.push({ id: this.#id, data: this.#data.join("\n") });
            this.#data = [];
          } else if (line2.startsWith("id:")) {
            this.#id = line2.slice(3).trimStart();
          } else if (line2.startsWith("data:")) {
            this.#data.push(line2.slice(5).replace(/^ /, ""));
          }
        }
        return events;
      }
    };
  }
});

// gateway/demo/src/dom.ts
var HIGHLIGHT_MS = 1600;
function copy(templateId) {
  const template = document.getElementById(templateId);
  return template.content.firstElementChild.cloneNode(true);
}
function part(root, role) {
  return root.querySelector(`[data-role="${role}"]`);
}
function say(element, text2) {
  if (element.textContent !== text2) element.textContent = text2;
}
function highlight(element) {
  clearTimeout(Number(element.dataset["highlight"]));
  element.classList.remove("touched");
  void element.offsetWidth;
  element.classList.add("touched");
  element.dataset["highlight"] = String(setTimeout(() => element.classList.remove("touched"), HIGHLIGHT_MS));
}
function address(path2 = "") {
  return new URL(path2, new URL(".", document.baseURI));
}
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// clients/js/src/errors.ts
var DraftwireError = class extends Error {
  name = "DraftwireError";
  code;
  /** What the server sent along, as with a conflict the draft as it stands. */
  payload;
  /** @param message for developers; the code where that says enough */
  constructor(code, message = code, payload, options) {
    super(message, options);
    this.code = code;
    this.payload = payload;
  }
};
function errorOf({ code, message, payload }) {
  return new DraftwireError(code, message, payload);
}

// clients/js/src/connection/token.ts
init_limits();

// clients/js/src/wait.ts
function quiet(promise) {
  promise.catch(() => {
  });
  return promise;
}
function waitFor(promise, { signal, timeoutMs } = {}) {
  if (!signal && timeoutMs === void 0) return promise;
  let timer;
  let abort;
  const waiting = new Promise((resolve, reject) => {
    promise.then(resolve, reject);
    abort = () => reject(new DraftwireError("aborted", void 0, void 0, { cause: signal?.reason }));
    if (timeoutMs !== void 0) timer = setTimeout(() => reject(new DraftwireError("timeout", `no result within ${timeoutMs} ms`)), timeoutMs);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
  });
  return quiet(waiting.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }));
}
var Deferred = class {
  resolve;
  reject;
  promise = quiet(new Promise((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  }));
};

// clients/js/src/connection/token.ts
function newTokenSource(getToken) {
  let asking = null;
  let abort;
  let stale;
  async function ask() {
    const mine = abort = new AbortController();
    const { signal } = mine;
    try {
      const answer2 = Promise.resolve(getToken({ stale, signal }));
      const token = await waitFor(answer2, { timeoutMs: TOKEN_MS_MAX, signal });
      if (token === stale) throw new Error("getToken brought the same token again");
      return token;
    } catch (cause) {
      mine.abort();
      if (cause instanceof DraftwireError && cause.code === "unauthorized") throw cause;
      throw new DraftwireError("unavailable", `no token: ${cause?.message ?? cause}`, void 0, { cause });
    }
  }
  return {
    spent(token) {
      stale = token ?? stale;
    },
    get() {
      if (asking) return asking;
      const mine = ask().finally(() => {
        if (asking === mine) asking = null;
      });
      return asking = mine;
    },
    cancel() {
      asking = null;
      abort?.abort();
    }
  };
}

// clients/js/src/connection/transport.ts
function baseOf(url) {
  const base = new URL(url, globalThis.location?.href);
  if (!/^(http|ws)s?:$/.test(base.protocol)) throw new TypeError(`no address of a server: ${base.href}`);
  base.protocol = base.protocol.replace("ws", "http");
  base.search = base.hash = "";
  base.pathname = base.pathname.replace(/(\/ws\/realtime)?\/*$/, "/");
  return base;
}

// clients/js/src/connection/websocket.ts
init_limits();
function webSocketTransport(base, { WebSocket: WebSocket2 }) {
  const OPEN = 1;
  return {
    name: "websocket",
    async open({ token, ...query }, events) {
      const url = new URL("ws/realtime", base);
      url.protocol = url.protocol.replace("http", "ws");
      for (const [name, value] of Object.entries({ batch: "1", ...query })) url.searchParams.set(name, value);
      const socket = new WebSocket2(url.href, ["draftwire.v1.json", ...token === null ? [] : [`bearer.${token}`]]);
      socket.onerror = () => {
      };
      socket.onmessage = ({ data }) => events.frame(data);
      socket.onclose = ({ code, reason: reason2 }) => events.closed(code, reason2);
      return {
        quietMs: QUIET_MS,
        send: (_message, text2) => {
          if (socket.readyState === OPEN) socket.send(text2);
        },
        close: () => socket.close(1e3)
      };
    }
  };
}

// clients/js/src/environment.ts
function environmentOf(given = {}) {
  return {
    // Node 20 has none.
    WebSocket: globalThis.WebSocket,
    // Looked up when used: a page may replace it.
    fetch: (...request) => globalThis.fetch(...request),
    isVisible: () => globalThis.document?.visibilityState !== "hidden",
    onWake,
    ...given
  };
}
function onWake(listener) {
  const ending = new AbortController();
  const { document: document2, navigator } = globalThis;
  const on = (target, ...types) => {
    for (const type of types) target?.addEventListener?.(type, listener, ending);
  };
  on(globalThis, "online", "pageshow");
  on(document2, "visibilitychange", "resume");
  on(navigator?.connection, "change");
  return () => ending.abort();
}

// clients/js/src/json.ts
function randomId2() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
function toJson(value) {
  const text2 = JSON.stringify(value, (_key, inner) => {
    if (typeof inner === "number" && !Number.isFinite(inner)) throw new TypeError(`${inner} is no JSON number`);
    return inner;
  });
  if (text2 === void 0) throw new TypeError(`${typeof value} is no JSON value`);
  return parse(text2.replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, "$1�"));
}
function parse(text2) {
  return JSON.parse(text2, (_key, value) => Object.freeze(value));
}
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function equal(a, b) {
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((value, i) => equal(value, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}

// clients/js/src/listeners.ts
function newListeners(onError) {
  const entries = /* @__PURE__ */ new Set();
  return {
    add(listener) {
      const entry = { listener };
      entries.add(entry);
      return () => {
        entries.delete(entry);
      };
    },
    get size() {
      return entries.size;
    },
    call(...values) {
      for (const entry of [...entries]) {
        if (!entries.has(entry)) continue;
        try {
          entry.listener(...values);
        } catch (error) {
          onError(error);
        }
      }
    },
    clear: () => entries.clear()
  };
}
function newHandlers(onError) {
  const byType = /* @__PURE__ */ new Map();
  return {
    add(type, handler) {
      const listeners = byType.get(type) ?? newListeners(onError);
      byType.set(type, listeners);
      return listeners.add(handler);
    },
    call(value) {
      byType.get(value.type)?.call(value);
      byType.get("*")?.call(value);
    },
    clear() {
      for (const listeners of byType.values()) listeners.clear();
    }
  };
}

// clients/js/src/connection/connection.ts
init_limits();

// clients/js/src/connection/backoff.ts
var BASE_MS = 500;
var MAX_MS = 3e4;
function backoff(failures, random = Math.random) {
  return random() * Math.min(MAX_MS, BASE_MS * 2 ** Math.min(failures + 1, 16));
}

// clients/js/src/connection/close_codes.ts
var CODES = {
  4400: "protocol",
  4401: "unauthorized",
  4403: "forbidden",
  4409: "replaced",
  4410: "disconnected",
  4429: "rate_limited",
  1009: "too_large",
  1012: "unavailable",
  1013: "unavailable"
};
var FINAL = ["protocol", "forbidden", "replaced"];
function errorOfClose(code, reason2) {
  return new DraftwireError(CODES[code] ?? "unreachable", reason2 || `the connection is lost (${code})`);
}

// clients/js/src/connection/watchdog.ts
var SILENT_MS_MAX = 17e3;
var TICK_MS = 2500;
var WAKE_MS = 4e3;
var WAKE_PAUSE_MS = 500;
function newWatchdog({ isVisible, ping, dead }) {
  let timer;
  let quietMs = 0;
  let heartbeatMs = 0;
  let heardAt = 0;
  let pingedAt = null;
  let deadline = null;
  let wokenAt = -Infinity;
  let tickedAt = 0;
  function start(quiet2, heartbeat) {
    stop();
    quietMs = quiet2;
    heartbeatMs = heartbeat;
    heard();
    tickedAt = Date.now();
    timer = setInterval(tick, TICK_MS);
  }
  function stop() {
    clearInterval(timer);
    timer = void 0;
  }
  function heard() {
    heardAt = performance.now();
    pingedAt = deadline = null;
  }
  function wake() {
    const now = performance.now();
    if (timer === void 0 || now - wokenAt < WAKE_PAUSE_MS) return;
    wokenAt = now;
    deadline ??= now + WAKE_MS;
    ask(now);
    setTimeout(tick, WAKE_MS + 10);
  }
  function tick() {
    if (timer === void 0) return;
    const now = performance.now();
    const late = Math.abs(Date.now() - tickedAt) > 3 * TICK_MS;
    tickedAt = Date.now();
    if (late) wake();
    const visible = isVisible();
    const silentMs = now - heardAt;
    if (deadline !== null ? now >= deadline : silentMs >= (visible ? SILENT_MS_MAX : 2 * heartbeatMs)) {
      stop();
      dead();
    } else if (pingedAt === null && silentMs >= (visible ? quietMs : Math.max(quietMs, heartbeatMs / 2))) {
      ask(now);
    }
  }
  function ask(now) {
    pingedAt = now;
    ping();
  }
  return { start, stop, heard, wake, tick };
}

// clients/js/src/connection/connection.ts
function newConnection({ transports, device, tokens, isVisible, events }) {
  const timers = /* @__PURE__ */ new Map();
  const requests = /* @__PURE__ */ new Map();
  let wire = null;
  let welcome = null;
  let isOn = false;
  let generation = 0;
  let attempts = 0;
  let retryAt = 0;
  let failure;
  let token = null;
  let tokensRefused = 0;
  let transport = 0;
  let silentAttempts = 0;
  let blockedUntil = 0;
  const watchdog = newWatchdog({
    isVisible,
    ping: () => send2({ type: "PING" }),
    dead
  });
  function connect() {
    if (isOn) return;
    isOn = true;
    attempts = tokensRefused = 0;
    void open();
  }
  function disconnect() {
    isOn = false;
    tokens.cancel();
    giveUp();
  }
  function reopen() {
    if (wire) void open();
  }
  function stop(error) {
    disconnect();
    events.state({ status: "stopped", error });
  }
  function again2(error) {
    giveUp();
    if (isOn) retryIn(backoff(attempts++), error);
  }
  function dead() {
    again2(new DraftwireError("unreachable", "the server does not answer"));
  }
  function wake() {
    const delayMs = backoff(0) / 4;
    if (performance.now() + delayMs < retryAt) retryIn(delayMs, failure);
    watchdog.wake();
  }
  function request(type, payload, answered2) {
    const id = randomId2();
    requests.set(id, answered2);
    const error = send2({ type, id, payload });
    if (error) answer2({ type: "ERROR", id, code: error.code, message: error.message });
  }
  function send2(message) {
    const text2 = JSON.stringify(message);
    const bytes = new TextEncoder().encode(text2).length;
    if (welcome && bytes > welcome.maxMessageBytes) return new DraftwireError("too_large", `the message has ${bytes} bytes`);
    if (welcome) wire?.send(message, text2);
    return void 0;
  }
  function after(name, delayMs, action) {
    clearTimeout(timers.get(name));
    timers.set(name, setTimeout(action, delayMs));
  }
  function pause2(name, failures, action) {
    after(name, backoff(failures), action);
  }
  async function open() {
    giveUp();
    const mine = generation;
    const current = () => isOn && mine === generation;
    events.state({ status: "connecting" });
    if (!current()) return;
    try {
      const fresh = await tokens.get();
      if (!current()) return;
      token = fresh;
    } catch (error) {
      if (current()) end(error, error.code === "unauthorized");
      return;
    }
    chooseTransport();
    after("connect", CONNECT_MS_MAX, () => {
      silentAttempts += 1;
      dead();
    });
    try {
      const opened = await transports[transport].open({ device, token, ...events.cursors() }, {
        frame: (text2) => {
          if (current()) receive(text2, current);
        },
        alive: () => {
          if (current()) watchdog.heard();
        },
        closed: (code, reason2) => {
          if (current()) closed(code, reason2);
        }
      });
      if (current()) wire = opened;
      else opened.close();
    } catch (cause) {
      if (!current()) return;
      const isMalformed = cause.name === "SyntaxError";
      end(new DraftwireError(isMalformed ? "bad_request" : "unreachable", String(cause)), isMalformed);
    }
  }
  function end(error, isFinal) {
    if (isFinal) stop(error);
    else again2(error);
  }
  function chooseTransport() {
    if (transport > 0 && performance.now() > blockedUntil) transport = silentAttempts = 0;
    if (silentAttempts < SILENT_ATTEMPTS) return;
    silentAttempts = 0;
    transport = (transport + 1) % transports.length;
    blockedUntil = performance.now() + BLOCKED_MS;
  }
  function giveUp() {
    generation += 1;
    for (const timer of timers.values()) clearTimeout(timer);
    timers.clear();
    requests.clear();
    retryAt = 0;
    watchdog.stop();
    wire?.close();
    wire = welcome = null;
    events.lost();
  }
  function closed(code, reason2) {
    const error = errorOfClose(code, reason2);
    const isRefused = error.code === "unauthorized";
    if (error.code === "unreachable" && !welcome) silentAttempts += 1;
    if (error.code === "too_large") events.tooLarge(error);
    if (isRefused || error.code === "disconnected") tokens.spent(token);
    if (isRefused) tokensRefused += 1;
    const isFinal = isRefused ? tokensRefused > 1 || token === null : FINAL.includes(error.code);
    end(error, isFinal);
  }
  function retryIn(delayMs, error) {
    failure = error;
    retryAt = performance.now() + delayMs;
    after("retry", delayMs, open);
    events.state({ status: "waiting", retryAt: Date.now() + delayMs, error });
  }
  function receive(text2, current) {
    watchdog.heard();
    let messages;
    try {
      messages = [parse(text2)].flat();
    } catch {
      return closed(void 0, "no JSON");
    }
    for (const message of messages) if (current()) handle(message);
    if (current()) events.frameEnd();
  }
  function handle(message) {
    switch (message.type) {
      case "WELCOME":
        return welcomed(message.payload);
      case "ACK":
      case "ERROR":
      case "PONG":
        return answer2(message);
      case "RECONNECT":
        return after("move", message.payload.inMs, open);
      default:
        if (typeof message.stream === "string") events.stream(message);
        else if (message.type === "TOKEN_EXPIRING") void renew(0);
    }
  }
  function welcomed(payload) {
    clearTimeout(timers.get("connect"));
    tokensRefused = silentAttempts = 0;
    welcome = payload;
    after("stable", STABLE_MS, () => {
      attempts = 0;
    });
    watchdog.start(wire.quietMs, welcome.heartbeatMs);
    events.welcome(welcome);
  }
  function answer2(message) {
    const answered2 = requests.get(message.id);
    if (!answered2) return events.answer(message);
    requests.delete(message.id);
    answered2(message);
  }
  async function renew(failures) {
    const mine = generation;
    const later = () => pause2("renew", failures, () => renew(failures + 1));
    tokens.spent(token);
    const fresh = await tokens.get().catch(() => void 0);
    if (mine !== generation) return;
    if (fresh === void 0) return later();
    request("AUTH", { token: fresh }, (message) => {
      if (message.type === "ACK") {
        token = fresh;
        return;
      }
      const refused2 = message;
      if (refused2.code === "unauthorized") tokens.spent(fresh);
      if (refused2.code === "forbidden") stop(new DraftwireError("wrong_user", refused2.message));
      else later();
    });
  }
  return {
    get welcome() {
      return welcome;
    },
    get transport() {
      return transports[transport];
    },
    connect,
    disconnect,
    reopen,
    stop,
    again: again2,
    wake,
    tick: watchdog.tick,
    request,
    send: send2,
    after,
    pause: pause2
  };
}

// clients/js/src/protocol.ts
function formatCursor({ epoch, seq }) {
  return `${epoch}:${seq}`;
}
function parseCursor(cursor) {
  const [, epoch, seq] = /^(.+):(\d+)$/.exec(cursor) ?? [];
  if (!epoch) throw new TypeError(`no cursor: ${cursor}`);
  return { epoch, seq: Number(seq) };
}
function isEvent(message) {
  return "timestamp" in message;
}
function streamEvent({ type, seq, timestamp, origin, priority = "normal", payload }) {
  return { type, seq, timestamp, origin, priority, data: payload };
}

// clients/js/src/session/commands.ts
init_limits();
function commandKey({ order }) {
  return `command/${String(order).padStart(12, "0")}`;
}
function enqueue(records, command) {
  const order = (records.get("meta/order") ?? 0) + 1;
  records.put("meta/order", order);
  records.put(commandKey({ order }), { ...command, order });
}
function checkQueue(records) {
  const count = records.count("command") + records.count("outcome") + records.count("unpublished");
  if (count >= QUEUE_MAX) throw new DraftwireError("queue_full", `${QUEUE_MAX} changes wait for answers`);
}

// clients/js/src/session/subscriptions.ts
init_limits();

// clients/js/src/session/presence.ts
function isPresence(message) {
  return ["PRESENCE", "JOIN", "LEAVE"].includes(message.type);
}
function nextPresence(before, { type, payload }) {
  const { users, devices, members, ...member } = payload;
  if (type === "PRESENCE") return { members: members ?? null, users, devices };
  const others = before?.members?.filter(({ userId, device }) => userId !== member.userId || device !== member.device);
  return { members: (type === "JOIN" && others ? [...others, member] : others) ?? null, users, devices };
}

// clients/js/src/session/tracker.ts
var Tracker = class {
  /** The last event that was seen; null before the first answer of the server. */
  position;
  /** Whether everything that arrives is new. */
  live = false;
  constructor(position2 = null) {
    this.position = position2;
  }
  /** Judges a message of the stream, and moves on with it. */
  judge(message) {
    const { position: position2 } = this;
    if (message.type === "SYNCED" || message.type === "SNAPSHOT") {
      const { epoch = position2?.epoch ?? "", seq } = message;
      if ("missedBefore" in message || message.type === "SNAPSHOT") {
        if (position2?.epoch === epoch && position2.seq >= seq) return "other";
        this.position = { epoch, seq };
        return "missed";
      }
      if (position2 && seq > position2.seq) return "gap";
      this.live = true;
      return "synced";
    }
    if (!isEvent(message)) return "other";
    if (!position2 || message.seq > position2.seq + 1) return "gap";
    if (message.seq <= position2.seq) return "seen";
    this.position = { epoch: position2.epoch, seq: message.seq };
    return "next";
  }
};

// clients/js/src/session/subscriptions.ts
function newSubscriptions(connection, { deliver, gap }) {
  const wantsByTab = /* @__PURE__ */ new Map();
  const subscriptions = /* @__PURE__ */ new Map();
  let isPausing = false;
  let pauses = 0;
  function want(tab2, wants) {
    const before = wantsByTab.get(tab2) ?? [];
    if (wants.length > 0) wantsByTab.set(tab2, wants);
    else wantsByTab.delete(tab2);
    for (const each of wants) if (!before.some(({ handle }) => handle === each.handle)) begin(each);
    reconcile();
  }
  function welcome() {
    pauses = 0;
    reconcile();
  }
  function lost() {
    isPausing = false;
    for (const subscription of subscriptions.values()) left(subscription);
  }
  function left(subscription) {
    subscription.followed = subscription.tracker.live = subscription.expiring = false;
    subscription.asked = subscription.presence = subscription.request = void 0;
  }
  function receive(message) {
    const { stream } = message;
    const subscription = subscriptions.get(stream.slice("topic:".length));
    if (!subscription?.followed) return;
    if (message.type === "UNSUBSCRIBED" || message.type === "TOKEN_EXPIRING") {
      subscription.expiring = message.type === "TOKEN_EXPIRING";
      subscription.followed = subscription.expiring;
      if (!subscription.followed) refused2(subscription, message.payload);
      return reconcile();
    }
    if (isPresence(message)) subscription.presence = nextPresence(subscription.presence, message);
    const judged = subscription.tracker.judge(message);
    if (judged === "gap") gap(stream);
    else if (judged !== "seen") deliver(message);
  }
  function begin({ topic, from, presence }) {
    const subscription = subscriptions.get(topic);
    if (!subscription) return;
    const { position: position2, live } = subscription.tracker;
    if (subscription.request) tellTokenWanted(subscription);
    if (from && (from.epoch !== position2?.epoch || from.seq !== position2.seq)) subscription.rewind = earlier(subscription.rewind, from);
    if (!subscription.followed || !position2) return;
    tellFollowed(subscription, position2.seq, live && !subscription.rewind);
    if (presence && subscription.presence) {
      deliver({ type: "PRESENCE", stream: subscription.stream, payload: subscription.presence });
    }
  }
  function reconcile() {
    if (!connection.welcome) return;
    const wanted = /* @__PURE__ */ new Map();
    for (const each of [...wantsByTab.values()].flat()) wanted.set(each.topic, [...wanted.get(each.topic) ?? [], each]);
    const missing = [];
    for (const wants of wanted.values()) {
      const want2 = wants.reduce(union);
      const subscription = subscriptionOf(want2);
      const { followed, request } = subscription;
      const options = optionsOf(want2);
      const needsToken = (!followed || subscription.expiring) && wants.some(({ token }) => token !== void 0);
      const answers = wants.flatMap(({ token }) => token && token.request === request ? token : []);
      const brought = answers.find(({ token }) => token !== void 0);
      const isAsking = subscription.asked === "token";
      if (brought || isAsking && !needsToken) subscription.asked = subscription.request = void 0;
      else if (isAsking && answers.length > 0) pause2(subscription);
      if (subscription.asked) continue;
      if (needsToken && !brought) {
        subscription.asked = "token";
        subscription.request = randomId2();
        tellTokenWanted(subscription);
      } else if (!followed || brought) {
        subscription.asked = "subscribe";
        subscription.start = subscription.rewind ?? subscription.tracker.position;
        subscription.token = brought?.token ?? void 0;
        if (!followed) subscription.options = options;
        missing.push(subscription);
      } else if (subscription.rewind || JSON.stringify(subscription.options) !== JSON.stringify(options)) {
        unsubscribe(subscription);
      }
    }
    if (missing.length > 0) subscribe(missing);
    for (const subscription of subscriptions.values()) {
      if (wanted.has(subscription.topic) || subscription.asked) continue;
      if (subscription.followed) unsubscribe(subscription);
      else subscriptions.delete(subscription.topic);
    }
  }
  function subscriptionOf({ topic, from }) {
    const subscription = subscriptions.get(topic) ?? { topic, stream: `topic:${topic}`, tracker: new Tracker(from) };
    subscriptions.set(topic, subscription);
    return subscription;
  }
  function subscribe(missing) {
    const topics = missing.map(({ topic, start, token, options }) => ({ topic, cursor: start && formatCursor(start), token, ...options }));
    connection.request("SUBSCRIBE", { topics }, (answer2) => {
      missing.forEach((subscription, i) => {
        subscription.asked = void 0;
        const result = answer2.type === "ACK" ? answer2.payload.topics[i] : answer2;
        if (result.code) refused2(subscription, result);
        else accepted(subscription, result);
      });
      reconcile();
    });
  }
  function accepted(subscription, { epoch, seq }) {
    const { tracker, start, followed } = subscription;
    pauses = 0;
    subscription.expiring = subscription.refusedOnce = false;
    if (followed) return;
    subscription.followed = true;
    tracker.live = !start;
    tracker.position = start ?? { epoch, seq };
    if (start === subscription.rewind) subscription.rewind = void 0;
    tellFollowed(subscription, seq, tracker.live);
  }
  function tellFollowed({ stream, tracker }, head, live) {
    deliver({ type: "FOLLOWED", stream, head, live, ...tracker.position });
  }
  function tellTokenWanted({ stream, request, token }) {
    deliver({ type: "TOKEN_WANTED", stream, request, stale: token });
  }
  function refused2(subscription, payload) {
    const { topic, stream, token, followed, refusedOnce } = subscription;
    if (followed || payload.code === "unavailable") {
      pause2(subscription);
    } else if (payload.code === "unauthorized" && token !== void 0 && !refusedOnce) {
      subscription.refusedOnce = true;
    } else if (payload.code !== "conflict") {
      subscriptions.delete(topic);
      for (const [tab2, wants] of wantsByTab) wantsByTab.set(tab2, wants.filter((each) => each.topic !== topic));
      deliver({ type: "UNSUBSCRIBED", stream, payload });
    }
  }
  function pause2(subscription) {
    subscription.asked = "paused";
    if (isPausing) return;
    isPausing = true;
    connection.pause("subscribe", pauses, () => {
      isPausing = false;
      for (const waiting of subscriptions.values()) if (waiting.asked === "paused") waiting.asked = waiting.request = void 0;
      reconcile();
    });
    pauses += 1;
  }
  function unsubscribe(subscription) {
    subscription.asked = "unsubscribe";
    connection.request("UNSUBSCRIBE", { topic: subscription.topic }, () => {
      left(subscription);
      reconcile();
    });
  }
  return { want, welcome, lost, receive };
}
function union(a, b) {
  return {
    ...a,
    from: earlier(a.from, b.from),
    presence: a.presence || b.presence,
    batchMs: a.batchMs && b.batchMs && Math.min(a.batchMs, b.batchMs),
    batchMax: Math.min(a.batchMax ?? BATCH_MAX, b.batchMax ?? BATCH_MAX)
  };
}
function optionsOf({ presence, batchMs, batchMax = BATCH_MAX }) {
  return { presence: presence || void 0, batchMs, batchMax: batchMs && batchMax };
}
function earlier(a, b) {
  return !a || b && a.epoch === b.epoch && b.seq < a.seq ? b : a;
}

// clients/js/src/session/streams.ts
function followPlain({ settle, gap, deliver }, position2) {
  const tracker = new Tracker(position2);
  return Object.assign(tracker, {
    welcome(head) {
      tracker.live = !tracker.position;
      tracker.position ??= head;
    },
    receive(message) {
      const judged = tracker.judge(message);
      if (judged === "gap") gap(message.stream);
      else if (judged === "next" || judged === "missed") deliver(message);
      settle();
    },
    frameEnd() {
    },
    lost() {
      tracker.live = false;
    }
  });
}

// clients/js/src/session/session.ts
function newSession(options) {
  const { device, records, userState, events } = options;
  let queue;
  let isLoading = false;
  let loads = 0;
  let isOpen = false;
  let live = false;
  let frame = [];
  const connection = newConnection({
    ...options,
    events: {
      state: events.state,
      cursors: () => ({
        ...user3.position && { cursor: formatCursor(user3.position) },
        ...all.position && { all: formatCursor(all.position) }
      }),
      welcome,
      stream: receive,
      answer: answer2,
      frameEnd,
      tooLarge: ({ message }) => queue?.tooLarge(message),
      lost
    }
  });
  const subscriptions = newSubscriptions(connection, {
    deliver: (message) => {
      frame.push(message);
      queueMicrotask(tell);
    },
    gap
  });
  const host = {
    connection,
    records,
    device,
    settle,
    gap,
    openQueue,
    deliver: (message) => frame.push(message)
  };
  const all = followPlain(host, records.get("position/all"));
  let user3 = followUser();
  function followUser() {
    return (userState()?.follow ?? followPlain)(host);
  }
  function openQueue() {
    isOpen = true;
    queue?.open();
    void pump();
  }
  async function pump() {
    if (queue || isLoading || !isOpen || records.count("command") === 0) return queue?.pump();
    isLoading = true;
    try {
      const { newCommandQueue: newCommandQueue2 } = userState() ?? await Promise.resolve().then(() => (init_command_queue(), command_queue_exports));
      queue = newCommandQueue2({ records, connection, keyOf: commandKey, userState, ...events });
      if (isOpen) queue.open();
    } catch (error) {
      if (isOpen) {
        events.failed(new DraftwireError("unreachable", String(error)));
        connection.pause("load", loads++, pump);
      }
    }
    isLoading = false;
  }
  function userStateArrived() {
    user3 = followUser();
    connection.reopen();
  }
  function signal(topic, event2, data) {
    connection.request("PUBLISH", { topic, event: event2, data, signal: true }, (answer3) => {
      if (answer3.type === "ERROR" && answer3.code !== "unavailable") events.failed(errorOf(answer3));
    });
  }
  function welcome({ epoch, userId, seq, allSeq }) {
    const known = records.get("meta/user");
    if (known && userId && known !== userId) {
      return connection.stop(new DraftwireError("wrong_user", "the store is of another user: logout() forgets it"));
    }
    if (!known && userId) put("meta/user", userId);
    all.welcome({ epoch, seq: allSeq });
    if (all.live) put("position/all", all.position);
    tellConnected("catching-up");
    subscriptions.welcome();
    if (seq !== void 0) user3.welcome({ epoch, seq });
    if (seq === void 0 ? !known : !userState()) openQueue();
    settle();
  }
  function lost() {
    live = false;
    all.lost();
    user3.lost();
    isOpen = false;
    queue?.lost();
    subscriptions.lost();
    tell();
  }
  function settle() {
    if (live || !connection.welcome || !all.live || !(user3.live || connection.welcome.seq === void 0)) return;
    live = true;
    user3.frameEnd();
    tell();
    tellConnected("live");
  }
  function tellConnected(status) {
    events.state({ status, transport: connection.transport.name, node: connection.welcome.node });
  }
  function receive(message) {
    const { stream } = message;
    if (stream === "user") user3.receive(message);
    else if (stream === "all") all.receive(message);
    else if (stream.startsWith("topic:")) subscriptions.receive(message);
  }
  function frameEnd() {
    user3.frameEnd();
    tell();
    void pump();
  }
  function tell() {
    const messages = frame;
    if (messages.length === 0) return;
    frame = [];
    const seq = events.deliver(messages);
    if (seq !== void 0) put("position/all", { ...all.position, seq });
  }
  function put(key, value) {
    void records.run((edit) => edit.put(key, value));
  }
  function answer2(answer3) {
    const { id, seq, code, message, payload } = answer3;
    const error = code ? { code, message, payload } : void 0;
    if (!queue?.receive(id, { seq, payload, error }) && error) events.failed(errorOf(error));
  }
  function gap(stream) {
    const error = new DraftwireError("protocol", `events of ${stream} are missing`);
    events.failed(error);
    connection.again(error);
  }
  return { ...connection, want: subscriptions.want, pump, signal, userStateArrived };
}

// clients/js/src/session/link.ts
function ownLink(options) {
  const { events, tab: tab2 } = options;
  const session = newSession({ ...options, events: { ...events, isThere: () => false } });
  session.connect();
  return { ...session, want: (wants) => session.want(tab2, wants), close: session.disconnect };
}

// clients/js/src/session/publisher.ts
function newPublisher(records, tab2, onError) {
  const waiting = /* @__PURE__ */ new Map();
  const unpublished = newListeners(onError);
  let closed;
  async function publish(topic, type, data = null, options = {}) {
    const { priority } = options;
    const payload = { topic, event: type, data: toJson(data), ...priority && { priority } };
    if (closed) throw closed;
    checkQueue(records);
    const command = { id: randomId2(), type: "PUBLISH", payload, tab: tab2 };
    const acknowledged2 = new Promise((resolve, reject) => {
      waiting.set(command.id, ({ seq, error }) => error ? reject(errorOf(error)) : resolve({ seq }));
    });
    void records.run((edit) => enqueue(edit, command));
    return waitFor(quiet(acknowledged2), options);
  }
  function answered2(id, outcome) {
    waiting.get(id)?.(outcome);
    if (waiting.delete(id) && outcome.error) forget([{ id }]);
  }
  function tellUnpublished() {
    const refused2 = [...records.list("unpublished")].filter((record) => waiting.has(record.id) || record.tab === null && unpublished.size > 0);
    forget(refused2);
    for (const { id, payload: { topic, event: event2, data }, error } of refused2) {
      const tell = waiting.get(id) ?? (() => unpublished.call({ topic, type: event2, data, error: errorOf(error) }));
      waiting.delete(id);
      tell({ error });
    }
  }
  function forget(refused2) {
    void records.run((edit) => {
      for (const { id } of refused2) edit.remove(`unpublished/${id}`);
    });
  }
  return {
    publish: (...event2) => quiet(publish(...event2)),
    answered: answered2,
    onUnpublished(handler) {
      const remove = unpublished.add(handler);
      tellUnpublished();
      return remove;
    },
    tellUnpublished,
    close(error) {
      closed = error;
      for (const tell of waiting.values()) tell({ error });
      waiting.clear();
      unpublished.clear();
    }
  };
}

// clients/js/src/store/memory.ts
function memory() {
  const tables = /* @__PURE__ */ new Map();
  const tableOf = (name) => {
    let table = tables.get(name);
    if (!table) tables.set(name, table = /* @__PURE__ */ new Map());
    return table;
  };
  const of = (key) => tableOf(key.slice(0, key.indexOf("/")));
  const records = ({ changed }) => ({
    get: (key) => of(key).get(key),
    list: (table) => tableOf(table).values(),
    keys: (table) => [...tableOf(table).keys()],
    count: (table) => tableOf(table).size,
    isCommitted: () => true,
    async run(step) {
      const keys = /* @__PURE__ */ new Set();
      step({
        get: this.get,
        list: this.list,
        put: (key, value) => {
          keys.add(key);
          of(key).set(key, value);
        },
        remove: (key) => {
          keys.add(key);
          of(key).delete(key);
        }
      });
      if (keys.size > 0) changed(keys);
    },
    loaded: Promise.resolve(),
    clear: async () => tables.clear(),
    close: () => {
    }
  });
  return { kind: "memory", open: records };
}

// clients/js/src/topics/ambient.ts
function newAmbientStream(onError) {
  const handlers = newHandlers(onError);
  const missed = newListeners(onError);
  let last = 0;
  return {
    handlers,
    missed,
    receive(message) {
      const { seq } = message;
      if (!isEvent(message)) {
        last = Math.min(last, seq);
        missed.call({ before: message.missedBefore ?? seq + 1 });
      } else if (seq > last) {
        last = seq;
        handlers.call(streamEvent(message));
      }
    }
  };
}

// clients/js/src/topics/topic.ts
var NOBODY = [];
function newTopic(name, { from = "now", presence: isPresent, batchMs, batchMax, getToken }, host) {
  const { onError, records } = host;
  const tracker = new Tracker(/^(now|last)$/.test(from) ? null : parseCursor(from));
  const positionKey = `position/topic:${name}`;
  const changed = newListeners(onError);
  const missed = newListeners(onError);
  const events = newHandlers(onError);
  const signals = newHandlers(onError);
  let handle = randomId2();
  const tokens = getToken && newTokenSource((request) => getToken({ ...request, topic: name }));
  let brought = null;
  let state = { status: "waiting" };
  let presence = null;
  const topic = {
    name,
    get state() {
      return state;
    },
    get cursor() {
      return tracker.position && formatCursor(tracker.position);
    },
    get presence() {
      return presence;
    },
    get members() {
      return presence?.members ?? NOBODY;
    },
    on: events.add,
    onSignal: signals.add,
    onMissed: missed.add,
    subscribe: changed.add,
    publish: (type, data, publish) => host.publish(name, type, data, publish),
    signal: (type, data) => host.signal(name, type, toJson(data)),
    close: () => end({ status: "ended" })
  };
  function setState(next) {
    if (next.status === state.status && next.error === state.error) return;
    state = next;
    changed.call();
  }
  function end(ended) {
    if (state.status === "ended") return;
    presence = null;
    tokens?.cancel();
    setState(ended);
    for (const listeners of [changed, missed, events, signals]) listeners.clear();
    host.ended(followed);
  }
  async function bringToken({ request, stale }) {
    if (!tokens) return;
    tokens.spent(stale ?? brought?.token);
    try {
      brought = { request, token: await tokens.get() };
    } catch (cause) {
      const error = cause;
      if (error.code === "unauthorized") return end({ status: "ended", error });
      brought = { request };
      if (state.status === "waiting") setState({ status: "waiting", error });
    }
    host.changed();
  }
  function again2() {
    if (state.status === "waiting") return;
    handle = randomId2();
    setState({ status: "waiting" });
    host.changed();
  }
  function receive(message) {
    switch (message.type) {
      case "FOLLOWED": {
        const { epoch, seq, head, live } = message;
        const { position: position2 } = tracker;
        tracker.position ??= { epoch, seq: head };
        const isNew = !position2 || live && position2.epoch === epoch && position2.seq >= seq;
        return setState({ status: isNew ? "live" : "catching-up" });
      }
      case "SIGNAL": {
        const { event: event2, origin, payload } = message;
        const signal = { type: event2, origin, data: payload };
        return signals.call(signal);
      }
      case "TOKEN_WANTED":
        return void bringToken(message);
      case "UNSUBSCRIBED":
        return end({ status: "ended", error: errorOf(message.payload) });
    }
    if (isPresence(message)) {
      if (!isPresent) return;
      presence = nextPresence(presence, message);
      return changed.call();
    }
    if (!tracker.position) return;
    switch (tracker.judge(message)) {
      case "next":
        return events.call(streamEvent(message));
      case "missed":
        return missed.call({ before: message.missedBefore });
      case "synced":
        return setState({ status: "live" });
      case "gap":
        return again2();
    }
  }
  const followed = {
    topic,
    receive: (message) => {
      if (state.status !== "ended") receive(message);
    },
    want: () => ({ handle, topic: name, from: tracker.position, presence: isPresent, batchMs, batchMax, token: tokens && brought }),
    begin() {
      if (from === "last") tracker.position ??= records.get(positionKey) ?? null;
    },
    keepPosition() {
      const { position: position2 } = tracker;
      if (from !== "last" || !position2) return;
      const kept = records.get(positionKey);
      if (kept?.epoch !== position2.epoch || kept.seq < position2.seq) void records.run((edit) => edit.put(positionKey, position2));
    },
    lost() {
      if (state.status === "ended" || state.status === "waiting" && !presence) return;
      presence = null;
      state = { status: "waiting" };
      changed.call();
    }
  };
  return followed;
}

// clients/js/src/draftwire.ts
var internals = /* @__PURE__ */ Symbol("internals");
var Draftwire = newDraftwire;
function newDraftwire(url, options) {
  const { onError = (error) => console.error(error), store = memory() } = options;
  const environment = environmentOf(options.environment);
  const transports = transportsOf();
  const tokens = newTokenSource(options.getToken);
  const tab2 = randomId2();
  let device;
  let link = null;
  let generation = 0;
  let isOnline = options.connect ?? true;
  let closed;
  let state = { status: isOnline ? "connecting" : "offline" };
  let storage = { kind: store.kind };
  let userState = null;
  let wantsChanged = false;
  let cleared;
  const topics = /* @__PURE__ */ new Set();
  const changed = newListeners(onError);
  const all = newAmbientStream(onError);
  const user3 = newAmbientStream(onError);
  const records = store.open({ changed: recordsChanged, failed: storeFailed, cleared: close });
  const publisher = newPublisher(records, tab2, onError);
  const topicHost = {
    onError,
    records,
    changed: want,
    publish: publisher.publish,
    signal: (...signal) => link?.signal(...signal),
    ended: (topic2) => {
      topics.delete(topic2);
      want();
    }
  };
  const stopWaking = environment.onWake(() => link?.wake());
  records.loaded.then(start, () => {
  });
  function transportsOf() {
    const { transport = "auto" } = options;
    const base = baseOf(url);
    const eventStream = {
      name: "event-stream",
      // Loaded where it is needed, which is rare.
      open: async (...open) => new (await Promise.resolve().then(() => (init_event_stream(), event_stream_exports))).EventStreamWire(base, environment, ...open)
    };
    return [
      ...transport !== "event-stream" && environment.WebSocket ? [webSocketTransport(base, environment)] : [],
      ...transport !== "websocket" ? [eventStream] : []
    ];
  }
  async function start() {
    if (closed) return;
    await records.run((edit) => {
      if (options.device ?? !edit.get("meta/device")) edit.put("meta/device", options.device ?? randomId2());
    });
    device = records.get("meta/device");
    for (const topic2 of topics) topic2.begin();
    join();
  }
  function recordsChanged(keys) {
    userState?.changed(keys);
    const isIn = (table) => [...keys].some((key) => key.startsWith(table));
    if (isIn("unpublished/")) publisher.tellUnpublished();
    if (!isIn("command/")) return;
    link?.pump();
    changed.call();
  }
  function storeFailed(error) {
    if (closed) return;
    if (error.code === "newer_version") return stop({ status: "stopped", error });
    storage = { kind: "memory", error };
    onError(error);
    if (link) {
      leave();
      join();
    }
    changed.call();
  }
  function connect() {
    const { status, error } = state;
    if (closed || isOnline && status !== "stopped" || error?.code === "newer_version") return;
    leave();
    isOnline = true;
    setState({ status: "connecting" });
    join();
  }
  function disconnect() {
    stop({ status: "offline" });
  }
  function stop(next) {
    isOnline = false;
    leave();
    setState(next);
  }
  function join() {
    if (device === void 0 || !isOnline || link) return;
    const mine = generation += 1;
    const joined = (records.link ?? ownLink)({
      tab: tab2,
      transports,
      device,
      tokens,
      records,
      isVisible: environment.isVisible,
      userState: () => userState,
      events: {
        state: (next) => {
          if (mine === generation) setState(next);
        },
        deliver: (messages) => mine === generation ? deliver(messages) : void 0,
        answered: publisher.answered,
        failed: onError
      }
    });
    if (mine !== generation) return joined.close();
    link = joined;
    want();
  }
  function leave() {
    generation += 1;
    link?.close();
    link = null;
  }
  function setState(next) {
    state = next;
    if (!("node" in next)) for (const topic2 of topics) topic2.lost();
    changed.call();
  }
  function want() {
    if (wantsChanged) return;
    wantsChanged = true;
    queueMicrotask(() => {
      wantsChanged = false;
      link?.want([...topics].map((topic2) => topic2.want()));
    });
  }
  function deliver(messages) {
    let seq;
    for (const message of messages) {
      if (closed) break;
      const { stream } = message;
      if (stream === "all") {
        ({ seq } = message);
        all.receive(message);
      } else if (stream === "user") user3.receive(message);
      else for (const topic2 of [...topics]) if (stream === `topic:${topic2.topic.name}`) topic2.receive(message);
    }
    for (const topic2 of topics) topic2.keepPosition();
    return seq;
  }
  function ready(wait) {
    let look;
    const ready2 = new Promise((resolve, reject) => {
      look = () => {
        if (closed) reject(closed);
        else if (state.status === "live") resolve();
        else if (state.status === "stopped") reject(state.error);
      };
    });
    const unsubscribe = changed.add(look);
    look();
    return quiet(waitFor(quiet(ready2), wait).finally(unsubscribe));
  }
  function topic(name, topicOptions = {}) {
    const followed = newTopic(name, topicOptions, topicHost);
    topics.add(followed);
    if (closed) followed.topic.close();
    if (device !== void 0) followed.begin();
    want();
    return followed.topic;
  }
  function logout(wait) {
    shut();
    cleared ??= quiet(records.clear().finally(() => records.close()));
    return waitFor(cleared, wait);
  }
  function close() {
    shut();
    records.close();
  }
  function shut() {
    if (closed) return;
    closed = new DraftwireError("closed");
    disconnect();
    stopWaking();
    for (const followed of [...topics]) followed.topic.close();
    publisher.close(closed);
    userState?.close(closed);
    for (const listeners of [changed, all.handlers, all.missed, user3.handlers]) listeners.clear();
  }
  return {
    get state() {
      return state;
    },
    get storage() {
      return storage;
    },
    get pendingCount() {
      return records.count("command");
    },
    subscribe: changed.add,
    ready,
    connect,
    disconnect,
    topic,
    publish: publisher.publish,
    onUnpublished: publisher.onUnpublished,
    onBroadcast: all.handlers.add,
    onMissedBroadcasts: all.missed.add,
    onUserEvent: user3.handlers.add,
    logout,
    close,
    [internals]: {
      records,
      tab: tab2,
      onError,
      drafts: void 0,
      keep(kept) {
        userState = kept;
        if (closed) kept.close(closed);
        link?.userStateArrived();
      }
    }
  };
}

// clients/js/src/drafts/drafts.ts
init_command_queue();

// clients/js/src/drafts/changes.ts
var Changes = class {
  #records;
  #index;
  #tab;
  #waiting = /* @__PURE__ */ new Set();
  #conditions = /* @__PURE__ */ new Set();
  /** Once the client is closed. */
  #closed = null;
  constructor(records, index, tab2) {
    this.#records = records;
    this.#index = index;
    this.#tab = tab2;
  }
  /**
   * Makes a change of a draft. Where the client is closed there is none, and its promises say so.
   * @param step as of a records; returns the ids of the commands that carry the change
   * @throws DraftwireError `queue_full`
   */
  make(step) {
    if (this.#closed) {
      const refused2 = quiet(Promise.reject(this.#closed));
      return { stored: refused2, acknowledged: () => refused2 };
    }
    checkQueue(this.#records);
    const author = { id: randomId2(), tab: this.#tab };
    const waiting = { ids: [author.id], deferred: new Deferred() };
    const stored = this.#records.run((records) => {
      waiting.ids = step(records, author);
    });
    this.#waiting.add(waiting);
    this.look();
    return {
      stored,
      acknowledged: (options) => waitFor(waiting.deferred.promise, options)
    };
  }
  /** Makes a change that the server does not hear of. */
  run(step) {
    if (!this.#closed) void this.#records.run(step);
  }
  /** @throws DraftwireError `closed` */
  checkOpen() {
    if (this.#closed) throw this.#closed;
  }
  /** Resolves once it is true, looked at after every change of the records. */
  until(isTrue, options) {
    const condition = { isTrue, deferred: new Deferred() };
    if (this.#closed) condition.deferred.reject(this.#closed);
    this.#conditions.add(condition);
    this.look();
    return quiet(waitFor(condition.deferred.promise, options).finally(() => this.#conditions.delete(condition)));
  }
  /** The records have changed. */
  look() {
    for (const waiting of this.#waiting) {
      const outcome = waiting.ids.map((id) => this.#index.outcomeOf(id)).find(Boolean);
      if (!outcome && waiting.ids.some((id) => this.#index.isQueued(id))) continue;
      this.#waiting.delete(waiting);
      if (outcome) waiting.deferred.reject(errorOf({ ...outcome.error, payload: outcome.theirs }));
      else waiting.deferred.resolve();
    }
    for (const { isTrue, deferred } of this.#conditions) if (isTrue()) deferred.resolve();
  }
  close(error) {
    this.#closed = error;
    for (const { deferred } of [...this.#waiting, ...this.#conditions]) deferred.reject(error);
  }
};

// clients/js/src/drafts/collection.ts
var Collection = class {
  kind;
  #drafts;
  #changed;
  #conflict;
  #refused;
  #list = null;
  constructor(kind, drafts2, onError) {
    this.kind = kind;
    this.#drafts = drafts2;
    this.#changed = newListeners(onError);
    this.#conflict = newListeners(onError);
    this.#refused = newListeners(onError);
  }
  get loaded() {
    return this.cursor !== null;
  }
  get cursor() {
    const { position: position2 } = this.#drafts;
    return position2 && formatCursor(position2);
  }
  get list() {
    this.#list ??= Object.freeze(this.#drafts.shown(this.kind).map((id) => this.#drafts.draft(id)));
    return this.#list;
  }
  get(id) {
    return this.#drafts.isShown(this.kind, id) ? this.#drafts.draft(id) : void 0;
  }
  create(content, { id } = {}) {
    return this.#drafts.create(this.kind, toJson(content), id);
  }
  subscribe = (listener) => this.#changed.add(listener);
  on(event2, handler) {
    return (event2 === "conflict" ? this.#conflict : this.#refused).add(handler);
  }
  /** The list is another one. */
  stale() {
    this.#list = null;
  }
  changed() {
    this.#changed.call();
  }
  conflict(conflict3, draft) {
    this.#conflict.call(conflict3, draft);
  }
  refused(refusal2, draft) {
    this.#refused.call(refusal2, draft);
  }
  close() {
    for (const listeners of [this.#changed, this.#conflict, this.#refused]) listeners.clear();
  }
};

// clients/js/src/drafts/merge.ts
function applyPatch(target, patch) {
  const result = isObject(target) ? copy2(target) : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else set(result, key, isObject(value) ? applyPatch(own(result, key), value) : value);
  }
  return Object.freeze(result);
}
function touchedFields(content, patch, path2 = "") {
  return Object.entries(patch).flatMap(([key, wanted]) => {
    const pointer = `${path2}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    const existing = own(content, key);
    if (wanted === null) return existing === void 0 ? [] : [pointer];
    if (!isObject(wanted)) return equal(existing, wanted) ? [] : [pointer];
    if (isObject(existing)) return touchedFields(existing, wanted, pointer);
    if (existing !== void 0) return [pointer];
    const parts = touchedFields({}, wanted, pointer);
    return parts.length > 0 ? parts : [pointer];
  });
}
function valueAt(content, pointer) {
  const keys = pointer.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  return keys.reduce(own, content);
}
function overlap(some, others) {
  return some.some((one) => others.some((other) => related(one, other)));
}
function splitPatch(patch, fields) {
  if (fields.length === 0) return { inside: patch, outside: null };
  const [inside, outside] = split(patch, fields, "");
  return { inside, outside };
}
function split(patch, fields, path2) {
  const [inside, outside] = [{}, {}];
  for (const [key, value] of Object.entries(patch)) {
    const pointer = `${path2}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (fields.some((field) => field === pointer || pointer.startsWith(`${field}/`))) {
      set(inside, key, value);
    } else if (!fields.some((field) => field.startsWith(`${pointer}/`))) {
      set(outside, key, value);
    } else if (isObject(value) && Object.keys(value).length > 0) {
      const parts = split(value, fields, pointer);
      if (parts[0]) set(inside, key, parts[0]);
      if (parts[1]) set(outside, key, parts[1]);
    } else {
      set(inside, key, value);
    }
  }
  return [orNull(inside), orNull(outside)];
}
function composePatches(first, second) {
  const result = copy2(first);
  for (const [key, value] of Object.entries(second)) {
    const before = own(result, key);
    if (!isObject(value) || before === void 0) {
      set(result, key, value);
    } else if (isObject(before)) {
      const inner = composePatches(before, value);
      if (!inner) return null;
      set(result, key, inner);
    } else {
      return null;
    }
  }
  return Object.freeze(result);
}
function related(one, other) {
  return one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}
function own(object2, key) {
  return isObject(object2) && Object.hasOwn(object2, key) ? object2[key] : void 0;
}
function copy2(object2) {
  return Object.fromEntries(Object.entries(object2));
}
function set(object2, key, value) {
  Object.defineProperty(object2, key, { value, writable: true, enumerable: true, configurable: true });
}
function orNull(object2) {
  return Object.keys(object2).length > 0 ? Object.freeze(object2) : null;
}

// clients/js/src/drafts/records.ts
var idsOf = ({ formerly = [], id }) => [...formerly, id];
var draftKey = (draftId) => `draft/${draftId}`;
var outcomeKey = (id) => `outcome/${id}`;
function commandsOf(records, draftId) {
  const commands = [];
  for (const command of records.list("command")) if (command.payload.draftId === draftId) commands.push(command);
  return commands;
}
function outcomesOf(records, draftId) {
  return [...records.list("outcome")].filter((outcome) => outcome.draftId === draftId);
}
function forgetDraft(records, draftId) {
  const record = records.get(draftKey(draftId));
  if (!record) return;
  const left = commandsOf(records, draftId).length + outcomesOf(records, draftId).length > 0;
  if (left) records.put(draftKey(draftId), { ...record, gone: true });
  else records.remove(draftKey(draftId));
}
function removeCommand(records, command) {
  records.remove(commandKey(command));
  forgetIfGone(records, command.payload.draftId);
}
function removeOutcome(records, { id, draftId }) {
  records.remove(outcomeKey(id));
  forgetIfGone(records, draftId);
}
function forgetIfGone(records, draftId) {
  if (records.get(draftKey(draftId))?.gone) forgetDraft(records, draftId);
}
function theirsOf(record, { version = 0, theirs = {} }) {
  return record && record.version >= version ? record.content : theirs;
}
function applyAll(content, patches) {
  return patches.reduce(applyPatch, content);
}
function dropDissolved(records, record) {
  for (const outcome of outcomesOf(records, record.draftId)) {
    if (outcome.result !== "conflict" || outcome.change === "delete") continue;
    const theirs = theirsOf(record, outcome);
    if (equal(applyAll(theirs, outcome.patches), theirs)) removeOutcome(records, outcome);
  }
}

// clients/js/src/drafts/edits.ts
function createDraft(records, author, payload, generated) {
  enqueue(records, { ...author, type: "DRAFT_CREATE", payload, kind: payload.kind, generated });
}
function updateDraft(records, author, seen, wanted) {
  const patch = amendConflicts(records, author, seen.draftId, wanted);
  if (!patch) return [author.id];
  const parts = [...byBase(patch, seen)];
  if (parts.length === 0) parts.push([seen.version, patch]);
  return parts.map(([base, part2], i) => {
    const id = i === parts.length - 1 ? author.id : `${author.id}.${i}`;
    return updateFields(records, { ...author, id }, seen, baseOf2(records, seen.draftId, base), part2);
  });
}
function byBase(patch, { hidden, version }) {
  const parts = /* @__PURE__ */ new Map();
  for (const entry of Object.entries(patch)) {
    const base = Math.min(version, hidden.get(entry[0]) ?? version);
    parts.set(base, Object.fromEntries([...Object.entries(parts.get(base) ?? {}), entry]));
  }
  return parts;
}
function updateFields(records, author, { draftId, kind }, baseVersion, patch) {
  const last = commandsOf(records, draftId).at(-1);
  if (last && last.sentAt === void 0 && last.order === records.get("meta/order")) {
    if (last.type === "DRAFT_CREATE") {
      const content = applyPatch(last.payload.content, patch);
      records.put(commandKey(last), { ...last, payload: { ...last.payload, content } });
      return last.id;
    }
    const composed2 = last.type === "DRAFT_UPDATE" && last.payload.baseVersion === baseVersion && composePatches(last.payload.patch, patch);
    if (composed2) {
      records.put(commandKey(last), { ...last, payload: { ...last.payload, patch: composed2 } });
      return last.id;
    }
  }
  enqueueChange(records, author, kind, "DRAFT_UPDATE", { draftId, baseVersion, patch });
  return author.id;
}
function amendConflicts(records, { id }, draftId, patch) {
  let rest = patch;
  for (const outcome of outcomesOf(records, draftId)) {
    if (!rest || outcome.result !== "conflict" || outcome.change === "delete") continue;
    const { inside, outside } = splitPatch(rest, outcome.fields ?? []);
    if (!inside) continue;
    records.put(outcomeKey(outcome.id), {
      ...outcome,
      patches: composed([...outcome.patches, inside]),
      commands: [...outcome.commands, id]
    });
    rest = outside;
  }
  return rest;
}
function deleteDraft(records, author, seen) {
  const { draftId, hidden, kind, version } = seen;
  const commands = commandsOf(records, draftId);
  const neverSent2 = commands[0]?.type === "DRAFT_CREATE" && commands.every(({ sentAt }) => sentAt === void 0);
  if (neverSent2) for (const command of commands) records.remove(commandKey(command));
  else enqueueChange(records, author, kind, "DRAFT_DELETE", { draftId, baseVersion: baseOf2(records, draftId, Math.min(version, ...hidden.values())) });
}
function enqueueChange(records, author, kind, type, payload) {
  enqueue(records, { ...author, type, payload, kind });
}
function baseOf2(records, draftId, version) {
  return version === 0 && records.get(draftKey(draftId)) ? 1 : version;
}
function resolveConflict(records, author, { isOpen, seen }, baseVersion, instead) {
  const { draftId, kind } = seen;
  const stored = records.get(outcomeKey(seen.id));
  if (!stored && isOpen && !instead) return [];
  const outcome = stored ?? seen;
  if (instead) dropOutcome(records, seen);
  else removeOutcome(records, outcome);
  if (!instead && seen.change === "delete") {
    enqueueChange(records, author, kind, "DRAFT_DELETE", { draftId, baseVersion });
    return [author.id];
  }
  const patches = instead ? [instead] : composed(outcome.patches);
  return patches.map((patch, i) => {
    const id = i === patches.length - 1 ? author.id : `${author.id}.${i}`;
    enqueueChange(records, { ...author, id }, kind, "DRAFT_UPDATE", { draftId, baseVersion, patch });
    return id;
  });
}
function dropOutcome(records, seen) {
  const outcome = records.get(outcomeKey(seen.id));
  if (outcome && equal(outcome.patches, seen.patches)) removeOutcome(records, outcome);
}
function composed(patches) {
  return patches.reduce((before, patch) => {
    const last = before.at(-1);
    const one = last && composePatches(last, patch);
    return one ? [...before.slice(0, -1), one] : [...before, patch];
  }, []);
}

// clients/js/src/drafts/draft.ts
var LiveDraft = class {
  id;
  #host;
  #changed;
  #conflict;
  #refused;
  #snapshot = null;
  /** Outcomes that were told of. */
  #told = /* @__PURE__ */ new Set();
  constructor(id, host) {
    this.id = id;
    this.#host = host;
    this.#changed = newListeners(host.onError);
    this.#conflict = newListeners(host.onError);
    this.#refused = newListeners(host.onError);
    for (const { id: outcome } of [...this.snapshot.conflicts, ...this.snapshot.refusals]) this.#told.add(outcome);
  }
  get snapshot() {
    this.#snapshot ??= this.#look();
    return this.#snapshot;
  }
  get content() {
    return this.snapshot.content;
  }
  get status() {
    return this.snapshot.status;
  }
  subscribe = (listener) => this.#changed.add(listener);
  on(event2, handler) {
    return (event2 === "conflict" ? this.#conflict : this.#refused).add(handler);
  }
  update(patch) {
    const [seen, wanted] = [this.#seen, toJson(patch)];
    return this.#host.changes.make((records, author) => updateDraft(records, author, seen, wanted));
  }
  delete() {
    const seen = this.#seen;
    return this.#host.changes.make((records, author) => {
      deleteDraft(records, author, seen);
      return [author.id];
    });
  }
  /** What the user sees while making a change. */
  get #seen() {
    const { kind, version } = this.snapshot;
    const hidden = /* @__PURE__ */ new Map();
    for (const { payload, type } of this.#host.view(this.id)?.commands ?? []) {
      if (type !== "DRAFT_UPDATE") continue;
      for (const field of Object.keys(payload.patch)) hidden.set(field, Math.min(payload.baseVersion, hidden.get(field) ?? version));
    }
    return { draftId: this.id, kind, version, hidden };
  }
  settled(options) {
    return this.#host.changes.until(() => (this.#host.view(this.id)?.pendingCount ?? 0) === 0, options);
  }
  /** Something of it has changed. */
  changed() {
    const before = this.#snapshot;
    const after = this.#look();
    if (before && equal(plain(before), plain(after))) return;
    this.#snapshot = after;
    this.#changed.call();
    for (const conflict3 of after.conflicts) this.#tell(conflict3.id, () => {
      this.#conflict.call(conflict3);
      this.#host.conflict(conflict3, this);
    });
    for (const refusal2 of after.refusals) this.#tell(refusal2.id, () => {
      this.#refused.call(refusal2);
      this.#host.refused(refusal2, this);
    });
    const left = new Set([...after.conflicts, ...after.refusals].map(({ id }) => id));
    for (const id of this.#told) if (!left.has(id)) this.#told.delete(id);
  }
  close() {
    for (const listeners of [this.#changed, this.#conflict, this.#refused]) listeners.clear();
  }
  #tell(outcome, tell) {
    if (this.#told.has(outcome)) return;
    this.#told.add(outcome);
    tell();
  }
  #look() {
    const view = this.#host.view(this.id);
    if (!view) return Object.freeze({ ...this.#snapshot ?? NOTHING, ...GONE, id: this.id });
    const { commands: _, hidden, conflicts, refusals, deleted: deleted2, content, ...rest } = view;
    return Object.freeze({
      ...rest,
      id: this.id,
      content,
      deleted: deleted2 || hidden,
      conflicts: conflicts.map((outcome) => this.#conflictOf(outcome, view.version)),
      refusals: refusals.map((outcome) => this.#refusalOf(outcome))
    });
  }
  #conflictOf(outcome, current) {
    const { id, change, fields = [], patches, theirs = {}, version = 0 } = outcome;
    const { changes } = this.#host;
    const decide2 = () => {
      const open = this.#host.view(this.id)?.conflicts.find((each) => each.id === id);
      return { seen: open ?? outcome, isOpen: open !== void 0 };
    };
    const resolve = (instead) => {
      const decided = decide2();
      return changes.make((records, author) => resolveConflict(records, author, decided, Math.max(version, current), instead));
    };
    return Object.freeze({
      id,
      kind: change === "delete" ? change : "update",
      fields,
      mine: mineOf(patches),
      theirs,
      keepMine: () => resolve(),
      keepTheirs: () => {
        const { seen } = decide2();
        changes.run((records) => dropOutcome(records, seen));
      },
      merge: (patch) => resolve(toJson(patch))
    });
  }
  #refusalOf(outcome) {
    const { id, change, patches, error } = outcome;
    return Object.freeze({
      id,
      kind: change,
      error: errorOf(error),
      mine: mineOf(patches),
      dismiss: () => this.#host.changes.run((records) => dropOutcome(records, outcome))
    });
  }
};
var NOTHING = { kind: "", version: 0, content: Object.freeze({}), updatedAt: 0 };
var GONE = { status: "synced", deleted: true, pendingCount: 0, conflicts: [], refusals: [] };
function mineOf(patches) {
  return patches.length === 0 ? null : Object.assign({}, ...composed(patches));
}
function plain({ conflicts, refusals, ...snapshot2 }) {
  const outcomes = [...conflicts, ...refusals].map(({ id, mine }) => ({ id, mine }));
  return { ...snapshot2, outcomes, theirs: conflicts.map(({ theirs, fields }) => ({ theirs, fields })) };
}

// clients/js/src/drafts/rules.ts
var DELETED = { code: "not_found", message: "the draft was deleted" };
var draftRules = {
  lane: (command) => command.payload.draftId,
  isAnswered: (command) => command.landed !== void 0,
  acknowledged: (records, command, { version }, seq) => acknowledged(records, command, version, seq !== void 0),
  refused: (records, command, error) => refused(records, command, error)
};
function event(records, { type, payload, origin, timestamp }, device) {
  const news = payload;
  switch (type) {
    case "DRAFT_CREATED":
      return created(records, { ...news, updatedAt: timestamp }, origin === device);
    case "DRAFT_UPDATED":
      return updated(records, news, timestamp, origin === device);
    case "DRAFT_DELETED":
      return deleted(records, news.draftId);
  }
}
function created(records, { draftId, version, kind, content, updatedAt }, ours) {
  records.put(draftKey(draftId), { draftId, version, kind, content, updatedAt, othersVersion: ours ? 0 : version });
  if (!ours) return;
  for (const command of commandsOf(records, draftId)) {
    if (command.type === "DRAFT_CREATE") records.remove(commandKey(command));
    else moveBase(records, command, version);
  }
}
function updated(records, { draftId, version, patch }, timestamp, ours) {
  const before = records.get(draftKey(draftId));
  if (!before || before.version >= version) return;
  const content = applyPatch(before.content, patch);
  const changed = touchedFields(before.content, patch);
  const record = { ...before, version, content, updatedAt: timestamp, ...provenance(before, changed, version, ours) };
  records.put(draftKey(draftId), record);
  let made = false;
  for (const command of commandsOf(records, draftId)) {
    if (!made && ours && command.type === "DRAFT_UPDATE" && (command.landed === version || command.sentAt !== void 0 && equal(command.payload.patch, patch))) {
      made = true;
      records.remove(commandKey(command));
    } else if (command.landed !== void 0 && command.landed <= version) {
      records.remove(commandKey(command));
    } else if (made || command.type === "DRAFT_UPDATE" && !overlap(touchedFields(content, command.payload.patch), changed)) {
      moveBase(records, command, version);
    }
  }
  dropDissolved(records, record);
}
function provenance({ own: own2 = {}, othersVersion = 0 }, changed, version, ours) {
  const left = Object.entries(own2).filter(([field]) => !overlap([field], changed));
  const made = changed.map((field) => [field, version]);
  return ours ? { own: Object.fromEntries([...left, ...made]), othersVersion } : { own: Object.fromEntries(left), othersVersion: version };
}
function deleted(records, draftId) {
  for (const command of commandsOf(records, draftId)) {
    if (command.type === "DRAFT_DELETE" || command.landed !== void 0) records.remove(commandKey(command));
  }
  for (const outcome of outcomesOf(records, draftId)) if (outcome.result === "conflict") conflictWithNothing(records, outcome);
  forgetDraft(records, draftId);
}
function moveBase(records, command, version) {
  if (command.type === "DRAFT_CREATE" || command.sentAt !== void 0 || command.payload.baseVersion !== version - 1) return;
  records.put(commandKey(command), { ...command, payload: { ...command.payload, baseVersion: version } });
}
function conflictWithNothing(records, outcome) {
  if (outcome.change === "delete") return records.remove(outcomeKey(outcome.id));
  records.put(outcomeKey(outcome.id), { ...outcome, result: "refused", error: DELETED });
}
function snapshot(records, drafts2, reset) {
  const present = new Map(drafts2.map((draft) => [draft.draftId, draft]));
  for (const { draftId } of [...records.list("draft")]) if (!present.has(draftId)) deletedMeanwhile(records, draftId, reset);
  for (const { draftId, version, kind, content, updatedAt } of drafts2) {
    const before = records.get(draftKey(draftId));
    const record = before?.version === version && !reset ? before : { draftId, version, kind, content, updatedAt, othersVersion: version };
    records.put(draftKey(draftId), record);
    for (const command of commandsOf(records, draftId)) {
      if (reset) inAnotherHistory(records, command, record);
      else afterSnapshot(records, command, record);
    }
    dropDissolved(records, record);
  }
}
function deletedMeanwhile(records, draftId, reset) {
  if (!reset) return deleted(records, draftId);
  for (const command of commandsOf(records, draftId)) {
    if (command.type === "DRAFT_UPDATE") keep(records, command, "refused", { code: "history_changed", message: "the draft is missing in the history that the server has now" });
    else if (command.type === "DRAFT_DELETE") records.remove(commandKey(command));
  }
  deleted(records, draftId);
}
function afterSnapshot(records, command, { version }) {
  const made = command.type === "DRAFT_CREATE" ? command.sentAt !== void 0 : command.landed !== void 0 && command.landed <= version;
  if (made) concluded(records, command, command.landed);
  else if (command.type !== "DRAFT_CREATE") moveBase(records, command, 1);
}
function inAnotherHistory(records, command, record) {
  const error = { code: "history_changed", message: "the server has another history now, and may have lost changes that it had acknowledged" };
  const { content, version } = record;
  if (command.type === "DRAFT_CREATE") return records.remove(commandKey(command));
  if (command.type === "DRAFT_DELETE") return keep(records, command, "conflict", error, { fields: [], version, theirs: content });
  const fields = touchedFields(content, command.payload.patch);
  if (fields.length === 0) return records.remove(commandKey(command));
  keep(records, command, "conflict", error, { fields, version, theirs: content });
}
function acknowledged(records, command, version, changed = false) {
  const record = records.get(draftKey(command.payload.draftId));
  const seen = command.type === "DRAFT_CREATE" ? record !== void 0 : !record || record.gone || record.version >= version;
  if (seen) concluded(records, command, version);
  else records.put(commandKey(command), { ...command, landed: version });
  if (changed) for (const later of commandsOf(records, command.payload.draftId)) moveBase(records, later, version);
}
function concluded(records, command, version = 0) {
  const record = records.get(draftKey(command.payload.draftId));
  if (record && command.type === "DRAFT_UPDATE") {
    const { patch } = command.payload;
    const others = touchedFields(record.content, patch);
    const made = touchedFields({}, patch).filter((field) => !overlap([field], others));
    records.put(draftKey(record.draftId), { ...record, own: { ...record.own, ...Object.fromEntries(made.map((field) => [field, version])) } });
  }
  removeCommand(records, command);
}
function refused(records, command, error) {
  const { draft = null, fields = [] } = error.payload ?? {};
  const gone = error.code === "not_found" || error.code === "conflict" && (draft === null || records.get(draftKey(command.payload.draftId))?.gone);
  switch (command.type) {
    case "DRAFT_DELETE":
      if (gone) return removeCommand(records, command);
      if (draft && isOwn(records, command, draft)) return again(records, command, draft.version);
      if (draft) return keep(records, command, "conflict", error, { fields: [], version: draft.version, theirs: draft.content });
      return keep(records, command, "refused", error);
    case "DRAFT_CREATE":
      if (!draft) return keep(records, command, "refused", error);
      if (command.generated || equal(draft.content, command.payload.content)) return acknowledged(records, command, draft.version);
      return keep(records, command, "conflict", error, {
        fields: touchedFields(draft.content, command.payload.content),
        version: draft.version,
        theirs: draft.content
      });
    case "DRAFT_UPDATE":
      if (gone || !draft) return keep(records, command, "refused", error.code === "conflict" && gone ? DELETED : error);
      if (fields.length === 0 && isOwn(records, command, draft)) return again(records, command, draft.version);
      const met = fields.filter((field) => !isOwn(records, command, draft, field));
      if (met.length === 0 && fields.length > 0) return again(records, command, draft.version);
      return conflict(records, command, error, met, draft);
  }
}
function isOwn(records, { payload: { draftId, baseVersion } }, draft, field) {
  const record = records.get(draftKey(draftId));
  if (!record) return false;
  const { content, own: own2 = {}, othersVersion = record.version, version } = record;
  if (version >= draft.version && othersVersion <= baseVersion) return true;
  if (field === void 0) return false;
  const since = Object.entries(own2).find(([each]) => field === each || field.startsWith(`${each}/`))?.[1] ?? 0;
  return since > baseVersion && (version >= draft.version || equal(valueAt(content, field), valueAt(draft.content, field)));
}
function again(records, command, baseVersion, part2) {
  const { formerly: _, sentAt: __, landed: ___, id, ...rest } = command;
  const [name, count = 0] = id.split("r");
  records.put(commandKey(command), {
    ...rest,
    id: `${name}r${Number(count) + 1}`,
    payload: { ...command.payload, baseVersion, ...part2 && { patch: part2 } },
    // Who waits for all of it knows already that a part was not taken.
    ...!part2 && { formerly: idsOf(command) }
  });
}
function conflict(records, command, error, fields, { version, content }) {
  const { inside, outside } = splitPatch(command.payload.patch, fields);
  const patches = [inside ?? command.payload.patch];
  const commands = idsOf(command);
  if (inside && outside && touchedFields(content, outside).length > 0) again(records, command, version, outside);
  else records.remove(commandKey(command));
  for (const later of commandsOf(records, command.payload.draftId)) {
    if (later.type !== "DRAFT_UPDATE" || later.sentAt !== void 0 || later.order <= command.order) continue;
    const parts = splitPatch(later.payload.patch, fields);
    if (!parts.inside) continue;
    patches.push(parts.inside);
    commands.push(...idsOf(later));
    if (parts.outside) records.put(commandKey(later), { ...later, payload: { ...later.payload, patch: parts.outside } });
    else records.remove(commandKey(later));
  }
  putOutcome(records, command, { commands, patches, result: "conflict", error: bare(error), fields, version, theirs: content });
}
function keep(records, command, result, error, met = {}) {
  records.remove(commandKey(command));
  const patches = command.type === "DRAFT_CREATE" ? [command.payload.content] : command.type === "DRAFT_UPDATE" ? [command.payload.patch] : [];
  putOutcome(records, command, { commands: idsOf(command), patches, result, error: bare(error), ...met });
}
var CHANGES = { DRAFT_CREATE: "create", DRAFT_UPDATE: "update", DRAFT_DELETE: "delete" };
function putOutcome(records, command, outcome) {
  const { id, kind, type, payload: { draftId } } = command;
  records.put(outcomeKey(id), { id, draftId, kind, change: CHANGES[type], ...outcome });
}
function bare({ code, message }) {
  return { code, message };
}

// clients/js/src/drafts/draft_stream.ts
var HELD_MAX = 1e4;
var KEY = "position/user";
var DraftStream = class {
  #host;
  #tracker;
  /** Events that came before the list of drafts; null while none is on its way. */
  #held = null;
  /** What has come in this frame. */
  #frame = [];
  constructor(host) {
    this.#host = host;
    this.#tracker = new Tracker(this.#stored);
  }
  get position() {
    return this.#tracker.position;
  }
  get live() {
    return this.#tracker.live;
  }
  welcome({ epoch }) {
    if (!this.#tracker.position) return this.#list();
    if (this.#tracker.position.epoch === epoch) this.#host.openQueue();
  }
  receive(message) {
    if (message.type === "SNAPSHOT") {
      const { epoch, seq, payload } = message;
      this.#held = null;
      this.#replace({ epoch, seq }, payload.drafts);
    } else if (this.#held) {
      if (isEvent(message)) this.#held.push(message);
      if (this.#held.length > HELD_MAX) this.#host.connection.again(new DraftwireError("unreachable", `more than ${HELD_MAX} events came before the list of drafts`));
    } else {
      const judged = this.#tracker.judge(message);
      if (judged === "gap") this.#host.gap("user");
      if (judged === "next") this.#next(message);
    }
    this.#host.settle();
  }
  #next(event2) {
    this.#frame.push(event2);
    if (!event2.type.startsWith("DRAFT_")) this.#host.deliver(event2);
  }
  /** One step for all of them. Another tab may have been faster. */
  frameEnd() {
    const [events, { position: position2 }] = [this.#frame, this.#tracker];
    this.#frame = [];
    if (!position2 || events.length === 0) return;
    const { device, records } = this.#host;
    void records.run((edit) => {
      const before = edit.get(KEY);
      if (before?.epoch !== position2.epoch || before.seq >= position2.seq) return;
      for (const each of events) if (each.seq > before.seq) event(edit, each, device);
      edit.put(KEY, position2);
    });
  }
  lost() {
    this.frameEnd();
    this.#held = null;
    this.#tracker.position = this.#stored;
    this.#tracker.live = false;
  }
  get #stored() {
    return this.#host.records.get(KEY) ?? null;
  }
  /** The first state: a list, and the events after the position that it stands at. */
  #list() {
    const held = [];
    const { connection, settle } = this.#host;
    this.#held = held;
    connection.request("DRAFT_LIST", void 0, (answer2) => {
      if (this.#held !== held) return;
      if (answer2.type !== "ACK") return connection.again(errorOf(answer2));
      const { epoch, seq, drafts: drafts2 } = answer2.payload;
      this.#held = null;
      this.#replace({ epoch, seq }, drafts2);
      this.#tracker.live = true;
      for (const each of held) if (each.seq > seq) this.receive(each);
      settle();
    });
  }
  #replace(position2, drafts2) {
    this.frameEnd();
    this.#tracker.position = position2;
    this.#host.deliver({ type: "SYNCED", stream: "user", ...position2, missedBefore: position2.seq + 1 });
    void this.#host.records.run((edit) => {
      const before = edit.get(KEY);
      if (before && before.epoch === position2.epoch && before.seq > position2.seq) return;
      snapshot(edit, drafts2, before !== void 0 && before.epoch !== position2.epoch);
      edit.put(KEY, position2);
    });
    this.#host.openQueue();
  }
};

// clients/js/src/drafts/index_by_draft.ts
var IndexByDraft = class {
  #records;
  /** Keys of commands and outcomes, by draft. */
  #keys = /* @__PURE__ */ new Map();
  /** What was last seen under a key: its draft, and the commands that it is or was. */
  #seen = /* @__PURE__ */ new Map();
  /** The keys of commands by their ids, and those of outcomes by the ids of the commands that came to them. */
  #commands = /* @__PURE__ */ new Map();
  #outcomes = /* @__PURE__ */ new Map();
  constructor(records) {
    this.#records = records;
  }
  /** Takes in changed records, and returns the drafts that they are about. */
  update(keys) {
    const drafts2 = /* @__PURE__ */ new Set();
    for (const key of keys) {
      const table = key.slice(0, key.indexOf("/"));
      if (table === "draft") drafts2.add(key.slice("draft/".length));
      else if (table === "command" || table === "outcome") this.#updateEntry(key, table, drafts2);
    }
    return drafts2;
  }
  stateOf(draftId) {
    const keys = [...this.#keys.get(draftId) ?? []].sort();
    const values = (table) => keys.filter((key) => key.startsWith(table)).map((key) => this.#records.get(key));
    const commands = values("command/");
    return {
      draft: this.#records.get(draftKey(draftId)),
      commands,
      outcomes: values("outcome/"),
      committed: commands.every((command) => this.#records.isCommitted(commandKey(command)))
    };
  }
  /** Whether a command is still in the queue. */
  isQueued(id) {
    return this.#commands.has(id);
  }
  /** What a command has come to, where the server did not take it. */
  outcomeOf(id) {
    const key = this.#outcomes.get(id);
    return key === void 0 ? void 0 : this.#records.get(key);
  }
  #updateEntry(key, table, drafts2) {
    const ids = table === "command" ? this.#commands : this.#outcomes;
    const before = this.#seen.get(key);
    if (before) {
      drafts2.add(before.draftId);
      this.#keys.get(before.draftId)?.delete(key);
      for (const id of before.ids) ids.delete(id);
      this.#seen.delete(key);
    }
    const value = this.#records.get(key);
    const now = value && ("draftId" in value ? { draftId: value.draftId, ids: value.commands } : { draftId: value.payload.draftId, ids: idsOf(value) });
    if (now?.draftId === void 0) return;
    drafts2.add(now.draftId);
    this.#seen.set(key, now);
    this.#keys.set(now.draftId, (this.#keys.get(now.draftId) ?? /* @__PURE__ */ new Set()).add(key));
    for (const id of now.ids) ids.set(id, key);
  }
};

// clients/js/src/drafts/view.ts
function viewOf({ draft, commands, outcomes, committed }) {
  const conflicts = outcomes.filter(({ result }) => result === "conflict").map((outcome) => ({ ...outcome, theirs: theirsOf(draft, outcome) }));
  const refusals = outcomes.filter(({ result }) => result === "refused");
  let kind = draft?.kind ?? outcomes[0]?.kind;
  let content = draft?.content ?? refusals.find(({ change }) => change === "create")?.patches[0] ?? {};
  let hidden = false;
  for (const command of commands) {
    kind ??= command.kind;
    if (command.type === "DRAFT_CREATE") {
      if (!draft) content = command.payload.content;
    } else if (command.type === "DRAFT_UPDATE") {
      content = applyPatch(content, command.payload.patch);
    } else {
      hidden = true;
    }
  }
  if (kind === void 0) return null;
  for (const { patches } of conflicts) content = applyAll(content, patches);
  const pendingCount = commands.filter(({ landed }) => landed === void 0).length;
  return {
    kind,
    version: draft?.version ?? 0,
    content,
    status: statusOf(conflicts.length, refusals.length, pendingCount, committed),
    hidden,
    deleted: draft?.gone ?? false,
    updatedAt: draft?.updatedAt ?? 0,
    pendingCount,
    commands,
    conflicts,
    refusals
  };
}
function statusOf(conflicts, refusals, pending, committed) {
  if (conflicts > 0) return "conflict";
  if (refusals > 0) return "refused";
  if (!committed) return "saving";
  return pending > 0 ? "pending" : "synced";
}

// clients/js/src/drafts/drafts.ts
var HANDLES_MAX = 1e4;
var Drafts = class {
  #internals;
  #index;
  #changes;
  #host;
  #views = /* @__PURE__ */ new Map();
  #drafts = /* @__PURE__ */ new Map();
  #collections = /* @__PURE__ */ new Map();
  constructor(internals2) {
    const { onError, records, tab: tab2 } = internals2;
    this.#internals = internals2;
    this.#index = new IndexByDraft(records);
    this.#changes = new Changes(records, this.#index, tab2);
    this.#host = {
      onError,
      changes: this.#changes,
      view: (draftId) => this.#views.get(draftId) ?? null,
      conflict: (conflict3, draft) => this.collection(draft.snapshot.kind).conflict(conflict3, draft),
      refused: (refusal2, draft) => this.collection(draft.snapshot.kind).refused(refusal2, draft)
    };
    this.#changed(["draft", "command", "outcome"].flatMap((table) => records.keys(table)));
    internals2.keep({
      ...draftRules,
      newCommandQueue,
      follow: (host) => new DraftStream(host),
      changed: (keys) => this.#changed(keys),
      close: (error) => this.#close(error)
    });
  }
  /** Where the drafts stand on the stream `user`; null until they are known, from the store or from the server. */
  get position() {
    return this.#internals.records.get("position/user") ?? null;
  }
  collection(kind) {
    let collection = this.#collections.get(kind);
    if (!collection) this.#collections.set(kind, collection = new Collection(kind, this, this.#internals.onError));
    return collection;
  }
  create(kind, content, id) {
    const draftId = id ?? `d-${Date.now().toString(36)}-${randomId2().slice(0, 12)}`;
    this.#changes.checkOpen();
    this.#changes.make((records, author) => {
      createDraft(records, author, { draftId, kind, content }, id === void 0);
      return [author.id];
    });
    return this.draft(draftId);
  }
  /** The object of a draft, the same for as long as the draft is there. */
  draft(draftId) {
    let draft = this.#drafts.get(draftId);
    if (!draft) this.#drafts.set(draftId, draft = new LiveDraft(draftId, this.#host));
    return draft;
  }
  isShown(kind, draftId) {
    const view = this.#views.get(draftId);
    return view !== void 0 && view.kind === kind && !view.hidden;
  }
  /** The ids of the drafts of a kind that are to be shown, in their order. */
  shown(kind) {
    return [...this.#views.keys()].filter((id) => this.isShown(kind, id)).sort();
  }
  #changed(keys) {
    const all = [...keys];
    const kinds = /* @__PURE__ */ new Set();
    const drafts2 = this.#index.update(all);
    for (const draftId of drafts2) {
      const before = this.#views.get(draftId);
      const view = viewOf(this.#index.stateOf(draftId));
      if (view) this.#views.set(draftId, view);
      else this.#views.delete(draftId);
      for (const each of [before, view]) if (each) kinds.add(each.kind);
    }
    const known = all.includes("position/user");
    for (const [kind, collection] of this.#collections) if (known || kinds.has(kind)) collection.stale();
    for (const draftId of drafts2) {
      this.#drafts.get(draftId)?.changed();
      if (!this.#views.has(draftId) && this.#drafts.size > HANDLES_MAX) this.#drafts.delete(draftId);
    }
    for (const [kind, collection] of [...this.#collections]) if (known || kinds.has(kind)) collection.changed();
    this.#changes.look();
  }
  #close(error) {
    this.#changes.close(error);
    for (const ended of [...this.#drafts.values(), ...this.#collections.values()]) ended.close();
  }
};

// clients/js/src/drafts/index.ts
function drafts(client, kind) {
  const inside = client[internals];
  inside.drafts ??= new Drafts(inside);
  return inside.drafts.collection(kind);
}

// gateway/demo/src/frames.ts
function watchedWebSocket(tell) {
  return class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      this.addEventListener("message", ({ data }) => {
        if (this.readyState === WebSocket.OPEN) tell({ direction: "in", messages: [JSON.parse(data)].flat() });
      });
    }
    send(data) {
      super.send(data);
      const message = JSON.parse(data);
      tell({ direction: "out", messages: [message.type === "AUTH" ? { ...message, payload: { token: "…" } } : message] });
    }
  };
}

// gateway/demo/src/message_log.ts
var MESSAGES_MAX = 50;
var SHOWN_MAX = 120;
var MessageLog = class {
  #root;
  #count = 0;
  constructor(root) {
    this.#root = root;
  }
  add({ direction, messages }) {
    for (const message of messages) this.#add(direction, message);
  }
  #add(direction, message) {
    const { type, seq, code, payload } = message;
    const { draftId: _, ...rest } = payload ?? {};
    const said = [code, Object.keys(rest).length > 0 && JSON.stringify(rest)].filter(Boolean).join(" ");
    const parts = {
      time: (/* @__PURE__ */ new Date()).toLocaleTimeString([], { hour12: false }),
      way: direction === "in" ? "↓" : "↑",
      type,
      seq: String(seq ?? ""),
      rest: said.length > SHOWN_MAX ? `${said.slice(0, SHOWN_MAX)}…` : said
    };
    const row = document.createElement("li");
    row.dataset["direction"] = direction;
    row.title = JSON.stringify(message);
    for (const [name, text2] of Object.entries(parts)) {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text2;
      row.append(span);
    }
    const list2 = part(this.#root, "log");
    list2.prepend(row);
    if (list2.children.length > MESSAGES_MAX) list2.lastElementChild.remove();
    this.#count += 1;
    part(this.#root, "log-count").textContent = String(this.#count);
  }
};

// gateway/demo/src/order_form.ts
var CHOICES = {
  "keep-mine": "mine",
  "take-theirs": "theirs",
  "delete-anyway": "mine",
  "keep-draft": "theirs"
};
var OrderForm = class {
  #root;
  #inputs = /* @__PURE__ */ new Map();
  #draft = null;
  /** The field that the person is typing in. */
  #typing = null;
  /** The field whose text another device has changed while the person was typing in it. */
  #overtaken = null;
  /** Choices in conflicts of several fields, by conflict; one decision ends all of it. */
  #choices = /* @__PURE__ */ new Map();
  /** Whether what changes is this device's doing. */
  #acting = false;
  /** @param index of the device, for ids that the page has once */
  constructor(root, index) {
    this.#root = root;
    for (const box of root.querySelectorAll(".field")) {
      const field = box.dataset["field"];
      const input = box.querySelector("input, textarea");
      input.id = `${field}-${index}`;
      box.querySelector("label").htmlFor = input.id;
      this.#inputs.set(field, input);
    }
    root.addEventListener("submit", (event2) => event2.preventDefault());
    root.addEventListener("input", ({ target }) => this.#type(target.name));
    root.addEventListener("focusout", () => {
      this.#typing = null;
    });
    root.addEventListener("click", ({ target }) => this.#click(target));
  }
  /** Whether what changes is this device's doing. */
  get isActing() {
    return this.#acting;
  }
  focus(field) {
    this.#inputs.get(field).focus();
  }
  /** Shows a draft as it is now, or none. */
  show(draft) {
    const isAnother = draft !== this.#draft;
    if (isAnother) this.#typing = this.#overtaken = null;
    this.#draft = draft;
    this.#root.hidden = !draft;
    if (!draft) return;
    for (const [field, input] of this.#inputs) this.#showField(draft, field, input, isAnother);
    this.#showDeletion(draft);
    say(part(this.#root, "version"), String(draft.snapshot.version || "–"));
  }
  /** Does something to the draft in the name of this device. */
  act(action) {
    this.#acting = true;
    try {
      action();
    } finally {
      this.#acting = false;
    }
  }
  // --- what the person does -----------------------------------------------------------------------------------------
  #type(field) {
    this.#typing = field;
    if (this.#overtaken !== field) this.#save(field);
  }
  /** Null removes a field. */
  #save(field) {
    this.act(() => this.#draft?.update({ [field]: valueOf(this.#inputs.get(field)) }));
  }
  #click(target) {
    const choice = CHOICES[target.dataset["role"] ?? ""];
    const box = target.closest(".field");
    if (!choice) return;
    if (box) this.#choose(box.dataset["field"], choice);
    else this.act(() => decide(this.#deletion, choice));
  }
  #choose(field, choice) {
    const conflict3 = this.#draft && this.#openConflict(this.#draft, field);
    if (conflict3) this.#chooseIn(conflict3, field, choice);
    else this.#endOvertaking(choice);
    this.show(this.#draft);
    this.focus(field);
  }
  #chooseIn(conflict3, field, choice) {
    const choices = this.#choices.get(conflict3.id) ?? /* @__PURE__ */ new Map();
    this.#choices.set(conflict3.id, choices.set(field, choice));
    const fields = fieldsOf(conflict3);
    if (fields.some((each) => !choices.has(each))) return;
    this.#choices.delete(conflict3.id);
    const mine = fields.filter((each) => choices.get(each) === "mine");
    if (mine.length === 0 || mine.length === fields.length) return this.act(() => decide(conflict3, choice));
    const patch = Object.fromEntries(mine.map((each) => [each, conflict3.mine?.[each] ?? null]));
    this.act(() => conflict3.merge(patch));
  }
  #endOvertaking(choice) {
    const field = this.#overtaken;
    this.#overtaken = this.#typing = null;
    if (field && choice === "mine") this.#save(field);
  }
  // --- what is shown ------------------------------------------------------------------------------------------------
  #showField(draft, field, input, isAnother) {
    const box = input.closest(".field");
    const value = draft.content[field] ?? null;
    const conflict3 = this.#openConflict(draft, field);
    const differs = valueOf(input) !== value && !(value === null && input.value === "");
    if (conflict3 || !differs) {
      if (this.#overtaken === field) this.#overtaken = null;
    } else if (this.#typing === field && !this.#acting) {
      this.#overtaken = field;
    }
    if (differs && this.#overtaken !== field) {
      input.value = String(value ?? "");
      if (!isAnother && !this.#acting && !conflict3) highlight(box);
    }
    const theirs = conflict3 ? conflict3.theirs[field] : this.#overtaken === field ? value : void 0;
    this.#showConflict(box, input, conflict3 !== void 0 || this.#overtaken === field, theirs ?? null);
  }
  #showConflict(root, input, isOne, theirs) {
    let box = part(root, "conflict");
    if (!isOne) {
      box?.remove();
      input.removeAttribute("aria-describedby");
      return;
    }
    if (!box) {
      box = copy("conflict-template");
      box.id = `${input.id}-conflict`;
      root.append(box);
      input.setAttribute("aria-describedby", box.id);
    }
    say(part(box, "theirs"), String(theirs ?? "") || "(empty)");
  }
  #showDeletion(draft) {
    part(this.#root, "deletion").hidden = !draft.snapshot.conflicts.some(isDeletion);
  }
  get #deletion() {
    return this.#draft?.snapshot.conflicts.find(isDeletion);
  }
  /** The conflict of this field, unless the person has chosen and others of its fields are open. */
  #openConflict({ snapshot: snapshot2 }, field) {
    return snapshot2.conflicts.find((conflict3) => {
      return !isDeletion(conflict3) && fieldsOf(conflict3).includes(field) && !this.#choices.get(conflict3.id)?.has(field);
    });
  }
};
function isDeletion({ kind }) {
  return kind === "delete";
}
function decide(conflict3, choice) {
  if (choice === "mine") conflict3?.keepMine();
  else conflict3?.keepTheirs();
}
function fieldsOf({ fields }) {
  return fields.map((pointer) => pointer.slice(1));
}
function valueOf(input) {
  if (input.type !== "number") return input.value.toWellFormed();
  return input.value === "" ? null : Number(input.value);
}

// gateway/demo/src/tokens.ts
var LEFT_MS_MIN = 6e4;
var NoTokenYet = class extends DraftwireError {
  constructor() {
    super("unauthorized", "there is no token yet");
  }
};
var TokenPanel = class {
  #root;
  #listeners = [];
  #held = null;
  /** @param root the form for pasting */
  constructor(root) {
    this.#root = root;
    const form = part(root, "token-form");
    form.addEventListener("submit", (event2) => {
      event2.preventDefault();
      this.#take(form.querySelector("textarea"));
    });
  }
  /**
   * The token that was pasted, or null: then the form is shown, and `onToken` tells of the answer.
   * @param stale a token that is of no use any more
   */
  get(stale) {
    if (stale !== void 0 && this.#held?.token === stale) {
      this.#held = null;
      part(this.#root, "token-reason").textContent = "The last token was not accepted, or ends soon.";
    }
    if (this.#held && lasts(this.#held)) return this.#held;
    if (this.#root.hidden) {
      this.#root.hidden = false;
      this.#root.querySelector("textarea").focus();
    }
    return null;
  }
  /** Calls the listener whenever the person has pasted a token. */
  onToken(listener) {
    this.#listeners.push(listener);
  }
  #take(input) {
    const token = input.value.trim().replace(/^Bearer\s+/i, "");
    input.value = "";
    this.#root.hidden = true;
    this.#held = { token, expiresAt: expiryOf(token) };
    for (const listener of this.#listeners) listener();
  }
};
var Tokens = class {
  #query;
  #panel;
  #held = null;
  #asking = null;
  /** @param scope as in a token */
  constructor(user3, scope, panel2) {
    this.#query = new URLSearchParams({ user: user3, scope });
    this.#panel = panel2;
  }
  /**
   * A valid token.
   * @param stale one that was refused or is about to end, and is not handed out again
   * @throws NoTokenYet after which `TokenPanel.onToken` tells when to ask again
   */
  async get(stale) {
    if (stale !== void 0 && this.#held?.token === stale) this.#held = null;
    if (!this.#held || !lasts(this.#held)) {
      this.#asking ??= this.#ask(stale).finally(() => {
        this.#asking = null;
      });
      this.#held = await this.#asking;
    }
    return this.#held.token;
  }
  async #ask(stale) {
    const response = await fetch(address(`demo/token?${this.#query}`), { cache: "no-store" });
    if (response.ok) return response.json();
    if (response.status !== 404) throw new Error(`the server answered ${response.status}`);
    const pasted = this.#panel.get(stale);
    if (!pasted) throw new NoTokenYet();
    return pasted;
  }
};
function lasts({ expiresAt }) {
  return expiresAt - Date.now() > LEFT_MS_MIN;
}
function expiryOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload)).exp * 1e3 || Infinity;
  } catch {
    return Infinity;
  }
}

// gateway/demo/src/states.ts
var STATUS_TEXT = {
  offline: "Offline",
  waiting: "Reconnecting",
  connecting: "Connecting",
  "catching-up": "Catching up",
  live: "Live",
  stopped: "Stopped"
};
function stopNotice(error) {
  if (error instanceof NoTokenYet) return "";
  return `Stopped: ${error?.message ?? "closed"}. Switch offline and back to try again.`;
}
var Absence = class {
  #leftAt = null;
  #live = false;
  /** Whether it was live before. */
  get wasLive() {
    return this.#live || this.#leftAt !== null;
  }
  /**
   * Looks at where it is now. Returns what to say, '' where there is nothing, and null where what was said still holds.
   */
  look(status, cursor) {
    const live = status === "live";
    if (live === this.#live) return null;
    this.#live = live;
    if (!live) this.#leftAt = cursor;
    return live && this.#leftAt !== null && cursor !== null ? caughtUp(this.#leftAt, cursor) : "";
  }
};
var Standing = class {
  #root;
  #absence = new Absence();
  constructor(root) {
    this.#root = root;
  }
  /** Whether it was live before. */
  get wasLive() {
    return this.#absence.wasLive;
  }
  /** Shows what the person has to know; '' hides it. */
  notice(text2) {
    say(part(this.#root, "notice-text"), text2);
    part(this.#root, "notice").hidden = text2 === "";
  }
  /** Shows a status and its reason, the node, and what was missed up to the cursor. */
  show(status, error, client, cursor) {
    const before = this.#root.dataset["state"];
    if (status !== before) {
      if (before === "stopped") this.notice("");
      if (status === "stopped") this.notice(stopNotice(error));
    }
    this.#root.dataset["state"] = status;
    say(part(this.#root, "state"), STATUS_TEXT[status]);
    part(this.#root, "state").title = error?.message ?? "";
    if ("node" in client) say(part(this.#root, "node"), client.node);
    const news = this.#absence.look(status, cursor);
    if (news === null) return;
    part(this.#root, "replayed").hidden = news === "";
    say(part(this.#root, "replayed"), news);
  }
};
function caughtUp(from, to) {
  if (epochOf(from) !== epochOf(to)) return "caught up: the server has another history";
  const missed = seqOf(to) - seqOf(from);
  return `caught up: ${missed} missed ${missed === 1 ? "event" : "events"}`;
}
function seqOf(cursor) {
  return Number(cursor.slice(cursor.lastIndexOf(":") + 1));
}
function epochOf(cursor) {
  return cursor.slice(0, cursor.lastIndexOf(":"));
}

// gateway/demo/src/device.ts
var Device = class {
  root = copy("device-template");
  #dw;
  #orders;
  #form;
  #standing = new Standing(this.root);
  #selected = null;
  /** What the orders looked like, to see what another device changes; null before they are loaded. */
  #seen = null;
  constructor({ index, name, shape, id, tokens }) {
    const log = new MessageLog(this.root);
    Object.assign(this.root.dataset, { device: index, shape });
    this.root.setAttribute("aria-label", name);
    say(this.#part("name"), name);
    this.#dw = new Draftwire(address(), {
      device: id,
      getToken: ({ stale }) => tokens.get(stale),
      connect: false,
      environment: { WebSocket: watchedWebSocket((frame) => log.add(frame)) },
      onError: (error) => this.#standing.notice(String(error))
    });
    this.#orders = drafts(this.#dw, "order");
    this.#form = new OrderForm(this.#part("form"), index);
    this.#dw.subscribe(() => this.#renderState());
    this.#orders.subscribe(() => this.#renderOrders());
    this.#orders.on("conflict", ({ kind }, { id: id2 }) => kind === "delete" && this.#select(id2));
    this.#orders.on("refused", (refusal2, draft) => this.#standing.notice(inWords(refusal2, draft)));
    this.#listenToPerson();
    this.#renderState();
  }
  /** Connects, unless the person has switched the device offline. */
  show() {
    if (this.#part("offline").checked) this.#dw.disconnect();
    else this.#dw.connect();
  }
  /** Ends the connection; the view can be shown again. */
  hide() {
    this.#dw.disconnect();
  }
  /** Ends everything. */
  close() {
    this.#dw.close();
    this.root.remove();
  }
  #listenToPerson() {
    this.#part("offline").addEventListener("change", () => this.show());
    this.#part("create").addEventListener("click", () => {
      this.#form.act(() => this.#select(this.#orders.create({ title: "" }).id));
      this.#form.focus("title");
    });
    this.#part("delete").addEventListener("click", () => {
      this.#form.act(() => this.#order?.delete());
    });
    this.#part("dismiss").addEventListener("click", () => {
      this.#standing.notice("");
      for (const { snapshot: snapshot2 } of this.#orders.list) for (const refusal2 of snapshot2.refusals) refusal2.dismiss();
    });
    this.#part("draft-list").addEventListener("click", ({ target }) => {
      const item = target.closest("li");
      if (item) this.#select(item.dataset["draft"]);
    });
  }
  // --- showing ------------------------------------------------------------------------------------------------------
  get #order() {
    return this.#selected !== null && this.#orders.get(this.#selected) || null;
  }
  #select(id) {
    this.#selected = id;
    this.#renderOrders();
  }
  #renderState() {
    const { state } = this.#dw;
    this.#standing.show(state.status, "error" in state ? state.error : void 0, state, this.#orders.cursor);
    this.#renderOrders();
  }
  #renderOrders() {
    const orders = this.#orders.list.filter(isThere).reverse();
    if (!orders.some(({ id }) => id === this.#selected)) this.#selected = orders[0]?.id ?? null;
    const list2 = this.#part("draft-list");
    const known = new Map(Array.from(list2.querySelectorAll("li"), (item) => [item.dataset["draft"], item]));
    const items = orders.map((order) => this.#renderItem(order, known.get(order.id) ?? copy("draft-template")));
    if (items.length !== list2.children.length || items.some((item, i) => item !== list2.children[i])) {
      list2.replaceChildren(...items);
    }
    const { cursor } = this.#orders;
    if (cursor !== null) this.#seen = new Map(orders.map(({ id, content }) => [id, JSON.stringify(content)]));
    say(this.#part("seq"), cursor === null ? "–" : String(seqOf(cursor)));
    this.#part("empty").hidden = orders.length > 0;
    this.#form.show(this.#order);
    this.#renderSaved();
  }
  #renderItem(order, item) {
    const { id, content } = order;
    item.dataset["draft"] = id;
    item.querySelector("button").ariaCurrent = id === this.#selected ? "true" : null;
    say(part(item, "draft-title"), content.title || "Untitled order");
    say(part(item, "draft-sub"), `${this.#remark(order)}${content.quantity === void 0 ? "" : `${content.quantity} × `}${content.customer || "no customer yet"}`);
    if (this.#seen && !this.#form.isActing && this.#seen.get(id) !== JSON.stringify(content)) highlight(item);
    return item;
  }
  #remark({ snapshot: { conflicts, pendingCount } }) {
    if (conflicts.length > 0) return "Conflict · ";
    return pendingCount > 0 && this.#dw.state.status !== "live" ? "Not sent · " : "";
  }
  #renderSaved() {
    const order = this.#order;
    if (!order) return;
    const { conflicts, pendingCount } = order.snapshot;
    let text2 = "Saved";
    if (conflicts.length > 0) text2 = "Your choice, please";
    else if (pendingCount > 0) text2 = this.#dw.state.status === "live" ? "Saving…" : `${pendingCount} kept until online`;
    const saved = this.#part("saved");
    saved.dataset["saved"] = String(conflicts.length === 0 && pendingCount === 0);
    say(saved, text2);
  }
  #part(role) {
    return part(this.root, role);
  }
};
function isThere({ snapshot: { deleted: deleted2, refusals } }) {
  return !deleted2 && !refusals.some(({ kind }) => kind === "create");
}
function inWords({ kind, error, mine }, { snapshot: snapshot2 }) {
  if (kind === "delete") return `Not deleted (${error.code}): ${error.message}`;
  const values = Object.entries(mine ?? {}).map(([field, value]) => `${field} “${value ?? ""}”`).join(", ");
  if (snapshot2.deleted) return `The draft is gone, deleted on another device. Your edits were not saved: ${values}`;
  return `Not ${kind === "create" ? "created" : "saved"} (${error.code}): ${error.message}. Not kept: ${values}`;
}

// gateway/demo/src/drafts_view.ts
var DEVICES_MAX = 6;
var KNOWN = [{ name: "Phone", shape: "phone" }, { name: "Laptop", shape: "laptop" }];
var DraftsView = class {
  #root;
  #tab;
  #tokens;
  #devices = /* @__PURE__ */ new Set();
  #made = 0;
  #shown = false;
  constructor({ root, user: user3, tab: tab2, panel: panel2 }) {
    this.#root = root;
    this.#tab = tab2;
    this.#tokens = new Tokens(user3, "", panel2);
    KNOWN.forEach(() => this.#add());
    part(root, "add-device").addEventListener("click", () => this.#add().show());
    panel2.onToken(() => {
      if (this.#shown) this.show();
    });
  }
  show() {
    this.#shown = true;
    for (const device of this.#devices) device.show();
  }
  hide() {
    this.#shown = false;
    for (const device of this.#devices) device.hide();
  }
  #add() {
    const index = this.#made++;
    const { name, shape } = KNOWN[index] ?? { name: `Phone ${index}`, shape: "phone" };
    const device = new Device({ index, name, shape, id: `${shape}-${index}-${this.#tab}`, tokens: this.#tokens });
    this.#devices.add(device);
    device.root.querySelector("details").open = matchMedia("(min-width: 60rem)").matches;
    const stage = part(this.#root, "stage");
    const addButton = part(this.#root, "add-device");
    const remove = part(device.root, "remove-device");
    remove.hidden = index < KNOWN.length;
    remove.addEventListener("click", () => {
      device.close();
      this.#devices.delete(device);
      addButton.disabled = false;
    });
    stage.append(device.root);
    addButton.disabled = stage.children.length >= DEVICES_MAX;
    return device;
  }
};

// clients/js/src/server/errors.ts
var RequestError = class extends DraftwireError {
  /** For `publishStream`: what it had committed before it failed. */
  committed;
};
var ClosedError = class extends RequestError {
  constructor() {
    super("closed", "the client is closed");
  }
};
var AbortedError = class extends RequestError {
  constructor(cause) {
    super("aborted", "the call was aborted", void 0, { cause });
  }
};
var InvalidRequestError = class extends RequestError {
  constructor(detail) {
    super("bad_request", detail);
  }
};
var ConnectionFailedError = class extends RequestError {
  constructor(detail, cause) {
    super("unreachable", detail, void 0, { cause });
  }
};
var UnexpectedAnswerError = class extends RequestError {
  /** The HTTP status. */
  status;
  constructor(status, detail, cause) {
    super("protocol", detail, void 0, { cause });
    this.status = status;
  }
};
var RefusedError = class extends RequestError {
  /** The HTTP status, which sometimes says more than the code. */
  status;
  /** After how many milliseconds the server asked to be tried again; null when it did not. */
  retryAfterMs;
  constructor(problem) {
    super(problem.code, problem.detail, problem.payload);
    this.status = problem.status;
    this.retryAfterMs = problem.retryAfterMs;
  }
  /** Why, for developers. The text may change from one version of the server to the next. */
  get detail() {
    return this.message;
  }
};
var BadRequestError = class extends RefusedError {
};
var UnauthorizedError = class extends RefusedError {
};
var ForbiddenError = class extends RefusedError {
};
var NotFoundError = class extends RefusedError {
};
var ConflictError = class extends RefusedError {
  /** The draft as it stands; null when it was deleted, or when `status` is 412. */
  draft;
  /** The JSON pointers of the fields that both changes touch; empty when that is the whole draft. */
  fields;
  /** The version of the draft as it stands; null where it is not known. */
  version;
  constructor(problem, draft, fields, version) {
    super(problem);
    this.draft = draft;
    this.fields = fields;
    this.version = version;
  }
};
var TooLargeError = class extends RefusedError {
};
var RateLimitedError = class extends RefusedError {
};
var UnavailableError = class extends RefusedError {
};

// clients/js/src/server/wire.ts
var QUOTED_MAX = 200;
function path(names, query = {}) {
  const escaped = names.map((name) => {
    if (name === "." || name === "..") throw badRequest(`${JSON.stringify(name)} is no name: it is lost from the path of a URL`);
    try {
      return encodeURIComponent(name);
    } catch {
      throw new InvalidRequestError(`the name ${JSON.stringify(name)} has half of a surrogate pair, which no URL can hold`);
    }
  });
  const given = Object.entries(query).filter((entry) => entry[1] !== void 0);
  const search = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
  return `/v1/${escaped.join("/")}${search}`;
}
function badRequest(detail) {
  return new BadRequestError({ code: "bad_request", status: 400, detail, retryAfterMs: null });
}
function stringify(value) {
  return JSON.stringify(value, (_, inner) => {
    if (typeof inner === "number" && !Number.isFinite(inner)) throw new TypeError(`${inner} is no JSON number`);
    return inner;
  });
}
function retryAfter(answer2, now) {
  const text2 = (answer2.headers.get("retry-after") ?? "").trim();
  if (/^[0-9]+$/.test(text2)) return Number(text2.slice(0, 9)) * 1e3;
  const date = text2.endsWith(" GMT") ? Date.parse(text2) : Number.NaN;
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
var REFUSALS = {
  bad_request: BadRequestError,
  unauthorized: UnauthorizedError,
  forbidden: ForbiddenError,
  not_found: NotFoundError,
  too_large: TooLargeError,
  rate_limited: RateLimitedError,
  unavailable: UnavailableError
};
function refusal(answer2, now) {
  try {
    const said = object(JSON.parse(answer2.body));
    const problem = {
      code: text(said, "code"),
      status: answer2.status,
      detail: text(said, "detail"),
      payload: said["payload"],
      retryAfterMs: retryAfter(answer2, now)
    };
    if (problem.code === "conflict") return conflict2(problem);
    const Refusal = Object.hasOwn(REFUSALS, problem.code) ? REFUSALS[problem.code] : void 0;
    return new (Refusal ?? RefusedError)(problem);
  } catch (cause) {
    return unexpected(answer2, cause);
  }
}
function conflict2(problem) {
  const payload = isObject(problem.payload) && "draftId" in problem.payload ? problem.payload : {};
  const draft = payload["draft"] == null ? null : readDraft(payload["draft"]);
  const fields = payload["fields"] === void 0 ? [] : list(payload, "fields", isText);
  const version = draft?.version ?? (payload["version"] === void 0 ? null : number(payload, "version"));
  return new ConflictError(problem, draft, fields, version);
}
function unexpected(answer2, cause) {
  const where = answer2.headers.get("location");
  const said = where === null ? JSON.stringify(answer2.body.slice(0, QUOTED_MAX)) : `a redirect to ${where}`;
  const detail = `status ${answer2.status} is no answer of a Draftwire server: ${said}`;
  return new UnexpectedAnswerError(answer2.status, detail, cause);
}
function read(answer2) {
  return object(JSON.parse(answer2.body));
}
function readDraft(value) {
  const draft = object(value);
  return {
    draftId: text(draft, "draftId"),
    version: number(draft, "version"),
    kind: text(draft, "kind"),
    content: object(draft["content"]),
    updatedAt: number(draft, "updatedAt")
  };
}
function readEvent(value) {
  const event2 = object(value);
  return {
    kind: "event",
    type: text(event2, "type"),
    seq: number(event2, "seq"),
    timestamp: number(event2, "timestamp"),
    origin: text(event2, "origin"),
    priority: event2["priority"] ?? "normal",
    data: event2["payload"] ?? null
  };
}
function readPresence(answer2) {
  const presence = read(answer2);
  const { members, complete } = presence;
  if (typeof complete !== "boolean") throw new Error("the field complete is not a boolean");
  return {
    members: members === void 0 ? null : list(presence, "members", isObject).map(readMember),
    users: number(presence, "users"),
    devices: number(presence, "devices"),
    complete
  };
}
function readMember(member) {
  return { userId: member["userId"] === void 0 ? null : text(member, "userId"), device: text(member, "device") };
}
function text(fields, name) {
  const value = fields[name];
  if (!isText(value)) throw new Error(`the field ${name} is not a string`);
  return value;
}
function number(fields, name) {
  const value = fields[name];
  if (typeof value !== "number") throw new Error(`the field ${name} is not a number`);
  return value;
}
function list(fields, name, is) {
  const value = fields[name];
  if (!Array.isArray(value) || !value.every(is)) throw new Error(`the field ${name} is not a list, or has an entry of another type`);
  return value;
}
function isText(value) {
  return typeof value === "string";
}
function object(value) {
  if (!isObject(value)) throw new Error("a value is not an object");
  return value;
}

// clients/js/src/server/drafts.ts
var Drafts2 = class {
  #ask;
  #device;
  constructor(ask, device) {
    this.#ask = ask;
    this.#device = device;
  }
  /** Returns all drafts that are not deleted, and where in the user's stream they stand. */
  async list({ signal } = {}) {
    return this.#ask({ method: "GET", path: path(["drafts"]) }, readDraftList, signal);
  }
  /** Returns a draft. */
  async get(draftId, { signal } = {}) {
    return this.#ask({ method: "GET", path: path(["drafts", draftId]) }, (answer2) => readDraft(read(answer2)), signal);
  }
  /** Creates a draft. */
  async create(content, options = {}) {
    const { draftId, kind } = options;
    return this.#change("POST", path(["drafts"], this.#query()), options, { draftId, kind, content });
  }
  /** Changes a draft; either `baseVersion` or `ifMatch` says on which version the patch (RFC 7396) was made. */
  async update(draftId, patch, options) {
    return this.#change("PATCH", path(["drafts", draftId], this.#query(options)), options, patch);
  }
  /** Deletes a draft, whatever its version is unless one is given. Its id is not used again. */
  async delete(draftId, options = {}) {
    return this.#change("DELETE", path(["drafts", draftId], this.#query(options)), options);
  }
  #query({ baseVersion } = {}) {
    return { device: this.#device, baseVersion: baseVersion === void 0 ? void 0 : String(baseVersion) };
  }
  #change(method, where, options, body) {
    const { key = randomId2(), ifMatch, signal } = options;
    const headers2 = { "idempotency-key": key };
    if (ifMatch !== void 0) headers2["if-match"] = ifMatch === "*" ? ifMatch : `"${ifMatch}"`;
    const request = { method, path: where, headers: headers2, ...body && { body: stringify(body) } };
    return this.#ask(request, readChange, signal);
  }
};
function readDraftList(answer2) {
  const body = read(answer2);
  const drafts2 = list(body, "drafts", isObject).map(readDraft);
  return { drafts: drafts2, cursor: `${text(body, "epoch")}:${number(body, "seq")}` };
}
function readChange(answer2) {
  const body = read(answer2);
  const seq = body["seq"] == null ? null : number(body, "seq");
  return { draftId: text(body, "draftId"), version: number(body, "version"), seq };
}

// clients/js/src/server/exchange.ts
var PAUSE_MS = 100;
var PAUSE_MAX_MS = 5e3;
async function exchange(request, limits, outside, reader) {
  const answer2 = await answered(request, limits, outside);
  try {
    return reader(answer2);
  } catch (cause) {
    throw cause instanceof UnexpectedAnswerError ? cause : unexpected(answer2, cause);
  }
}
async function answered(request, limits, outside) {
  const giveUpAt = outside.now() + limits.deadlineMs;
  let renewed = false;
  for (let repetitions = 0; ; repetitions += 1) {
    const token = await outside.token();
    const leftMs = Math.max(1, giveUpAt - outside.now());
    const outcome = await outside.send(request, token, Math.min(limits.timeoutMs, leftMs));
    if (isAnswer(outcome)) {
      if (outcome.status >= 200 && outcome.status < 300) return outcome;
      if (outcome.status === 401 && token !== null && !renewed) {
        renewed = true;
        if (await outside.token() !== token) continue;
      }
    }
    const pauseMs = pauseBefore(outcome, repetitions, outside);
    if (!passes(request, outcome) || outside.now() + pauseMs >= giveUpAt) throw failed(outcome, outside);
    await outside.pause(pauseMs);
  }
}
function isAnswer(outcome) {
  return "status" in outcome;
}
function pauseBefore(outcome, repetitions, outside) {
  const asked2 = isAnswer(outcome) ? retryAfter(outcome, outside.wall()) : null;
  return (asked2 ?? 0) + Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** repetitions) * outside.random();
}
function passes({ repeatable = true }, outcome) {
  if (!isAnswer(outcome)) return repeatable || !outcome.sent;
  return [429, 503].includes(outcome.status) || repeatable && [502, 504].includes(outcome.status);
}
function failed(outcome, outside) {
  if (isAnswer(outcome)) return refusal(outcome, outside.wall());
  return new ConnectionFailedError(`no answer: ${reason(outcome.cause)}`, outcome.cause);
}
function reason(error) {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message ? `${error.message}: ${error.cause.message}` : error.message;
}

// clients/js/src/server/history.ts
var History = class {
  #ask;
  #topic;
  #pageSize;
  #signal;
  /** Where the next page begins. */
  #next;
  #items = [];
  #ended = false;
  #cursor;
  #head = null;
  constructor(ask, topic, cursor, { pageSize = 100, signal }) {
    this.#ask = ask;
    this.#topic = topic;
    this.#pageSize = pageSize;
    this.#signal = signal;
    this.#next = cursor === null ? null : position(cursor);
    this.#cursor = this.#next;
  }
  /**
   * The position behind what was given last, for a later reader to go on from. Null as long as nothing was read and no
   * cursor was given.
   */
  get cursor() {
    return this.#cursor && formatCursor(this.#cursor);
  }
  /**
   * The topic's last event when it was last read; null as long as nothing was read. With it a reader begins a little
   * before the end, or follows the topic from there.
   */
  get head() {
    return this.#head && formatCursor(this.#head);
  }
  async next() {
    while (this.#items.length === 0 && !this.#ended) await this.#readPage();
    const first = this.#items.shift();
    if (first === void 0) {
      this.#cursor = this.#next;
      return { done: true, value: void 0 };
    }
    this.#cursor = first.after;
    return { done: false, value: first.item };
  }
  [Symbol.asyncIterator]() {
    return this;
  }
  async #readPage() {
    const cursor = this.#next ? formatCursor(this.#next) : void 0;
    const query = { cursor, limit: String(this.#pageSize) };
    const request = { method: "GET", path: path(["topics", this.#topic, "events"], query) };
    try {
      this.#add(await this.#ask(request, readPage, this.#signal));
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      this.#change(error);
    }
  }
  /** Goes on at the beginning of the history that there is now. */
  #change(error) {
    const { payload } = error;
    if (!isObject(payload) || typeof payload["epoch"] !== "string") throw error;
    const epoch = payload["epoch"];
    const [head, floor] = [number(payload, "head"), number(payload, "floor")];
    this.#next = { epoch, seq: floor };
    this.#items.push({ item: { kind: "history_changed", epoch, head, floor }, after: this.#next });
  }
  #add({ epoch, head, events, cursor }) {
    this.#head = { epoch, seq: head };
    let expected = this.#next === null ? null : this.#next.seq + 1;
    const reach = (seq) => {
      if (expected !== null && seq > expected) {
        this.#items.push({ item: { kind: "missed", before: seq }, after: { epoch, seq: seq - 1 } });
      }
      expected = seq + 1;
    };
    for (const event2 of events) {
      reach(event2.seq);
      this.#items.push({ item: event2, after: { epoch, seq: event2.seq } });
    }
    if (events.length === 0) reach(cursor.seq + 1);
    this.#ended = cursor.seq >= head;
    if (!this.#ended && events.length === 0 && cursor.seq === this.#next?.seq) {
      throw new UnexpectedAnswerError(200, `the server sent a page of the history without progress after ${this.cursor}`);
    }
    this.#next = cursor;
  }
};
function readPage(answer2) {
  const page = read(answer2);
  return {
    epoch: text(page, "epoch"),
    head: number(page, "head"),
    events: list(page, "events", isObject).map(readEvent),
    cursor: position(text(page, "cursor"))
  };
}
function position(cursor) {
  const [, epoch, seq] = /^([^:]+):([0-9]+)$/.exec(cursor) ?? [];
  if (epoch === void 0) throw new RangeError(`${JSON.stringify(cursor)} is no cursor: <epoch>:<seq>`);
  return { epoch, seq: Number(seq) };
}

// clients/js/src/server/publishing.ts
var EVENTS_PER_REQUEST_MAX = 1e3;
var REQUEST_BYTES = 512 * 1024;
function line(event2) {
  if (typeof event2 === "string") return event2.trim();
  if (typeof event2 !== "object" || event2 === null) throw new TypeError(`${String(event2)} cannot be published: it is neither an event nor a text`);
  return encode(event2);
}
function encode({ event: event2, data, priority }, signal) {
  return stringify({ event: event2, data, priority, signal });
}
async function* chunks(events, eventsMax, bytesMax) {
  if (!(eventsMax >= 1 && bytesMax >= 1)) throw new RangeError("a request must be allowed to hold at least one event and one byte");
  const encoder = new TextEncoder();
  let [lines, size] = [[], 0];
  for await (const event2 of events) {
    const text2 = line(event2);
    if (text2 === "") continue;
    const bytes = encoder.encode(text2).byteLength + 1;
    if (lines.length > 0 && (lines.length >= eventsMax || size + bytes > bytesMax)) {
      yield lines;
      [lines, size] = [[], 0];
    }
    lines.push(text2);
    size += bytes;
  }
  if (lines.length > 0) yield lines;
}

// clients/js/src/server/transport.ts
var ANSWER_BYTES_MAX = 128 * 1024 * 1024;
var Ends = class {
  #closed = new AbortController();
  /** Ends every call, also those to come. */
  close() {
    this.#closed.abort();
  }
  /**
   * Returns what `run` does. Its signal is aborted when the time is over, and when the call has to end; then this
   * rejects with the reason.
   */
  async within(ms2, signal, run) {
    this.#check(signal);
    const over = new AbortController();
    const end = () => over.abort(new Error("the time limit has passed"));
    const timer = setTimeout(end, ms2);
    const ends = [this.#closed.signal, ...signal === void 0 ? [] : [signal]];
    for (const one of ends) one.addEventListener("abort", end);
    try {
      return await run(over.signal);
    } finally {
      clearTimeout(timer);
      for (const one of ends) one.removeEventListener("abort", end);
      if (over.signal.aborted) this.#check(signal);
    }
  }
  #check(signal) {
    if (this.#closed.signal.aborted) throw new ClosedError();
    if (signal?.aborted) throw new AbortedError(signal.reason);
  }
};
function pause(signal) {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
function orAborted(work, signal, reason2 = () => signal.reason) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(reason2()), { once: true });
    work.then(resolve, reject);
  });
}
async function send(fetch2, base, request, token, signal) {
  const init = { method: request.method, headers: headers(request, token), redirect: "manual", signal };
  if (request.body !== void 0) init.body = request.body;
  try {
    return await orAborted(answer(await orAborted(fetch2(base + request.path, init), signal)), signal);
  } catch (cause) {
    if (cause instanceof UnexpectedAnswerError) throw cause;
    return { cause, sent: !neverSent(cause) };
  }
}
function headers(request, token) {
  const fields = { accept: "application/json, application/problem+json", ...request.headers };
  if (request.body !== void 0) fields["content-type"] ??= "application/json";
  if (token !== null) fields["authorization"] = `Bearer ${token}`;
  try {
    return new Headers(Object.entries(fields).map(([name, value]) => [name, utf8(value)]));
  } catch {
    throw new InvalidRequestError("the token or the idempotency key has a character that no HTTP header can hold");
  }
}
function utf8(value) {
  return String.fromCharCode(...new TextEncoder().encode(value));
}
async function answer(response) {
  const decoder = new TextDecoder();
  let [body, bytes] = ["", 0];
  const reader = response.body?.getReader();
  while (reader !== void 0) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > ANSWER_BYTES_MAX) {
      await reader.cancel();
      throw new UnexpectedAnswerError(response.status, `the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    }
    body += decoder.decode(value, { stream: true });
  }
  return { status: response.status, headers: response.headers, body: body + decoder.decode() };
}
var UNSENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT", "ConnectionRefused"];
function neverSent(error) {
  const { code, cause } = error ?? {};
  return [code, cause?.code].some((name) => typeof name === "string" && UNSENT.includes(name));
}

// clients/js/src/server/values.ts
function user(userId) {
  return { userId };
}
var ALL = /* @__PURE__ */ Symbol("all");

// clients/js/src/server/client.ts
var TIMER_MAX_MS = 2 ** 31 - 1;
var Draftwire2 = class _Draftwire {
  /** The drafts of the token's user. */
  drafts;
  #url;
  #options;
  #limits;
  #ends = new Ends();
  /**
   * `url` is where the server is, `https://sync.example.com`.
   * Throws a `RangeError` when it is no such address, and when a time makes no sense.
   */
  constructor(url, options = {}) {
    this.#url = serverUrl(url);
    this.#options = options;
    this.#limits = { timeoutMs: ms(options.timeoutMs, 1e4), deadlineMs: ms(options.deadlineMs, 6e4) };
    this.drafts = new Drafts2(this.#ask, options.device);
  }
  /**
   * Publishes one event to a topic, a user or all, and returns its number once it is durable. `event` is its type, 1
   * to 64 characters of `A-Z 0-9 _`.
   */
  async publish(to, event2, data, options = {}) {
    const { priority } = options;
    return this.#publish(to, encode({ event: event2, data, ...priority && { priority } }), options);
  }
  /** Publishes up to 1000 events together, all or none; their numbers are consecutive. */
  async publishMany(to, events, options = {}) {
    const lines = Array.from(events, line).filter((text2) => text2 !== "");
    return this.#publish(to, `[${lines.join(",")}]`, options);
  }
  /** Publishes one event to a user's own stream: `publish` to `user(userId)`. */
  async publishUser(userId, event2, data, options = {}) {
    return this.publish(user(userId), event2, data, options);
  }
  /** Publishes one event to everybody: `publish` to `ALL`. */
  async broadcast(event2, data, options = {}) {
    return this.publish(ALL, event2, data, options);
  }
  /**
   * Publishes any number of events in their order, in requests of a bounded size, one after the other.
   *
   * Each request has an idempotency key of its own, made from `key` and its number. To start over, after a crash for
   * instance, give the same events with the same `key` and bounds: none is published twice. Other events under the
   * same key are refused.
   */
  async publishStream(to, events, options = {}) {
    const { key = randomId2(), eventsMax = EVENTS_PER_REQUEST_MAX, bytesMax = REQUEST_BYTES, signal } = options;
    let done = { events: 0, requests: 0, first: null, seq: null };
    for await (const lines of chunks(events, eventsMax, bytesMax)) {
      const ofRequest = { key: `${key}.${String(done.requests).padStart(6, "0")}`, signal };
      try {
        const { first, seq } = await this.#publish(to, lines.join("\n"), ofRequest, "application/x-ndjson");
        done = { events: done.events + lines.length, requests: done.requests + 1, first: done.first ?? first, seq };
      } catch (error) {
        if (error instanceof RequestError) error.committed = done;
        throw error;
      }
    }
    return done;
  }
  /**
   * Sends what is true only now to those who follow at this moment. It is not stored, and reaches each of them at most
   * once. So it is repeated only after failures that show that it was not sent.
   */
  async signal(to, event2, data, { signal } = {}) {
    const body = encode({ event: event2, data }, true);
    await this.#ask({ method: "POST", path: this.#events(to), body, repeatable: false }, () => void 0, signal);
  }
  /** Reads what the log holds of a topic behind a cursor; without one, the oldest events that are kept come first. */
  history(topic, cursor = null, options = {}) {
    return new History(this.#ask, topic, cursor, options);
  }
  /** Returns who is present in a topic, through any node of the server. */
  async presence(topic, { signal } = {}) {
    return this.#ask({ method: "GET", path: path(["topics", topic, "presence"]) }, readPresence, signal);
  }
  /**
   * Ends the connections that a user has at this moment, on every node; it needs the scope `admin`. It takes no right
   * away: clients come back with a fresh token, and so do those that were told to stay away, once the user signs in.
   */
  async disconnect(userId, options = {}) {
    const { code, reason: reason2, key = randomId2(), signal } = options;
    const target = path(["admin", "users", userId, "disconnect"], { device: this.#options.device });
    const headers2 = { "idempotency-key": key, "content-type": "application/json" };
    const body = stringify({ code, reason: reason2 });
    const seq = (answer2) => ({ seq: number(read(answer2), "seq") });
    return this.#ask({ method: "POST", path: target, headers: headers2, body }, seq, signal);
  }
  /** Returns a client with other options, which is closed with this one. */
  withOptions(options) {
    const client = new _Draftwire(this.#url, { ...this.#options, ...options });
    client.#ends = this.#ends;
    return client;
  }
  /** Ends all calls with a `ClosedError`, also those to come. */
  close() {
    this.#ends.close();
  }
  #publish(to, body, options, type = "application/json") {
    const { key = randomId2(), signal } = options;
    const headers2 = { "idempotency-key": key, "content-type": type };
    return this.#ask({ method: "POST", path: this.#events(to), headers: headers2, body }, readPublished, signal);
  }
  #events(to) {
    const query = { device: this.#options.device };
    if (to === ALL) return path(["broadcast"], query);
    return path(typeof to === "string" ? ["topics", to, "events"] : ["users", to.userId, "events"], query);
  }
  #ask = (request, reader, signal) => exchange(request, this.#limits, this.#outside(signal), reader);
  #outside(signal) {
    const { fetch: fetch2 = globalThis.fetch } = this.#options;
    return {
      token: () => this.#token(signal),
      send: (request, token, timeoutMs) => this.#ends.within(timeoutMs, signal, (over) => send(fetch2, this.#url, request, token, over)),
      pause: (pauseMs) => this.#ends.within(pauseMs, signal, pause),
      now: () => performance.now(),
      wall: Date.now,
      random: Math.random
    };
  }
  async #token(signal) {
    const { token = null } = this.#options;
    if (typeof token !== "function") return token;
    const { timeoutMs } = this.#limits;
    return this.#ends.within(timeoutMs, signal, (over) => {
      const late = () => new ConnectionFailedError(`no token came within ${timeoutMs} ms`);
      return orAborted((async () => token())(), over, late);
    });
  }
};
function readPublished(answer2) {
  const numbers = read(answer2);
  return { first: number(numbers, "first"), seq: number(numbers, "seq") };
}
function serverUrl(url) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch {
    throw new RangeError("the address of the server is not a URL: give one with http:// or https://");
  }
  if (!["http:", "https:"].includes(parsed.protocol)) {
    throw new RangeError(`the address of the server must begin with http:// or https://, not with ${parsed.protocol}`);
  }
  if (parsed.search !== "" || parsed.hash !== "" || parsed.username !== "" || parsed.password !== "") {
    throw new RangeError("the address of the server must have no user, query or fragment");
  }
  return parsed.href.replace(/\/+$/, "");
}
function ms(given, otherwise) {
  const value = given ?? otherwise;
  if (value > 0 && value <= TIMER_MAX_MS) return value;
  throw new RangeError(`a time limit must be above 0 and at most ${TIMER_MAX_MS} ms, and is ${value}`);
}

// gateway/demo/src/commentary.ts
var TOPIC = "match:1";
var BROADCAST = "CACHE_INVALIDATED";
var KINDS = { GOAL: "Goal", CARD: "Card", SUBSTITUTION: "Substitution", COMMENT: "Comment" };
var EARLIER_MAX = 30;
async function beginning(api) {
  const history = api.history(TOPIC, null, { pageSize: 1 });
  const { value: oldest } = await history.next();
  const head = history.head;
  const floor = oldest?.kind === "event" ? oldest.seq - 1 : seqOf(head);
  return `${epochOf(head)}:${Math.max(floor, seqOf(head) - EARLIER_MAX)}`;
}

// gateway/demo/src/desk.ts
var FLOOD_REQUESTS = 10;
var FLOOD_COMMENTS = 5;
var DEADLINE_MS = 15e3;
var AGAIN = "Sent again unchanged, nothing is done twice.";
var Desk = class {
  #root;
  #api;
  #busy = false;
  /** The node that has answered last. */
  #node = "";
  #token = "";
  /** A token that the server has refused. */
  #stale;
  /** What the last failed request wanted, and its key: asked for again, it is the same request. */
  #failed = null;
  #flood = null;
  constructor(root, tokens) {
    this.#root = root;
    this.#api = new Draftwire2(address(), {
      token: async () => this.#token = await tokens.get(this.#stale),
      deadlineMs: DEADLINE_MS,
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        if (response.status === 401) this.#stale = this.#token;
        this.#node = response.headers.get("Draftwire-Node") ?? "unknown";
        return response;
      }
    });
    root.addEventListener("submit", (event2) => {
      event2.preventDefault();
      void this.#act(() => this.#comment());
    });
    part(root, "flood").addEventListener("click", () => void this.#act(() => this.#pour()));
    part(root, "broadcast").addEventListener("click", () => void this.#act(() => this.#drop()));
  }
  async #comment() {
    const kind = this.#field("kind").value;
    const text2 = this.#field("text");
    const data = { minute: this.#minute, text: text2.value.trim() };
    const priority = kind === "GOAL" ? "high" : "normal";
    const { seq } = await this.#once([kind, data], (key) => this.#api.publish(TOPIC, kind, data, { key, priority }));
    text2.value = "";
    text2.focus();
    return `Committed as event ${seq}, by node ${this.#node}.`;
  }
  async #pour() {
    const flood = this.#flood ??= { minute: this.#minute, id: randomId().slice(0, 8), done: 0, first: null };
    const total = FLOOD_REQUESTS * FLOOD_COMMENTS;
    for (let last = 0; ; ) {
      if (flood.done === total) {
        this.#flood = null;
        return `Committed as events ${flood.first} to ${last}, in ${FLOOD_REQUESTS} requests.`;
      }
      const events = Array.from({ length: FLOOD_COMMENTS }, (_, i) => {
        const text2 = `Comment ${flood.done + i + 1} of ${total}`;
        return { event: "COMMENT", data: { minute: flood.minute, text: text2, flood: flood.id } };
      });
      const { first, seq } = await this.#once(events, (key) => this.#api.publishMany(TOPIC, events, { key }));
      flood.done += FLOOD_COMMENTS;
      flood.first ??= first;
      last = seq;
    }
  }
  async #drop() {
    const data = { keys: ["squads", "odds"] };
    const { seq } = await this.#once(data, (key) => this.#api.broadcast(BROADCAST, data, { key, priority: "critical" }));
    return `Broadcast as event ${seq} of the stream all, by node ${this.#node}.`;
  }
  /** Does a thing once, also when the person asks for it again because it has failed. */
  async #once(thing, send2) {
    const wanted = JSON.stringify(thing);
    const key = this.#failed?.wanted === wanted ? this.#failed.key : randomId();
    this.#failed = { wanted, key };
    const published = await send2(key);
    this.#failed = null;
    return published;
  }
  /** One thing at a time, and its outcome in words. */
  async #act(action) {
    if (this.#busy) return;
    this.#busy = true;
    const outcome = part(this.#root, "outcome");
    try {
      outcome.textContent = await action();
      outcome.dataset["good"] = "true";
    } catch (error) {
      if (!(error instanceof DraftwireError)) throw error;
      outcome.textContent = inWords2(error);
      outcome.dataset["good"] = "false";
    } finally {
      this.#busy = false;
    }
  }
  get #minute() {
    return Number(this.#field("minute").value);
  }
  #field(name) {
    return this.#root.elements.namedItem(name);
  }
};
function inWords2(error) {
  const { message } = error;
  if (!(error instanceof RefusedError)) {
    if (error instanceof UnexpectedAnswerError) return `No node has answered (${error.status}). ${AGAIN}`;
    return error instanceof NoTokenYet ? `Not sent: ${message}.` : `No answer from the server (${message}). ${AGAIN}`;
  }
  switch (error.status) {
    case 401:
      return `The server does not take the token (401): ${message}.`;
    case 403:
      return `The token does not allow that (403): ${message}.`;
    case 413:
      return `That is too much (413): ${message}.`;
    case 429:
      return `Too much at once (429): ${message}. ${AGAIN}`;
    case 503:
      return `The server cannot commit at the moment (503): ${message}. ${AGAIN}`;
    default:
      return `The server refuses (${error.status}): ${message}.`;
  }
}

// gateway/demo/src/viewer.ts
var COMMENTS_MAX = 200;
var FLASH_MS = 6e3;
var Viewer = class {
  root = copy("viewer-template");
  #options;
  #dw;
  #topic;
  #standing = new Standing(this.root);
  #flashing = 0;
  /** The last flood, as it arrived here. */
  #flood = { id: "", events: 0, frames: 0 };
  constructor(options) {
    const { index, name, way, transport, device, tokens } = options;
    this.#options = options;
    this.root.dataset["viewer"] = String(index);
    this.root.setAttribute("aria-label", name);
    say(this.#part("name"), name);
    say(this.#part("way"), way);
    this.#dw = new Draftwire(address(), {
      device,
      getToken: ({ stale }) => tokens.get(stale),
      connect: false,
      transport,
      environment: { WebSocket: watchedWebSocket((frame) => this.#countFlood(frame)) },
      onError: (error) => this.#standing.notice(String(error))
    });
    this.#topic = this.#follow(options.from);
    this.#dw.subscribe(() => this.#render());
    this.#dw.onBroadcast("*", (event2) => this.#flash(event2));
    this.#dw.onMissedBroadcasts(() => this.#standing.notice("Some broadcasts of the time away are gone from the log."));
    this.#part("offline").addEventListener("change", () => this.show());
    this.#part("dismiss").addEventListener("click", () => this.#standing.notice(""));
    this.#render();
  }
  /** Who is here, as the server says; null while unknown. */
  get presence() {
    return this.#topic.presence;
  }
  /** Connects, unless the person has switched the viewer offline. */
  show() {
    if (this.#part("offline").checked) return this.#dw.disconnect();
    if (this.#topic.state.status === "ended") this.#topic = this.#follow(this.#topic.cursor ?? this.#options.from);
    this.#dw.connect();
  }
  /** Ends the connection. */
  hide() {
    this.#dw.disconnect();
  }
  #follow(from) {
    const { batchMs } = this.#options;
    const topic = this.#dw.topic(TOPIC, { from, presence: true, ...batchMs !== void 0 && { batchMs } });
    topic.on("*", (event2) => this.#comment(event2));
    topic.onMissed(({ before }) => this.#standing.notice(`What was missed before ${before} is gone from the log.`));
    topic.subscribe(() => {
      this.#render();
      this.#options.onPresence();
    });
    return topic;
  }
  // --- showing ------------------------------------------------------------------------------------------------------
  /** The topic's state counts while the connection is there. */
  get #status() {
    const [client, topic] = [this.#dw.state, this.#topic.state];
    if (topic.status === "ended") return { status: "stopped", error: topic.error };
    if (client.status !== "live") return { status: client.status, error: "error" in client ? client.error : void 0 };
    return { status: topic.status === "waiting" ? "catching-up" : topic.status };
  }
  #render() {
    const { status, error } = this.#status;
    this.#renderSeq();
    this.#standing.show(status, error, this.#dw.state, this.#topic.cursor);
  }
  #renderSeq() {
    const { cursor } = this.#topic;
    say(this.#part("seq"), this.#standing.wasLive && cursor !== null ? String(seqOf(cursor)) : "–");
  }
  /** Whoever may publish may send any data: what is not a commentary's is shown as it is. */
  #comment({ type, seq, data }) {
    const { minute, text: text2 } = data ?? {};
    const row = copy("comment-template");
    Object.assign(row.dataset, { seq, kind: type });
    say(part(row, "minute"), Number.isInteger(minute) ? `${minute}′` : "");
    say(part(row, "kind"), KINDS[type] ?? type);
    say(part(row, "text"), typeof text2 === "string" ? text2 : JSON.stringify(data));
    say(part(row, "comment-seq"), String(seq));
    const list2 = this.#part("comments");
    list2.prepend(row);
    if (list2.children.length > COMMENTS_MAX) list2.lastElementChild.remove();
    if (this.#standing.wasLive) highlight(row);
    this.#part("none").hidden = true;
    this.#renderSeq();
  }
  #countFlood({ direction, messages }) {
    if (direction === "out" || !this.#standing.wasLive) return;
    const floods = messages.filter(({ stream, payload }) => stream === `topic:${TOPIC}` && typeof payload?.flood === "string").map(({ payload }) => payload.flood);
    const id = floods.at(-1);
    if (id === void 0) return;
    if (this.#flood.id !== id) this.#flood = { id, events: 0, frames: 0 };
    this.#flood.events += floods.filter((flood) => flood === id).length;
    this.#flood.frames += 1;
    const { events, frames } = this.#flood;
    this.#part("flood").hidden = false;
    say(this.#part("flood"), `flood: ${events} in ${frames} ${frames === 1 ? "frame" : "frames"}`);
  }
  #flash({ type, seq, data }) {
    const note = this.#part("flash");
    const keys = Array.isArray(data?.keys) ? data.keys.join(", ") : "";
    note.textContent = type === BROADCAST ? `Drop your caches: ${keys}` : type;
    note.dataset["seq"] = String(seq);
    note.hidden = false;
    note.classList.remove("flashing");
    void note.offsetWidth;
    note.classList.add("flashing");
    clearTimeout(this.#flashing);
    this.#flashing = setTimeout(() => {
      note.hidden = true;
    }, FLASH_MS);
  }
  #part(role) {
    return part(this.root, role);
  }
};

// gateway/demo/src/match_view.ts
var BEGINNING_MS_MAX = 5e3;
var VIEWERS = [
  { name: "Viewer 1", way: "WebSocket", transport: "websocket" },
  { name: "Viewer 2", way: "WebSocket", transport: "websocket" },
  { name: "Viewer 3", way: "WebSocket, batches of 100 ms", transport: "websocket", batchMs: 100 },
  { name: "Viewer 4", way: "Server-sent events", transport: "event-stream" }
];
var MatchView = class {
  #options;
  /** Users of their own: behind Nginx they may be on different nodes. */
  #tokens;
  #viewers = [];
  #beginning = false;
  #shown = false;
  constructor(options) {
    const { root, user: user3, panel: panel2 } = options;
    this.#options = options;
    new Desk(part(root, "desk"), new Tokens(user3, `publish:${TOPIC} service`, panel2));
    this.#tokens = VIEWERS.map((_, i) => new Tokens(`${user3}-viewer-${i + 1}`, `subscribe:${TOPIC}`, panel2));
    panel2.onToken(() => {
      if (this.#shown) this.show();
    });
  }
  show() {
    this.#shown = true;
    if (this.#viewers.length === 0) void this.#begin();
    for (const viewer of this.#viewers) viewer.show();
  }
  hide() {
    this.#shown = false;
    for (const viewer of this.#viewers) viewer.hide();
  }
  async #begin() {
    if (this.#beginning) return;
    this.#beginning = true;
    const from = await this.#from();
    this.#beginning = false;
    if (from === null) return;
    const { root, tab: tab2 } = this.#options;
    VIEWERS.forEach((viewer, index) => {
      const options = { ...viewer, index, device: `viewer-${index + 1}-${tab2}`, tokens: this.#tokens[index], from };
      this.#viewers.push(new Viewer({ ...options, onPresence: () => this.#renderPresence() }));
    });
    part(root, "viewers").append(...this.#viewers.map((viewer) => viewer.root));
    if (this.#shown) this.show();
  }
  /** Where the viewers begin; with what comes next where that cannot be had. Null without a token to ask with. */
  async #from() {
    const api = new Draftwire2(address(), { token: () => this.#tokens[0].get(), deadlineMs: BEGINNING_MS_MAX });
    try {
      return await beginning(api);
    } catch (error) {
      if (!(error instanceof DraftwireError)) throw error;
      return error instanceof NoTokenYet ? null : "now";
    } finally {
      api.close();
    }
  }
  /** As the server tells any one of the viewers. */
  #renderPresence() {
    const presence = this.#viewers.map((viewer) => viewer.presence).find(Boolean);
    const { root } = this.#options;
    say(part(root, "users"), String(presence?.users ?? "–"));
    say(part(root, "devices"), String(presence?.devices ?? "–"));
  }
};

// gateway/demo/src/app.ts
var VIEWS = { drafts: DraftsView, match: MatchView };
function remembered(storage, key, make) {
  const value = storage.getItem(key) ?? make();
  storage.setItem(key, value);
  return value;
}
var asked = new URLSearchParams(location.search).get("user")?.trim();
if (asked) localStorage.setItem("draftwire.user", asked);
var user2 = remembered(localStorage, "draftwire.user", () => `guest-${randomId().slice(0, 6)}`);
document.querySelector("#user").value = user2;
var tab = remembered(sessionStorage, "draftwire.tab", () => randomId().slice(0, 8));
var panel = new TokenPanel(part(document, "token-panel"));
var sections = Array.from(document.querySelectorAll("[data-view]"));
var views = /* @__PURE__ */ new Map();
var shown = "";
function show() {
  const wanted = location.hash.slice(1);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : Object.keys(VIEWS)[0];
  if (name === shown) return;
  views.get(shown)?.hide();
  shown = name;
  for (const section of sections) section.hidden = section.dataset["view"] !== name;
  for (const link of document.querySelectorAll(".views a")) {
    link.ariaCurrent = link.hash === `#${name}` ? "page" : null;
  }
  document.querySelector(".user").action = `#${name}`;
  const root = sections.find((section) => section.dataset["view"] === name);
  document.title = `Draftwire: ${root.dataset["title"]}`;
  let view = views.get(name);
  if (!view) views.set(name, view = new VIEWS[name]({ root, user: user2, tab, panel }));
  view.show();
}
addEventListener("hashchange", show);
show();
