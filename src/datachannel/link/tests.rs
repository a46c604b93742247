//! One end and packets that are written for it, and two ends over a network that loses.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::clock::tests::test_now;
use crate::base::limits::MAX_DATA_CHUNKS;

const REMOTE: Remote = Remote {
    port: 5000,
    max_message_len: MAX_DATA_MESSAGE_LEN as u32,
};

const WHOLE: u8 = BEGINS | ENDS;
const UNORDERED: u8 = 4;

/// Two ends whose association is up.
fn connected() -> (Instant, [Link; 2], u32) {
    let mut now = test_now().instant;
    let mut ends = [Link::new(now, REMOTE), Link::new(now, REMOTE)];
    now += PATIENCE;
    ends[1].handle_timeout(now);
    let init = ends[1].poll_transmit(now).unwrap();
    let tsn = u32::from_be_bytes(init[28..32].try_into().unwrap());
    ends[0].handle_packet(now, init);
    for at in [0, 1, 0, 1] {
        while let Some(packet) = ends[at].poll_transmit(now) {
            ends[1 - at].handle_packet(now, packet);
        }
    }
    assert!(ends.iter().all(Link::is_up));
    (now, ends, tsn)
}

/// An end that hears what a test writes.
struct Victim {
    now: Instant,
    link: Link,
    header: [u8; 12],
    /// The first TSN.
    tsn: u32,
}

impl Victim {
    fn new() -> Self {
        let (now, [link, mut peer], tsn) = connected();
        peer.open(1);
        peer.write(now, 1, Ppid::String, b"tag");
        let real = peer.poll_transmit(now).unwrap();
        Self {
            now,
            link,
            header: real[..12].try_into().unwrap(),
            tsn,
        }
    }

    fn hear(&mut self, chunks: &[Vec<u8>]) {
        let mut packet = self.header.to_vec();
        packet.extend(chunks.concat());
        packet[8..12].fill(0);
        let sum = CRC32C.checksum(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&sum);
        self.link.handle_packet(self.now, packet.into());
    }

    fn read(&mut self) -> usize {
        let count = std::iter::from_fn(|| self.link.read()).count();
        let _ = self.link.poll_closed(self.now);
        count
    }

    /// What the last SACK of those that wait to be sent says: cumulative TSN and window.
    fn sack(&mut self) -> Option<(u32, u32)> {
        self.now += Duration::from_millis(300);
        self.link.handle_timeout(self.now);
        let mut last = None;
        while let Some(packet) = self.link.poll_transmit(self.now) {
            if packet[12] == 3 {
                let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
                last = Some((word(16), word(20)));
            }
        }
        last
    }

    fn data(&self, tsn: u32, flags: u8, stream: u16, ssn: u16, len: usize) -> Vec<u8> {
        data(self.tsn.wrapping_add(tsn), flags, stream, ssn, len)
    }

    fn forward(&self, tsn: u32, streams: &[(u16, u16)]) -> Vec<u8> {
        let mut value = self.tsn.wrapping_add(tsn).to_be_bytes().to_vec();
        for (stream, ssn) in streams {
            value.extend(stream.to_be_bytes());
            value.extend(ssn.to_be_bytes());
        }
        chunk(192, 0, &value)
    }

    /// The first request has the number of the first TSN (RFC 6525 §4.1).
    fn reset(&self, number: u32, last_tsn: u32, streams: &[u16]) -> Vec<u8> {
        let mut value = vec![0, 13];
        value.extend((16 + 2 * streams.len() as u16).to_be_bytes());
        value.extend(self.tsn.wrapping_add(number).to_be_bytes());
        value.extend([0; 4]);
        value.extend(self.tsn.wrapping_add(last_tsn).to_be_bytes());
        value.extend(streams.iter().flat_map(|s| s.to_be_bytes()));
        chunk(130, 0, &value)
    }
}

