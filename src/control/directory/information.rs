//! Answers to questions about broadcasts, as the texts that clients are sent.

use std::cmp::Ordering;

use serde::Serialize;

use super::Directory;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::ConnId;
use crate::base::limits::MAX_PAGE_LEN;
use crate::control::broadcast::{Broadcast, Play, fitting};
use crate::control::view::BroadcastView;
use crate::model::definition::Definition;
use crate::model::information::{Information, Page};
use crate::model::layers::LayerFigures;
use crate::model::mail::{AppName, PlayAsk, WorkerMail};
use crate::model::track::StreamId;
use crate::signal::reply;
use crate::signal::reply::info::{self, Rendition};

impl Directory {
    /// The message that answers `question`, an error included. Questions that need credentials
    /// go another way ([`tell_tracks`](Self::tell_tracks)).
    pub(super) fn inform(&self, now: Now, app: &AppName, question: &Information) -> String {
        let (stream, answer) = match question {
            Information::StreamInfo { stream } => (stream, self.stream_info(app, stream)),
            Information::TrackList { stream, .. } => (stream, self.track_list(app, stream)),
            Information::BroadcastObject { stream } => {
                (stream, self.broadcast_object(now, app, stream))
            }
            Information::Subtracks {
                stream,
                role,
                status,
                search,
                sort_by,
                order_by,
                page,
            } => {
                let found = self.subtracks(app, stream, role.as_deref(), status.as_deref());
                let list = |mut found: Vec<&Broadcast>| {
                    found.retain(|b| search.as_ref().is_none_or(|text| has_text(b, text)));
                    sort(&mut found, sort_by.as_deref(), order_by.as_deref());
                    let shown = page_of(found.into_iter(), *page);
                    let texts = as_long_as_may_be(shown.map(|b| json(now, b)));
                    info::subtrack_list(stream, &texts)
                };
                (stream, found.map(list))
            }
            Information::SubtracksCount {
                stream,
                role,
                status,
            } => {
                let found = self.subtracks(app, stream, role.as_deref(), status.as_deref());
                let count = |found: Vec<_>| info::subtrack_count(stream, found.len() as u64);
                (stream, found.map(count))
            }
            Information::SubscriberCount { stream } => {
                let count = |b: &Broadcast| info::subscriber_count(stream, b.viewers() as u64);
                (stream, self.known(app, stream).map(count))
            }
            Information::Subscribers { stream, page } => {
                let list = |b: &Broadcast| {
                    let shown = page_of(b.connected_players(), *page);
                    let texts = as_long_as_may_be(shown.map(|p| subscriber(stream, p)));
                    info::subscriber_list(stream, &texts)
                };
                (stream, self.known(app, stream).map(list))
            }
            // The engine answers these.
            Information::DebugInfo { stream } => (stream, Err(Definition::NoStreamExist)),
        };
        answer.unwrap_or_else(|definition| reply::error(definition, Some(stream)))
    }

    /// A publisher describes its broadcast anew; only its own.
    pub(super) fn publish_described(
        &mut self,
        now: Now,
        conn: ConnId,
        (app, stream): (&AppName, &StreamId),
        meta_data: Option<String>,
    ) {
        if let Some(broadcast) = self.broadcast_mut(app, stream)
            && broadcast.publisher() == Some(conn)
        {
            broadcast.meta_data = meta_data;
            broadcast.updated_unix_us = now.unix_us;
        }
    }

    /// A forwarding server has the renditions of a broadcast that are published; a room has those
    /// of its subtracks.
    fn stream_info(&self, app: &AppName, stream: &StreamId) -> Result<String, Definition> {
        let broadcast = self.known(app, stream)?;
        let subtracks = self.subtracks_of(app, broadcast);
        let all = std::iter::once(broadcast).chain(subtracks);
        let on_air = all.filter(|b| b.is_on_air());
        let renditions: Vec<_> = on_air.flat_map(renditions).take(MAX_RENDITIONS).collect();
        if renditions.is_empty() {
            return Err(Definition::NoStreamExist);
        }
        Ok(info::stream_information(stream, &renditions))
    }

    /// Credentials were checked: sends the list of tracks.
    pub(super) fn tell_tracks(&mut self, conn: ConnId, app: &AppName, ask: &PlayAsk) {
        let Some(stream) = &ask.stream else { return };
        let answer = self.track_list(app, stream);
        let text = answer.unwrap_or_else(|definition| reply::error(definition, Some(stream)));
        let mail = WorkerMail::Text { conn, text };
        self.outbox.push_back((conn.worker, mail));
    }

    fn track_list(&self, app: &AppName, stream: &StreamId) -> Result<String, Definition> {
        let broadcast = self.known(app, stream)?;
        if !broadcast.is_playable() {
            return Err(Definition::NoStreamExist);
        }
        let subtracks = self.subtracks_of(app, broadcast).into_iter();
        let tracks = subtracks.filter(|b| b.is_on_air());
        let ids = fitting(tracks.map(|track| &track.stream), QUOTED_LEN, MAX_PAGE_LEN);
        let ids: Vec<_> = ids.map(ToString::to_string).collect();
        Ok(info::track_list(stream, &ids))
    }

    fn broadcast_object(
        &self,
        now: Now,
        app: &AppName,
        stream: &StreamId,
    ) -> Result<String, Definition> {
        let text = json(now, self.known(app, stream)?);
        Ok(info::broadcast_object(stream, &text))
    }

