//! What every received packet costs before and beside the cipher: header, extensions, canonical
//! form, RTCP compounds.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use leafcutter::base::bytes::Writer;
use leafcutter::base::extension::{ExtensionKind, ExtensionMap};
use leafcutter::base::ids::{Pt, Ssrc};
use leafcutter::base::seq::SeqNo;
use leafcutter::rtcp::{Compound, write};
use leafcutter::rtp::extension::Known;
use leafcutter::rtp::{RtpHeader, canonical};

/// A video packet as a browser sends it: MID, transport-wide number and absolute send time.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0xbe, 0xde, 0, 3];
    packet.extend_from_slice(&[0x10, b'1', 0x31, 0, 7, 0x22, 1, 2, 3, 0, 0, 0]);
    packet.extend_from_slice(&[0x5a; 1150]);
    packet
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.insert(ExtensionKind::Mid, 1);
    map.insert(ExtensionKind::AbsSendTime, 2);
    map.insert(ExtensionKind::TransportCc, 3);
    map
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let packet = packet();
    let map = extensions();
    let header = RtpHeader::parse(&packet).expect("a valid packet");
    group.throughput(Throughput::Elements(1));
    group.bench_function("rtp_header", |b| {
        b.iter(|| RtpHeader::parse(black_box(&packet)))
    });
    group.bench_function("rtp_extensions", |b| {
        b.iter(|| Known::read(black_box(&packet), &header, &map).transport_seq)
    });
    let mut out = [0; 1440];
    group.bench_function("canonical_form", |b| {
        b.iter(|| {
            let payload = header.payload(&packet)?;
            let source = canonical::Source {
                packet: black_box(&packet),
                header: &header,
                payload,
                extensions: &map,
                pt: Pt(96),
                seq: SeqNo(1),
                marker: true,
            };
            canonical::write(&mut out, source)
        });
    });
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    write::receiver_report(&mut w, Ssrc(1), &[]).expect("fits");
    write::nack(&mut w, Ssrc(1), Ssrc(2), &[SeqNo(7), SeqNo(9), SeqNo(400)]);
    write::pli(&mut w, Ssrc(1), Ssrc(2)).expect("fits");
    let len = w.len();
    group.bench_function("rtcp_compound", |b| {
        b.iter(|| {
            Compound::new(black_box(&buf[..len]))
                .filter(|p| p.is_ok())
                .count()
        })
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
