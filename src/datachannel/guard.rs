//! Which packets of a peer the SCTP library gets to see (RFC 9260, RFC 3758, RFC 6525).
//!
//! `sctp-proto` takes what a well-behaved peer sends. Some of what another can send ends the
//! process (it sorts ordered messages by serial numbers, which are in no order once they lie far
//! apart) or takes time that grows with the square of what it holds. A packet that could lead
//! there is lost here, as the network might have lost it: a peer that means well sends it again,
//! and it passes once what was in its way is read. Only what no peer may send ends the
//! association. Reads headers, no user data; changes no packet. Called by `link.rs`.
//!
//! INVARIANT: the ordered messages that one stream holds have numbers in `lowest..lowest + 2^14`.
//! Whatever is put there passes [`Guard::judge`] while its number is in that range, and `lowest`
//! moves only past what is gone: with each ordered message that is read, which is the lowest, and
//! when nothing is held at all. FORWARD-TSN takes away and adds nothing.

use super::tally::{Piece, Tally, is_after};
use crate::base::bytes::Reader;
use crate::base::limits::{DATA_RECEIVE_WINDOW_LEN, MAX_DATA_CHUNKS, MAX_DATAGRAM_LEN};

/// What is known of one association's receiving side.
#[derive(Debug, Default)]
pub(super) struct Guard {
    tally: Tally,
    /// The window that the last SACK told the peer of.
    told: usize,
    /// Bytes that were let in since, and that were read.
    came_len: usize,
    read_len: usize,
    /// DATA chunks of the last packet that the library had no room for.
    late: Vec<u8>,
    orders: Vec<Order>,
    pending: Option<Reset>,
    /// The last reset request that was performed.
    performed: Option<u32>,
    /// Streams that were reset and whose messages were not all read.
    closing: Vec<u16>,
}

/// The order of one stream.
#[derive(Debug)]
struct Order {
    stream: u16,
    /// No message that is held has a lower number.
    lowest: u16,
    /// The highest number that was let in, or passed over by FORWARD-TSN.
    top: u16,
    /// Unordered messages that may be held: what is read may be one of them.
    unordered: usize,
}

/// An Outgoing SSN Reset Request (RFC 6525 §4.1) that has no final answer.
#[derive(Debug)]
struct Reset {
    number: u32,
    last_tsn: u32,
    /// Empty: all.
    streams: Vec<u16>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take,
    /// Treated as if the network had lost it.
    Lose,
    /// No peer may send it: the association ends.
    End,
}

/// What makes the library tell the peer of its window.
#[derive(Debug)]
pub(super) struct Update {
    /// A TSN that the library has taken long since.
    pub old_tsn: u32,
    /// DATA chunks that it had no room for: mostly the one by which the peer probes. Handed to it
    /// once there is, they save the peer a retransmission that is seconds away by then.
    pub late: Vec<u8>,
}

impl Guard {
    /// Judges a packet of the peer, before the library sees it.
    pub fn judge(&self, packet: &[u8]) -> Verdict {
        self.look_at(packet).unwrap_or(Verdict::Lose)
    }

