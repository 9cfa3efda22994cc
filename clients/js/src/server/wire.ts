// Requests and answers as they go over HTTP. Pure.

import type { Priority } from '../api.js';
import { isObject } from '../json.js';
import {
  BadRequestError,
  ConflictError,
  ForbiddenError,
  InvalidRequestError,
  NotFoundError,
  type Problem,
  RateLimitedError,
  RefusedError,
  TooLargeError,
  UnauthorizedError,
  UnavailableError,
  UnexpectedAnswerError,
} from './errors.js';
import type { Content, Draft, HistoryEvent, Member, Presence } from './values.js';

/** How much of an answer that is none of the protocol an error quotes, in characters. */
const QUOTED_MAX = 200;

/** A request, without its token. */
export interface Request {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** False where it must not be sent again after a failure that leaves open whether it was carried out. */
  readonly repeatable?: boolean;
}

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Returns the path of a resource below `/v1`, from names that are not escaped yet. */
export function path(names: readonly string[], query: Readonly<Record<string, string | undefined>> = {}): string {
  const escaped = names.map((name) => {
    if (name === '.' || name === '..') throw badRequest(`${JSON.stringify(name)} is no name: it is lost from the path of a URL`);
    try {
      return encodeURIComponent(name);
    } catch {
      throw new InvalidRequestError(`the name ${JSON.stringify(name)} has half of a surrogate pair, which no URL can hold`);
    }
  });
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const search = given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
  return `/v1/${escaped.join('/')}${search}`;
}

function badRequest(detail: string): BadRequestError {
  return new BadRequestError({ code: 'bad_request', status: 400, detail, retryAfterMs: null });
}

/**
 * Returns the JSON text of a value. Half of a surrogate pair is left to the server, which refuses it by name.
 * Throws a `TypeError` for what JSON cannot say; `JSON.stringify` alone makes null of some of it.
 */
export function stringify(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner === 'number' && !Number.isFinite(inner)) throw new TypeError(`${inner} is no JSON number`);
    return inner;
  });
}

/**
 * Returns the milliseconds of `Retry-After` (RFC 9110 section 10.2.3), or null when there are none.
 * `now` is the wall clock, in Unix milliseconds: the header may be a date.
 */
export function retryAfter(answer: Answer, now: number): number | null {
  const text = (answer.headers.get('retry-after') ?? '').trim();
  if (/^[0-9]+$/.test(text)) return Number(text.slice(0, 9)) * 1000;
  // Dates alone end in this zone; `Date.parse` makes dates of numbers, too.
  const date = text.endsWith(' GMT') ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

const REFUSALS: Readonly<Record<string, new (problem: Problem) => RefusedError>> = {
  bad_request: BadRequestError,
  unauthorized: UnauthorizedError,
  forbidden: ForbiddenError,
  not_found: NotFoundError,
  too_large: TooLargeError,
  rate_limited: RateLimitedError,
  unavailable: UnavailableError,
};

/** Returns the error for an answer that is no success. */
export function refusal(answer: Answer, now: number): RefusedError | UnexpectedAnswerError {
  try {
    const said = object(JSON.parse(answer.body));
    const problem: Problem = {
      code: text(said, 'code'),
      status: answer.status,
      detail: text(said, 'detail'),
      payload: said['payload'],
      retryAfterMs: retryAfter(answer, now),
    };
    if (problem.code === 'conflict') return conflict(problem);
    const Refusal = Object.hasOwn(REFUSALS, problem.code) ? REFUSALS[problem.code] : undefined;
    return new (Refusal ?? RefusedError)(problem);
  } catch (cause) {
    return unexpected(answer, cause);
  }
}

function conflict(problem: Problem): ConflictError {
  const payload = isObject(problem.payload) && 'draftId' in problem.payload ? problem.payload : {};
  const draft = payload['draft'] == null ? null : readDraft(payload['draft']);
  const fields = payload['fields'] === undefined ? [] : list(payload, 'fields', isText);
  const version = draft?.version ?? (payload['version'] === undefined ? null : number(payload, 'version'));
  return new ConflictError(problem, draft, fields, version);
}

/** Returns the error for an answer that is none of the protocol. */
export function unexpected(answer: Answer, cause?: unknown): UnexpectedAnswerError {
  const where = answer.headers.get('location');
  const said = where === null ? JSON.stringify(answer.body.slice(0, QUOTED_MAX)) : `a redirect to ${where}`;
  const detail = `status ${answer.status} is no answer of a Draftwire server: ${said}`;
  return new UnexpectedAnswerError(answer.status, detail, cause);
}

/** Returns the object in an answer; throws when there is none, as do the functions below. */
export function read(answer: Answer): Fields {
  return object(JSON.parse(answer.body));
}

/** Reads a draft. */
export function readDraft(value: unknown): Draft {
  const draft = object(value);
  return {
    draftId: text(draft, 'draftId'),
    version: number(draft, 'version'),
    kind: text(draft, 'kind'),
    content: object(draft['content']) as Content,
    updatedAt: number(draft, 'updatedAt'),
  };
}

/** Reads an event. */
export function readEvent(value: unknown): HistoryEvent {
  const event = object(value);
  return {
    kind: 'event',
    type: text(event, 'type'),
    seq: number(event, 'seq'),
    timestamp: number(event, 'timestamp'),
    origin: text(event, 'origin'),
    priority: (event['priority'] ?? 'normal') as Priority,
    data: event['payload'] ?? null,
  };
}

/** Reads who is present. */
export function readPresence(answer: Answer): Presence {
  const presence = read(answer);
  const { members, complete } = presence;
  if (typeof complete !== 'boolean') throw new Error('the field complete is not a boolean');
  return {
    members: members === undefined ? null : list(presence, 'members', isObject).map(readMember),
    users: number(presence, 'users'),
    devices: number(presence, 'devices'),
    complete,
  };
}

function readMember(member: Fields): Member {
  return { userId: member['userId'] === undefined ? null : text(member, 'userId'), device: text(member, 'device') };
}

/** Returns a field that is a text. */
export function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (!isText(value)) throw new Error(`the field ${name} is not a string`);
  return value;
}

/** Returns a field that is a number. */
export function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number') throw new Error(`the field ${name} is not a number`);
  return value;
}

/** Returns a field that is a list. */
export function list<T>(fields: Fields, name: string, is: (value: unknown) => value is T): T[] {
  const value = fields[name];
  if (!Array.isArray(value) || !value.every(is)) throw new Error(`the field ${name} is not a list, or has an entry of another type`);
  return value;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function object(value: unknown): Fields {
  if (!isObject(value)) throw new Error('a value is not an object');
  return value;
}
