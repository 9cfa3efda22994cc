-- What applications call. docs/sql.md describes it.
--
-- The functions below act with the rights of the schema's owner, whoever calls them. So their names mean this
-- schema whatever the caller's path says, and temporary tables come last.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE FUNCTION publish(
    topic text, event text, data text DEFAULT NULL, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM check_name('topic', topic, 128, true);
    RETURN append('topic:' || topic, event, data, priority, key, origin);
END $$;

CREATE FUNCTION publish_user(
    user_id text, event text, data text DEFAULT NULL, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM check_visible('user_id', user_id, 255, true);
    RETURN append('user:' || user_id, event, data, priority, key, origin);
END $$;

CREATE FUNCTION broadcast(
    event text, data text DEFAULT NULL, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN append('all', event, data, priority, key, origin);
END $$;

-- Creates a draft, or changes it by a merge patch (RFC 7396): on whatever version there is, or where
-- `base_version` is given, unless a field that the patch touches has changed since. `seq` is null where the draft
-- already is what the patch wants.
CREATE FUNCTION put_draft(
    user_id text, draft_id text, patch text, kind text DEFAULT 'draft', base_version bigint DEFAULT NULL,
    key text DEFAULT NULL, origin text DEFAULT 'sql', OUT version bigint, OUT seq bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    SELECT c.version, c.seq INTO version, seq
    FROM change_draft(user_id, draft_id, patch, kind, base_version, key, coalesce(origin, 'sql')) c;
END $$;

-- The same for data that is json or jsonb already. An untyped literal or parameter is taken as text.
CREATE FUNCTION publish(
    topic text, event text, data json, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN publish(topic, event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION publish(
    topic text, event text, data jsonb, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN publish(topic, event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION publish_user(
    user_id text, event text, data json, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN publish_user(user_id, event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION publish_user(
    user_id text, event text, data jsonb, priority text DEFAULT 'normal', key text DEFAULT NULL,
    origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN publish_user(user_id, event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION broadcast(
    event text, data json, priority text DEFAULT 'normal', key text DEFAULT NULL, origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN broadcast(event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION broadcast(
    event text, data jsonb, priority text DEFAULT 'normal', key text DEFAULT NULL, origin text DEFAULT 'sql'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN broadcast(event, data::text, priority, key, origin);
END $$;

CREATE FUNCTION put_draft(
    user_id text, draft_id text, patch json, kind text DEFAULT 'draft', base_version bigint DEFAULT NULL,
    key text DEFAULT NULL, origin text DEFAULT 'sql', OUT version bigint, OUT seq bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    SELECT p.version, p.seq INTO version, seq
    FROM put_draft(user_id, draft_id, patch::text, kind, base_version, key, origin) p;
END $$;

CREATE FUNCTION put_draft(
    user_id text, draft_id text, patch jsonb, kind text DEFAULT 'draft', base_version bigint DEFAULT NULL,
    key text DEFAULT NULL, origin text DEFAULT 'sql', OUT version bigint, OUT seq bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    SELECT p.version, p.seq INTO version, seq
    FROM put_draft(user_id, draft_id, patch::text, kind, base_version, key, origin) p;
END $$;

-- Who may call them. A role belongs to the whole server, and this one may have been made before, or may not be
-- this role's to make: then an administrator makes it, and grants what docs/sql.md lists.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'draftwire_publisher') THEN
        CREATE ROLE draftwire_publisher NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
        RAISE NOTICE 'the role draftwire_publisher was not created: %', SQLERRM;
END $$;

DO $$
DECLARE
    signature regprocedure;
    granted constant boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'draftwire_publisher');
BEGIN
    FOR signature IN
        SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosecdef
            AND proname IN ('publish', 'publish_user', 'broadcast', 'put_draft')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
        IF granted THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO draftwire_publisher', signature);
        END IF;
    END LOOP;
    IF granted THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO draftwire_publisher', current_schema());
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the schema was not opened to draftwire_publisher: %', SQLERRM;
END $$;
