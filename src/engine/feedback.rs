//! RTCP and timers of peers: feedback in, reports, NACKs and key frame requests out.

use std::cmp::Reverse;

use super::{ConnOutput, Engine};
use smallvec::SmallVec;

use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::ids::{ConnId, PeerId};
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::model::mail::{ControlMail, Outgoing, PublishMeasure, WorkerMail};
use crate::model::track::{StreamId, TrackInfo};
use crate::peer::measure::Delivered;
use crate::peer::publisher::{Published, Publisher};
use crate::peer::send::{Outlet, Sent};
use crate::peer::{Peer, Side};
use crate::router::tracks::{TrackKey, Tracks};
use crate::signal::reply::info;

impl Engine {
    /// One SRTCP compound.
    pub(super) fn accept_rtcp(
        &mut self,
        now: Now,
        id: PeerId,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let peer = self
            .peers
            .get_mut(id)
            .ok_or(DropReason::UnvalidatedSource)?;
        let keys = peer.transport.keys_mut().ok_or(DropReason::NoKeys)?;
        let len = keys.unprotect.unprotect_rtcp(datagram)?;
        let compound = datagram.get(..len).ok_or(DropReason::MalformedRtcp)?;
        match &mut peer.side {
            Side::Publisher(publisher) => publisher.handle_rtcp(now, compound, &mut self.tracks),
            Side::Subscriber(subscriber) => {
                let asks_already = subscriber.has_asked();
                let asked = subscriber.handle_rtcp(now, compound, &mut self.tracks);
                if subscriber.has_asked() && !asks_already {
                    self.askers.push(id);
                }
                if subscriber.path.lists_anew() {
                    self.waiting.add(now.instant, id);
                }
                let has_fallen = subscriber.path.has_fallen(now.instant);
                self.counters.nacked += asked.as_ref().map_or(0, |asked| asked.nacked);
                if has_fallen {
                    self.tend_layers(now, id);
                    self.settle_path(now, id);
                }
                asked.map(|_| ())
            }
        }
    }

    /// Tells the path of a subscriber what was chosen for it just now.
    fn settle_path(&mut self, now: Now, id: PeerId) {
        if let Some(Peer {
            side: Side::Subscriber(subscriber),
            ..
        }) = self.peers.get_mut(id)
        {
            subscriber.settle_path(now, &self.tracks);
        }
    }

    /// Sends again what subscribers asked for since the last turn.
    pub(super) fn retransmit(&mut self, now: Now) {
        let mut sent = Sent::default();
        while let Some(id) = self.askers.pop() {
            let Some(Peer {
                transport,
                side: Side::Subscriber(subscriber),
                drops,
                ..
            }) = self.peers.get_mut(id)
            else {
                continue;
            };
            let (Some(route), Some(keys)) = (transport.route(), transport.keys()) else {
                subscriber.forget_asked();
                continue;
            };
            let mut outlet = Outlet {
                now: now.instant,
                route,
                protect: &keys.protect,
                egress: &mut self.urgent,
                dropped: &mut self.counters.dropped,
                drops,
                sent: &mut sent,
            };
            subscriber.retransmit(now, &self.tracks, &mut outlet);
        }
        self.counters.add_sent(sent);
    }

    /// Sends the key frame requests that are due: to the publisher, or to the worker it is on.
    pub(super) fn request_key_frames(&mut self, now: Now) {
        let mut due = std::mem::take(&mut self.key_frames_due);
        self.tracks.poll_key_frames(now.instant, &mut due);
        for key in due.drain(..) {
            let Some(track) = self.tracks.get(key) else {
                continue;
            };
            let (id, publisher) = (track.info.id, track.publisher);
            if id.origin != self.config.worker {
                let mail = WorkerMail::RelayKeyFrame { track: id };
                self.mails.push_back(Outgoing::Worker(id.origin, mail));
            } else if let Some(peer) = publisher {
                self.request_key_frame(peer, key);
            }
        }
        self.key_frames_due = due;
    }

