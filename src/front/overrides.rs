//! What REST changed of the applications' settings: kept in the store, laid over the file's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::shared::Shared;
use crate::model::mail::AppName;
use crate::model::settings::{AppSettings, BadSetting, SettingsChange, Unusable};
use crate::store::StoreError;

/// The changes by application; `None` until the store has been read.
#[derive(Debug, Default)]
pub struct Overrides(Mutex<Option<BTreeMap<AppName, Map<String, Value>>>>);

/// An application's settings in the file, as they were and as they are.
#[derive(Clone, Copy, Debug)]
pub struct FileChange<'a> {
    /// Whose.
    pub app: &'a AppName,
    /// What was in force below REST's changes.
    pub old: &'a AppSettings,
    /// What shall be.
    pub new: &'a AppSettings,
}

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
            let (change, unread) = SettingsChange::take_readable(fields.clone());
            let (settings, unusable) = change.usable_over(&settings);
            for fault in unread {
                tracing::warn!(%app, "a setting kept by REST is ignored: {fault}");
            }
            for Unusable { name, fault } in unusable {
                let BadSetting { name: of, message } = fault;
                tracing::warn!(%app, "a setting kept by REST is ignored: {name}: {of} {message}");
            }
            shared.change_settings(app, Arc::new(settings));
        }
        *loaded = Some(kept.into_iter().collect());
    }

    /// Takes other settings of the file, below what REST changed: all of them, or none.
    ///
    /// # Errors
    /// A setting that REST changed, is in force, and could not be with the file's others.
    pub async fn rebase(
        &self,
        shared: &Shared,
        changes: &[FileChange<'_>],
    ) -> Result<(), (AppName, Unusable)> {
        let loaded = self.0.lock().await;
        let mut rebased = Vec::new();
        for FileChange { app, old, new } in changes {
            let kept = loaded.as_ref().and_then(|kept| kept.get(*app)).cloned();
            let (change, _) = SettingsChange::take_readable(kept.unwrap_or_default());
            let (settings, unusable) = change.usable_over(new);
            let (_, before) = change.usable_over(old);
            let was_in_force = |each: &Unusable| before.iter().all(|b| b.name != each.name);
            if let Some(lost) = unusable.into_iter().find(was_in_force) {
                return Err(((*app).clone(), lost));
            }
            rebased.push((*app, settings));
        }
        for (app, settings) in rebased {
            shared.change_settings(app, Arc::new(settings));
        }
        Ok(())
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
