//! The resources that exist, by the unguessable last segment of their URLs, and the task that
//! keeps each alive.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::dialogue::{Dialogue, Heard};
use crate::front::shared::Shared;
use crate::model::mail::AppName;
use crate::sdp::{IceParameters, LocalParameters};

/// All of the process.
#[derive(Debug, Default)]
pub struct Table(Mutex<HashMap<String, Resource>>);

/// One publish or play.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `/{app}/whip/{stream}` or `/{app}/whep/{stream}`.
    pub endpoint: String,
    /// Its entity tag without quotes: names the ICE session.
    pub etag: String,
    /// The client's ICE user fragment; another one in a PATCH is a restart.
    pub ufrag: String,
    /// The mid of its first m-line.
    pub mid: String,
    orders: Sender<Order>,
}

/// What is asked of a resource.
#[derive(Debug)]
enum Order {
    RestartIce(IceParameters, oneshot::Sender<Option<LocalParameters>>),
    End,
}

/// What a resource begins with.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Its application.
    pub app: AppName,
    /// The id that it publishes or plays.
    pub stream: String,
    /// As in [`Resource`].
    pub endpoint: String,
    /// As in [`Resource`].
    pub ufrag: String,
    /// As in [`Resource`].
    pub mid: String,
}

impl Resource {
    /// Restarts ICE (RFC 9725 §4.3.3); `None` when the resource is ending.
    pub async fn restart_ice(&self, remote: IceParameters) -> Option<LocalParameters> {
        let (answer, answered) = oneshot::channel();
        let order = Order::RestartIce(remote, answer);
        self.orders.send(order).await.ok()?;
        answered.await.ok()?
    }

    /// Ends it.
    pub async fn end(&self) {
        // It fails only for what has ended already.
        let _ = self.orders.send(Order::End).await;
    }
}

impl Table {
    /// The resource `key` below `endpoint`.
    pub fn find(&self, endpoint: &str, key: &str) -> Option<Resource> {
        let found = self.with(|resources| resources.get(key).cloned());
        found.filter(|resource| resource.endpoint == endpoint)
    }

    /// An ICE restart has given `key` another entity tag.
    pub fn retag(&self, key: &str, etag: &str, ufrag: &str) {
        self.with(|resources| {
            if let Some(resource) = resources.get_mut(key) {
                etag.clone_into(&mut resource.etag);
                ufrag.clone_into(&mut resource.ufrag);
            }
        });
    }

    fn with<R>(&self, act: impl FnOnce(&mut HashMap<String, Resource>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Enters a resource whose negotiation is done; returns its key and its entity tag.
pub fn enter(shared: &Shared, dialogue: Dialogue, begin: Begin) -> (String, String) {
    let (key, etag) = (shared.random_id(), shared.random_id());
    let (orders, taken) = channel(MAX_ORDERS);
    let resource = Resource {
        endpoint: begin.endpoint,
        etag: etag.clone(),
        ufrag: begin.ufrag,
        mid: begin.mid,
        orders,
    };
    let table = shared.resources();
    table.with(|resources| resources.insert(key.clone(), resource));
    let task = keep(shared.clone(), key.clone(), begin.stream, dialogue, taken);
    tokio::spawn(task);
    (key, etag)
}

/// Listens to the worker and to orders until either ends the resource.
async fn keep(
    shared: Shared,
    key: String,
    stream: String,
    mut dialogue: Dialogue,
    mut orders: Receiver<Order>,
) {
    let mut restarts = VecDeque::new();
    loop {
        tokio::select! {
            heard = dialogue.hear() => match heard {
                Some(Heard::Over | Heard::Refused(_)) | None => break,
                Some(Heard::Restarted(local)) => {
                    // Who asked may have gone.
                    let _ = restarts.pop_front().map(|asker: oneshot::Sender<_>| asker.send(local));
                }
                Some(Heard::Start | Heard::Offer | Heard::Answer(_) | Heard::Other) => {}
            },
            order = orders.recv() => match order {
                Some(Order::RestartIce(remote, asker)) => {
                    restarts.push_back(asker);
                    dialogue.restart_ice(remote);
                }
                Some(Order::End) | None => {
                    dialogue.say(&json!({"command": "stop", "streamId": stream}));
                    break;
                }
            },
        }
    }
    shared.resources().with(|resources| resources.remove(&key));
}

/// PATCH and DELETE under way for one resource; further ones wait.
const MAX_ORDERS: usize = 4;
