//! What the doctor finds out about the parts that a node talks to.

use common::time::unix_ms;
use fanout::bus::redis::{self, RedisInspection, RedisOptions};

use super::finding::{Finding, clock};
use crate::{
    auth::{KeySource, Verifier},
    config::{Bus, Config, Database},
    store::{
        Limits, StoreError,
        postgres::{
            PostgresOptions, PostgresStore,
            inspection::{Inspection, SchemaState},
        },
    },
};

/// The oldest Postgres whose functions and statements are used.
const POSTGRES_MIN: i32 = 130_000;

/// The first Redis with sharded publishing.
const REDIS_MIN: u64 = 7;

/// Connections of a node beside its pool: for notices, and for a moment to migrate and for retention.
const BESIDE_THE_POOL: i64 = 3;

/// What may wait for a subscriber, bytes, so that a burst of copies does not end its connection.
const OUTPUT_BUFFER_MIN: u64 = 8 << 20;

pub(super) async fn check(settings: &Config, findings: &mut Vec<Finding>) {
    postgres(settings, findings).await;
    if let Bus::Redis { url, prefix } = &settings.bus {
        let options = RedisOptions { prefix: prefix.clone(), ..RedisOptions::new(url.reveal()) };
        match redis::inspect(options).await {
            Ok(found) => of_redis(&found, findings),
            Err(reason) => findings.push(Finding::failed(
                "redis",
                format!("Redis cannot be used: {reason}; check REDIS_URL, and that it runs and lets this machine in"),
            )),
        }
    }
    keys(settings, findings).await;
}