    fn request_key_frame(&mut self, id: PeerId, key: TrackKey) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let Side::Publisher(publisher) = &mut peer.side else {
            return;
        };
        let Some(media) = publisher.media_ssrc(key) else {
            return;
        };
        let mut buf = [0; MAX_DATAGRAM_LEN];
        let len = publisher.write_key_frame_request(media, &mut buf);
        match peer.send_rtcp(&mut self.urgent, &mut buf, len) {
            Ok(()) => self.counters.key_frame_requests += 1,
            Err(reason) => self.counters.dropped.count(reason),
        }
    }

    /// Runs the timers of every peer that is due.
    pub(super) fn run_peer_timers(&mut self, now: Now) {
        while let Some(&Reverse((at, id))) = self.timers.peek() {
            if at > now.instant {
                return;
            }
            self.timers.pop();
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            // An entry that an earlier one has overtaken.
            if peer.armed != Some(at) {
                continue;
            }
            peer.armed = None;
            let outcome = peer.transport.handle_timeout(now);
            peer.release_unneeded(now);
            let flushed = peer.transport.flush(&mut self.urgent);
            let reported = if outcome.is_ok() {
                self.report(now, id)
            } else {
                Ok(())
            };
            let settled = self.settle_dtls(now, id, outcome);
            self.run_data_timers(now, id);
            for result in [flushed, reported, settled] {
                if let Err(reason) = result {
                    self.counters.dropped.count(reason);
                }
            }
            if let Some(peer) = self.peers.get(id) {
                let due = peer.poll_timeout(now);
                self.arm(id, due);
            }
        }
    }

    /// NACKs and reports of one connected peer.
    fn report(&mut self, now: Now, id: PeerId) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(id) else {
            return Ok(());
        };
        if !peer.transport.is_connected() {
            return Ok(());
        }
        let mut buf = [0; MAX_DATAGRAM_LEN];
        match &mut peer.side {
            Side::Subscriber(subscriber) => {
                let tends = subscriber.next_layers.is_some_and(|due| due <= now.instant);
                let reports = subscriber.reports_due(now);
                if tends {
                    self.tend_layers(now, id);
                }
                if reports {
                    self.report_to_subscriber(now, id, &mut buf)?;
                }
                Ok(())
            }
            Side::Publisher(publisher) => {
                if let Some(level) = publisher.take_level(now) {
                    let (conn, stream) = (peer.conn, peer.stream.clone());
                    self.tell_level(conn, stream, level);
                }
                self.report_to_publisher(now, id, &mut buf)
            }
        }
    }

    fn report_to_subscriber(
        &mut self,
        now: Now,
        id: PeerId,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(id) else {
            return Ok(());
        };
        let Side::Subscriber(subscriber) = &mut peer.side else {
            return Ok(());
        };
        let len = subscriber.write_reports(now, &self.tracks, buf);
        let is_short = subscriber.next_layers.is_none() && subscriber.path.is_short();
        if subscriber.path.lists_anew() {
            self.waiting.add(now.instant, id);
        }
        if let Some(delivered) = subscriber.measure(now) {
            let (conn, text) = (peer.conn, measurement(&peer.stream, &delivered));
            self.conn_outputs.push_back((conn, ConnOutput::Text(text)));
        }
        if len > 0 {
            peer.send_rtcp(&mut self.urgent, buf, len)?;
        }
        if is_short {
            self.tend_layers(now, id);
        }
        Ok(())
    }

    /// Tells control how loud a publisher is, if that matters to anybody: in a room, and where
    /// viewers are told.
    fn tell_level(&mut self, conn: ConnId, stream: StreamId, level: u8) {
        let Some(of) = self.conns.get(&conn) else {
            return;
        };
        let app = of.app().clone();
        if of.settings().send_audio_level_to_viewers || of.room_of(&stream).is_some() {
            let mail = ControlMail::AudioLevel { app, stream, level };
            self.mails.push_back(Outgoing::Control(Box::new(mail)));
        }
    }

    fn report_to_publisher(
        &mut self,
        now: Now,
        id: PeerId,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(id) else {
            return Ok(());
        };
        let Side::Publisher(publisher) = &mut peer.side else {
            return Ok(());
        };
        let nacks = publisher.write_nacks(now, &mut self.tracks, buf);
        if nacks > 0 {
            self.counters.nacks_sent += 1;
            peer.send_rtcp(&mut self.urgent, buf, nacks)?;
        }
        // The arrivals ring holds a bounded number of packets, so this ends.
        while let Side::Publisher(publisher) = &mut peer.side {
            let len = publisher.write_transport_feedback(now, buf);
            if len == 0 {
                break;
            }
            peer.send_rtcp(&mut self.urgent, buf, len)?;
        }
        let Side::Publisher(publisher) = &mut peer.side else {
            return Ok(());
        };
        if !publisher.reports_due(now) {
            return Ok(());
        }
        let len = publisher.write_reports(now, buf);
        let measure = measure(now, publisher, &mut self.tracks);
        let is_video = |p: &&Published| p.section.kind == MediaKind::Video;
        let videos = publisher.sections.iter().filter(is_video);
        let videos: SmallVec<[TrackInfo; 1]> =
            videos.filter_map(|p| p.track_info(&self.tracks)).collect();
        let (conn, stream) = (peer.conn, peer.stream.clone());
        peer.send_rtcp(&mut self.urgent, buf, len)?;
        for video in &videos {
            self.tell_layers(now, video);
        }
        if let Some(conn) = self.conns.get(&conn) {
            let app = conn.app().clone();
            let mail = ControlMail::PublishMeasured {
                app,
                stream,
                measure,
            };
            self.mails.push_back(Outgoing::Control(Box::new(mail)));
        }
        Ok(())
    }
}

fn measurement(stream: &str, delivered: &Delivered) -> String {
    let Delivered {
        video_bps,
        audio_bps,
        target_bps,
    } = *delivered;
    info::bitrate_measurement(stream, target_bps, video_bps, audio_bps)
}

fn measure(now: Now, publisher: &Publisher, tracks: &mut Tracks) -> PublishMeasure {
    let mut measure = PublishMeasure {
        packets_lost: publisher.packets_lost(),
        rtt_us: publisher.rtt_us(),
        ..PublishMeasure::default()
    };
    for published in &publisher.sections {
        for key in published.tracks() {
            let Some(track) = tracks.get_mut(key) else {
                continue;
            };
            let bps = track.rate.bps(now.instant);
            measure.received_len += track.rate.total_len();
            match track.info.kind {
                MediaKind::Audio => measure.audio_bps += bps,
                MediaKind::Video => measure.video_bps += bps,
            }
        }
        if published.section.kind == MediaKind::Video
            && let Some(info) = published.track_info(tracks)
        {
            measure.layers = tracks.layers(now.instant, &info);
        }
    }
    if let Some(best) = measure.layers.last() {
        (measure.width, measure.height) = (best.width, best.height);
    }
    measure
}
