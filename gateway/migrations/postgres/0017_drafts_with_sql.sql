-- Changing drafts with SQL, by the rules by which nodes change them (common/src/merge.rs).
--
-- Postgres cannot take a \u0000 out of a JSON string, so drafts that have one are not changed here. All else that
-- is JSON keeps its text: numbers as they are written, keys sorted by their bytes.

-- The members of an object, each key once: of those that repeat, the last.
CREATE FUNCTION members(object json) RETURNS TABLE (key text, value json) LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT ON (m.key COLLATE "C") m.key, m.value
    FROM json_each(object) WITH ORDINALITY AS m (key, value, nth)
    ORDER BY m.key COLLATE "C", m.nth DESC
$$;

-- A value without blanks, its keys sorted and once each, its strings escaped no more than they have to be.
CREATE FUNCTION tidy(value json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE json_typeof(value)
        WHEN 'object' THEN
            RETURN (
                SELECT '{' || coalesce(
                    string_agg(to_json(m.key)::text || ':' || tidy(m.value), ',' ORDER BY m.key COLLATE "C"),
                '') || '}' FROM members(value) m
            );
        WHEN 'array' THEN
            RETURN (
                SELECT '[' || coalesce(string_agg(tidy(e.value), ',' ORDER BY e.nth), '') || ']'
                FROM json_array_elements(value) WITH ORDINALITY AS e (value, nth)
            );
        WHEN 'string' THEN
            RETURN to_json(value #>> '{}')::text;
        ELSE
            RETURN btrim(value::text, E' \t\n\r');
    END CASE;
END $$;

-- What a merge patch makes of an object. Both are tidy, and so is the result. What already is the same value
-- stays as it is written.
CREATE FUNCTION merged(target json, patch json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (
        SELECT '{' || coalesce(
            string_agg(to_json(f.key)::text || ':' || f.text, ',' ORDER BY f.key COLLATE "C"), ''
        ) || '}'
        FROM (
            SELECT coalesce(t.key, p.key) AS key, CASE
                WHEN p.key IS NULL THEN t.value::text
                WHEN json_typeof(p.value) <> 'object' THEN
                    CASE WHEN p.value::jsonb = t.value::jsonb THEN t.value::text ELSE p.value::text END
                WHEN json_typeof(t.value) = 'object' THEN merged(t.value, p.value)
                ELSE merged('{}', p.value)
            END AS text
            FROM json_each(target) t FULL JOIN json_each(patch) p ON p.key = t.key
            WHERE p.key IS NULL OR json_typeof(p.value) <> 'null'
        ) f
    );
END $$;

-- The fields whose value a merge patch changes, as JSON pointers (RFC 6901). A value that is only written in
-- another way is the same value.
CREATE FUNCTION touched(target json, patch json, path text) RETURNS SETOF text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    field record;
    pointer text;
BEGIN
    FOR field IN
        SELECT p.key, p.value AS wanted, json_typeof(p.value) AS wants, t.value AS there,
            json_typeof(t.value) AS is
        FROM json_each(patch) p LEFT JOIN json_each(target) t ON t.key = p.key
    LOOP
        pointer := path || '/' || replace(replace(field.key, '~', '~0'), '/', '~1');
        IF field.wants = 'null' THEN
            IF field.is IS NOT NULL THEN
                RETURN NEXT pointer;
            END IF;
        ELSIF field.wants = 'object' AND (field.is IS NULL OR field.is = 'object') THEN
            RETURN QUERY SELECT touched(coalesce(field.there, '{}'), field.wanted, pointer);
            IF NOT FOUND AND field.is IS NULL THEN
                RETURN NEXT pointer;
            END IF;
        ELSIF field.wants = 'object' OR field.is IS NULL OR field.there::jsonb <> field.wanted::jsonb THEN
            RETURN NEXT pointer;
        END IF;
    END LOOP;
END $$;

-- The fields among `fields` that have changed after `base`, or that hold or are in one that has, by what is
-- remembered of a draft.
CREATE FUNCTION changed_since(versions json, fields text[], base bigint) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(f.pointer ORDER BY f.pointer COLLATE "C")
    FROM unnest(fields) AS f (pointer)
    WHERE base < coalesce((versions ->> 'forgotten')::bigint, 0) OR EXISTS (
        SELECT FROM json_each_text(coalesce(versions -> 'changed', '{}')) AS c (pointer, version)
        WHERE c.version::bigint > base AND (
            c.pointer = f.pointer OR starts_with(f.pointer, c.pointer || '/')
            OR starts_with(c.pointer, f.pointer || '/')
        )
    )
$$;

-- What is remembered of a draft once a change to `version` has touched these fields: of 512 fields, and 32 KiB
-- of their names. What is older is forgotten, half at a time.
CREATE FUNCTION with_changes(versions json, fields text[], too_many boolean, version bigint) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    forgotten bigint := coalesce((versions ->> 'forgotten')::bigint, 0);
    changed jsonb := coalesce(versions -> 'changed', '{}');
BEGIN
    IF too_many THEN
        forgotten := version;
        changed := '{}';
    ELSE
        -- What stood below a field was replaced or removed with it.
        SELECT coalesce(jsonb_object_agg(c.pointer, c.at), '{}') INTO changed
        FROM jsonb_each(changed) AS c (pointer, at)
        WHERE NOT EXISTS (
            SELECT FROM unnest(fields) AS f (pointer) WHERE starts_with(c.pointer, f.pointer || '/')
        );
        changed := changed || (SELECT jsonb_object_agg(f.pointer, version) FROM unnest(fields) AS f (pointer));
    END IF;
    WHILE (
        SELECT count(*) > 512 OR coalesce(sum(octet_length(k.key)), 0) > 32768
        FROM jsonb_object_keys(changed) AS k (key)
    ) LOOP
        SELECT greatest(forgotten, (array_agg(c.at::bigint ORDER BY c.at::bigint))[count(*) / 2 + 1]) INTO forgotten
        FROM jsonb_each(changed) AS c (pointer, at);
        SELECT coalesce(jsonb_object_agg(c.pointer, c.at), '{}') INTO changed
        FROM jsonb_each(changed) AS c (pointer, at) WHERE c.at::bigint > forgotten;
    END LOOP;
    RETURN '{' || concat_ws(',', CASE WHEN forgotten > 0 THEN '"forgotten":' || forgotten::text END,
        CASE WHEN changed <> '{}' THEN '"changed":' || changed::text END) || '}';
END $$;

-- Creates a draft or changes it, and adds the event that reports it to the user's stream.
CREATE FUNCTION change_draft(
    of_user text, id text, patch text, new_kind text, base bigint, key text, origin text,
    OUT version bigint, OUT seq bigint
) LANGUAGE plpgsql AS $$
DECLARE
    -- As a request over HTTP may have.
    patch_bytes_max constant int := 1024 * 1024;
    stream_name constant text := 'user:' || of_user;
    bounds limits;
    draft drafts;
    head bigint;
    wanted json;
    changes text[];
    conflicts text[];
    too_many boolean;
    new_content text;
    answer json;
    event text;
    payload text;
    now_ms bigint;
BEGIN
    PERFORM check_transaction();
    PERFORM check_visible('user_id', of_user, 255, true);
    PERFORM check_name('draft_id', id, 64, true);
    PERFORM check_name('kind', new_kind, 64, false);
    PERFORM check_key(key);
    PERFORM check_visible('origin', origin, 64, false);
    IF patch IS NULL THEN
        PERFORM refuse('bad_request', 'patch is missing');
    ELSIF octet_length(patch) > patch_bytes_max THEN
        PERFORM refuse('too_large', format('the patch is %s bytes, at most %s', octet_length(patch),
            patch_bytes_max));
    ELSIF patch ~ '(?<!\\)(\\\\)*\\u0000' THEN
        PERFORM refuse('bad_request', 'patch holds \u0000, which SQL cannot merge');
    END IF;
    PERFORM check_json('patch', patch);
    IF json_typeof(patch::json) <> 'object' THEN
        PERFORM refuse('bad_request', 'patch must be an object');
    END IF;
    wanted := tidy(patch::json);
    SELECT * INTO bounds FROM limits;
    head := lock_stream(stream_name);
    IF key IS NOT NULL THEN
        -- The answer is not known yet: it is written below, before anybody else can see it.
        answer := remember(key, concat_ws(chr(31), 'put_draft', of_user, id, wanted::jsonb, new_kind, base), 'null');
        IF json_typeof(answer) <> 'null' THEN
            version := answer ->> 'version';
            seq := answer ->> 'seq';
            RETURN;
        END IF;
    END IF;
    now_ms := unix_ms();
    SELECT * INTO draft FROM drafts d WHERE d.user_id = of_user AND d.draft_id = id;
    IF NOT FOUND THEN
        IF base IS NOT NULL THEN
            PERFORM refuse('not_found', 'there is no such draft');
        END IF;
        IF (SELECT count(*) FROM drafts d WHERE d.user_id = of_user AND d.live AND d.content IS NOT NULL)
            >= bounds.drafts_per_user_max
        THEN
            PERFORM refuse('too_large', format('a user may have %s drafts', bounds.drafts_per_user_max));
        END IF;
        version := 1;
        new_content := merged('{}', wanted);
        event := 'DRAFT_CREATED';
        payload := format('{"draftId":%s,"version":1,"kind":%s,"content":%s}', to_json(id), to_json(new_kind),
            new_content);
    ELSIF draft.content IS NULL THEN
        PERFORM refuse('conflict', 'the draft was deleted, and its id is not used again');
    ELSE
        IF base < 1 OR base > draft.version THEN
            PERFORM refuse('bad_request',
                format('base_version %s never was: the draft is at %s', base, draft.version));
        ELSIF draft.content::text ~ '(?<!\\)(\\\\)*\\u0000' THEN
            PERFORM refuse('bad_request', 'the draft holds \u0000, which SQL cannot merge');
        END IF;
        changes := ARRAY(SELECT touched(draft.content, wanted, ''));
        too_many := cardinality(changes) > 512
            OR (SELECT coalesce(sum(octet_length(f)), 0) > 32768 FROM unnest(changes) AS f);
        version := draft.version;
        IF cardinality(changes) > 0 THEN
            IF base < draft.version THEN
                conflicts := changed_since(draft.fields, changes, base);
                IF too_many OR conflicts IS NOT NULL THEN
                    PERFORM refuse('conflict',
                        CASE WHEN too_many THEN 'the draft' ELSE left(array_to_string(conflicts, ', '), 160) END
                        || ' changed since the base version');
                END IF;
            END IF;
            version := draft.version + 1;
            new_content := merged(draft.content, wanted);
            event := 'DRAFT_UPDATED';
            payload := format('{"draftId":%s,"version":%s,"baseVersion":%s,"patch":%s}', to_json(id), version,
                draft.version, wanted);
        END IF;
    END IF;
    IF event IS NOT NULL THEN
        IF octet_length(new_content) > bounds.draft_bytes_max THEN
            PERFORM refuse('too_large', format('the draft would be %s bytes, at most %s', octet_length(new_content),
                bounds.draft_bytes_max));
        END IF;
        seq := head + 1;
        INSERT INTO drafts AS d
            (user_id, draft_id, version, kind, content, live, fields, created_at, updated_at)
        VALUES (of_user, id, change_draft.version, new_kind, new_content::json, true, '{}', now_ms, now_ms)
        ON CONFLICT (user_id, draft_id) DO UPDATE SET version = excluded.version, content = excluded.content,
            fields = with_changes(d.fields, changes, too_many, excluded.version)::json,
            updated_at = excluded.updated_at;
        UPDATE streams SET head = change_draft.seq WHERE name = stream_name;
        PERFORM write_event(stream_name, seq, event, origin, 0::smallint, payload);
    END IF;
    IF key IS NOT NULL THEN
        UPDATE commands c SET answer = json_strip_nulls(
            json_build_object('version', change_draft.version, 'seq', change_draft.seq)
        )
        WHERE c.user_id = '.' AND c.device = 'sql' AND c.id = key;
    END IF;
END $$;
