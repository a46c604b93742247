//! Webhooks: every event of a broadcast is posted to the broadcast's own `listenerHookURL`, or to
//! the application's; what is said over data channels to `dataChannelWebHookURL` (`data.rs`).
//!
//! `queue.rs` says which is next, `body.rs` what it says. Delivery is bounded in every way: the
//! queues drop their oldest, a request has [`TIMEOUT`], redirects are not followed and no answer's
//! body is read. Status 200 is success; everything else is repeated as the application says, and
//! who waits for that holds up its own broadcast, and no other application whatever their number.

mod body;
mod data;
mod queue;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use super::checks::STORE_TIME;
use super::outgoing;
use super::shared::Shared;
use crate::base::limits::MAX_DELETED_HOOKS;
use crate::metrics::WebhookFigures;
use crate::model::broadcast::BroadcastRecord;
use crate::model::data::DataRelay;
use crate::model::event::Event;
use crate::model::mail::AppName;
use crate::model::settings::AppSettings;
use crate::model::track::StreamId;
use queue::Queue;

/// Events, and messages of data channels, on their way out.
#[derive(Debug, Default)]
pub struct Webhooks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue<Event>,
    figures: WebhookFigures,
    messages: Queue<Arc<DataRelay>>,
    /// Messages that had to go.
    lost: u64,
    deleted: VecDeque<Deleted>,
}

/// What the last webhooks of a broadcast need of it that the store has no more.
#[derive(Clone, Debug, Default)]
struct Deleted {
    app: AppName,
    stream: String,
    unix_ms: u64,
    hook: Hook,
}

/// Where a broadcast's webhooks go, and what they say of it.
#[derive(Clone, Debug, Default)]
struct Hook {
    url: Option<String>,
    category: Option<String>,
}

impl Hook {
    fn of(record: &BroadcastRecord) -> Self {
        Self {
            url: record.listener_hook_url.clone(),
            category: record.category.clone(),
        }
    }
}

impl Webhooks {
    /// `record` of `app` is deleted at `unix_ms`: what is still to be told of it goes where it was
    /// to go.
    pub fn remember(&self, app: &AppName, record: &BroadcastRecord, unix_ms: u64) {
        let hook = Hook::of(record);
        if hook.url.is_none() && hook.category.is_none() {
            return;
        }
        self.with(|state| {
            if state.deleted.len() >= MAX_DELETED_HOOKS {
                state.deleted.pop_front();
            }
            state.deleted.push_back(Deleted {
                app: app.clone(),
                stream: record.stream_id.clone(),
                unix_ms,
                hook,
            });
        });
    }

    /// Of the latest that was deleted under this id, if the event can be one of its.
    fn remembered(&self, event: &Event) -> Option<Hook> {
        let is_it = |deleted: &&Deleted| {
            deleted.app == event.app
                && *deleted.stream == *event.stream
                && event.unix_ms <= deleted.unix_ms + LAST_WORDS_MS
        };
        self.with(|state| Some(state.deleted.iter().rev().find(is_it)?.hook.clone()))
    }

    /// Takes an event to be delivered.
    pub fn push(&self, event: Event) {
        let dropped = self.with(|state| {
            let before = state.figures.dropped;
            state.figures.dropped += state.queue.push(event);
            is_noted(before, state.figures.dropped).then_some(state.figures.dropped)
        });
        if let Some(dropped) = dropped {
            tracing::warn!(
                dropped,
                "the queue of webhooks is full; the oldest of who has most is dropped"
            );
        }
        self.changed.notify_one();
    }

    /// Takes a message of a data channel to be posted.
    pub fn push_data(&self, relay: Arc<DataRelay>) {
        let dropped = self.with(|state| {
            let before = state.lost;
            state.lost += state.messages.push(relay);
            is_noted(before, state.lost).then_some(state.lost)
        });
        if let Some(dropped) = dropped {
            tracing::warn!(
                dropped,
                "too many messages wait for dataChannelWebHookURL; the oldest of who has most are \
                 dropped"
            );
        }
        self.changed.notify_one();
    }

    /// What `/metrics` shows.
    pub fn figures(&self) -> WebhookFigures {
        self.with(|state| WebhookFigures {
            waiting: state.queue.waiting(),
            ..state.figures
        })
    }

    /// Waits until everything is delivered, or given up.
    pub async fn drained(&self) {
        while !self.with(|state| state.queue.is_idle()) {
            sleep(DRAIN_PAUSE).await;
        }
    }

    fn settle(&self, event: &Event, is_delivered: bool) {
        self.with(|state| {
            state.queue.done(&event.app, &event.stream);
            state.figures.delivered += u64::from(is_delivered);
            state.figures.failed += u64::from(!is_delivered);
        });
        self.changed.notify_one();
    }