fn data(tsn: u32, flags: u8, stream: u16, ssn: u16, len: usize) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(ssn.to_be_bytes());
    value.extend(51u32.to_be_bytes());
    value.resize(12 + len, b'x');
    chunk(0, flags, &value)
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((4 + value.len() as u16).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// Messages that FORWARD-TSN leaves behind, and others from the far side of the number circle: no
/// order of them is an order.
fn cyclic(victim: &Victim) -> Vec<Vec<u8>> {
    let low = (1..=10).map(|at| victim.data(u32::from(at) - 1, WHOLE, 9, at, 1));
    let mut chunks: Vec<_> = low.collect();
    chunks.push(victim.data(10, BEGINS, 9, 0x5000, 1));
    chunks.push(victim.forward(11, &[(9, 0x4fff)]));
    let high = (0..10).map(|at| victim.data(12 + u32::from(at), WHOLE, 9, 0xa000 + at, 1));
    chunks.extend(high);
    chunks.push(victim.forward(22, &[(9, 0x5000)]));
    chunks.push(victim.data(23, WHOLE, 9, 0x5800, 1));
    chunks
}

#[test]
fn messages_that_are_in_no_order_do_not_end_the_process() {
    let mut victim = Victim::new();
    let chunks = cyclic(&victim);
    victim.hear(&chunks);
    victim.read();
    assert!(victim.link.is_up());
}

#[test]
fn messages_that_are_in_no_order_do_not_hide_in_another_chunk() {
    let victim = Victim::new();
    let hidden = cyclic(&victim).concat();
    // A SACK, a HEARTBEAT and an ERROR of which the library understands the beginning only.
    let sack = [&[0; 12], &hidden[..]].concat();
    let heartbeat = [&[0, 1, 0, 8, 1, 2, 3, 4], &hidden[..]].concat();
    let response = [&[0, 16, 0, 20, 0, 0, 0, 9, 0, 0, 0, 1], &hidden[..]].concat();
    let supported = [&[0; 16], &[0xc0, 0, 2, 0][..], &hidden[..]].concat();
    for (kind, value) in [(3, sack), (4, heartbeat), (130, response), (2, supported)] {
        let mut victim = Victim::new();
        victim.hear(&[chunk(kind, 0, &value)]);
        victim.read();
        assert!(victim.link.is_up(), "{kind}");
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Data {
        ahead: u32,
        flags: u8,
        stream: u16,
        ssn: u16,
    },
    Forward {
        ahead: u32,
        streams: Vec<(u16, u16)>,
    },
    Reset {
        number: u32,
        ahead: u32,
        streams: Vec<u16>,
    },
}

/// Numbers that are near one of few places on the circle.
fn any_ssn() -> impl Strategy<Value = u16> {
    let places = prop_oneof![Just(0u16), (0u16..16).prop_map(|at| at << 12), any::<u16>()];
    (places, 0u16..24).prop_map(|(place, by)| place.wrapping_add(by))
}

fn any_piece() -> impl Strategy<Value = Piece> {
    let flags = prop_oneof![6 => Just(WHOLE), 1 => Just(BEGINS), 1 => 0u8..8];
    let data = (0u32..3, flags, 8u16..10, any_ssn());
    let named = proptest::collection::vec((8u16..10, any_ssn()), 0..4);
    let reset = (0u32..4, 0u32..40, proptest::collection::vec(8u16..10, 0..3));
    prop_oneof![
        12 => data.prop_map(|(ahead, flags, stream, ssn)| Piece::Data {
            ahead, flags, stream, ssn
        }),
        2 => (0u32..6, named).prop_map(|(ahead, streams)| Piece::Forward { ahead, streams }),
        1 => reset.prop_map(|(number, ahead, streams)| Piece::Reset { number, ahead, streams }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whole_packets_of_any_numbers_do_no_harm(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any_piece(), 1..58), any::<bool>(), any::<bool>()), 1..12
        )
    ) {
        let mut victim = Victim::new();
        let mut next = 0;
        for (pieces, reads, answers) in packets {
            let chunks = pieces.into_iter().map(|piece| match piece {
                Piece::Data { ahead, flags, stream, ssn } => {
                    next += ahead.min(2);
                    victim.data(next - ahead.min(next), flags, stream, ssn, 1)
                }
                Piece::Forward { ahead, streams } => {
                    next += ahead;
                    victim.forward(next, &streams)
                }
                Piece::Reset { number, ahead, streams } => {
                    victim.reset(number, next + ahead, &streams)
                }
            });
            let chunks: Vec<_> = chunks.collect();
            victim.hear(&chunks);
            if reads {
                victim.read();
            }
            if answers {
                victim.sack();
            }
            prop_assert!(victim.link.held() <= 2 * MAX_DATA_CHUNKS);
        }
    }

    #[test]
    fn no_fewer_chunks_are_counted_than_are_held(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any_fragment(), 1..8), any::<bool>()), 1..60
        )
    ) {
        let mut victim = Victim::new();
        let mut next = 0u32;
        for (pieces, reads) in packets {
            let chunks = pieces.into_iter().map(|piece| match piece {
                Piece::Data { ahead, flags, stream, ssn } => {
                    let tsn = (next + ahead).saturating_sub(3);
                    next = next.max(tsn + 1);
                    victim.data(tsn, flags, stream, ssn, 1)
                }
                Piece::Forward { ahead, streams } => {
                    victim.forward((next + ahead).saturating_sub(4), &streams)
                }
                Piece::Reset { number, ahead, streams } => {
                    victim.reset(number, next + ahead, &streams)
                }
            });
            let chunks: Vec<_> = chunks.collect();
            victim.hear(&chunks);
            if reads {
                victim.read();
            }
            if let Some((_, window)) = victim.sack() {
                let held = DATA_RECEIVE_WINDOW_LEN - window as usize;
                prop_assert!(held <= victim.link.held(), "{} of {}", victim.link.held(), held);
            }
        }
    }
}