async fn postgres(settings: &Config, findings: &mut Vec<Finding>) {
    let Database::Postgres { url, schema, history, pool_max, .. } = &settings.store.database else { return };
    let options = PostgresOptions {
        url: url.reveal().to_owned(),
        schema: schema.clone(),
        history: *history,
        connections_max: *pool_max as usize,
        timeout: std::time::Duration::from_secs(10),
        // They play no part here.
        limits: Limits { drafts_per_user_max: 0, draft_bytes_max: 0, event_bytes_max: 0 },
        state_cache_bytes_max: 0,
    };
    let began = unix_ms();
    let inspected = match PostgresStore::new(&options) {
        Ok(store) => match store.inspect().await {
            Ok(found) => {
                of_postgres(&found, began, i64::from(*pool_max), findings);
                if matches!(found.schema, SchemaState::Current { .. }) {
                    let risks = store.durability_warnings().await.unwrap_or_default();
                    findings
                        .extend(risks.into_iter().map(|risk| Finding::warning("postgres.durability", risk)));
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if let Err(error) = inspected {
        findings.push(Finding::failed(
            "postgres",
            format!("Postgres cannot be used: {error}; check DATABASE_URL, and that it runs and lets this machine in"),
        ));
    }
}

fn of_postgres(found: &Inspection, began: u64, pool_max: i64, findings: &mut Vec<Finding>) {
    let version = &found.version;
    findings.push(if found.is_standby {
        Finding::failed(
            "postgres",
            "Postgres is a standby, which takes no changes; give the address of the primary",
        )
    } else if found.version_number < POSTGRES_MIN {
        Finding::failed("postgres", format!("Postgres {version} is too old; upgrade it to 13 or later"))
    } else {
        Finding::ok("postgres", format!("Postgres {version} answers"))
    });
    let schema = match &found.schema {
        SchemaState::Forbidden => Finding::failed(
            "postgres.migrations",
            "the role may not create the schema or its tables; an administrator has to run the statements of \
             operations.md, The database",
        ),
        SchemaState::Missing => {
            Finding::ok("postgres.migrations", "there is no schema yet; the first node creates it")
        }
        SchemaState::Behind { pending } => Finding::ok(
            "postgres.migrations",
            format!("{pending} migrations are to be run; the first node does"),
        ),
        SchemaState::Current { newer: 0 } => Finding::ok("postgres.migrations", "the schema is up to date"),
        SchemaState::Current { newer } => Finding::warning(
            "postgres.migrations",
            format!(
                "{newer} migrations are of a newer version, which this one works beside; upgrade it soon"
            ),
        ),
    };
    findings.push(schema);
    findings.push(match &found.rights {
        None => Finding::ok("postgres.rights", "the rights to the tables are checked once there are tables"),
        Some(Ok(())) => Finding::ok("postgres.rights", "the role may do all that a node does"),
        Some(Err(StoreError::Failed(reason))) => Finding::failed("postgres.rights", reason),
        Some(Err(error)) => Finding::failed("postgres.rights", error.to_string()),
    });
    match &found.pooling {
        Ok(()) => {}
        Err(StoreError::Failed(reason)) => findings.push(Finding::failed("postgres.pooler", reason)),
        Err(error) => findings.push(Finding::failed("postgres.pooler", error.to_string())),
    }
    let here = i64::try_from(u64::midpoint(began, unix_ms())).unwrap_or(i64::MAX);
    findings.push(clock("postgres.clock", "Postgres", found.clock_ms.saturating_sub(here)));
    findings.push(connections(found, pool_max));
}

fn connections(found: &Inspection, pool_max: i64) -> Finding {
    let (max, free) = (found.connections_max, found.connections_max.saturating_sub(found.connections));
    let needed = pool_max + BESIDE_THE_POOL;
    let mend = "raise max_connections of Postgres, or lower DATABASE_POOL_MAX";
    if needed > max {
        return Finding::failed(
            "postgres.connections",
            format!("a node may open {needed} connections, and Postgres allows {max}; {mend}"),
        );
    }
    if needed > free {
        return Finding::warning(
            "postgres.connections",
            format!("a node may open {needed} connections, and {free} of {max} are free just now; {mend}"),
        );
    }
    let nodes = max / needed;
    Finding::ok(
        "postgres.connections",
        format!("Postgres allows {max} connections, which is enough for {nodes} nodes such as this one"),
    )
}

fn of_redis(found: &RedisInspection, findings: &mut Vec<Finding>) {
    let major = |version: &String| version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    findings.push(match &found.version {
        Some(version) if major(version).is_some_and(|major| major < REDIS_MIN) => {
            Finding::failed("redis", format!("Redis {version} is too old; upgrade it to 7 or later"))
        }
        Some(version) => Finding::ok("redis", format!("Redis {version} answers")),
        None => Finding::ok("redis", "Redis answers; its user may not ask for the version"),
    });
    findings.push(match &found.delivers {
        Ok(()) => Finding::ok("redis.rights", "a message over Redis comes back"),
        Err(reason) => Finding::failed("redis.rights", format!("{reason}; mend the rights of its user")),
    });
    if let Some(difference) = found.clock_difference_ms {
        findings.push(clock("redis.clock", "Redis", difference));
    }
    if let Some([hard, soft, seconds]) = found.output_buffer {
        let tight = [hard, soft].iter().any(|&limit| limit != 0 && limit < OUTPUT_BUFFER_MIN);
        let limits = format!("client-output-buffer-limit of pubsub is {hard} {soft} {seconds}");
        findings.push(if tight {
            let mend = "give it 32mb 8mb 60, as Redis has it by itself";
            Finding::warning(
                "redis.buffers",
                format!("{limits}: a burst ends the connections of nodes; {mend}"),
            )
        } else {
            Finding::ok("redis.buffers", limits)
        });
    }
}

async fn keys(settings: &Config, findings: &mut Vec<Finding>) {
    findings.push(match &settings.auth.keys {
        KeySource::Secret(_) => Finding::ok("tokens", "tokens are verified with JWT_SECRET"),
        KeySource::PublicKey(_) => Finding::ok("tokens", "tokens are verified with JWT_PUBLIC_KEY"),
        KeySource::Generated { dir } => {
            Finding::ok("tokens", format!("tokens are verified with a secret that a node makes in {}", dir.display()))
        }
        KeySource::Jwks(_) => {
            let fetched = match Verifier::new(&settings.auth) {
                Ok(verifier) => verifier.fetch_keys().await,
                Err(error) => Err(error.to_string()),
            };
            match fetched {
                Ok(count) => Finding::ok("tokens", format!("JWT_JWKS_URL has {count} keys that can be used")),
                Err(reason) => Finding::failed(
                    "tokens",
                    format!("the keys of JWT_JWKS_URL cannot be fetched: {reason}; check the address, and that it is reached"),
                ),
            }
        }
    });
}
