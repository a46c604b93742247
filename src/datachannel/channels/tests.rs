//! Two machines talk in memory, over a network that loses and reorders.

use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::clock::Now;
use crate::base::clock::tests::test_now;
use crate::base::limits::MAX_DATA_MESSAGE_LEN;
use crate::datachannel::CRC32C;

const REMOTE: Remote = Remote {
    port: 5000,
    max_message_len: MAX_DATA_MESSAGE_LEN as u32,
};

/// Two ends and the packets between them.
struct Pair {
    now: Now,
    ends: [End; 2],
    rng: StdRng,
    /// Of a hundred packets, how many are lost.
    loss: u32,
    /// Of a hundred packets, how many are overtaken by the next.
    reorder: u32,
}

struct End {
    channels: DataChannels,
    inbox: Vec<Bytes>,
    events: Vec<DataEvent>,
    reads: bool,
}

impl Pair {
    fn new(seed: u64, loss: u32, reorder: u32) -> Self {
        let now = test_now();
        let end = || {
            let mut channels = DataChannels::new(REMOTE);
            channels.start(now.instant);
            End {
                channels,
                inbox: Vec::new(),
                events: Vec::new(),
                reads: true,
            }
        };
        let mut pair = Self {
            now,
            ends: [end(), end()],
            rng: StdRng::seed_from_u64(seed),
            loss,
            reorder,
        };
        // The first end loses patience and initiates.
        let later = now.after(Duration::from_secs(3)).instant;
        pair.ends[0].channels.handle_timeout(later);
        pair
    }

    fn connected(label: &str) -> Self {
        let mut pair = Self::new(1, 0, 0);
        pair.open(0, label);
        pair.run(Duration::from_secs(1));
        assert!(pair.ends.iter().all(|end| end.channels.is_open()));
        pair
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        while self.now.instant < end {
            self.exchange();
            self.now = self.now.after(Duration::from_millis(10));
            for (index, end) in self.ends.iter_mut().enumerate() {
                // Only the first end is this server's. Where both initiate, a peer takes part in
                // resolving the collision (RFC 9260 §5.2.1), and this machine leaves that to it.
                let is_up = end.channels.link.as_ref().is_some_and(|link| link.is_up());
                let due = end.channels.poll_timeout();
                if due.is_some_and(|due| due <= self.now.instant) && (index == 0 || is_up) {
                    end.channels.handle_timeout(self.now.instant);
                }
            }
        }
    }

    fn open(&mut self, end: usize, label: &str) {
        self.ends[end].channels.open(self.now.instant, label);
    }

    fn send(&mut self, end: usize, message: &DataMessage) -> Result<(), NotSent> {
        self.ends[end].channels.send(self.now.instant, message)
    }

    fn exchange(&mut self) {
        let now = self.now.instant;
        for from in 0..2 {
            while let Some(packet) = self.ends[from].channels.poll_transmit(now) {
                assert!(packet.len() <= MAX_PACKET_LEN, "{} bytes", packet.len());
                if self.rng.random_range(0..100) < self.loss {
                    continue;
                }
                let inbox = &mut self.ends[1 - from].inbox;
                let at = match inbox.len() {
                    len if len > 0 && self.rng.random_range(0..100) < self.reorder => len - 1,
                    len => len,
                };
                inbox.insert(at, packet);
            }
        }
        for end in &mut self.ends {
            for packet in std::mem::take(&mut end.inbox) {
                end.channels.handle_packet(now, packet);
                while end.reads
                    && let Some(event) = end.channels.poll_event(now)
                {
                    end.events.push(event);
                }
            }
        }
    }

    fn messages(&self, end: usize) -> Vec<DataMessage> {
        let events = self.ends[end].events.iter();
        let messages = events.filter_map(|event| match event {
            DataEvent::Message(message) => Some(message.clone()),
            DataEvent::Opened | DataEvent::Lost => None,
        });
        messages.collect()
    }
}