    /// `None` for what is not whole.
    fn look_at(&self, packet: &[u8]) -> Option<Verdict> {
        let request = find_reset(packet)?;
        let request = match request {
            // One at a time (RFC 6525 §5.1.1); copies of what was done long ago do nothing.
            Some(request) if self.was_performed(request.number) => None,
            Some(request)
                if self
                    .pending
                    .as_ref()
                    .is_some_and(|p| p.number != request.number) =>
            {
                return None;
            }
            request => request,
        };
        let (mut fresh, mut continues) = (0, self.tally.acked().is_none());
        let mut chunks = Chunks::of(packet)?;
        while let Some(chunk) = chunks.next()? {
            match chunk {
                // RFC 9260 §6.2.
                Chunk::Data(data) if data.len == 0 => return Some(Verdict::End),
                Chunk::Data(data) => {
                    if self.tally.is_old(data.tsn) {
                        continue;
                    }
                    let beyond = request.as_ref().is_some_and(|r| r.is_before(&data));
                    if beyond || !self.may_hold(&data) {
                        return None;
                    }
                    fresh += usize::from(!self.tally.has(data.tsn));
                    continues |= self.tally.continues(data.tsn);
                }
                Chunk::ForwardTsn { tsn, mut streams } => {
                    if !self.tally.is_old(tsn) && self.is_far(tsn) {
                        return None;
                    }
                    // The library keeps these for as long as the stream is not read.
                    while let Some((stream, _)) = streams.next() {
                        if self.closing.contains(&stream) {
                            return None;
                        }
                    }
                }
                Chunk::Reset(_) | Chunk::Sack | Chunk::Other => {}
            }
        }
        let held = self.held() + fresh;
        // What continues may complete what is held, and is let in for longer.
        let most = match continues {
            true => 2 * MAX_DATA_CHUNKS,
            false => MAX_DATA_CHUNKS,
        };
        match fresh == 0 || held <= most {
            true => Some(Verdict::Take),
            false => None,
        }
    }

    fn is_far(&self, tsn: u32) -> bool {
        let ahead = self.tally.acked().map(|acked| tsn.wrapping_sub(acked));
        ahead.is_some_and(|ahead| ahead > MAX_AHEAD)
    }

    fn was_performed(&self, number: u32) -> bool {
        let last = self.performed;
        last.is_some_and(|last| !is_after(number, last))
    }

    fn may_hold(&self, data: &Data) -> bool {
        let pending = self.pending.as_ref();
        let waits = pending
            .is_some_and(|reset| reset.affects(data.stream) && is_after(data.tsn, reset.last_tsn));
        // A peer does not go on with a stream before its reset is confirmed (RFC 6525 §5.1.2);
        // whatever comes early is costly for the library to keep.
        if waits || self.closing.contains(&data.stream) || self.is_far(data.tsn) {
            return false;
        }
        let order = self.orders.iter().find(|o| o.stream == data.stream);
        let lowest = order.map_or(0, |o| o.lowest);
        data.is_unordered() || data.ssn.wrapping_sub(lowest) < SPAN
    }

    /// A packet that passed is handed to the association.
    pub fn note(&mut self, packet: &[u8]) {
        let Some(mut chunks) = Chunks::of(packet) else {
            return;
        };
        let is_plain = is_plain(packet).unwrap_or(false);
        let is_full = self.tally.acked().is_some() && self.told + self.read_len <= self.came_len;
        let mut late = Vec::new();
        let mut rest = chunks.reader.rest();
        while let Some(Some(chunk)) = chunks.next() {
            let (bytes, behind) = rest.split_at(rest.len() - chunks.reader.len());
            rest = behind;
            match chunk {
                Chunk::Data(data) if !self.tally.is_old(data.tsn) => {
                    self.note_data(&data);
                    late.extend_from_slice(bytes);
                }
                Chunk::ForwardTsn { tsn, streams } => self.note_forward(tsn, streams, is_plain),
                Chunk::Reset(request) if !self.was_performed(request.number) => {
                    self.pending.get_or_insert_with(|| request.to_owned());
                }
                Chunk::Data(_) | Chunk::Reset(_) | Chunk::Sack | Chunk::Other => {}
            }
        }
        if is_full && !late.is_empty() {
            self.late = late;
        }
    }

    fn note_data(&mut self, data: &Data) {
        let piece = Piece {
            stream: data.stream,
            order: (!data.is_unordered()).then_some(data.ssn),
            begins: data.flags & BEGINS != 0,
            ends: data.flags & ENDS != 0,
            counts: true,
        };
        if self.tally.note_data(data.tsn, piece) {
            self.came_len += data.len;
        }
        self.with_order(data.stream, |order| match data.is_unordered() {
            true => order.unordered += usize::from(data.flags & ENDS != 0),
            false => order.reach(data.ssn),
        });
    }

