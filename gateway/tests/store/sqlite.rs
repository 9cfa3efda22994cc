//! The contract over SQLite.

use std::sync::Arc;

use gateway::store::{
    Limits, Store,
    sqlite::{SqliteOptions, SqliteStore},
};
use tokio::sync::OnceCell;

use crate::{
    contract::contract,
    fixture::{Database, LIMITS, PATIENT},
};

struct File {
    folder: tempfile::TempDir,
    /// A file has one node.
    node: OnceCell<Arc<dyn Store>>,
}

async fn file() -> File {
    File { folder: tempfile::tempdir().unwrap(), node: OnceCell::new() }
}

#[async_trait::async_trait]
impl Database for File {
    async fn open(&self, limits: Limits) -> Arc<dyn Store> {
        let path = self.folder.path().join("draftwire.db");
        Arc::new(SqliteStore::open(&SqliteOptions { path, timeout: PATIENT, limits }).await.unwrap())
    }

    async fn node(&self) -> Arc<dyn Store> {
        self.node.get_or_init(|| self.open(LIMITS)).await.clone()
    }

    async fn execute(&self, sql: &'static str) {
        let path = self.folder.path().join("draftwire.db");
        let pool = sqlx::SqlitePool::connect_with(
            sqlx::sqlite::SqliteConnectOptions::new().filename(path).busy_timeout(PATIENT),
        );
        let pool = pool.await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

contract!(file);