fn any_message() -> impl Strategy<Value = DataMessage> {
    let text = ".{0,20}".prop_map(DataMessage::text);
    let short = proptest::collection::vec(any::<u8>(), 0..20).prop_map(DataMessage::binary);
    prop_oneof![text, short]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_message_arrives_once_as_it_was_and_in_order(
        seed: u64,
        loss in 0u32..15,
        reorder in 0u32..40,
        there in proptest::collection::vec((any_message(), 0usize..30_000), 0..12),
        back in proptest::collection::vec((any_message(), 0usize..30_000), 0..12),
    ) {
        let (there, back) = (lengthen(&there), lengthen(&back));
        let mut pair = Pair::new(seed, loss, reorder);
        pair.open(0, "call");
        for message in &there {
            pair.send(0, message).unwrap();
        }
        pair.run(Duration::from_secs(5));
        for message in &back {
            pair.send(1, message).unwrap();
        }
        for _ in 0..30 {
            pair.run(Duration::from_secs(4));
            if pair.messages(1).len() >= there.len() && pair.messages(0).len() >= back.len() {
                break;
            }
        }
        prop_assert!(pair.messages(1) == there, "{} of {}", pair.messages(1).len(), there.len());
        prop_assert!(pair.messages(0) == back, "{} of {}", pair.messages(0).len(), back.len());
    }

    #[test]
    fn arbitrary_packets_do_no_harm(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 1..40)
    ) {
        let mut pair = Pair::connected("call");
        for packet in packets {
            pair.ends[1].channels.handle_packet(pair.now.instant, Bytes::from(packet));
            pair.exchange();
        }
        prop_assert!(pair.ends[1].channels.is_open());
    }

    /// Packets that the library takes for the peer's: right tag, right checksum, any chunks.
    #[test]
    fn arbitrary_chunks_of_the_peer_do_no_harm(
        chunks in proptest::collection::vec(any_chunk(), 1..60)
    ) {
        let mut pair = Pair::connected("call");
        pair.send(0, &DataMessage::text("tag")).unwrap();
        let now = pair.now.instant;
        let real = pair.ends[0].channels.poll_transmit(now).unwrap();
        for chunk in chunks {
            let packet = forge(&real, &chunk);
            pair.ends[1].channels.handle_packet(now, packet);
            while pair.ends[1].channels.poll_event(now).is_some() {}
            while pair.ends[1].channels.poll_transmit(now).is_some() {}
        }
        for _ in 0..20 {
            pair.now = pair.now.after(Duration::from_millis(700));
            pair.ends[1].channels.handle_timeout(pair.now.instant);
            while pair.ends[1].channels.poll_transmit(pair.now.instant).is_some() {}
        }
    }
}

/// Each message, every other one repeated up to a length: failures print the short form.
fn lengthen(messages: &[(DataMessage, usize)]) -> Vec<DataMessage> {
    let long = |(message, len): &(DataMessage, usize)| match len % 2 {
        0 => message.clone(),
        _ => DataMessage {
            kind: message.kind,
            bytes: message
                .bytes
                .repeat(len / message.bytes.len().max(1))
                .into(),
        },
    };
    messages.iter().map(long).collect()
}

/// A chunk of any kind: type, flags, and a value whose length field tells the truth or not.
fn any_chunk() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        Just(0u8),
        Just(3),
        0u8..15,
        Just(130),
        Just(192),
        Just(194),
        any::<u8>()
    ];
    // Small numbers next to each other make sense more often than random ones.
    let word = prop_oneof![0u32..6, any::<u32>(), Just(0x000d_0010), Just(0x0010_000c)];
    let value = proptest::collection::vec(word, 0..12);
    (kind, 0u8..8, value, -3i32..4).prop_map(|(kind, flags, words, lie)| {
        let value: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        let len = (4 + value.len() as i32 + if lie.abs() > 2 { lie } else { 0 }) as u16;
        let mut chunk = vec![kind, flags];
        chunk.extend_from_slice(&len.to_be_bytes());
        chunk.extend_from_slice(&value);
        chunk
    })
}