    /// The subtracks of `main` with this role and this status.
    fn subtracks(
        &self,
        app: &AppName,
        main: &StreamId,
        role: Option<&str>,
        status: Option<&str>,
    ) -> Result<Vec<&Broadcast>, Definition> {
        let all = self.subtracks_of(app, self.known(app, main)?);
        let found = all.into_iter().filter(|b| {
            role.is_none_or(|role| b.role.as_deref() == Some(role))
                && status.is_none_or(|status| b.status() == status)
        });
        Ok(found.collect())
    }

    /// The broadcasts that have `main` as their main track, in order of arrival.
    fn subtracks_of<'a>(&'a self, app: &AppName, main: &Broadcast) -> Vec<&'a Broadcast> {
        let ids = main.subtracks.iter();
        ids.filter_map(|id| self.broadcast(app, id)).collect()
    }

    fn known(&self, app: &AppName, stream: &StreamId) -> Result<&Broadcast, Definition> {
        self.broadcast(app, stream).ok_or(Definition::NoStreamExist)
    }
}

/// What is published of a broadcast, best first: an entry for each size of its video.
fn renditions(broadcast: &Broadcast) -> Vec<Rendition> {
    let measure = &broadcast.measure;
    let mut tracks = broadcast.tracks.iter();
    let video = tracks.find(|track| track.kind == MediaKind::Video);
    let codec = video.map_or("NoCodec", |track| track.codec.name());
    let rendition = |width: u16, height: u16, video_bps| Rendition {
        stream_width: width.into(),
        stream_height: height.into(),
        video_bps,
        audio_bps: measure.audio_bps,
        video_codec: codec.to_owned(),
    };
    // Temporal layers are one rendition, and the highest of them comes last.
    let of = |figures: &LayerFigures| (figures.layer.encoding, figures.layer.spatial);
    let mut sizes: Vec<&LayerFigures> = Vec::new();
    for figures in measure.layers.iter().rev() {
        if !sizes.iter().any(|known| of(known) == of(figures)) {
            sizes.push(figures);
        }
    }
    if sizes.len() < 2 {
        return vec![rendition(measure.width, measure.height, measure.video_bps)];
    }
    let entries = sizes
        .into_iter()
        .map(|f| rendition(f.width, f.height, f.bps));
    entries.collect()
}

/// The Broadcast object as JSON text.
fn json(now: Now, broadcast: &Broadcast) -> String {
    serde_json::to_string(&BroadcastView::for_client(broadcast, now.unix_us)).unwrap_or_default()
}

/// True when id or name hold `text`, in whatever case.
fn has_text(broadcast: &Broadcast, text: &str) -> bool {
    let text = text.to_lowercase();
    let holds = |field: &str| field.to_lowercase().contains(&text);
    holds(&broadcast.stream) || broadcast.name.as_deref().is_some_and(holds)
}

/// By `name`, `date` or `status`, upwards unless `order` is `desc`; by arrival without one
/// of these.
fn sort(broadcasts: &mut [&Broadcast], by: Option<&str>, order: Option<&str>) {
    let compare = |a: &Broadcast, b: &Broadcast| match by {
        Some("name") => a.name.cmp(&b.name),
        Some("date") => a.created_unix_us.cmp(&b.created_unix_us),
        Some("status") => a.status().cmp(b.status()),
        Some(_) | None => Ordering::Equal,
    };
    let is_down = order.is_some_and(|order| order.eq_ignore_ascii_case("desc"));
    broadcasts.sort_by(|a, b| {
        let order = compare(a, b);
        if is_down { order.reverse() } else { order }
    });
}

fn page_of<T>(all: impl Iterator<Item = T>, page: Page) -> impl Iterator<Item = T> {
    let size = page.size.unwrap_or(MAX_PAGE).min(MAX_PAGE) as usize;
    all.skip(page.offset as usize).take(size)
}

/// The first of `texts`, [`MAX_PAGE_LEN`] bytes at most.
fn as_long_as_may_be(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut len = 0;
    let fits = |text: &String| {
        len += text.len();
        len <= MAX_PAGE_LEN
    };
    texts.take_while(fits).collect()
}

/// A subscriber object of Ant Media, of somebody who is connected.
fn subscriber(stream: &str, player: &Play) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Subscriber<'a> {
        subscriber_id: Option<&'a str>,
        subscriber_name: Option<&'a str>,
        stream_id: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        connected: bool,
        current_concurrent_connections: u32,
        concurrent_connections_limit: u32,
    }
    let subscriber = Subscriber {
        subscriber_id: player.subscriber_id.as_deref(),
        subscriber_name: player.subscriber_name.as_deref(),
        stream_id: stream,
        kind: "play",
        connected: true,
        current_concurrent_connections: 1,
        concurrent_connections_limit: 1,
    };
    serde_json::to_string(&subscriber).unwrap_or_default()
}

/// Most entries of one answer, as in REST.
const MAX_PAGE: u32 = 50;

/// Most entries of a stream's information: [`MAX_PAGE_LEN`] bytes, at 160 each with the longest
/// numbers.
const MAX_RENDITIONS: usize = MAX_PAGE_LEN / 160;

/// Quotes and comma of an id in a list.
const QUOTED_LEN: usize = 3;