/// Of few messages, so that they meet.
fn any_fragment() -> impl Strategy<Value = Piece> {
    let data = (0u32..6, 0u8..8, 8u16..10, 0u16..5);
    let named = proptest::collection::vec((8u16..10, 0u16..6), 0..3);
    let reset = (0u32..4, 0u32..4, proptest::collection::vec(8u16..10, 0..3));
    prop_oneof![
        20 => data.prop_map(|(ahead, flags, stream, ssn)| Piece::Data {
            ahead, flags, stream, ssn
        }),
        4 => (0u32..6, named).prop_map(|(ahead, streams)| Piece::Forward { ahead, streams }),
        1 => reset.prop_map(|(number, ahead, streams)| Piece::Reset { number, ahead, streams }),
    ]
}

#[test]
fn a_peer_that_gives_up_what_has_half_arrived_goes_on_for_ever() {
    for flags in [0, UNORDERED] {
        let mut victim = Victim::new();
        let full = DATA_RECEIVE_WINDOW_LEN as u32;
        let mut rest = Vec::new();
        for round in 0..4000u16 {
            // A message that loses its middle, and the first half of a reliable one.
            let tsn = 11 * u32::from(round);
            let torn = [(0, BEGINS), (2, ENDS)].map(|(at, part)| (tsn + at, part | flags, 1));
            let first = [(3, BEGINS), (4, 0), (5, 0), (6, 0)].map(|(at, part)| (tsn + at, part, 3));
            let chunk = |(tsn, part, stream)| victim.data(tsn, part, stream, round, 1100);
            let chunks: Vec<_> = torn.into_iter().chain(first).map(chunk).collect();
            let more = (7..11).map(|at| (tsn + at, if at == 10 { ENDS } else { 0 }, 3));
            let more: Vec<_> = more.map(chunk).collect();
            // Something is always held: the other half comes with the next ones.
            victim.hear(&std::mem::replace(&mut rest, more));
            chunks.chunks(1).for_each(|chunk| victim.hear(chunk));
            let named: &[_] = if flags == 0 { &[(1, round)] } else { &[] };
            victim.hear(&[victim.forward(tsn + 2, named)]);
            assert_eq!(victim.read(), usize::from(round > 0), "round {round}");
            let (_, window) = victim.sack().unwrap();
            assert_eq!(window, full - 4 * 1100);
            assert!(victim.link.held() < 40, "{} in {round}", victim.link.held());
        }
        assert!(victim.link.is_up());
    }
}

#[test]
fn a_message_of_no_bytes_ends_the_association() {
    let mut victim = Victim::new();
    let empty = victim.data(0, WHOLE, 9, 0, 0);
    victim.hear(&[empty]);
    assert!(victim.link.is_lost());
}