    fn note_forward(&mut self, tsn: u32, mut streams: Forwarded<'_>, is_plain: bool) {
        let mut named: Vec<(u16, u16)> = Vec::new();
        while let Some((stream, ssn)) = streams.next() {
            if let Some(order) = self.orders.iter_mut().find(|o| o.stream == stream) {
                order.reach(ssn);
                named.retain(|(of, _)| *of != stream);
                named.push((stream, ssn));
            }
        }
        let (closing, pending) = (&self.closing, self.pending.as_ref());
        self.tally.note_forward(tsn, |stream, order| {
            // Of streams that are reset the library puts it off.
            let is_reset = closing.contains(&stream) || pending.is_some_and(|p| p.affects(stream));
            let is_named = order.is_none_or(|ssn| {
                let named = named.iter().find(|(of, _)| *of == stream);
                named.is_some_and(|(_, last)| last.wrapping_sub(ssn) < SPAN)
            });
            is_plain && is_named && !is_reset
        });
    }

    fn with_order(&mut self, stream: u16, change: impl FnOnce(&mut Order)) {
        match self.orders.iter_mut().find(|o| o.stream == stream) {
            Some(order) => change(order),
            None => {
                let mut order = Order::new(stream);
                change(&mut order);
                self.orders.push(order);
            }
        }
    }

    /// A message of `chunks` chunks and `len` bytes was read.
    pub fn note_read(&mut self, stream: u16, chunks: usize, len: usize) {
        self.tally.note_read(chunks);
        self.read_len += len;
        // As long as it may have been an unordered one it is taken for such: `lowest` may stay
        // behind, and never gets ahead.
        self.with_order(stream, |order| match order.unordered.checked_sub(1) {
            Some(less) => order.unordered = less,
            None => order.lowest = order.lowest.wrapping_add(1),
        });
    }

    /// What the library is to be handed once the peer should hear that there is more room than the
    /// last SACK said (RFC 9260 §6.2): twice as much, and by two packets or more (RFC 1122
    /// §4.2.3.3). `None` again until more is read.
    pub fn take_update(&mut self) -> Option<Update> {
        let is_due = self.is_update_due();
        let old_tsn = self.tally.acked().filter(|_| is_due)?;
        self.read_len = 0;
        let late = std::mem::take(&mut self.late);
        Some(Update { old_tsn, late })
    }

    pub fn is_update_due(&self) -> bool {
        self.tally.acked().is_some() && self.read_len >= self.told.max(2 * MAX_DATAGRAM_LEN)
    }

    /// A packet that the library has just made. True when it says that a reset was performed,
    /// upon which [`note_performed`](Self::note_performed) is to be called.
    pub fn note_sent(&mut self, packet: &[u8]) -> bool {
        self.read_sent(packet) == Some(true)
    }

