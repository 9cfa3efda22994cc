-- Publishing with SQL: an application adds events in its own transaction, through functions of this schema, so
-- that they commit with its rows or not at all. docs/sql.md is what applications see.

-- The bounds on what the functions take, which are settings of the nodes. Each node writes its own when it
-- starts.
CREATE TABLE limits (
    one                 boolean PRIMARY KEY DEFAULT true CHECK (one),
    event_bytes_max     bigint NOT NULL DEFAULT 65536,
    draft_bytes_max     bigint NOT NULL DEFAULT 65536,
    drafts_per_user_max bigint NOT NULL DEFAULT 500
);
INSERT INTO limits DEFAULT VALUES;

-- What tells the nodes that a transaction has added events to a stream. `tx` is the transaction, and not a place
-- in an order: transactions commit in another order than they begin. A node remembers the snapshot in which it
-- has read, and reads next what that snapshot did not contain.
--
-- Unlogged, because nothing is lost with it but time: whoever misses a notice finds the events by the sweep.
CREATE UNLOGGED TABLE notices (
    tx     bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (tx, stream)
);

-- Ends a call with an error code of the protocol; its SQLSTATE is DW and the HTTP status of the code.
CREATE FUNCTION refuse(code text, reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = CASE code
            WHEN 'forbidden' THEN 'DW403'
            WHEN 'not_found' THEN 'DW404'
            WHEN 'conflict' THEN 'DW409'
            WHEN 'too_large' THEN 'DW413'
            ELSE 'DW400'
        END,
        MESSAGE = code || ': ' || reason;
END $$;

-- Refuses a transaction that cannot write, and has its commit wait for the disk: what followers have seen must
-- not be taken back by a crash, because its numbers would be given to other events.
CREATE FUNCTION check_transaction() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_read_only') = 'on' THEN
        PERFORM refuse('forbidden', 'the transaction is read-only');
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END $$;

-- Refuses a text that is not a name: one that appears in URLs where `in_path` is set.
CREATE FUNCTION check_name(what text, name text, chars_max int, in_path boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF name IS NULL THEN
        PERFORM refuse('bad_request', what || ' is missing');
    ELSIF char_length(name) > chars_max OR name COLLATE "C" !~ '^[A-Za-z0-9:_.-]+$'
        OR (in_path AND name IN ('.', '..'))
    THEN
        PERFORM refuse('bad_request', format('%s must be 1 to %s characters of A-Z a-z 0-9 : _ . -%s', what,
            chars_max, CASE WHEN in_path THEN ', and not . or ..' ELSE '' END));
    END IF;
END $$;

-- Refuses a text that is not what people are shown as a name: a user or an origin.
CREATE FUNCTION check_visible(what text, name text, chars_max int, in_path boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    blank constant text := '[ \u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff]';
BEGIN
    IF name IS NULL THEN
        PERFORM refuse('bad_request', what || ' is missing');
    ELSIF char_length(name) NOT BETWEEN 1 AND chars_max OR (in_path AND name IN ('.', '..')) THEN
        PERFORM refuse('bad_request', format('%s must be 1 to %s characters%s', what, chars_max,
            CASE WHEN in_path THEN ', and not . or ..' ELSE '' END));
    ELSIF name COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        PERFORM refuse('bad_request', what || ' must be without control characters');
    ELSIF name COLLATE "C" ~ '[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]' THEN
        PERFORM refuse('bad_request',
            what || ' must be without characters that change the direction of text');
    ELSIF name COLLATE "C" ~ ('^' || blank || '|' || blank || '$') THEN
        PERFORM refuse('bad_request', what || ' must be without blanks at its ends');
    END IF;
END $$;

CREATE FUNCTION check_key(key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF char_length(key) NOT BETWEEN 1 AND 64 OR key COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        PERFORM refuse('bad_request', 'key must be 1 to 64 characters without control characters');
    END IF;
END $$;

-- Refuses a text that others could not read as JSON, and returns its value. jsonb has no \u0000, which JSON
-- has: the value has another character in its place.
CREATE FUNCTION check_json(what text, text_of_it text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    value jsonb;
BEGIN
    BEGIN
        PERFORM text_of_it::json;
    EXCEPTION
        WHEN data_exception THEN PERFORM refuse('bad_request', what || ' must be JSON');
        WHEN program_limit_exceeded THEN
            PERFORM refuse('bad_request', what || ' is nested deeper than 100 levels');
    END;
    BEGIN
        value := regexp_replace(text_of_it, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\u0001', 'g')::jsonb;
    EXCEPTION
        WHEN numeric_value_out_of_range THEN
            PERFORM refuse('bad_request', what || ' holds a number beyond what a double reaches');
        WHEN data_exception THEN
            PERFORM refuse('bad_request',
                what || ' holds half of a surrogate pair: send whole characters');
        WHEN program_limit_exceeded THEN
            PERFORM refuse('bad_request', what || ' is nested deeper than 100 levels');
    END;
    IF jsonb_path_exists(value, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")') THEN
        PERFORM refuse('bad_request', what || ' is nested deeper than 100 levels');
    END IF;
    -- Half a step above the largest double, from where on its text reads as an infinity.
    IF text_of_it ~ '[0-9.][eE]|[0-9]{200}' AND jsonb_path_exists(value, 'strict $.** ? (@.type() == "number"
        && (@ >= 1.797693134862315807e308 || @ <= -1.797693134862315807e308))')
    THEN
        PERFORM refuse('bad_request', what || ' holds a number beyond what a double reaches');
    END IF;
    RETURN value;
END $$;

CREATE FUNCTION unix_ms() RETURNS bigint LANGUAGE sql AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- Locks a stream to the end of the transaction, and returns its head. A stream without events gets its row.
CREATE FUNCTION lock_stream(stream_name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_head bigint;
BEGIN
    LOOP
        SELECT head INTO found_head FROM streams WHERE name = stream_name FOR UPDATE;
        IF FOUND THEN
            RETURN found_head;
        END IF;
        INSERT INTO streams (name) VALUES (stream_name) ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Remembers what was asked for under a key, with its answer, unless the key is known. Returns the answer that
-- holds: another one than was given when it is a repetition. The stream is locked, as nodes have it: streams
-- first, then keys. The keys of SQL are those of a user that no token can name.
CREATE FUNCTION remember(key text, asked text, new_answer json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    print constant bigint := ('x' || left(encode(sha256(convert_to(asked, 'UTF8')), 'hex'), 16))::bit(64)::bigint;
    known record;
BEGIN
    LOOP
        INSERT INTO commands (user_id, device, id, fingerprint, answer, ts)
        VALUES ('.', 'sql', key, print, new_answer, unix_ms())
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN new_answer;
        END IF;
        SELECT c.fingerprint, c.answer INTO known
        FROM commands c WHERE c.user_id = '.' AND c.device = 'sql' AND c.id = key;
        -- Retention may have forgotten it between the two statements.
        IF FOUND THEN
            IF known.fingerprint <> print THEN
                PERFORM refuse('bad_request', 'this key was already used for another call');
            END IF;
            RETURN known.answer;
        END IF;
    END LOOP;
END $$;

-- Adds an event to a stream that stands at `seq - 1`, and whose row this transaction has locked or moves now.
CREATE FUNCTION write_event(
    stream_name text, seq bigint, kind text, origin text, priority smallint, payload text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO events (stream, seq, kind, origin, ts, priority, payload)
    VALUES (stream_name, write_event.seq, write_event.kind, write_event.origin, unix_ms(),
        write_event.priority, write_event.payload::json);
    INSERT INTO notices AS n (tx, stream, seq) VALUES (txid_current(), stream_name, write_event.seq)
    ON CONFLICT (tx, stream) DO UPDATE SET seq = excluded.seq;
$$;

-- What all functions that publish have in common.
CREATE FUNCTION append(
    stream_name text, event text, data text, priority text, key text, origin text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    urgency smallint;
    bytes_max bigint;
    value jsonb;
    new_seq bigint;
    answer json;
    -- As a client's message has it: without the blanks around the value.
    payload constant text := coalesce(btrim(data, E' \t\n\r'), 'null');
BEGIN
    PERFORM check_transaction();
    IF event IS NULL THEN
        PERFORM refuse('bad_request', 'event is missing');
    ELSIF event COLLATE "C" !~ '^[A-Z0-9_]{1,64}$' THEN
        PERFORM refuse('bad_request', 'event must be 1 to 64 characters of A-Z 0-9 _');
    ELSIF event IN ('ACK', 'DRAFT_CREATED', 'DRAFT_DELETED', 'DRAFT_UPDATED', 'ERROR', 'JOIN', 'LEAVE', 'PING',
        'PONG', 'PRESENCE', 'RECONNECT', 'SIGNAL', 'SNAPSHOT', 'SYNCED', 'TOKEN_EXPIRING', 'UNSUBSCRIBED',
        'WELCOME')
    THEN
        PERFORM refuse('bad_request', event || ' is reserved for the server');
    END IF;
    urgency := array_position(ARRAY['normal', 'high', 'critical'], coalesce(priority, 'normal')) - 1;
    IF urgency IS NULL THEN
        PERFORM refuse('bad_request', 'priority must be normal, high or critical');
    END IF;
    PERFORM check_key(key);
    PERFORM check_visible('origin', coalesce(origin, 'sql'), 64, false);
    SELECT event_bytes_max INTO bytes_max FROM limits;
    IF octet_length(payload) > bytes_max THEN
        PERFORM refuse('too_large', format('the data of an event is %s bytes, at most %s',
            octet_length(payload), bytes_max));
    END IF;
    value := check_json('data', payload);
    IF key IS NOT NULL THEN
        new_seq := lock_stream(stream_name) + 1;
        answer := remember(key, concat_ws(chr(31), 'append', stream_name, event, urgency, value),
            json_build_object('first', new_seq, 'seq', new_seq));
        IF (answer ->> 'seq')::bigint <> new_seq THEN
            RETURN (answer ->> 'seq')::bigint;
        END IF;
    END IF;
    UPDATE streams SET head = head + 1 WHERE name = stream_name RETURNING head INTO new_seq;
    IF NOT FOUND THEN
        PERFORM lock_stream(stream_name);
        UPDATE streams SET head = head + 1 WHERE name = stream_name RETURNING head INTO new_seq;
    END IF;
    PERFORM write_event(stream_name, new_seq, event, coalesce(origin, 'sql'), urgency, payload);
    RETURN new_seq;
END $$;