#[test]
fn small_chunks_are_held_up_to_a_limit() {
    // Beginnings without an end, in a row and behind a gap; messages that wait for the first.
    let cases = [(0, UNORDERED | BEGINS), (1, UNORDERED | BEGINS), (1, WHOLE)];
    for (first, flags) in cases {
        let mut victim = Victim::new();
        for round in 0..100 {
            let at = |at: u32| first + 50 * round + at;
            let chunks: Vec<_> = (0..50)
                .map(|i| victim.data(at(i), flags, 9, at(i) as u16, 1))
                .collect();
            victim.hear(&chunks);
            victim.read();
            let (_, window) = victim.sack().unwrap_or((0, DATA_RECEIVE_WINDOW_LEN as u32));
            let held = DATA_RECEIVE_WINDOW_LEN - window as usize;
            assert!(held <= 2 * MAX_DATA_CHUNKS, "{held}");
            assert!(held <= victim.link.held());
        }
        assert!(victim.link.is_up());
    }
}

#[test]
fn what_goes_on_with_a_stream_before_its_reset_is_confirmed_is_lost() {
    let mut victim = Victim::new();
    let full = DATA_RECEIVE_WINDOW_LEN as u32;
    let before = victim.tsn.wrapping_sub(1);
    let (reset, early) = (victim.reset(0, 1, &[9]), victim.data(2, WHOLE, 9, 0, 1));
    let other = victim.data(2, WHOLE, 8, 0, 1);
    victim.hear(std::slice::from_ref(&reset));
    victim.hear(&[early]);
    assert_eq!(victim.read(), 0);
    victim.hear(&[victim.data(0, WHOLE, 9, 0, 1)]);
    assert_eq!(
        victim.sack(),
        Some((before.wrapping_add(1), full - 1)),
        "none but the last"
    );
    victim.hear(&[other]);
    assert_eq!(victim.read(), 2, "one of either stream");
    // Performed while nobody has read: the stream is kept, and goes on once it was.
    victim.hear(&[victim.data(1, WHOLE, 9, 1, 1)]);
    assert_eq!(victim.sack(), Some((before.wrapping_add(3), full - 1)));
    victim.hear(&[victim.data(3, WHOLE, 9, 0, 1)]);
    assert_eq!(victim.sack(), None);
    assert_eq!(victim.read(), 1);
    victim.hear(&[victim.data(3, WHOLE, 9, 0, 1)]);
    assert_eq!(victim.read(), 1);
    // A late copy of the request changes nothing.
    victim.hear(&[reset, victim.data(4, WHOLE, 9, 1, 1)]);
    assert_eq!(victim.read(), 1);
    assert_eq!(victim.sack(), Some((before.wrapping_add(5), full)));
}

/// A peer that means well, and a network.
struct Network {
    now: Instant,
    ends: [Link; 2],
    rng: StdRng,
    /// Of a hundred packets, how many are lost.
    loss: u32,
}

impl Network {
    fn new(seed: u64, loss: u32) -> Self {
        let (now, ends, _) = connected();
        Self {
            now,
            ends,
            rng: StdRng::seed_from_u64(seed),
            loss,
        }
    }

    /// Passes packets for 20 ms; what the first end has read.
    fn run(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        for from in [1, 0] {
            while let Some(packet) = self.ends[from].poll_transmit(self.now) {
                if self.rng.random_range(0..100) >= self.loss {
                    self.ends[1 - from].handle_packet(self.now, packet);
                }
                received.extend(std::iter::from_fn(|| self.ends[0].read()));
                let _ = self.ends[0].poll_closed(self.now);
            }
        }
        self.now += Duration::from_millis(20);
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|due| due <= self.now) {
                end.handle_timeout(self.now);
            }
        }
        received
    }

    fn send(&mut self, stream: u16, number: u32, len: usize) {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(len.max(4), 0);
        assert!(self.ends[1].write(self.now, stream, Ppid::Binary, &bytes));
    }

    /// Messages numbered from 0 come in order, `count` of them within `turns`, and no other.
    fn expect_numbers(&mut self, count: u32, turns: usize) {
        let mut next = 0;
        for _ in 0..turns {
            for received in self.run() {
                assert_eq!(number_of(&received), next);
                next += 1;
            }
            if next == count {
                return;
            }
        }
        panic!("{next} of {count} messages came");
    }
}

fn number_of(received: &Received) -> u32 {
    u32::from_be_bytes(received.bytes[..4].try_into().unwrap())
}