/// The header of `real` before `chunk`, its DATA's TSN and its SACK's near the real ones.
fn forge(real: &[u8], chunk: &[u8]) -> Bytes {
    let mut packet = real[..12].to_vec();
    packet.extend_from_slice(chunk);
    let is_data = chunk[0] == 0 || chunk[0] == 192;
    if is_data && chunk.len() >= 8 {
        let near = u32::from_be_bytes(real[16..20].try_into().unwrap());
        let tsn = near.wrapping_add(u32::from(chunk[7]) % 8);
        packet[16..20].copy_from_slice(&tsn.to_be_bytes());
    }
    packet[8..12].fill(0);
    let sum = CRC32C.checksum(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    Bytes::from(packet)
}

/// Shows that what the test above forges is taken for the peer's.
#[test]
fn a_forged_heartbeat_is_answered() {
    let mut pair = Pair::connected("call");
    pair.send(0, &DataMessage::text("tag")).unwrap();
    let now = pair.now.instant;
    let real = pair.ends[0].channels.poll_transmit(now).unwrap();
    let heartbeat = [4, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4];
    let packet = forge(&real, &heartbeat);
    pair.ends[1].channels.handle_packet(now, packet);
    let answer = pair.ends[1].channels.poll_transmit(now).unwrap();
    assert_eq!(answer[12], 5, "HEARTBEAT ACK");
}

#[test]
fn a_label_reaches_the_other_side_and_messages_go_both_ways() {
    let mut pair = Pair::connected("call");
    pair.send(0, &DataMessage::text("there")).unwrap();
    pair.send(1, &DataMessage::text("back")).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.messages(1), [DataMessage::text("there")]);
    assert_eq!(pair.messages(0), [DataMessage::text("back")]);
}

#[test]
fn the_channel_that_the_peer_opened_last_is_the_pipe() {
    let mut pair = Pair::connected("server");
    pair.open(1, "client");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[0].channels.pipe(), Some(5), "5: 3 is taken");
    assert_eq!(pair.ends[1].channels.pipe(), Some(3));
    pair.send(0, &DataMessage::text("once")).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.messages(1), [DataMessage::text("once")]);
}

#[test]
fn what_is_sent_before_a_channel_is_open_is_held_up_to_a_limit() {
    let mut pair = Pair::new(1, 0, 0);
    let message = DataMessage::text("early");
    for _ in 0..MAX_DATA_HELD {
        pair.send(1, &message).unwrap();
    }
    assert_eq!(pair.send(1, &message), Err(NotSent::Full));
    pair.open(0, "call");
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.messages(0).len(), MAX_DATA_HELD);
}

#[test]
fn a_peer_that_reads_nothing_costs_a_bounded_backlog_and_hears_whole_messages() {
    let mut pair = Pair::connected("call");
    pair.ends[1].reads = false;
    let message = DataMessage::binary(vec![7; 60_000]);
    let mut taken = 0;
    for _ in 0..200 {
        match pair.send(0, &message) {
            Ok(()) => taken += 1,
            Err(reason) => assert_eq!(reason, NotSent::Full),
        }
        pair.run(Duration::from_millis(50));
        assert!(pair.ends[0].channels.backlog_len() <= MAX_DATA_BACKLOG_LEN);
    }
    let most = (MAX_DATA_BACKLOG_LEN + 2 * crate::base::limits::DATA_RECEIVE_WINDOW_LEN) / 60_000;
    assert!(taken <= most, "{taken}");
    pair.ends[1].reads = true;
    pair.run(Duration::from_secs(60));
    // What the receive window held is read with the next packet.
    assert_eq!(pair.messages(1), vec![message; taken]);
    assert_eq!(pair.ends[0].channels.backlog_len(), 0);
}

#[test]
fn a_message_that_the_peer_does_not_take_is_refused() {
    let mut channels = DataChannels::new(Remote {
        port: 5000,
        max_message_len: 10,
    });
    let now = test_now().instant;
    let long = DataMessage::text("eleven byte");
    assert_eq!(channels.send(now, &long), Err(NotSent::TooLong));
    assert_eq!(channels.send(now, &DataMessage::text("ten bytes.")), Ok(()));
}

