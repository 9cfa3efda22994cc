//! Addresses of databases, as libpq takes them (section 34.1.1.2 of the manual of Postgres).
//!
//! sqlx takes URLs as the web has them: an IPv6 address stays in its brackets, and a user without a host, as
//! managed services write it for sockets, is an error.

use sqlx::postgres::PgConnectOptions;

/// What sqlx understands. It would log the values of all others, which may be secrets.
const KNOWN: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];

/// Where a database is, and who asks.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) options: PgConnectOptions,
    /// Parameters that have no meaning here.
    pub(super) ignored: Vec<String>,
}

/// Returns why an address is none; a sentence without anything of the address.
///
/// # Errors
/// What to do about it.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    Address::parse(url).map(|_| ())
}

/// Returns a database's address without its password and parameters.
pub fn shown(url: &str) -> String {
    let Ok(Address { options, .. }) = Address::parse(url) else { return "(not a URL)".to_owned() };
    let (user, port) = (options.get_username(), options.get_port());
    let database = options.get_database().unwrap_or(user);
    match options.get_socket() {
        Some(folder) => format!("postgres://{user}@/{database}?host={}", folder.display()),
        None if options.get_host().contains(':') => {
            format!("postgres://{user}@[{}]:{port}/{database}", options.get_host())
        }
        None => format!("postgres://{user}@{}:{port}/{database}", options.get_host()),
    }
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        const FORM: &str = "give postgres://user:password@host:5432/database, special characters of the \
                            password percent-encoded";
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or(FORM)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        if place.contains(',') {
            return Err("give one host: nodes connect to one at a time".to_owned());
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(FORM)?,
            None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port,
            None if port.is_empty() => "",
            None => return Err(FORM.to_owned()),
        };
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        // Everything becomes a parameter; those that are given as such come later, and win.
        let mut parameters: Vec<(&str, &str)> =
            [("host", host), ("port", port), ("user", user), ("password", password), ("dbname", database)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect();
        let mut ignored = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(FORM)?;
            match (name, value) {
                ("ssl", "true") => parameters.push(("sslmode", "require")),
                _ if KNOWN.contains(&name) || name.starts_with("options[") => {
                    parameters.push((name, value));
                }
                _ => ignored.push(name.to_owned()),
            }
        }
        let mut parsed = "postgres:///?".to_owned();
        for (name, value) in parameters {
            // Blanks and fragments of web pages' URLs mean nothing to libpq.
            let value = value.replace('+', "%2B").replace('#', "%23");
            parsed += &format!("{name}={value}&");
        }
        let options = parsed.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(why) => format!("{FORM} ({why})"),
            _ => FORM.to_owned(),
        })?;
        Ok(Self { options, ignored })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> PgConnectOptions {
        Address::parse(url).unwrap().options
    }

    #[test]
    fn hosts_are_names_addresses_and_folders_of_sockets() {
        for (url, host, port) in [
            ("postgres://u:p@db/d", "db", 5432),
            ("postgresql://db:5433", "db", 5433),
            ("postgres://u@[::1]:5433/d", "::1", 5433),
            ("postgres://[2001:db8::1]/d?sslmode=disable", "2001:db8::1", 5432),
            ("postgres://u@db/d?host=other&port=1", "other", 1),
            ("postgres://u@/d?hostaddr=::1", "::1", 5432),
        ] {
            let options = parsed(url);
            assert_eq!((options.get_host(), options.get_port()), (host, port), "{url}");
        }
        for url in [
            "postgres://u:p@/d?host=/cloudsql/project:region:instance",
            "postgres://u:p@%2Fcloudsql%2Fproject%3Aregion%3Ainstance/d",
            "postgres:///d?host=/cloudsql/project:region:instance&user=u",
        ] {
            let options = parsed(url);
            let socket = options.get_socket().unwrap();
            assert_eq!(socket.to_str().unwrap(), "/cloudsql/project:region:instance", "{url}");
            assert_eq!((options.get_username(), options.get_database()), ("u", Some("d")), "{url}");
        }
    }

    #[test]
    fn names_and_passwords_are_taken_to_the_byte() {
        for (url, user, database) in [
            ("postgres://a%40b:p@db/d%2Fe", "a@b", "d/e"),
            ("postgres://a+b@db/d#e", "a+b", "d#e"),
            ("postgres://a@db/d?user=b&dbname=e", "b", "e"),
        ] {
            let options = parsed(url);
            assert_eq!((options.get_username(), options.get_database()), (user, Some(database)), "{url}");
        }
    }

    #[test]
    fn encryption_that_is_asked_for_is_not_dropped() {
        use sqlx::postgres::PgSslMode;
        assert!(matches!(parsed("postgres://db/d?ssl=true").get_ssl_mode(), PgSslMode::Require));
        assert!(matches!(
            parsed("postgres://db/d?sslmode=verify-full").get_ssl_mode(),
            PgSslMode::VerifyFull
        ));
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, expected) in [
            ("postgres://app:hunter2@db/d?sslmode=disable", "postgres://app@db:5432/d"),
            ("postgres://db:1/d?user=app&password=hunter2", "postgres://app@db:1/d"),
            ("postgres://app:hunter2@[::1]", "postgres://app@[::1]:5432/app"),
            ("postgres://app:hunter2@/d?host=/run", "postgres://app@/d?host=/run"),
            ("hunter2", "(not a URL)"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn what_has_no_meaning_is_named_without_its_value() {
        let address = Address::parse("postgres://db/d?connect_timeout=5&sslpassword=hunter2").unwrap();
        assert_eq!(address.ignored, ["connect_timeout", "sslpassword"]);
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for url in [
            "",
            "mysql://u:hunter2@db/d",
            "postgres:db",
            "postgres://u:hunter2@[::1/d",
            "postgres://u@[::1]x/d",
            "postgres://u:hunter2@db:port/d",
            "postgres://u:hunter2@a,b/d",
            "postgres://u@db/d?sslmode=hunter2x",
            "postgres://db/d?flag",
        ] {
            let why = check_url(url).unwrap_err();
            assert!(!why.contains("hunter2@"), "{why}");
        }
    }
}
