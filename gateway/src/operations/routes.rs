//! Routes over HTTP: a meter each, by method and matched path.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use common::operations::Meter;

/// Meters of routes. There are fewer routes; what comes beyond shares the last meter.
const ROUTES_MAX: usize = 128;

/// The name that requests beyond [`ROUTES_MAX`] share.
const OTHER: &str = "http:other";

/// The meters by the names of their operations. They live as long as the process, as those of other operations do.
static METERS: RwLock<BTreeMap<String, &'static Meter>> = RwLock::new(BTreeMap::new());

/// The meter of a route. `path` is that of the route, with the names of its parameters, so that there are few; `None`
/// where no route took the request.
pub(crate) fn of_route(method: &str, path: Option<&str>) -> &'static Meter {
    let name = format!("http:{method} {}", path.unwrap_or("(no route)"));
    if let Some(meter) = METERS.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return meter;
    }
    let mut meters = METERS.write().unwrap_or_else(PoisonError::into_inner);
    let name = if meters.len() < ROUTES_MAX { name } else { OTHER.to_owned() };
    meters.entry(name).or_insert_with(|| Box::leak(Box::default()))
}

pub(super) fn all() -> Vec<(String, &'static Meter)> {
    let meters = METERS.read().unwrap_or_else(PoisonError::into_inner);
    meters.iter().map(|(name, meter)| (name.clone(), *meter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_one_meter_and_there_are_not_more_than_so_many() {
        assert!(std::ptr::eq(of_route("GET", Some("/a/{id}")), of_route("GET", Some("/a/{id}"))));
        assert!(!std::ptr::eq(of_route("GET", Some("/a/{id}")), of_route("PUT", Some("/a/{id}"))));
        for n in 0..2 * ROUTES_MAX {
            of_route("GET", Some(&format!("/{n}")));
        }
        assert_eq!(all().len(), ROUTES_MAX + 1);
        assert!(all().iter().any(|(name, _)| name == OTHER));
    }
}