#[test]
fn a_message_that_is_longer_than_announced_ends_the_association() {
    let mut pair = Pair::new(1, 0, 0);
    let now = pair.now.instant;
    pair.ends[0].channels = DataChannels::new(Remote {
        port: 5000,
        max_message_len: u32::MAX,
    });
    pair.ends[0].channels.start(now);
    let later = pair.now.after(Duration::from_secs(3)).instant;
    pair.ends[0].channels.handle_timeout(later);
    pair.open(0, "call");
    pair.run(Duration::from_secs(1));
    let long = DataMessage::binary(vec![1; MAX_DATA_MESSAGE_LEN + 1]);
    pair.send(0, &long).unwrap();
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.messages(1), []);
    assert_eq!(pair.ends[1].events.last(), Some(&DataEvent::Lost));
}

#[test]
fn too_many_channels_end_the_association() {
    let mut pair = Pair::connected("0");
    for at in 0..MAX_DATA_CHANNELS {
        pair.open(1, &at.to_string());
        pair.run(Duration::from_millis(500));
    }
    assert_eq!(pair.ends[0].events.last(), Some(&DataEvent::Lost));
    let send = pair.send(0, &DataMessage::text("late"));
    assert_eq!(send, Err(NotSent::Lost));
}

/// What an end says outside its channels.
fn say(pair: &mut Pair, end: usize, stream: u16, dcep: &Dcep) {
    let link = pair.ends[end].channels.link.as_mut().unwrap();
    assert!(link.write(pair.now.instant, stream, Ppid::Dcep, &dcep.write()));
}

fn any_open() -> Dcep {
    Dcep::Open(Open {
        ordered: true,
        reliability: Reliability::Reliable,
        priority: PRIORITY_NORMAL,
        label: String::new(),
        protocol: String::new(),
    })
}

#[test]
fn a_channel_that_is_opened_again_and_again_is_acknowledged_once() {
    let mut pair = Pair::connected("call");
    pair.open(1, "theirs");
    pair.run(Duration::from_secs(1));
    let stream = pair.ends[0].channels.pipe().unwrap();
    let opened = pair.ends[0].events.len();
    for _ in 0..100 {
        say(&mut pair, 1, stream, &any_open());
    }
    let now = pair.now.instant;
    while let Some(packet) = pair.ends[1].channels.poll_transmit(now) {
        pair.ends[0].channels.handle_packet(now, packet);
        while let Some(event) = pair.ends[0].channels.poll_event(now) {
            pair.ends[0].events.push(event);
        }
    }
    assert_eq!(pair.ends[0].channels.backlog_len(), 0, "no ACK waits");
    assert_eq!(pair.ends[0].events.len(), opened);
    assert!(pair.ends[0].channels.ignored() > 0);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[0].channels.ignored(), 100);
    pair.send(1, &DataMessage::text("on")).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.messages(0), [DataMessage::text("on")]);
}

#[test]
fn an_acknowledgement_that_does_not_fit_the_backlog_ends_the_association() {
    let mut pair = Pair::connected("call");
    let now = pair.now.instant;
    let full = DataMessage::binary(vec![7; MAX_DATA_MESSAGE_LEN]);
    for _ in 0..MAX_DATA_BACKLOG_LEN / MAX_DATA_MESSAGE_LEN {
        pair.send(0, &full).unwrap();
    }
    assert_eq!(pair.ends[0].channels.backlog_len(), MAX_DATA_BACKLOG_LEN);
    pair.open(1, "theirs");
    while let Some(packet) = pair.ends[1].channels.poll_transmit(now) {
        pair.ends[0].channels.handle_packet(now, packet);
    }
    while let Some(event) = pair.ends[0].channels.poll_event(now) {
        pair.ends[0].events.push(event);
    }
    assert_eq!(pair.ends[0].events.last(), Some(&DataEvent::Lost));
}

#[test]
fn a_late_copy_of_the_first_packet_changes_nothing() {
    let mut pair = Pair::new(1, 0, 0);
    let now = pair.now.instant;
    let init = pair.ends[0].channels.poll_transmit(now).unwrap();
    pair.ends[1].channels.handle_packet(now, init.clone());
    pair.open(0, "call");
    pair.run(Duration::from_secs(1));
    pair.ends[1].channels.handle_packet(now, init);
    pair.send(0, &DataMessage::text("on")).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.messages(1), [DataMessage::text("on")]);
}
