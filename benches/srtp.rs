//! What SRTP costs per packet: protect and unprotect per profile and length, and the forwarding
//! path's copy and protect with so many keys in rotation that they do not stay in L1 and L2.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leafcutter::srtp::{Keys, MasterKey, Profile, Protect, Unprotect};

fn protect_rtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("protect_rtp");
    for profile in Profile::ALL {
        let protect = Protect::new(&master(profile, 0)).unwrap();
        for len in LENS {
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new(name(profile), len), |b| {
                let mut buf = packet(len);
                b.iter(|| {
                    protect
                        .protect_rtp(black_box(&mut buf), HEADER_LEN, len, INDEX)
                        .unwrap()
                })
            });
        }
    }
    group.finish();
}

/// Includes a copy of the protected packet, because opening it destroys it.
fn unprotect_rtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy_unprotect_rtp");
    for profile in Profile::ALL {
        let protect = Protect::new(&master(profile, 0)).unwrap();
        let unprotect = Unprotect::new(&master(profile, 0)).unwrap();
        for len in LENS {
            let mut protected = packet(len);
            let sealed_len = protect
                .protect_rtp(&mut protected, HEADER_LEN, len, INDEX)
                .unwrap();
            protected.truncate(sealed_len);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new(name(profile), len), |b| {
                let mut buf = protected.clone();
                b.iter(|| {
                    buf.copy_from_slice(black_box(&protected));
                    unprotect
                        .unprotect_rtp(&mut buf, HEADER_LEN, INDEX)
                        .unwrap()
                })
            });
        }
    }
    group.finish();
}

/// One packet to 2000 subscribers, one after the other.
fn copy_protect_rotation(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy_protect_2000_keys");
    for profile in Profile::ALL {
        let keys: Vec<Protect> = (0..2000)
            .map(|i| Protect::new(&master(profile, i)).unwrap())
            .collect();
        for len in LENS {
            let plain = packet(len);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new(name(profile), len), |b| {
                let mut buf = plain.clone();
                let mut turn = keys.iter().cycle();
                b.iter(|| {
                    let protect = turn.next().unwrap();
                    buf.copy_from_slice(black_box(&plain));
                    protect
                        .protect_rtp(&mut buf, HEADER_LEN, len, INDEX)
                        .unwrap()
                })
            });
        }
    }
    group.finish();
}

fn rtcp(c: &mut Criterion) {
    let mut group = c.benchmark_group("protect_rtcp");
    for profile in Profile::ALL {
        let mut protect = Protect::new(&master(profile, 0)).unwrap();
        let len = 64;
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(name(profile), len), |b| {
            let mut buf = packet(len);
            b.iter(|| protect.protect_rtcp(black_box(&mut buf), len).unwrap())
        });
    }
    group.finish();
}

/// What a completed handshake costs: both directions, twelve derived keys.
fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("keys");
    for profile in Profile::ALL {
        let material = vec![7; profile.keying_material_len()];
        group.bench_function(name(profile), |b| {
            b.iter(|| {
                let keys = Keys::from_dtls(profile, black_box(&material)).unwrap();
                (
                    Protect::new(&keys.server).unwrap(),
                    Unprotect::new(&keys.client).unwrap(),
                )
            })
        });
    }
    group.finish();
}

/// A packet of `len` bytes and room for any profile's tag.
fn packet(len: usize) -> Vec<u8> {
    let mut buf: Vec<u8> = (0..len).map(|i| i as u8).collect();
    buf[..4].copy_from_slice(&[0x90, 96, 0, INDEX as u8]);
    buf.resize(len + 20, 0);
    buf
}

fn master(profile: Profile, serial: u32) -> MasterKey {
    let mut key = vec![1; profile.key_len()];
    key[..4].copy_from_slice(&serial.to_be_bytes());
    MasterKey::new(profile, &key, &vec![2; profile.salt_len()]).unwrap()
}

fn name(profile: Profile) -> &'static str {
    match profile {
        Profile::AeadAes128Gcm => "aes128_gcm",
        Profile::AeadAes256Gcm => "aes256_gcm",
        Profile::AesCm128HmacSha1_80 => "aes128_cm_sha1_80",
    }
}

/// An audio and a video packet.
const LENS: [usize; 2] = [100, 1200];

/// RTP header with a one-byte extension block of one word.
const HEADER_LEN: usize = 20;

const INDEX: u64 = 42;

criterion_group!(
    benches,
    protect_rtp,
    unprotect_rtp,
    copy_protect_rotation,
    rtcp,
    keys
);
criterion_main!(benches);
