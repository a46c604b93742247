//! Takes the steps of questions to publish or play: reads the store, asks webhooks, uses tokens
//! up. What they mean is decided in `control/`.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::time::timeout;

use super::outgoing;
use super::shared::Shared;
use crate::control::{CheckId, HookRequest, Step, StepResult};
use crate::store::StoreError;

/// The HTTP client of the authentication webhooks; made when it is needed first.
#[derive(Debug, Default)]
pub struct Hooks(OnceLock<Option<Client>>);

/// Takes one step and brings its result back.
pub async fn take(shared: Shared, id: CheckId, step: Step) {
    let result = match step {
        Step::Look(query) => {
            let facts = timeout(STORE_TIME, shared.store().admission(*query)).await;
            let facts = facts.unwrap_or(Err(StoreError::Unavailable));
            StepResult::Looked(facts.map(Box::new))
        }
        Step::Hook(request) => StepResult::Hooked(shared.hooks().allow(&request).await),
        Step::Consume { app, token } => {
            let used = timeout(STORE_TIME, shared.store().consume_token(&app, &token)).await;
            StepResult::Consumed(used.unwrap_or(Err(StoreError::Unavailable)))
        }
    };
    shared.update(|directory, now| directory.handle_step(now, id, result));
}

impl Hooks {
    /// Whether the webhook answers 200. Redirections are not followed.
    async fn allow(&self, request: &HookRequest) -> bool {
        let Some(client) = self.0.get_or_init(build) else {
            return false;
        };
        let answer = client.post(&request.url).json(&request.body).send().await;
        match answer {
            Ok(answer) => answer.status() == StatusCode::OK,
            Err(error) => {
                // Its address may hold credentials.
                let error = error.without_url();
                tracing::warn!(%error, "an authentication webhook did not answer");
                false
            }
        }
    }
}

fn build() -> Option<Client> {
    let client = outgoing::builder()
        .connect_timeout(CONNECT_TIME)
        .timeout(CONNECT_TIME + READ_TIME)
        .build();
    client
        .inspect_err(|error| tracing::error!(%error, "webhooks cannot be asked"))
        .ok()
}

/// How long the store may take; a disk that stands still must not hold questions or events for
/// ever.
pub(super) const STORE_TIME: Duration = Duration::from_secs(5);

/// Ant Media's times.
const CONNECT_TIME: Duration = Duration::from_secs(2);
const READ_TIME: Duration = Duration::from_secs(5);
