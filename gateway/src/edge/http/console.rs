//! The console, for operators: files that are compiled into the binary. What it shows, it asks of the admin API with the
//! token that is given to it, so the files themselves are nobody's secret.

use axum::Router;

use super::asset::{self, Asset, asset};

const ASSETS: &[Asset] = &[
    asset!("/admin", "console/index.html"),
    asset!("/admin/style.css", "console/style.css"),
    asset!("/admin/caches.js", "console/js/caches.js"),
    asset!("/admin/connections.js", "console/js/connections.js"),
    asset!("/admin/dom.js", "console/js/dom.js"),
    asset!("/admin/format.js", "console/js/format.js"),
    asset!("/admin/history.js", "console/js/history.js"),
    asset!("/admin/live.js", "console/js/live.js"),
    asset!("/admin/main.js", "console/js/main.js"),
    asset!("/admin/operations.js", "console/js/operations.js"),
    asset!("/admin/overview.js", "console/js/overview.js"),
    asset!("/admin/session.js", "console/js/session.js"),
    asset!("/admin/settings.js", "console/js/settings.js"),
    asset!("/admin/sparkline.js", "console/js/sparkline.js"),
    asset!("/admin/streams.js", "console/js/streams.js"),
    asset!("/admin/verdict.js", "console/js/verdict.js"),
];

/// The page.
pub(in crate::edge) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    asset::routes(ASSETS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_script_of_the_console_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/js");
        let written: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|file| format!("/admin/{}", file.unwrap().file_name().to_str().unwrap()))
            .collect();
        let served = ASSETS.iter().map(|asset| asset.path.to_owned()).filter(|path| path.ends_with(".js"));
        assert_eq!(served.collect::<BTreeSet<_>>(), written);
    }
}
