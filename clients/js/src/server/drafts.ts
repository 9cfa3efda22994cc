// Drafts of the token's user, over HTTP.

import { isObject, randomId } from '../json.js';
import type { Ask } from './history.js';
import type { CallOptions, ChangeOptions, Content, Draft, DraftChanged, DraftList } from './values.js';
import { type Answer, list, number, path, read, readDraft, type Request, stringify, text } from './wire.js';

/** How a draft is created. */
export interface CreateOptions extends ChangeOptions {
  /** Its id; without, the server makes one. */
  readonly draftId?: string | undefined;
  /** The kind of document; `draft` when absent. */
  readonly kind?: string | undefined;
}

/** On which version a change was made. */
export interface BaseOptions extends ChangeOptions {
  /** Merges: changes of other fields since this version stay. Changes of the same fields are a `ConflictError`. */
  readonly baseVersion?: number | undefined;
  /** Demands that the draft has this very version, `*` for any; otherwise a `ConflictError` of status 412. */
  readonly ifMatch?: number | '*' | undefined;
}

/** The drafts of the token's user. */
export class Drafts {
  readonly #ask: Ask;
  readonly #device: string | undefined;

  constructor(ask: Ask, device: string | undefined) {
    this.#ask = ask;
    this.#device = device;
  }

  /** Returns all drafts that are not deleted, and where in the user's stream they stand. */
  async list({ signal }: CallOptions = {}): Promise<DraftList> {
    return this.#ask({ method: 'GET', path: path(['drafts']) }, readDraftList, signal);
  }

  /** Returns a draft. */
  async get(draftId: string, { signal }: CallOptions = {}): Promise<Draft> {
    return this.#ask({ method: 'GET', path: path(['drafts', draftId]) }, (answer) => readDraft(read(answer)), signal);
  }

  /** Creates a draft. */
  async create(content: Content, options: CreateOptions = {}): Promise<DraftChanged> {
    const { draftId, kind } = options;
    return this.#change('POST', path(['drafts'], this.#query()), options, { draftId, kind, content });
  }

  /** Changes a draft; either `baseVersion` or `ifMatch` says on which version the patch (RFC 7396) was made. */
  async update(draftId: string, patch: Content, options: BaseOptions): Promise<DraftChanged> {
    return this.#change('PATCH', path(['drafts', draftId], this.#query(options)), options, patch);
  }

  /** Deletes a draft, whatever its version is unless one is given. Its id is not used again. */
  async delete(draftId: string, options: BaseOptions = {}): Promise<DraftChanged> {
    return this.#change('DELETE', path(['drafts', draftId], this.#query(options)), options);
  }

  #query({ baseVersion }: BaseOptions = {}): Record<string, string | undefined> {
    return { device: this.#device, baseVersion: baseVersion === undefined ? undefined : String(baseVersion) };
  }

  #change(method: Request['method'], where: string, options: BaseOptions, body?: Content): Promise<DraftChanged> {
    const { key = randomId(), ifMatch, signal } = options;
    const headers: Record<string, string> = { 'idempotency-key': key };
    if (ifMatch !== undefined) headers['if-match'] = ifMatch === '*' ? ifMatch : `"${ifMatch}"`;
    const request: Request = { method, path: where, headers, ...(body && { body: stringify(body) }) };
    return this.#ask(request, readChange, signal);
  }
}

function readDraftList(answer: Answer): DraftList {
  const body = read(answer);
  const drafts = list(body, 'drafts', isObject).map(readDraft);
  return { drafts, cursor: `${text(body, 'epoch')}:${number(body, 'seq')}` };
}

function readChange(answer: Answer): DraftChanged {
  const body = read(answer);
  const seq = body['seq'] == null ? null : number(body, 'seq');
  return { draftId: text(body, 'draftId'), version: number(body, 'version'), seq };
}
