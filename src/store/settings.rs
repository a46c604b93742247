//! What REST changed of applications' settings.

use rusqlite::params;
use serde_json::{Map, Value};

use super::Store;
use super::error::StoreError;
use crate::model::mail::AppName;

impl Store {
    /// Keeps `overrides`, setting names and values, in place of what was kept for `app`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_settings(
        &self,
        app: &AppName,
        overrides: Map<String, Value>,
    ) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |db| {
            let json = Value::Object(overrides).to_string();
            db.prepare_cached("INSERT OR REPLACE INTO settings (app, overrides) VALUES (?1, ?2)")?
                .execute(params![app, json])?;
            Ok(())
        })
        .await
    }

    /// What is kept, by application.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn all_settings(&self) -> Result<Vec<(AppName, Map<String, Value>)>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached("SELECT app, overrides FROM settings")?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.map(|row: rusqlite::Result<(String, String)>| {
                let (app, json) = row?;
                Ok((AppName::from(app), serde_json::from_str(&json)?))
            })
            .collect()
        })
        .await
    }
}
