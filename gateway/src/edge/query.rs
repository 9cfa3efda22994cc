//! Query parameters of the API.

use std::{fmt::Display, str::FromStr};

use axum::{extract::Query, http::Uri};
use common::text::quoted;

use super::problem::Problem;

/// The parameters of a request.
pub(super) struct Parameters(Vec<(String, String)>);

/// What stands for bytes that are not UTF-8 once they are decoded.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

impl Parameters {
    /// Reads the query of a request that takes parameters of these names, and `token`, which is read by
    /// [`super::identity`]. Others are refused: a misspelt `baseVersion` must not turn into none.
    pub(super) fn of(uri: &Uri, names: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("the query cannot be read"))?;
        let written = uri.query().unwrap_or_default().to_ascii_uppercase();
        for (place, (name, value)) in pairs.iter().enumerate() {
            if name != "token" && !names.contains(&name.as_str()) {
                return Err(Problem::bad_request(format!("there is no query parameter {}", quoted(name))));
            }
            if pairs[..place].iter().any(|(before, _)| before == name) {
                return Err(Problem::bad_request(format!("the query parameter {name} is given twice")));
            }
            if value.contains(REPLACEMENT) && !written.contains("%EF%BF%BD") {
                return Err(Problem::bad_request(format!("the query parameter {name} is not UTF-8")));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of a parameter, if it is given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a type whose refusals name it.
    pub(super) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parsed = self.text(name).map(str::parse).transpose();
        parsed.map_err(|error: T::Err| Problem::bad_request(error.to_string()))
    }

    /// `true` or `false`; false where it is not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("{name} must be true or false"))),
        }
    }

    /// A whole number, in digits alone.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let digits =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        let read = |text| digits(text).ok_or_else(|| format!("{name} must be a whole number, in digits"));
        self.text(name).map(read).transpose().map_err(Problem::bad_request)
    }
}
