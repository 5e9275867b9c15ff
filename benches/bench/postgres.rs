//! Databases of the bench's own on the Postgres that the environment names.

use anyhow::Result;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use std::str::FromStr as _;

/// A database that is dropped afterwards.
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Creates one; none when no Postgres is named.
    pub fn create() -> Result<Option<Self>> {
        let named = ["WATCHKEEPER_TEST_POSTGRES_URL", "DATABASE_URL"];
        let Some(server) = named.iter().find_map(|name| std::env::var(name).ok()) else {
            return Ok(None);
        };
        let name = format!("wk_bench_{}", uuid::Uuid::new_v4().simple());
        run(&server, &format!("create database {name}"))?;
        let options = PgConnectOptions::from_str(&server)?.database(&name);
        let url = options.to_url_lossy().to_string();
        Ok(Some(Self { server, name, url }))
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = run(&self.server, &format!("drop database {} with (force)", self.name));
    }
}

fn run(url: &str, sql: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
        connection.close().await?;
        Ok(())
    })
}
