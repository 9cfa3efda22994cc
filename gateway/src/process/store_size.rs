//! How much the store takes on its disk.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use metrics::gauge;
use tokio::time::sleep;
use tracing::debug;

use crate::store::Store;

/// How often it is read. A disk that fills within a minute is full anyway.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reads the size now and again, until the store is gone.
pub(super) async fn watch(store: Weak<dyn Store>) {
    while let Some(store) = store.upgrade() {
        show(&store).await;
        drop(store);
        sleep(INTERVAL).await;
    }
}

async fn show(store: &Arc<dyn Store>) {
    match store.bytes().await {
        #[allow(clippy::cast_precision_loss)]
        Ok(Some(bytes)) => gauge!("draftwire_store_bytes").set(bytes as f64),
        Ok(None) => {}
        Err(error) => debug!(%error, "the size of the store stays unknown"),
    }
}
