//! Posts what clients say over data channels to the application's `dataChannelWebHookURL`, as
//! Ant Media does: one `multipart/form-data` request per message with the field `data`.
//!
//! One after the other, so that their order is kept. What waits is bounded by the directory, which
//! drops the oldest; a message that is not taken within [`super::TIMEOUT`] is not posted again.

use reqwest::Client;
use reqwest::multipart::{Form, Part};

use crate::front::shared::Shared;
use crate::model::data::{DataKind, DataRelay};

/// Posts until it is aborted.
pub async fn run(shared: Shared, client: Client) {
    loop {
        while let Some(relay) = shared.take_data_message() {
            post(&shared, &client, &relay).await;
        }
        shared.webhooks().data_waiting().await;
    }
}

async fn post(shared: &Shared, client: &Client, relay: &DataRelay) {
    let app = shared.read(|directory, _| directory.app(&relay.app));
    let url = app.map(|(_, settings)| settings.data_channel_web_hook_url.clone());
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return;
    };
    let bytes = relay.message.bytes.to_vec();
    let part = match relay.message.kind {
        DataKind::Text => Part::text(String::from_utf8_lossy(&bytes).into_owned()),
        DataKind::Binary => Part::bytes(bytes),
    };
    let form = Form::new().part("data", part);
    let answer = client.post(&url).multipart(form).send().await;
    // The URL may hold a secret.
    if let Err(error) = answer.and_then(|answer| answer.error_for_status()) {
        let error = error.without_url();
        tracing::debug!(stream = %relay.stream, %error, "a message was not posted");
    }
}
