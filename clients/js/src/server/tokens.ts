// Tokens for devices and for backends, signed by Web Crypto.

/** How a minter signs: a secret or a private key, and what the server expects in its tokens. */
export interface MinterOptions {
  /** What the server has as `JWT_SECRET` (HS256), at least 32 bytes, taken as they are. */
  readonly secret?: string | Uint8Array | undefined;
  /**
   * The private key of the public key that the server has: PEM text (PKCS #8) of an RSA, P-256 or Ed25519 key, which
   * signs with RS256, ES256 or EdDSA.
   */
  readonly privateKey?: string | undefined;
  /** The `kid` of the key, where the server finds its keys by `JWT_JWKS_URL`. */
  readonly keyId?: string | undefined;
  /** `aud`, where the server has `JWT_AUDIENCE`. */
  readonly audience?: string | undefined;
  /** `iss`, where the server has `JWT_ISSUER`. */
  readonly issuer?: string | undefined;
  /** The claim that holds the user, where the server has `JWT_USER_CLAIM`; `sub` when absent. */
  readonly userClaim?: string | undefined;
  /** The claim that holds the rights, where the server has `JWT_SCOPE_CLAIM`; `scope` when absent. */
  readonly scopeClaim?: string | undefined;
}

/** What a token is given beside its user and its rights. */
export interface TokenOptions {
  /** How long it is valid from now on, in seconds, cut to whole ones; an hour when absent. */
  readonly expiresIn?: number | undefined;
  /** Further claims, which win over all others. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
}

/** The server takes no shorter secret. */
const SECRET_BYTES_MIN = 32;

/** A token that ends within this many seconds is not used any more: requests take time, and clocks differ. */
const FRESH_SECONDS = 60;

interface Key {
  readonly name: 'HS256' | 'RS256' | 'ES256' | 'EdDSA';
  readonly format: 'raw' | 'pkcs8';
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly algorithm: { name: string; hash?: string; namedCurve?: string };
}

/** Signs tokens that the server takes. */
export class TokenMinter {
  readonly #options: MinterOptions;
  readonly #key: Key;
  #imported: Promise<CryptoKey> | undefined;

  /** Throws a `RangeError` when the key cannot be used. */
  constructor(options: MinterOptions) {
    const { secret, privateKey } = options;
    if ((secret === undefined) === (privateKey === undefined)) throw new RangeError('give either a secret or a private key');
    this.#options = options;
    this.#key = secret === undefined ? privateKeyOf(privateKey ?? '') : secretKey(secret);
  }

  /**
   * Returns a token of a user, 1 to 255 characters, with rights: `subscribe:<pattern>`, `publish:<pattern>`, `service`.
   * The server ignores other words. Rejects with a `RangeError` when the token would not be valid for a second, or a
   * right has a blank in it.
   */
  async mint(userId: string, scopes: readonly string[] = [], options: TokenOptions = {}): Promise<string> {
    return this.#mint(userId, words(scopes), seconds(options), options.claims);
  }

  /**
   * Returns what gives a client its tokens: a new one before the last one ends. The arguments are those of `mint`;
   * what is wrong with them is thrown at once.
   */
  source(userId: string, scopes: readonly string[] = [], options: TokenOptions = {}): () => Promise<string> {
    const [scope, validFor] = [words(scopes), seconds(options)];
    const freshForMs = Math.max(validFor - FRESH_SECONDS, validFor / 2) * 1000;
    let last: { token: Promise<string>; at: number } | undefined;
    return async () => {
      const now = Date.now();
      // The wall clock may be set back: a token from the future is not kept for longer than its time.
      if (last === undefined || now < last.at || now - last.at >= freshForMs) {
        last = { token: this.#mint(userId, scope, validFor, options.claims), at: now };
      }
      return last.token;
    };
  }

  async #mint(userId: string, scope: string, validFor: number, more: TokenOptions['claims']): Promise<string> {
    const { keyId, audience, issuer, userClaim = 'sub', scopeClaim = 'scope' } = this.#options;
    const now = Math.floor(Date.now() / 1000);
    const header = { alg: this.#key.name, typ: 'JWT', kid: keyId };
    const claims = {
      // Also where the server reads the user elsewhere: proxies tell users apart by it.
      sub: userId,
      [userClaim]: userId,
      iat: now,
      exp: now + validFor,
      ...(scope !== '' && { [scopeClaim]: scope }),
      aud: audience,
      iss: issuer,
      ...more,
    };
    const signed = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
    const { format, bytes, algorithm } = this.#key;
    this.#imported ??= crypto.subtle.importKey(format, bytes, algorithm, false, ['sign']).catch(() => {
      throw new RangeError('the private key is broken: it cannot be imported');
    });
    const signature = await crypto.subtle.sign(algorithm, await this.#imported, utf8(signed));
    return `${signed}.${base64url(new Uint8Array(signature))}`;
  }
}

function words(scopes: readonly string[]): string {
  if (!Array.isArray(scopes)) throw new RangeError('scopes must be a list of strings');
  // A word with a blank in it would become two rights.
  const wrong = scopes.find((word) => word === '' || /\s/.test(word));
  if (wrong !== undefined) throw new RangeError(`${JSON.stringify(wrong)} is no scope: it must be one word without blanks`);
  return scopes.join(' ');
}

function seconds({ expiresIn = 3600 }: TokenOptions): number {
  const whole = Math.floor(expiresIn);
  if (!(whole >= 1 && Number.isSafeInteger(whole))) {
    throw new RangeError(`expiresIn must be at least 1 second, and is ${expiresIn}`);
  }
  return whole;
}

function secretKey(secret: string | Uint8Array): Key {
  const bytes = typeof secret === 'string' ? utf8(secret) : Uint8Array.from(secret);
  if (bytes.length < SECRET_BYTES_MIN) {
    throw new RangeError(`the secret must have at least ${SECRET_BYTES_MIN} bytes, and has ${bytes.length}`);
  }
  return { name: 'HS256', format: 'raw', bytes, algorithm: { name: 'HMAC', hash: 'SHA-256' } };
}

/** The object identifiers of kinds of keys as they stand in PKCS #8 (RFC 5958, RFC 8017, RFC 5480, RFC 8410), in hex. */
const KINDS: readonly (readonly [string, Pick<Key, 'name' | 'algorithm'>])[] = [
  ['06092a864886f70d010101', { name: 'RS256', algorithm: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } }],
  [
    '06072a8648ce3d020106082a8648ce3d030107',
    { name: 'ES256', algorithm: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } },
  ],
  ['06032b6570', { name: 'EdDSA', algorithm: { name: 'Ed25519' } }],
];

/** How far into a key its kind stands, in bytes: behind the lengths and the version. */
const KIND_WITHIN = 12;

function privateKeyOf(pem: string): Key {
  const body = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem)?.[1];
  if (body === undefined) {
    throw new RangeError('the private key must be a PEM text of PKCS #8, as `openssl pkcs8 -topk8 -nocrypt` prints it');
  }
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = Uint8Array.from(atob(body.replace(/\s/g, '')), (character) => character.charCodeAt(0));
  } catch {
    throw new RangeError('the private key is broken: its body is not base64');
  }
  const hex = Array.from(bytes.subarray(0, 40), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const kind = KINDS.find(([id]) => hex.includes(id) && hex.indexOf(id) <= 2 * KIND_WITHIN)?.[1];
  if (kind === undefined) {
    throw new RangeError('the private key is of a kind that is not supported: give one for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519)');
  }
  return { ...kind, format: 'pkcs8', bytes };
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(new TextEncoder().encode(text));
}

function base64url(bytes: Uint8Array): string {
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
