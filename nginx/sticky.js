// Which user a request belongs to, so that all of a user's devices meet on one node.
//
// The token is decoded, not verified: a forged one only chooses which node refuses it. Stickiness
// is for speed, nothing depends on it, so whatever is not a token falls back to the address.

// Above this it is not decoded: no issuer's tokens are longer, and every request pays for this.
const TOKEN_CHARS_MAX = 16 * 1024;
// A longer `sub` is cut, which is as sticky.
const SUB_CHARS_MAX = 256;

// The key that upstream.conf hashes: the token's `sub`; without one the device that the client names,
// else its address: thousands of anonymous viewers may share one.
function key(r) {
    return sub(token(r)) || (r.variables.arg_device || '').slice(0, SUB_CHARS_MAX) || r.remoteAddress;
}

// Where the server looks for a token, in the server's order.
function token(r) {
    const header = /^bearer +(\S+)$/i.exec(r.headersIn['Authorization'] || '');
    if (header) {
        return header[1];
    }
    const subprotocol = /(?:^|,)[ \t]*bearer\.([^\s,]+)/.exec(r.headersIn['Sec-WebSocket-Protocol'] || '');
    if (subprotocol) {
        return subprotocol[1];
    }
    return r.variables.arg_token || '';
}

// The `sub` of a JWT, or '' when there is none to be had.
function sub(jwt) {
    if (jwt.length > TOKEN_CHARS_MAX) {
        return '';
    }
    const parts = jwt.split('.');
    if (parts.length !== 3) {
        return '';
    }
    try {
        const claims = JSON.parse(Buffer.from(parts[1], 'base64url').toString());
        // A number, as some issuers have it, is as good as its text.
        return ['string', 'number'].includes(typeof claims.sub) ? `${claims.sub}`.slice(0, SUB_CHARS_MAX) : '';
    } catch (e) {
        // Not logged: the reason would quote the token.
        return '';
    }
}

export default { key };
