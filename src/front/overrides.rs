//! What REST changed of the applications' settings: kept in the store, laid over the file's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::shared::Shared;
use crate::model::mail::AppName;
use crate::model::settings::{AppSettings, BadSetting, SettingsChange};
use crate::store::StoreError;

/// The changes by application; `None` until the store has been read.
#[derive(Debug, Default)]
pub struct Overrides(Mutex<Option<BTreeMap<AppName, Map<String, Value>>>>);

/// Why settings were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// A value cannot be used.
    Bad(BadSetting),
    /// The store did not keep them.
    Store(StoreError),
}

impl Overrides {
    /// Reads the store and puts what it keeps over the settings of the file, once; until that has
    /// succeeded the file's count, and nothing can be changed. What cannot be used (any more) is
    /// left out with a log line.
    pub async fn load(&self, shared: &Shared) {
        let mut loaded = self.0.lock().await;
        if loaded.is_some() {
            return;
        }
        let Ok(kept) = shared.store().all_settings().await else {
            return;
        };
        for (app, fields) in &kept {
            let Some((_, settings)) = shared.read(|directory, _| directory.app(app)) else {
                continue;
            };
            let change = SettingsChange::take(fields.clone()).unwrap_or_default();
            let settings = change.over(&settings);
            match settings.check() {
                Ok(()) => shared.change_settings(app, Arc::new(settings)),
                Err(BadSetting { name, message }) => {
                    tracing::warn!(%app, "settings kept by REST are ignored: {name} {message}");
                }
            }
        }
        *loaded = Some(kept.into_iter().collect());
    }

    /// Takes other settings of the file for `app`, below what REST changed.
    pub async fn rebase(&self, shared: &Shared, app: &AppName, file: &AppSettings) {
        let loaded = self.0.lock().await;
        let kept = loaded.as_ref().and_then(|kept| kept.get(app)).cloned();
        let change = SettingsChange::take(kept.unwrap_or_default()).unwrap_or_default();
        shared.change_settings(app, Arc::new(change.over(file)));
    }

    /// Lays `change` over the settings of `app`: in the store first, then here and in every worker.
    ///
    /// # Errors
    /// See [`NotChanged`]; nothing was changed then.
    pub async fn change(
        &self,
        shared: &Shared,
        app: &AppName,
        change: SettingsChange,
    ) -> Result<(), NotChanged> {
        // Held until the end, so that two changes do not undo each other.
        let mut loaded = self.0.lock().await;
        let unavailable = NotChanged::Store(StoreError::Unavailable);
        let kept = loaded.as_mut().ok_or(unavailable)?;
        let current = shared.read(|directory, _| directory.app(app));
        let (_, current) = current.ok_or(unavailable)?;
        let settings = change.over(&current);
        settings.check().map_err(NotChanged::Bad)?;
        let mut fields = kept.get(app).cloned().unwrap_or_default();
        fields.extend(change.fields);
        let stored = shared.store().put_settings(app, fields.clone()).await;
        stored.map_err(NotChanged::Store)?;
        kept.insert(app.clone(), fields);
        shared.change_settings(app, Arc::new(settings));
        Ok(())
    }
}
