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

    /// Processor time of the server's processes that speak to this database; 0 when they run on
    /// another machine.
    pub fn cpu_s(&self) -> f64 {
        let pids = query::<i32>(
            &self.url,
            "select pid from pg_stat_activity where datname = current_database()",
        );
        pids.unwrap_or_default().into_iter().filter_map(super::child::cpu_s).sum()
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

/// The first column of every row.
pub fn query<T>(url: &str, sql: &'static str) -> Result<Vec<T>>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows)
    })
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