#[test]
fn a_peer_that_gives_messages_up_is_heard_for_hours() {
    for seed in 0..3 {
        let mut network = Network::new(seed, 5);
        for (stream, ordered, reliability) in [
            (1, true, Reliability::Retransmits(0)),
            (3, true, Reliability::Reliable),
            (5, false, Reliability::Retransmits(1)),
        ] {
            assert!(network.ends[1].open(stream));
            network.ends[1].set_reliability(stream, ordered, reliability);
        }
        let (mut sent, mut next) = ([0; 6], [0; 6]);
        let mut heard = [0; 6];
        // More than all the numbers that a stream has.
        while next[1] < 70_000 {
            let is_free = network.ends[1].backlog_len() < 30_000;
            for (stream, count, len) in [(1, 60, 4), (3, 1, 9000), (5, 5, 3000)] {
                for _ in 0..if is_free { count } else { 0 } {
                    network.send(stream, sent[usize::from(stream)], len);
                    sent[usize::from(stream)] += 1;
                }
            }
            for received in network.run() {
                let (stream, number) = (usize::from(received.stream), number_of(&received));
                heard[stream] += 1;
                if stream == 3 {
                    assert_eq!(number, next[3], "reliable");
                }
                assert!(stream == 5 || number >= next[stream], "in order");
                next[stream] = number + 1;
            }
            assert!(network.ends.iter().all(Link::is_up));
            assert!(network.now < test_now().instant + Duration::from_secs(40_000));
        }
        assert!(heard[1] < next[1], "some were given up");
        network.loss = 0;
        for _ in 0..3000 {
            next[3] += network.run().iter().filter(|r| r.stream == 3).count() as u32;
        }
        assert_eq!(next[3], sent[3]);
    }
}

#[test]
fn tiny_messages_that_wait_for_one_arrive() {
    let mut network = Network::new(5, 10);
    assert!(network.ends[1].open(1));
    for number in 0..30_000 {
        network.send(1, number, 4);
    }
    network.expect_numbers(30_000, 60_000);
}

#[test]
fn a_stream_that_is_reset_again_and_again_begins_at_the_beginning() {
    let mut network = Network::new(6, 8);
    for round in 0..40 {
        let mut tries = 0;
        while !network.ends[1].open(1) {
            network.run();
            let _ = network.ends[1].poll_closed(network.now);
            tries += 1;
            assert!(tries < 5000, "round {round}");
        }
        for number in 0..400 {
            network.send(1, number, 4);
        }
        network.expect_numbers(400, 5000);
        let (_, association) = network.ends[1].association.as_mut().unwrap();
        association.stream(1).unwrap().close().unwrap();
    }
    assert!(network.ends.iter().all(Link::is_up));
}

#[test]
fn what_waits_on_a_stream_that_the_peer_resets_is_counted_until_it_is_gone() {
    let (mut now, [mut link, mut peer], _) = connected();
    let message = vec![1; 50_000];
    for round in 0..4u16 {
        now += Duration::from_millis(300);
        assert!(peer.open(round));
        assert!(peer.write(now, round, Ppid::Binary, b"here"));
        while let Some(packet) = peer.poll_transmit(now) {
            link.handle_packet(now, packet);
        }
        assert!(link.read().is_some());
        assert!(link.write(now, round, Ppid::Binary, &message));
        now += Duration::from_millis(300);
        link.handle_timeout(now);
        let (_, association) = peer.association.as_mut().unwrap();
        association.stream(round).unwrap().close().unwrap();
        // The peer hears that its own messages came, and takes nothing else.
        while let Some(packet) = link.poll_transmit(now) {
            if packet[12] != 0 {
                peer.handle_packet(now, packet);
            }
        }
        while let Some(packet) = peer.poll_transmit(now) {
            link.handle_packet(now, packet);
        }
        assert_eq!(link.poll_closed(now), Some(round));
        assert_eq!(link.backlog_len(), message.len() * (usize::from(round) + 1));
    }
    let mut network = Network::new(7, 0);
    (network.now, network.ends) = (now, [link, peer]);
    for _ in 0..1000 {
        network.run();
        let _ = network.ends[0].poll_closed(network.now);
    }
    assert_eq!(network.ends[0].backlog_len(), 0);
    assert!(network.ends[0].is_up());
}

#[test]
fn an_association_that_was_given_up_keeps_nothing() {
    let (now, [mut link, mut peer], _) = connected();
    assert!(link.open(3));
    assert!(link.write(now, 3, Ppid::Binary, &vec![1; 50_000]));
    peer.open(1);
    peer.write(now, 1, Ppid::Binary, b"late");
    link.abort();
    while link.poll_transmit(now).is_some() {}
    assert!(link.association.is_none());
    assert_eq!(link.backlog_len(), 0);
    let late = peer.poll_transmit(now).unwrap();
    link.handle_packet(now, late);
    assert!(link.is_lost() && !link.is_readable() && link.poll_timeout().is_none());
}

