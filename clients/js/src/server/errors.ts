// What can go wrong: the package's `DraftwireError` with the protocol's codes, and what more there is to know of a request.

import { DraftwireError, type ErrorCode } from '../errors.js';
import type { Draft, StreamPublished } from './values.js';

/** Any failure of a call to the server. */
export class RequestError extends DraftwireError {
  /** For `publishStream`: what it had committed before it failed. */
  committed?: StreamPublished;
}

/** `closed`: the client was closed before the call ended. */
export class ClosedError extends RequestError {
  constructor() {
    super('closed', 'the client is closed');
  }
}

/** `aborted`: the caller's signal was aborted. */
export class AbortedError extends RequestError {
  constructor(cause: unknown) {
    super('aborted', 'the call was aborted', undefined, { cause });
  }
}

/** `bad_request`: the request cannot be sent, whatever the server is: a header holds a line end, for instance. */
export class InvalidRequestError extends RequestError {
  constructor(detail: string) {
    super('bad_request', detail);
  }
}

/**
 * `unreachable`: no answer came until the deadline; `cause` is the last failure. A change may have been committed all
 * the same. Repeating it under the same key is always right.
 */
export class ConnectionFailedError extends RequestError {
  constructor(detail: string, cause?: unknown) {
    super('unreachable', detail, undefined, { cause });
  }
}

/** `protocol`: the answer is none of the protocol: another server or a proxy has answered. */
export class UnexpectedAnswerError extends RequestError {
  /** The HTTP status. */
  readonly status: number;

  constructor(status: number, detail: string, cause?: unknown) {
    super('protocol', detail, undefined, { cause });
    this.status = status;
  }
}

/** What a problem document (RFC 9457) says. */
export interface Problem {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly payload?: unknown;
  /** After how many milliseconds the server asked to be tried again; null when it did not. */
  readonly retryAfterMs: number | null;
}

/** The server has refused the request; the subclasses are the protocol's codes, `message` is the reason. */
export class RefusedError extends RequestError {
  /** The HTTP status, which sometimes says more than the code. */
  readonly status: number;
  /** After how many milliseconds the server asked to be tried again; null when it did not. */
  readonly retryAfterMs: number | null;

  constructor(problem: Problem) {
    // A newer server may have further codes.
    super(problem.code as ErrorCode, problem.detail, problem.payload);
    this.status = problem.status;
    this.retryAfterMs = problem.retryAfterMs;
  }

  /** Why, for developers. The text may change from one version of the server to the next. */
  get detail(): string {
    return this.message;
  }
}

/** `bad_request`: the request is malformed. Repeating it unchanged is pointless. */
export class BadRequestError extends RefusedError {}

/** `unauthorized`: no valid token. */
export class UnauthorizedError extends RefusedError {}

/** `forbidden`: a valid token without the right. */
export class ForbiddenError extends RefusedError {}

/** `not_found`: there is no such draft, or no longer. */
export class NotFoundError extends RefusedError {}

/** `conflict`: the change meets another one made since its base. Nothing was changed. */
export class ConflictError extends RefusedError {
  /** The draft as it stands; null when it was deleted, or when `status` is 412. */
  readonly draft: Draft | null;
  /** The JSON pointers of the fields that both changes touch; empty when that is the whole draft. */
  readonly fields: readonly string[];
  /** The version of the draft as it stands; null where it is not known. */
  readonly version: number | null;

  constructor(problem: Problem, draft: Draft | null, fields: readonly string[], version: number | null) {
    super(problem);
    this.draft = draft;
    this.fields = fields;
    this.version = version;
  }
}

/** `too_large`: over a limit of size or number. */
export class TooLargeError extends RefusedError {}

/** `rate_limited`: too many requests until the deadline. */
export class RateLimitedError extends RefusedError {}

/**
 * `unavailable`: the store did not answer until the deadline, or too much was waiting. A change was not acknowledged,
 * and may have been committed in a rare case. Repeating it under the same key is always right.
 */
export class UnavailableError extends RefusedError {}
