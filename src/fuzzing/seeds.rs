//! Inputs to begin with, made by the product's own writers and by hand.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::conversation::COMMANDS;
use super::descriptions;
use crate::base::bytes::Writer;
use crate::base::clock::NtpTime;
use crate::base::ids::Ssrc;
use crate::base::seq::{RtpTime, SeqNo};
use crate::bench::description::{self, Tracks};
use crate::bench::link::Identity;
use crate::payload::test_bits::hex;
use crate::rtcp::report::{ReportBlock, SenderInfo};
use crate::rtcp::write::{self, FeedbackHead};
use crate::transport::ice::Credentials;

/// The seeds of a target.
pub(super) fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "rtp" => rtp(),
        "rtcp" => rtcp(),
        "transport_feedback" => vec![
            hex("04b0 fff0 00000010 60 61 62 00 00 70 e0 8000 f0 20 dF 60"),
            hex("0000 0000 ffffff00 60 00 60 00 60 00 60 00 60 00 60 00 60 60 60 60"),
        ],
        "sdp_offer" => offers(),
        "sdp_answer" => answers(),
        "signalling_message" => messages(),
        "conversation" => conversations(),
        "vp8" => payloads(&[
            "90 c0 9234 07 aa",
            "10 000000 9d012a 8042 e081",
            "b0 e0 05 09 80 01",
        ]),
        "vp9" => payloads(&[
            "a8 9234 53 2a 82498342004ff02cf6",
            "f5 2a 20 03 05 08",
            "8a 05 58 0140 00b4 0280 0168 0500 02d0 02 00 28 01 02 aa",
        ]),
        "h264" => bare(&[
            "67 42c01f 8c8d405005bb0110",
            "78 0008 6742c01f8c8d4050 0004 68ce3c80 0003 658884",
            "7c 85 8884",
            "419a38",
        ]),
        "h265" => bare(&[
            "4201 01016000000300b0",
            "6001 0004 40010c01 0004 42010101",
            "6201 93 d0",
        ]),
        "av1" => bare(&[
            "18 080000002d4cffb3ccaf9004",
            "30 01 aa 02 bbcc dd",
            "10 3010",
        ]),
        "opus" => bare(&["78 01 02", "fb 03 01 02", "fc"]),
        "red" => bare(&[
            "6f 60 ef 0f 00 03 6f 01 02 03 04 05",
            "6f 01 6f 09",
            "6f 6f ef 0f 00 00 ef",
        ]),
        "layers_allocation" => bare(&[
            "61 00 9601 f403 c413 013f 00b3 1e 027f 0167 1e 04ff 02cf 1e",
            "20 10 60 18 0a 14 1e 28 32 3c",
            "07 54 0a 0f f403 d804 8008 01",
            "00",
        ]),
        "dependency_descriptor" => descriptors(),
        "srtp" => (0..3).map(secured).collect(),
        "stun" => vec![hex("01 00 01 41 81 02 0123 02 0001 03 0004 00010000")],
        "framing" => vec![
            hex("0004 00020102 0001 00 0003 010300 0002 0000"),
            hex("0005 00010a0000 0003 000107 0004 05dc0001 0002 0203"),
            hex("0002 05dd 0001 00"),
        ],
        "dtls" => vec![
            hex("05 05 05 05 05 05 05 05"),
            hex("05 00 01 80 05 05 04 05 02 0100 05 01 ff 05 05 05 05"),
            hex("03 0020 16fefd0000000000000000001001000004000000000000000400000000 05 05 05"),
        ],
        "sctp" => associations(),
        "engine" => sessions(),
        "rest" => requests(),
        "config" => settings(),
        _ => steps(),
    }
}

/// Random steps, for machines whose every byte is one.
fn steps() -> Vec<Vec<u8>> {
    let some = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..150).map(|_| rng.random()).collect()
    };
    (0..6).map(some).collect()
}

/// With the three bytes that a patch is made of.
fn payloads(texts: &[&str]) -> Vec<Vec<u8>> {
    let with = |text: &&str| [&[0xff, 0xfe, 0x55], &*hex(text)].concat();
    texts.iter().map(with).collect()
}

fn bare(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| hex(text)).collect()
}

fn rtp() -> Vec<Vec<u8>> {
    bare(&[
        "90e01234 00000001 decafbad bede0003 11 0005 40 61 52 6869 a0 ff 00000000 102030",
        "80601234 00000001 decafbad 9000 8001 9d012a",
        "b2e0ffff fffffff0 00000001 00000002 00000003 10000002 01 02 0009 0d 03 860173 00 0002",
        "a06f0001 00000002 00000003 000003",
    ])
}

fn secured(profile: u8) -> Vec<u8> {
    let rtp = &rtp()[usize::from(profile)];
    [&[profile, 0, 99, 0, 0, 0, 1], &**rtp].concat()
}

