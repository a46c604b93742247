//! Everything that is known about one request to publish or play, in one read.

use super::Store;
use super::error::StoreError;
use super::{broadcasts, subscribers, tokens};
use crate::auth::token::hash_of;
use crate::model::access::{Block, Subscriber, TokenGrant};
use crate::model::broadcast::BroadcastRecord;
use crate::model::mail::AppName;

/// What a request is about.
#[derive(Clone, PartialEq, Eq)]
pub struct AdmissionQuery {
    /// The application.
    pub app: AppName,
    /// The broadcast to publish or play.
    pub stream: String,
    /// The room it belongs to, when the request or the directory names one.
    pub main_track: Option<String>,
    /// Who asks.
    pub subscriber_id: Option<String>,
    /// The credential, which may be a token.
    pub token: Option<String>,
}

/// What is stored about it; `None` wherever nothing is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionFacts {
    /// The broadcast.
    pub broadcast: Option<BroadcastRecord>,
    /// The room: the one of the query, otherwise the one of the broadcast's record.
    pub main: Option<BroadcastRecord>,
    /// What the credential allows, if it is a token.
    pub token: Option<TokenGrant>,
    /// Who asks, as registered for the broadcast, otherwise for the room.
    pub subscriber: Option<Subscriber>,
    /// Blocks of who asks, for the broadcast and for the room; some may have ended.
    pub blocks: Vec<Block>,
}

impl Store {
    /// What is stored about a request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn admission(&self, query: AdmissionQuery) -> Result<AdmissionFacts, StoreError> {
        self.read(move |db| {
            let app = &query.app;
            let broadcast = broadcasts::find(db, app, &query.stream)?;
            let recorded = broadcast
                .as_ref()
                .and_then(|broadcast| broadcast.main_track_stream_id.clone());
            let main_id = query.main_track.or(recorded);
            let main = match &main_id {
                Some(id) => broadcasts::find(db, app, id)?,
                None => None,
            };
            let token = match &query.token {
                Some(token) => tokens::find(db, app, &hash_of(token))?,
                None => None,
            };
            let mut subscriber = None;
            let mut blocks = Vec::new();
            if let Some(id) = &query.subscriber_id {
                for stream in [Some(&query.stream), main_id.as_ref()]
                    .into_iter()
                    .flatten()
                {
                    if subscriber.is_none() {
                        subscriber = subscribers::find(db, app, stream, id)?;
                    }
                    blocks.extend(subscribers::find_block(db, app, stream, id)?);
                }
            }
            Ok(AdmissionFacts {
                broadcast,
                main,
                token,
                subscriber,
                blocks,
            })
        })
        .await
    }
}
