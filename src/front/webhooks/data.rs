//! Posts what clients say over data channels to the application's `dataChannelWebHookURL`, as
//! Ant Media does: one `multipart/form-data` request per message with the field `data`.
//!
//! Those of one broadcast one after the other, so that their order is kept; `queue.rs` says which
//! is next. A message that is not taken within [`super::TIMEOUT`] is not posted again.

use std::sync::Arc;

use reqwest::Client;
use reqwest::multipart::{Form, Part};

use super::queue::Queued;
use crate::base::limits::{MAX_DATA_HOOKS, MAX_DATA_HOOKS_LEN, MAX_DATA_HOOKS_UNDER_WAY};
use crate::front::shared::Shared;
use crate::model::data::DataRelay;
use crate::model::mail::AppName;
use crate::model::track::StreamId;

impl Queued for Arc<DataRelay> {
    const MAX_WAITING: usize = MAX_DATA_HOOKS;
    const MAX_WAITING_LEN: usize = MAX_DATA_HOOKS_LEN;
    const MAX_BEGUN: usize = MAX_DATA_HOOKS_UNDER_WAY;

    fn app(&self) -> &AppName {
        &self.app
    }

    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn len_bytes(&self) -> usize {
        self.message.bytes.len()
    }
}

/// Posts one message, once.
pub async fn deliver(shared: Shared, client: Client, relay: Arc<DataRelay>) {
    let (app, stream) = (relay.app.clone(), relay.stream.clone());
    let part = Part::stream(relay.message.bytes.clone());
    // Workers count what others hold: those under way must not make their senders wait.
    drop(relay);
    let settings = shared.read(|directory, _| directory.app(&app));
    let url = settings.map(|(_, settings)| settings.data_channel_web_hook_url.clone());
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        let form = Form::new().part("data", part);
        let answer = client.post(&url).multipart(form).send().await;
        // The URL may hold a secret.
        if let Err(error) = answer.and_then(|answer| answer.error_for_status()) {
            let error = error.without_url();
            tracing::debug!(%stream, %error, "a message was not posted");
        }
    }
    shared.webhooks().done_data(&app, &stream);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::model::data::{DataMessage, DataTargets};
    use crate::model::mail::ControlMail;
    use crate::model::settings::AppSettings;

    /// Applications with their hooks' addresses, without workers.
    fn server(apps: &[(&str, SocketAddr)]) -> Shared {
        let settings = |hook: &SocketAddr| AppSettings {
            data_channel_web_hook_url: format!("http://{hook}/"),
            ..AppSettings::default()
        };
        let apps = apps
            .iter()
            .map(|(app, hook)| (AppName::from(*app), Arc::new(settings(hook))));
        Shared::alone(apps.collect())
    }

    fn say(shared: &Shared, app: &str, stream: &str, text: &str) {
        let relay = Arc::new(DataRelay {
            app: app.into(),
            stream: stream.into(),
            from: None,
            to: DataTargets::new(),
            message: DataMessage::text(text),
        });
        shared.update(|directory, now| directory.handle_mail(now, ControlMail::DataMessage(relay)));
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    /// The text of the next message that is posted, which is taken.
    async fn next(listener: &TcpListener) -> String {
        let posted = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            while !text.ends_with("--\r\n") {
                let mut buf = [0; 1024];
                let len = stream.read(&mut buf).await.unwrap();
                text.push_str(std::str::from_utf8(&buf[..len]).unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let said = text.rsplit("\r\n\r\n").next().unwrap();
            said.split("\r\n").next().unwrap().to_owned()
        };
        timeout(PATIENCE, posted).await.expect("nothing is posted")
    }

    #[tokio::test]
    async fn a_dead_hook_of_one_application_delays_and_evicts_no_messages_of_another() {
        let ((_dead, nobody), (well, addr)) = (listen().await, listen().await);
        let shared = server(&[("dead", nobody), ("well", addr)]);
        say(&shared, "well", "first", "one");
        for at in 0..2 * MAX_DATA_HOOKS {
            say(&shared, "dead", &format!("s{at}"), "lost");
        }
        say(&shared, "well", "first", "two");
        tokio::spawn(crate::front::webhooks::run(shared.clone()));
        assert_eq!(next(&well).await, "one");
        assert_eq!(next(&well).await, "two");
        say(&shared, "well", "first", "three");
        assert_eq!(next(&well).await, "three");
    }

    /// Far less than what waits for the dead hook takes.
    const PATIENCE: Duration = Duration::from_secs(60);
}