fn rtcp() -> Vec<Vec<u8>> {
    let report = ReportBlock {
        ssrc: Ssrc(9),
        fraction_lost: 3,
        cumulative_lost: -2,
        highest_seq: 70_000,
        jitter: 12,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 65_536,
    };
    let info = SenderInfo {
        ntp: NtpTime(0x1234_5678_9abc_def0),
        rtp: RtpTime(90_000),
        packets: 100,
        octets: 100_000,
    };
    let head = FeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: 65_530,
        feedback_count: 7,
    };
    let arrivals = [Some(1000), None, Some(1003), Some(990), None, Some(9000)];
    let lost = [SeqNo(65_535), SeqNo(3), SeqNo(40)];
    let made = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut buf = [0; 600];
        let mut w = Writer::new(&mut buf);
        write(&mut w);
        let len = w.len();
        buf[..len].to_vec()
    };
    vec![
        made(&|w| {
            write::sender_report(w, Ssrc(1), &info, &[report]).unwrap();
            write::sdes_cname(w, Ssrc(1), "leafcutter").unwrap();
        }),
        made(&|w| write::receiver_report(w, Ssrc(1), &[report, report]).unwrap()),
        made(&|w| {
            write::nack(w, Ssrc(1), Ssrc(2), &lost);
            write::pli(w, Ssrc(1), Ssrc(2)).unwrap();
        }),
        made(&|w| write::fir(w, Ssrc(1), Ssrc(2), 5).unwrap()),
        made(&|w| write::remb(w, Ssrc(1), 2_500_000, &[Ssrc(2), Ssrc(3)]).unwrap()),
        made(&|w| {
            write::transport_feedback(w, &head, arrivals.iter().copied());
        }),
        made(&|w| write::bye(w, &[Ssrc(1), Ssrc(2)]).unwrap()),
        hex(
            "80cf000a 00000001 04000002 1234567890abcdef 05000003 00000009 00000001 00000002 \
             01000001 00000007",
        ),
    ]
}

/// L1T3 of the AV1 RTP specification (A.6.1), and what goes with it.
fn descriptors() -> Vec<Vec<u8>> {
    let structure = hex("8003e18214eaa860414d141020842701e00e10");
    let plain = [0x86, 0x01, 0x73];
    let mut bytes = vec![0x01, 0x02, 0x03];
    for element in [
        &structure[..],
        &plain,
        &[0xc2, 0x00, 0x02],
        &[0xc3, 0, 3, 0x40, 0x10],
    ] {
        bytes.push(element.len() as u8);
        bytes.extend_from_slice(element);
    }
    vec![bytes]
}

fn credentials() -> Credentials {
    Credentials {
        ufrag: "them".to_owned(),
        password: "their password, of 22+".to_owned(),
    }
}

fn offers() -> Vec<Vec<u8>> {
    let identity = Identity::generate().unwrap();
    let tracks = Tracks {
        video: Some(Ssrc(2)),
        audio: Some(Ssrc(1)),
    };
    let ours = description::offer(tracks, &credentials(), &identity, "actpass");
    let simulcast = ours.replace(
        "a=msid:bench video",
        "a=rid:h send\r\na=rid:l send pt=96;max-width=320\r\na=simulcast:send h;~l\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 2 3",
    );
    let data = "v=0\r\na=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
                a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\na=setup:actpass\r\n\
                a=fingerprint:sha-256 07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:\
                07:07:07:07:07:07:07:07:07:07:07:07:07\r\na=mid:0\r\na=sctp-port:5000\r\n";
    [ours, simulcast, data.to_owned()]
        .map(String::into_bytes)
        .into()
}

fn answers() -> Vec<Vec<u8>> {
    let identity = Identity::generate().unwrap();
    let offer = crate::sdp::parse(&descriptions::offered_text()).unwrap();
    [true, false]
        .map(|cc| description::answer(&offer, &credentials(), &identity, cc).into_bytes())
        .into()
}

fn messages() -> Vec<Vec<u8>> {
    let said = |command: &&str| {
        super::conversation::text_of(command, "stream1")
            .to_string()
            .into_bytes()
    };
    let mut messages: Vec<_> = COMMANDS.iter().step_by(2).map(said).collect();
    let loose = json!({"command": "publish", "streamId": 17, "video": "true", "audio": null,
        "mainTrack": "room", "metaData": {"a": [1]}, "token": "t", "unknown": {}});
    messages.push(loose.to_string().into_bytes());
    messages
}

fn conversations() -> Vec<Vec<u8>> {
    vec![
        // Publishes "a": granted, offered, answered, connected, receiving, stopped.
        hex("00 00 00 05 00 00 03 00 08 00 00 08 00 0e 08 00 10 00 02 00"),
        // Plays "b": granted, offered, answered, connected; other sources; again; ended.
        hex("00 01 01 05 00 08 01 05 00 04 01 08 01 09 08 01 0f 0c 01 06 08 01 05 0c 01 07 0c01"),
        // Joins, is refused, joins a room, time passes, leaves.
        hex("00 08 02 05 01 00 0b 03 0d 00 02 0e ff 00 0c 03 0e ff 0f"),
        [
            &hex("04 0030")[..],
            br#"{"command":"play","streamId":"a","room":"r"}"#,
        ]
        .concat(),
    ]
}