    fn read_sent(&mut self, packet: &[u8]) -> Option<bool> {
        let mut reader = Reader::new(packet);
        reader.skip(COMMON_HEADER_LEN)?;
        // Either is the only chunk of its packet.
        match reader.u8()? {
            SACK => {
                reader.skip(3)?;
                let (tsn, room) = (reader.u32()?, reader.u32()?);
                let count = reader.u16()?;
                reader.skip(2)?;
                let gap = |_| Some((reader.u16()?, reader.u16()?));
                let gaps: Vec<_> = (0..count).map_while(gap).collect();
                self.note_sack(tsn, room as usize, &gaps);
                None
            }
            RE_CONFIG => {
                reader.skip(3)?;
                let kind = reader.u16()?;
                reader.skip(2)?;
                let number = reader.u32()?;
                let pending = self.pending.as_ref().map(|p| p.number);
                if kind != RESET_RESPONSE || pending != Some(number) {
                    return None;
                }
                match reader.u32()? {
                    // Success (RFC 6525 §4.4).
                    0 | 1 => Some(true),
                    IN_PROGRESS => None,
                    _ => {
                        self.pending = None;
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn note_sack(&mut self, tsn: u32, room: usize, gaps: &[(u16, u16)]) {
        (self.told, self.came_len, self.read_len) = (room, 0, 0);
        if room > 0 {
            self.late = Vec::new();
        }
        // Each chunk has a byte at least, and what the window lacks is all that is held.
        let held_len = DATA_RECEIVE_WINDOW_LEN.saturating_sub(room);
        self.tally.note_sack(tsn, gaps, held_len);
        if held_len == 0 {
            for order in &mut self.orders {
                order.restart();
            }
        }
    }

    /// The pending reset was performed; `streams` are those that there are still.
    pub fn note_performed(&mut self, streams: &[u16]) {
        let Some(reset) = self.pending.take() else {
            return;
        };
        self.performed = Some(reset.number);
        let affected = |stream: &u16| reset.affects(*stream);
        for stream in streams.iter().filter(|stream| affected(stream)) {
            if !self.closing.contains(stream) {
                self.closing.push(*stream);
            }
        }
        self.orders
            .retain(|o| !affected(&o.stream) || streams.contains(&o.stream));
    }

    /// A stream was reset and read to its end: it may begin again, at number 0.
    pub fn note_finished(&mut self, stream: u16) {
        self.closing.retain(|closing| *closing != stream);
        self.tally.note_finished(stream);
        self.orders.retain(|order| order.stream != stream);
    }

    /// DATA chunks that may be held, at most: `2 * limits::MAX_DATA_CHUNKS`.
    pub fn held(&self) -> usize {
        self.tally.held()
    }
}

impl Reset {
    fn affects(&self, stream: u16) -> bool {
        self.streams.is_empty() || self.streams.contains(&stream)
    }
}

impl Order {
    fn new(stream: u16) -> Self {
        Self {
            stream,
            lowest: 0,
            top: 0,
            unordered: 0,
        }
    }

    fn reach(&mut self, ssn: u16) {
        if ssn.wrapping_sub(self.top) < 1 << 15 {
            self.top = ssn;
        }
    }

    /// Nothing is held: the numbers that come next are near the highest that there were. This
    /// makes up for those that FORWARD-TSN passed over, which nobody reads.
    fn restart(&mut self) {
        self.unordered = 0;
        let lowest = self.top.wrapping_sub(SPAN / 2);
        if lowest.wrapping_sub(self.lowest) < 1 << 15 {
            self.lowest = lowest;
        }
    }
}

/// What counts of a DATA chunk (RFC 9260 §3.3.1).
#[derive(Clone, Copy, Debug)]
struct Data {
    flags: u8,
    tsn: u32,
    stream: u16,
    ssn: u16,
    /// Bytes of user data.
    len: usize,
}

impl Data {
    fn is_unordered(self) -> bool {
        self.flags & UNORDERED != 0
    }
}

/// A reset request as it is in a packet.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    number: u32,
    last_tsn: u32,
    streams: Reader<'a>,
}

impl Request<'_> {
    /// True when the chunk belongs to what comes after the reset.
    fn is_before(&self, data: &Data) -> bool {
        let mut streams = self.streams;
        let mut affected = streams.is_empty();
        while let Some(stream) = streams.u16() {
            affected |= stream == data.stream;
        }
        affected && is_after(data.tsn, self.last_tsn)
    }

    fn to_owned(self) -> Reset {
        let mut streams = self.streams;
        Reset {
            number: self.number,
            last_tsn: self.last_tsn,
            streams: std::iter::from_fn(|| streams.u16()).collect(),
        }
    }
}

/// The streams that a FORWARD-TSN names, with numbers (RFC 3758 §3.2, RFC 8260 §2.3.1).
#[derive(Clone, Copy, Debug)]
struct Forwarded<'a> {
    reader: Reader<'a>,
    interleaved: bool,
}

impl Forwarded<'_> {
    fn next(&mut self) -> Option<(u16, u16)> {
        let stream = self.reader.u16()?;
        if self.interleaved {
            // The library takes the low half of a message identifier for the number.
            self.reader.skip(4)?;
        }
        Some((stream, self.reader.u16()?))
    }
}

#[derive(Debug)]
enum Chunk<'a> {
    Data(Data),
    ForwardTsn { tsn: u32, streams: Forwarded<'a> },
    Reset(Request<'a>),
    Sack,
    Other,
}

/// The chunks of a packet, where the library finds them: it goes on behind what it has understood
/// of a chunk, so that a chunk whose length says something else could hide others. There is no
/// such packet of a peer that means well.
struct Chunks<'a> {
    reader: Reader<'a>,
}

impl<'a> Chunks<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(packet);
        let (source, destination) = (reader.u16()?, reader.u16()?);
        reader.skip(COMMON_HEADER_LEN - 4)?;
        (source != 0 && destination != 0).then_some(Self { reader })
    }

    /// The next one, `Some(None)` behind the last; `None` for what the library does not take, or
    /// would understand differently.
    fn next(&mut self) -> Option<Option<Chunk<'a>>> {
        if self.reader.is_empty() {
            return Some(None);
        }
        let (kind, flags) = (self.reader.u8()?, self.reader.u8()?);
        let len = usize::from(self.reader.u16()?).checked_sub(4)?;
        let value = self.reader.sub(len)?;
        let padding = self.reader.take(padded(len) - len)?;
        // Of others the library does not look at it.
        if self.reader.is_empty() && padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let chunk = match kind {
            DATA => Chunk::Data(read_data(flags, value)?),
            FORWARD_TSN => read_forward(value, false)?,
            I_FORWARD_TSN => read_forward(value, true)?,
            RE_CONFIG => read_re_config(value)?,
            SACK => Chunk::Sack,
            _ => Chunk::Other,
        };
        let understood = match kind {
            DATA | FORWARD_TSN | I_FORWARD_TSN | RE_CONFIG | COOKIE_ECHO => len,
            SACK => sack_len(value)?,
            INIT | INIT_ACK => 16 + parameters_len(value, 16, usize::MAX)?,
            HEARTBEAT => parameters_len(value, 0, 1)?,
            ABORT | ERROR => causes_len(value)?,
            SHUTDOWN => 4,
            SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => 0,
            _ => return None,
        };
        (padded(understood) == padded(len)).then_some(Some(chunk))
    }
}

