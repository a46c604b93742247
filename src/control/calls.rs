//! Who is in which call: two clients meet under an id and their messages go from one to the
//! other, whichever workers serve them.
//!
//! Pure: `directory.rs` mails what comes out. A multi-peer call has an owner that stays alone in
//! it; each newcomer is sent to a call of its own with the owner.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::base::ids::ConnId;
use crate::base::limits::{
    MAX_CANDIDATE_LEN, MAX_INVITATIONS, MAX_REMOTE_CANDIDATES, MAX_STREAM_ID_LEN,
};
use crate::model::call::{CallEvent, JoinAsk, JoinGrant, RelayKind};
use crate::model::definition::Definition;
use crate::model::track::StreamId;

/// Whom to tell, about which call, and what.
pub(super) type News = Vec<(ConnId, StreamId, CallEvent)>;

/// The calls of one application.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<StreamId, Call>,
    invitations: VecDeque<Invitation>,
    /// Owners and the calls that they were put in, and may not know of yet.
    brought: BTreeSet<(ConnId, StreamId)>,
    /// Invitations made so far: what tells their ids apart.
    invited: u64,
}

#[derive(Debug, Default)]
struct Call {
    /// In the order they came; the first is the one that offers.
    members: SmallVec<[Member; 2]>,
    /// Made for one newcomer of a multi-peer call: over as soon as either leaves.
    by_invitation: bool,
    /// When the other member of the one that is left went.
    parted: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    conn: ConnId,
    play_only: bool,
    multi_peer: bool,
    /// Its description went to the other member that is there.
    described: bool,
    /// Candidates that wait for it.
    held: Vec<String>,
}

/// A newcomer of a multi-peer call was told an id, which is for it alone.
#[derive(Debug)]
struct Invitation {
    stream: StreamId,
    guest: ConnId,
    call: StreamId,
    owner: ConnId,
}

impl Calls {
    /// `conn` joins; whether it may at all was decided before.
    ///
    /// # Errors
    /// `StreamIdInUse` when two others are in the call, or somebody else was invited to it.
    pub(super) fn join(
        &mut self,
        conn: ConnId,
        ask: &JoinAsk,
        news: &mut News,
    ) -> Result<JoinGrant, Definition> {
        self.redeem(conn, &ask.stream)?;
        let call = self.calls.entry(ask.stream.clone()).or_default();
        if call.members.iter().any(|member| member.conn == conn) {
            return Ok(JoinGrant::Joined);
        }
        if let Some(owner) = call.owner() {
            let stream = self.invite((owner, conn), &ask.stream);
            return Ok(JoinGrant::Redirected(stream));
        }
        if call.members.len() >= 2 {
            return Err(Definition::StreamIdInUse);
        }
        call.members.push(Member::new(conn, ask));
        if let Some((starter, event)) = call.start(&ask.stream) {
            news.push((starter, ask.stream.clone(), event));
        }
        Ok(JoinGrant::Joined)
    }

    /// `conn` leaves, or is gone. Nothing happens when it is not in the call.
    pub(super) fn leave(&mut self, now: Instant, conn: ConnId, stream: &StreamId, news: &mut News) {
        let Some(call) = self.calls.get_mut(stream) else {
            return;
        };
        let before = call.members.len();
        call.members.retain(|member| member.conn != conn);
        if call.members.len() == before {
            return;
        }
        self.brought.remove(&(conn, stream.clone()));
        self.invitations
            .retain(|i| i.owner != conn || i.call != *stream);
        call.parted = Some(now);
        let is_over = call.by_invitation;
        if let Some(left) = call.members.first_mut() {
            left.described = false;
            left.held.clear();
            let event = if is_over {
                CallEvent::Over
            } else {
                CallEvent::Left
            };
            news.push((left.conn, stream.clone(), event));
        }
        if is_over || call.members.is_empty() {
            for member in &call.members {
                self.brought.remove(&(member.conn, stream.clone()));
            }
            self.calls.remove(stream);
        }
    }

    /// `conn` is gone, and has left every call that it knew of.
    pub(super) fn forget(&mut self, now: Instant, conn: ConnId, news: &mut News) {
        self.invitations.retain(|i| i.guest != conn);
        let from = (conn, StreamId::from(""));
        let rest = self.brought.range(from..).take_while(|(of, _)| *of == conn);
        let calls: Vec<StreamId> = rest.map(|(_, stream)| stream.clone()).collect();
        for stream in calls {
            self.leave(now, conn, &stream, news);
        }
    }

    /// `conn` was told to join under this id.
    pub(super) fn has_invited(&self, conn: ConnId, stream: &str) -> bool {
        let mut invitations = self.invitations.iter();
        invitations.any(|i| i.guest == conn && *i.stream == *stream)
    }

