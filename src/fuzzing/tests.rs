//! Replays what fuzzing knows: committed seeds, regressions, and some thousand mutations of both
//! that are the same in every run.
//!
//! `FUZZ_ROUNDS=N` makes N times as many. A failure prints the input, which then goes to
//! `fuzz/regressions/TARGET/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Body, TARGETS, seeds};

/// Runs a body over its inputs and over mutations of them.
fn hold(name: &str, rounds: usize) {
    let (_, body) = TARGETS.into_iter().find(|(n, _)| *n == name).unwrap();
    let mut inputs = files(&folder("seeds").join(name));
    let len: usize = inputs.iter().map(Vec::len).sum();
    assert!(!inputs.is_empty(), "{name} has no seeds");
    assert!(
        inputs.len() <= 20 && len <= 20 * 1024,
        "{name}: {} seeds of {len} bytes are more than are worth keeping",
        inputs.len()
    );
    inputs.extend(files(&folder("regressions").join(name)));
    for input in &inputs {
        run(body, input);
    }
    let mut rng = StdRng::seed_from_u64(name.bytes().fold(0, |sum, b| sum << 5 ^ u64::from(b)));
    let factor = std::env::var("FUZZ_ROUNDS").map_or(1, |text| text.parse().unwrap());
    for _ in 0..rounds * factor {
        let mut input = inputs.choose(&mut rng).unwrap().clone();
        for _ in 0..rng.random_range(1..6) {
            mutate(&mut input, &inputs, &mut rng);
        }
        run(body, &input);
    }
}

fn run(body: Body, input: &[u8]) {
    let told = Told(input);
    body(input);
    std::mem::forget(told);
}

/// Prints the input that a body failed with.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let hex: Vec<_> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("failed with {}", hex.concat());
    }
}

/// One change of the kinds that find most: bits, numbers, lengths, pieces of other inputs.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let end = (at + rng.random_range(0..16)).min(input.len());
    match rng.random_range(0..8) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        2 | 3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = *[0, 1, 0x7f, 0x80, 0xff, rng.random()].choose(rng).unwrap();
            }
        }
        4 => {
            input.drain(at..end);
        }
        5 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            let other = others.choose(rng).unwrap();
            let from = rng.random_range(0..=other.len());
            let len = rng.random_range(0..64).min(other.len() - from);
            input.splice(at..at, other[from..from + len].iter().copied());
        }
        _ => input.truncate(at),
    }
    input.truncate(MAX_INPUT_LEN);
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn every_body_has_its_target_and_its_seeds() {
    let wanted: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(wanted.len(), TARGETS.len());
    assert_eq!(names(&folder("fuzz_targets")), wanted);
    assert_eq!(names(&folder("seeds")), wanted);
    let known: Vec<_> = names(&folder("regressions")).into_iter().collect();
    assert!(known.iter().all(|name| wanted.contains(name)), "{known:?}");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &wanted {
        let path = format!("path = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "{name} is not built");
        let target = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        let call = format!("leafcutter::fuzzing::{name}(bytes)");
        assert!(target.contains(&call), "{name}.rs runs something else");
    }
}

/// Writes what the generators make, beside what fuzzing found.
#[test]
#[ignore = "changes fuzz/seeds"]
fn writes_the_seeds() {
    for (name, _) in TARGETS {
        let folder = folder("seeds").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds::of(name).iter().enumerate() {
            fs::write(folder.join(format!("made-{number:02}")), seed).unwrap();
        }
    }
}

#[test]
fn rtp() {
    hold("rtp", 8000);
}

#[test]
fn rtcp() {
    hold("rtcp", 8000);
}

#[test]
fn transport_feedback() {
    hold("transport_feedback", 4000);
}

#[test]
fn sdp_offer() {
    hold("sdp_offer", 400);
}

#[test]
fn sdp_answer() {
    hold("sdp_answer", 800);
}

#[test]
fn signalling_message() {
    hold("signalling_message", 4000);
}

#[test]
fn conversation() {
    hold("conversation", 2000);
}

#[test]
fn payload_descriptors() {
    for codec in ["vp8", "vp9", "h264", "h265", "av1", "opus", "red"] {
        hold(codec, 4000);
    }
    hold("dependency_descriptor", 8000);
    hold("layers_allocation", 8000);
}

#[test]
fn srtp() {
    hold("srtp", 300);
}

#[test]
fn replay() {
    hold("replay", 3000);
}

#[test]
fn rewriter() {
    hold("rewriter", 3000);
}

#[test]
fn selector() {
    hold("selector", 1000);
}

#[test]
fn history() {
    hold("history", 500);
}

#[test]
fn missing() {
    hold("missing", 1000);
}

#[test]
fn stun() {
    hold("stun", 1000);
}

#[test]
fn framing() {
    hold("framing", 3000);
}

#[test]
fn dtls() {
    hold("dtls", 60);
}

#[test]
fn sctp() {
    hold("sctp", 200);
}

#[test]
fn engine() {
    hold("engine", 20);
}

#[test]
fn rest() {
    hold("rest", 20);
}

#[test]
fn config() {
    hold("config", 100);
}

/// The committed files of real clients, whole and cut.
#[test]
fn descriptions_and_messages_of_real_clients_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for bytes in files(&root.join("sdp")) {
        for cut in (0..bytes.len()).step_by(211).chain([bytes.len()]) {
            run(super::sdp_offer, &bytes[..cut]);
            run(super::sdp_answer, &bytes[..cut]);
        }
    }
    let mut messages = 0;
    for bytes in files(&root.join("signalling")) {
        for line in bytes.split(|&b| b == b'\n') {
            if let Some(message) = line.strip_prefix(b"> ") {
                run(super::signalling_message, message);
                messages += 1;
            }
        }
    }
    assert!(messages > 100, "{messages} messages");
}

/// As long as the longest that cargo-fuzz is told to make.
const MAX_INPUT_LEN: usize = 4096;