/// Four megabytes to a server that does not read while it has over half a megabyte to pass on, to
/// somebody who takes nothing at first and then `rate` bytes in 10 ms: how long it took, the
/// packets and the SACKs.
fn pass_on(nothing: Duration, rate: usize) -> (Duration, u32, u32) {
    let mut network = Network::new(8, 0);
    assert!(network.ends[1].open(1));
    let began = network.now;
    let (mut sent, mut read, mut packets, mut sacks) = (0, 0, 0, 0);
    let (mut waiting, mut is_pressed) = (0usize, false);
    while read < 256 || waiting > 0 {
        while sent < 256 && network.ends[1].backlog_len() < 512 * 1024 {
            network.send(1, sent, 16 * 1024);
            sent += 1;
        }
        while let Some(packet) = network.ends[1].poll_transmit(network.now) {
            packets += 1;
            network.ends[0].handle_packet(network.now, packet);
        }
        if network.now >= began + nothing {
            waiting = waiting.saturating_sub(rate);
        }
        is_pressed &= waiting >= MAX_DATA_BACKLOG_LEN / 4;
        while !is_pressed && let Some(received) = network.ends[0].read() {
            assert_eq!(number_of(&received), read);
            read += 1;
            waiting += received.bytes.len();
            is_pressed = waiting > MAX_DATA_BACKLOG_LEN / 2;
        }
        let _ = network.ends[0].poll_closed(network.now);
        while let Some(packet) = network.ends[0].poll_transmit(network.now) {
            sacks += u32::from(packet[12] == 3);
            network.ends[1].handle_packet(network.now, packet);
        }
        network.now += Duration::from_millis(10);
        for end in &mut network.ends {
            if end.poll_timeout().is_some_and(|due| due <= network.now) {
                end.handle_timeout(network.now);
            }
        }
    }
    (network.now - began, packets, sacks)
}

#[test]
fn a_sender_whose_window_was_full_goes_on_as_soon_as_it_is_read() {
    for (nothing, rate) in [(0, 4), (0, 16), (0, 32), (0, 64), (1000, 64), (4500, 64)] {
        let (nothing, rate) = (Duration::from_millis(nothing), rate * 1024);
        let (took, packets, sacks) = pass_on(nothing, rate);
        let least = nothing + Duration::from_millis(10) * (4 * 1024 * 1024 / rate) as u32;
        let slack = Duration::from_millis(200);
        assert!(took < least + slack, "{nothing:?} {rate}: {took:?}");
        // Those that had no room, and were sent again.
        assert!(packets < 3900, "{packets}");
        assert!(sacks < packets / 20, "{sacks} for {packets}");
    }
}

#[test]
fn what_had_no_room_arrives_once_there_is_some() {
    let mut victim = Victim::new();
    let full = DATA_RECEIVE_WINDOW_LEN as u32;
    let count = full / 1024;
    for tsn in 0..count {
        let chunk = victim.data(tsn, WHOLE, 9, tsn as u16, 1024);
        victim.hear(&[chunk]);
    }
    let last = |count| victim.tsn.wrapping_add(count).wrapping_sub(1);
    let (all, more) = (last(count), last(count + 1));
    assert_eq!(victim.sack(), Some((all, 0)));
    let probe = victim.data(count, WHOLE, 9, count as u16, 1024);
    victim.hear(&[probe]);
    assert_eq!(victim.sack(), Some((all, 0)));
    // Too little room to speak of.
    assert!(victim.link.read().is_some());
    let _ = victim.link.poll_closed(victim.now);
    assert_eq!(victim.sack(), None);
    for _ in 0..2 {
        assert!(victim.link.read().is_some());
    }
    let _ = victim.link.poll_closed(victim.now);
    assert_eq!(victim.link.poll_timeout(), Some(victim.now));
    assert_eq!(victim.sack(), Some((more, 2 * 1024)));
    assert_eq!(victim.sack(), None);
    assert_eq!(victim.read(), count as usize - 2);
    assert_eq!(victim.sack(), Some((more, full)));
}