fn associations() -> Vec<Vec<u8>> {
    vec![
        // The hostile end initiates, both exchange, open, send.
        hex("01 ff 0a 0a 0a 83 0a 0a 84 0004 61626364 0a 0a 03 0a 04 0003 313233 0a 0a"),
        hex("01 ff 0a 0a 83 0a 0a 85 40 0a 05 20 0a 0a 00 50 0a 07 0010 ff 0a 06 0004 0e000004 0a"),
        hex("01 ff 0a 0a 83 0a 06 0010 00030010 00000001 00000000 33 0a 82 0a"),
        [hex("01 ff 0a 0a 0a 0a"), unordered_numbers(), hex("0a 0a")].concat(),
        // A reset that is not due, and what follows it; then what it waits for.
        hex(
            "01 ff 0a 0a 0a 0a 0f 03 03 01 00 09 0000 00 02 03 09 0000 00 02 03 08 0000 \
             0f 02 00 00 03 09 0000 00 01 03 09 0001 0a 0f 01 00 03 03 09 0000 0a",
        ),
    ]
}

/// Whole messages, numbers that are passed over, and whole messages from the far side of the
/// number circle: the library's sort knows no order of them.
fn unordered_numbers() -> Vec<u8> {
    let mut packet = hex("0f 18");
    let mut chunk = |kind: u8, tsn: u8, flags: u8, ssn: u16| {
        packet.extend([kind, tsn, flags, 9]);
        packet.extend(ssn.to_be_bytes());
    };
    (0..10).for_each(|at| chunk(0, at, 3, 1 + u16::from(at)));
    chunk(0, 10, 2, 0x5000);
    chunk(2, 11, 0, 0x4fff);
    (0..10).for_each(|at| chunk(0, 12 + at, 3, 0xa000 + u16::from(at)));
    chunk(2, 22, 0, 0x5000);
    chunk(0, 23, 3, 0x5800);
    packet
}

/// Opens and connects a publisher and its viewer; media and feedback; stops and closes.
fn sessions() -> Vec<Vec<u8>> {
    let mut begin = hex("00 05 40 45");
    let media = hex(
        "08 ef 01 01 00 000a 9080 8001 1002009d012a 08 60 01 01 01 0006 8080 80020304 \
                     09 6f 00 01 01 0004 01020304 04 14",
    );
    let feedback =
        hex("4d 0010 81cd0003 00000001 00000002 00000003 4d 000c 81ce0002 00000001 00000002");
    let end = hex("04 7f 02 00 42 00 04 7f 41 01");
    begin.extend_from_slice(&media);
    let short = begin.clone();
    begin.extend_from_slice(&feedback);
    begin.extend_from_slice(&media);
    begin.extend_from_slice(&end);
    let unwelcome = hex(
        "00 05 06 0004 80600001 07 0003 160303 07 0014 000100002112a442000000000000000000000000",
    );
    vec![short, begin, unwelcome]
}

fn requests() -> Vec<Vec<u8>> {
    let request = |method: u8, path: &str, body: &str| {
        let text = format!("{path}\n{body}");
        let len = (text.len() + 1) as u16;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.push(method);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    vec![
        [
            request(
                1,
                "broadcasts/create",
                r#"{"streamId":"a","name":"n","publishType":"WebRTC"}"#,
            ),
            request(0, "broadcasts/a", ""),
            request(2, "broadcasts/a", r#"{"name":"m","metaData":"x"}"#),
            request(0, "broadcasts/list/0/10?sort_by=name&search=m", ""),
            request(3, "broadcasts/a", ""),
        ]
        .concat(),
        [
            request(0, "broadcasts/a/token?expireDate=99999999999&type=play", ""),
            request(
                1,
                "broadcasts/a/subscribers",
                r#"{"subscriberId":"s","b32Secret":"ABCDEFGH"}"#,
            ),
            request(0, "broadcasts/a/subscribers/list/0/5", ""),
        ]
        .concat(),
        [
            request(1, "broadcasts/a/data", r#"{"k":1}"#),
            request(0, "broadcasts/active-live-stream-count", ""),
            request(0, "applications/settings", ""),
            request(0, "version", ""),
        ]
        .concat(),
    ]
}

fn settings() -> Vec<Vec<u8>> {
    [
        "[server]\nlisten = \"0.0.0.0:5080\"\nworkers = 2\ncpu_limit = 85\n[media]\nport = 5000\n\
         announce = [\"192.0.2.1\"]\neven_lengths = false\nsingle_port = true\n",
        "[app.default]\nwebRTCViewerLimit = 5\n\n[app.live]\npublishTokenControlEnabled = true\n\
         hlsMuxingEnabled = true\nremoteAllowedCIDR = \"127.0.0.1/8\"\n",
        "[server]\nworkres = 2\n",
        "[app.\"a b\"]\n[media]\nport = 65535\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