fn read_data(flags: u8, mut value: Reader<'_>) -> Option<Data> {
    let data = Data {
        flags,
        tsn: value.u32()?,
        stream: value.u16()?,
        ssn: value.u16()?,
        len: value.len().checked_sub(4)?,
    };
    Some(data)
}

fn read_forward(mut value: Reader<'_>, interleaved: bool) -> Option<Chunk<'_>> {
    let tsn = value.u32()?;
    let entry = if interleaved { 8 } else { 4 };
    let streams = Forwarded {
        reader: value,
        interleaved,
    };
    value
        .len()
        .is_multiple_of(entry)
        .then_some(Chunk::ForwardTsn { tsn, streams })
}

/// One parameter or two (RFC 6525 §3.1), of which one may be a request.
fn read_re_config(value: Reader<'_>) -> Option<Chunk<'_>> {
    if padded(parameters_len(value, 0, 2)?) != padded(value.len()) {
        return None;
    }
    let (mut rest, mut found) = (value, None);
    while !rest.is_empty() {
        let kind = rest.u16()?;
        let len = usize::from(rest.u16()?).checked_sub(4)?;
        let mut parameter = rest.sub(len)?;
        let _ = rest.skip(padded(len) - len);
        if kind == RESET_REQUEST {
            let number = parameter.u32()?;
            parameter.skip(4)?;
            let request = Request {
                number,
                last_tsn: parameter.u32()?,
                streams: parameter,
            };
            if found.replace(request).is_some() {
                return None;
            }
        }
    }
    Some(found.map_or(Chunk::Other, Chunk::Reset))
}

/// The one reset request of a packet; `None` when there are more, or the packet is not whole.
fn find_reset(packet: &[u8]) -> Option<Option<Request<'_>>> {
    let mut chunks = Chunks::of(packet)?;
    let mut found = None;
    while let Some(chunk) = chunks.next()? {
        if let Chunk::Reset(request) = chunk
            && found.replace(request).is_some()
        {
            return None;
        }
    }
    Some(found)
}

/// True when the library takes all of a packet, or ends the association: it has none but chunks
/// that are understood here as there, and FORWARD-TSN for messages of one number each.
fn is_plain(packet: &[u8]) -> Option<bool> {
    let mut chunks = Chunks::of(packet)?;
    while let Some(chunk) = chunks.next()? {
        match chunk {
            Chunk::ForwardTsn { streams, .. } if streams.interleaved => return Some(false),
            Chunk::Data(_) | Chunk::Sack | Chunk::ForwardTsn { .. } => {}
            Chunk::Reset(_) | Chunk::Other => return Some(false),
        }
    }
    Some(true)
}

fn sack_len(mut value: Reader<'_>) -> Option<usize> {
    value.skip(8)?;
    let (gaps, copies) = (value.u16()?, value.u16()?);
    Some(12 + 4 * (usize::from(gaps) + usize::from(copies)))
}

/// Bytes of the parameters behind the first `skip`, at most `most` of them, as the library counts
/// them: with what is between two, without what fills up the last.
fn parameters_len(mut value: Reader<'_>, skip: usize, most: usize) -> Option<usize> {
    value.skip(skip)?;
    let (mut len, mut count) = (0, 0);
    while value.len() >= 4 && count < most {
        let mut header = value;
        let kind = header.u16()?;
        let said = usize::from(header.u16()?);
        let understood = match kind {
            // Of these the library knows the length, whatever they say.
            FORWARD_TSN_SUPPORTED => 4,
            RESET_RESPONSE => 12,
            HMAC_ALGORITHMS => 4 + (said.checked_sub(4)? & !1),
            _ => said,
        };
        if said < 4 || said > value.len() || padded(understood) != padded(said) {
            return None;
        }
        len = padded(len) + understood;
        count += 1;
        // The last one's padding may not be counted in.
        if value.skip(padded(said)).is_none() {
            break;
        }
    }
    Some(len)
}

/// Bytes of error causes as the library counts them: it knows of no padding.
fn causes_len(mut value: Reader<'_>) -> Option<usize> {
    let mut len = 0;
    while value.len() >= 4 {
        let mut header = value;
        header.skip(2)?;
        let cause = usize::from(header.u16()?);
        if cause < 4 {
            return None;
        }
        value.skip(cause)?;
        len += cause;
    }
    Some(len)
}

const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// How many message numbers of one stream may be held at a time: half of what serial number
/// arithmetic could tell apart, and far more than the window has room for under way.
const SPAN: u16 = 1 << 14;

/// How far TSNs may be ahead of the last SACK; it could not speak of others (RFC 9260 §3.3.4).
const MAX_AHEAD: u32 = 1 << 15;

/// RFC 9260 §3.1.
pub(super) const COMMON_HEADER_LEN: usize = 12;

/// Chunk types (RFC 9260 §3.2, RFC 3758 §3.2, RFC 6525 §3.1, RFC 8260 §2.3.1).
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
const I_FORWARD_TSN: u8 = 194;

/// Flags of DATA (RFC 9260 §3.3.1).
pub(super) const ENDS: u8 = 1;
pub(super) const BEGINS: u8 = 2;
const UNORDERED: u8 = 4;
pub(super) const IMMEDIATE: u8 = 8;

/// Parameter types (RFC 6525 §4, RFC 4895 §3.3, RFC 3758 §3.1).
const RESET_REQUEST: u16 = 13;
const RESET_RESPONSE: u16 = 16;
const HMAC_ALGORITHMS: u16 = 0x8004;
const FORWARD_TSN_SUPPORTED: u16 = 0xc000;

/// A result that is not final (RFC 6525 §4.4).
const IN_PROGRESS: u32 = 6;
