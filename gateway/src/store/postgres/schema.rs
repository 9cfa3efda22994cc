//! The schema that holds the tables, in a database that may be the application's as well.

use std::{fmt, str::FromStr};

use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr};

use crate::store::StoreError;

/// The longest name that Postgres does not cut off.
const NAME_BYTES_MAX: usize = 63;

/// The name of a schema: one that needs no quotes, so that it reads the same in the settings, in `psql` and in
/// errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// Returns a statement with the schema's name in the place of `{schema}`.
    ///
    /// The name is written out instead of left to `search_path`: that is a state of the session, which the
    /// settings of a role or a pooler may change.
    pub(super) fn sql(&self, template: &str) -> SqlStr {
        // A name of letters, digits and `_` cannot end the quotes.
        AssertSqlSafe(template.replace("{schema}", &format!("\"{self}\""))).into_sql_str()
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self("draftwire".to_owned())
    }
}

impl FromStr for SchemaName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let start = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let plain = name.bytes().all(|byte| start(byte) || byte.is_ascii_digit())
            && name.bytes().next().is_some_and(start);
        if !plain || name.len() > NAME_BYTES_MAX {
            return Err(format!(
                "give the name of a schema: a-z 0-9 _, no digit first, at most {NAME_BYTES_MAX} characters"
            ));
        }
        if name.starts_with("pg_") || name == "information_schema" {
            return Err("give another schema: this name is reserved by Postgres".to_owned());
        }
        Ok(Self(name.to_owned()))
    }
}

/// Without a row for the schema there is no schema of that name.
const RIGHTS: &str = "
    SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')
    FROM pg_catalog.pg_namespace WHERE nspname = $1";

const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS {schema}";

const WHO_AND_WHERE: &str = "SELECT quote_ident(current_user), quote_ident(current_database())";

/// Creates the schema unless it exists. To be called by one session at a time.
///
/// # Errors
/// [`StoreError::Failed`] with the statements that an administrator has to run, when the role may not
/// create the schema, or may not create tables in it.
pub(super) async fn ensure(connection: &mut PgConnection, name: &SchemaName) -> Result<(), StoreError> {
    let rights: Option<bool> =
        sqlx::query_scalar(RIGHTS).bind(&name.0).fetch_optional(&mut *connection).await?;
    match rights {
        Some(true) => Ok(()),
        Some(false) => Err(missing_rights(connection, name).await),
        None => match sqlx::query(name.sql(CREATE)).execute(&mut *connection).await {
            Ok(_) => Ok(()),
            // insufficient_privilege
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                Err(missing_rights(connection, name).await)
            }
            Err(error) => Err(error.into()),
        },
    }
}

async fn missing_rights(connection: &mut PgConnection, name: &SchemaName) -> StoreError {
    let asked = sqlx::query_as::<_, (String, String)>(WHO_AND_WHERE).fetch_one(connection).await;
    let (role, database) = match asked {
        Ok(found) => found,
        Err(error) => return error.into(),
    };
    StoreError::Failed(format!(
        "the role {role} may not create the schema {name} in the database {database}, or tables in it; an \
         administrator has to run there: CREATE SCHEMA IF NOT EXISTS {name}; GRANT USAGE, CREATE ON SCHEMA \
         {name} TO {role};"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quotes() {
        for name in ["draftwire", "_", "app_2", &"a".repeat(63)] {
            assert_eq!(name.parse::<SchemaName>().unwrap().to_string(), name);
        }
        let too_long = "a".repeat(64);
        for name in
            ["", "2", "Draftwire", "a-b", "a.b", "a\"b", "a b", "ä", "pg_x", "information_schema", &too_long]
        {
            assert!(name.parse::<SchemaName>().is_err(), "{name:?}");
        }
    }
}