    /// `conn` has a message for the other member. A description goes at once and takes the
    /// candidates along that waited for it.
    pub(super) fn relay(
        &mut self,
        now: Instant,
        conn: ConnId,
        stream: &StreamId,
        (kind, text): (RelayKind, String),
        news: &mut News,
    ) {
        let call = self.calls.get_mut(stream);
        let Some((me, other)) = call.and_then(|call| call.pair(conn)) else {
            let parted = self.calls.get(stream).and_then(|call| call.parted);
            let is_late = parted.is_some_and(|at| now.saturating_duration_since(at) < LATE);
            if kind != RelayKind::Candidate || !is_late {
                news.push((conn, stream.clone(), CallEvent::NoPeer));
            }
            return;
        };
        let deliver = |text| (other, stream.clone(), CallEvent::Relayed(text));
        match kind {
            RelayKind::Description => {
                me.described = true;
                news.push(deliver(text));
                news.extend(me.held.drain(..).map(deliver));
            }
            RelayKind::Candidate if me.described => news.push(deliver(text)),
            RelayKind::Candidate => {
                if text.len() <= MAX_CANDIDATE_LEN && me.held.len() < MAX_REMOTE_CANDIDATES {
                    me.held.push(text);
                }
            }
            RelayKind::Message => news.push(deliver(text)),
        }
    }

    /// Calls with at least one member.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.calls.len()
    }

    /// A newcomer joins under the id it was told: the owner is there already.
    fn redeem(&mut self, guest: ConnId, stream: &StreamId) -> Result<(), Definition> {
        let mut invitations = self.invitations.iter();
        let Some(at) = invitations.position(|i| i.stream == *stream) else {
            return Ok(());
        };
        if !self.has_invited(guest, stream) {
            return Err(Definition::StreamIdInUse);
        }
        let Some(Invitation { owner, .. }) = self.invitations.remove(at) else {
            return Ok(());
        };
        self.brought.insert((owner, stream.clone()));
        let call = self.calls.entry(stream.clone()).or_default();
        call.by_invitation = true;
        call.members.push(Member {
            conn: owner,
            play_only: false,
            multi_peer: false,
            described: false,
            held: Vec::new(),
        });
        Ok(())
    }

    /// An id for a newcomer of `call`, that nobody has.
    fn invite(&mut self, (owner, guest): (ConnId, ConnId), call: &StreamId) -> StreamId {
        let mut invitations = self.invitations.iter();
        let is_same = |i: &&Invitation| (i.owner, i.guest) == (owner, guest) && i.call == *call;
        if let Some(invitation) = invitations.find(is_same) {
            return invitation.stream.clone();
        }
        let stream = loop {
            self.invited += 1;
            let tail = format!("-{}", self.invited);
            // Ids are ASCII.
            let room = MAX_STREAM_ID_LEN.saturating_sub(tail.len());
            let head = call.get(..room.min(call.len())).unwrap_or_default();
            let stream = StreamId::from(format!("{head}{tail}"));
            if !self.calls.contains_key(&stream) {
                break stream;
            }
        };
        if self.invitations.len() >= MAX_INVITATIONS {
            self.invitations.pop_front();
        }
        self.invitations.push_back(Invitation {
            stream: stream.clone(),
            guest,
            call: call.clone(),
            owner,
        });
        stream
    }
}

impl Call {
    /// Who stays alone in a multi-peer call.
    fn owner(&self) -> Option<ConnId> {
        match self.members.as_slice() {
            [only] if only.multi_peer => Some(only.conn),
            _ => None,
        }
    }

    /// Who makes the offer once two are there: the first, unless it only receives and the second
    /// has something to send.
    fn start(&self, stream: &StreamId) -> Option<(ConnId, CallEvent)> {
        let [first, second] = self.members.as_slice() else {
            return None;
        };
        Some(if self.by_invitation {
            (first.conn, CallEvent::StartAnother(stream.clone()))
        } else if first.play_only && !second.play_only {
            (second.conn, CallEvent::Start)
        } else {
            (first.conn, CallEvent::Start)
        })
    }

    /// The member `conn` and the connection of the other one; `None` unless both are there.
    fn pair(&mut self, conn: ConnId) -> Option<(&mut Member, ConnId)> {
        let [a, b] = self.members.as_mut_slice() else {
            return None;
        };
        if a.conn == conn {
            Some((a, b.conn))
        } else if b.conn == conn {
            Some((b, a.conn))
        } else {
            None
        }
    }
}

impl Member {
    fn new(conn: ConnId, ask: &JoinAsk) -> Self {
        Self {
            conn,
            play_only: ask.play_only,
            multi_peer: ask.multi_peer,
            described: false,
            held: Vec::new(),
        }
    }
}

/// How long the candidates of a member whose other one has left are nobody's mistake: its client
/// is told a moment later and may be gathering.
const LATE: Duration = Duration::from_secs(10);

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