    fn skip(&self, event: &Event) {
        self.with(|state| state.queue.done(&event.app, &event.stream));
        self.changed.notify_one();
    }

    fn done_data(&self, app: &AppName, stream: &StreamId) {
        self.with(|state| state.messages.done(app, stream));
        self.changed.notify_one();
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a count that went from `before` to `after` is logged: the 1st, 2nd, 4th, 8th and so on.
fn is_noted(before: u64, after: u64) -> bool {
    before.checked_ilog2() != after.checked_ilog2()
}

/// Delivers until it is aborted.
pub async fn run(shared: Shared) {
    let client = match outgoing::builder().timeout(TIMEOUT).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks cannot be delivered"),
    };
    let webhooks = shared.webhooks();
    loop {
        while let Some((event, requests)) = webhooks.with(|state| state.queue.take()) {
            tokio::spawn(deliver(shared.clone(), client.clone(), event, requests));
        }
        // As many as may be begun may be sent: none is repeated.
        while let Some((relay, _)) = webhooks.with(|state| state.messages.take()) {
            tokio::spawn(data::deliver(shared.clone(), client.clone(), relay));
        }
        webhooks.changed.notified().await;
    }
}

/// Posts one event, again and again if the application says so, when it is its turn among
/// `requests`.
async fn deliver(shared: Shared, client: Client, event: Event, requests: Arc<Semaphore>) {
    let webhooks = shared.webhooks();
    let app = shared.read(|directory, _| directory.app(&event.app));
    let Some((_, settings)) = app else {
        return webhooks.skip(&event);
    };
    // Without a store the application's own hook is told all the same.
    let record = shared.store().broadcast(&event.app, &event.stream);
    let hook = match timeout(STORE_TIME, record).await {
        Ok(Ok(Some(record))) => Hook::of(&record),
        Ok(Ok(None) | Err(_)) | Err(_) => webhooks.remembered(&event).unwrap_or_default(),
    };
    let Some(url) = target(hook.url.as_deref(), &settings) else {
        return webhooks.skip(&event);
    };
    let fields = body::fields(&event, hook.category.as_deref());
    let is_form = settings.webhook_content_type != "application/json";
    for attempt in 0..=settings.webhook_retry_count {
        if attempt > 0 {
            sleep(Duration::from_millis(settings.webhook_retry_delay)).await;
        }
        let request = client.post(&url);
        let request = if is_form {
            request.form(&body::form(&fields))
        } else {
            request.json(&fields)
        };
        // Never closed; held for one request.
        let place = requests.acquire().await;
        let answer = request.send().await.map(|response| response.status());
        drop(place);
        match answer {
            Ok(StatusCode::OK) => return webhooks.settle(&event, true),
            Ok(status) => {
                tracing::debug!(stream = %event.stream, %status, attempt, "webhook refused");
            }
            Err(error) => {
                // The URL may hold a secret.
                let error = error.without_url();
                tracing::debug!(stream = %event.stream, %error, attempt, "webhook failed");
            }
        }
    }
    let action = event.action.text();
    tracing::warn!(stream = %event.stream, action, "a webhook was not delivered");
    webhooks.settle(&event, false);
}

/// The broadcast's own hook, otherwise the application's; `None` when neither is set.
fn target(own: Option<&str>, settings: &AppSettings) -> Option<String> {
    [own, Some(settings.listener_hook_url.as_str())]
        .into_iter()
        .flatten()
        .find(|url| !url.is_empty())
        .map(str::to_owned)
}

/// To connect, and for the whole request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What deleting a broadcast brings about happens within this time; later there may be another one
/// of its id.
const LAST_WORDS_MS: u64 = 5000;

/// Between two looks whether everything is delivered, at the end of the process.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::model::event::EventAction;

    #[tokio::test]
    async fn a_disk_that_stands_still_keeps_no_event_from_the_applications_own_hook() {
        let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = AppSettings {
            listener_hook_url: format!("http://{}/", hook.local_addr().unwrap()),
            ..AppSettings::default()
        };
        let shared = Shared::alone([("live".into(), Arc::new(settings))].into());
        shared.webhooks().push(Event {
            app: "live".into(),
            stream: "s".into(),
            action: EventAction::LiveStreamStarted,
            unix_ms: 1,
            name: None,
            meta_data: None,
            main_track: None,
            subscriber_id: None,
        });
        tokio::spawn(run(shared));
        let asked = timeout(Duration::from_secs(60), hook.accept()).await;
        asked.expect("nothing is posted").unwrap();
    }
}
