//! Congestion control under RFC 8867's test cases: the product's estimator and bucket over a
//! simulated link, side by side with str0m's.
//!
//! `cargo test --test congestion -- --ignored` writes the traces and plots of `docs/plots/`, and
//! the table of `docs/performance.md` to standard output with `--nocapture`.

mod anchor;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "../sim/bottleneck.rs"]
mod bottleneck;
mod course;
mod media;
mod plot;
mod scenarios;
mod shallow;
mod tcp;

use std::fs;
use std::path::Path;

use course::{Kind, Plan, Record, Whose};

/// `SIM_SEEDS=N` runs N seeds per scenario, `SIM_SEED=X` one.
fn seeds() -> Vec<u64> {
    let read = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    match (read("SIM_SEED"), read("SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (1..=count).collect(),
        (None, None) => vec![1, 2],
    }
}

fn has_tcp(plan: &Plan) -> bool {
    plan.flows.iter().any(|flow| flow.kind != Kind::Media)
}

/// Link use, delay of one's own making, and a share beside others, in every scenario.
#[test]
fn links_are_used_queues_are_short_and_nobody_starves() {
    for plan in scenarios::all() {
        for seed in seeds() {
            let record = course::run(&plan, Whose::Ours, seed);
            let (own_ms, all_ms) = record.delay_ms();
            let (usage, share) = (record.usage(), record.least_share());
            let what = format!(
                "{}, SIM_SEED={seed}: use {usage:.3}, own delay {own_ms} ms, whole {all_ms} ms, \
                 least share {share:.2}",
                plan.name
            );
            assert!(usage >= 0.85, "{what}");
            assert!(own_ms <= 100.0, "{what}");
            // TCP fills the queue, which delay-based control yields to; it must not vanish.
            let least = if has_tcp(&plan) { 0.15 } else { 0.4 };
            assert!(share >= least, "{what}");
        }
    }
}

/// str0m's estimator, on the same links, keeps longer queues.
#[test]
fn delays_are_not_above_the_anchors() {
    let plan = scenarios::variable_single();
    let ours = course::run(&plan, Whose::Ours, 1);
    let anchor = course::run(&plan, Whose::Anchor, 1);
    assert!(anchor.usage() > 0.5, "the anchor works");
    let (ours_ms, anchor_ms) = (ours.delay_ms().0, anchor.delay_ms().0);
    assert!(ours_ms <= anchor_ms, "{ours_ms} {anchor_ms}");
}

/// A queue ten packets deep at 20 Mbit/s: whole frames at once against the bucket.
#[test]
fn paced_frames_fit_through_a_shallow_queue() {
    let at_once = shallow::run(None);
    let paced = shallow::run(Some(5_000_000));
    println!("at once {at_once:?}, paced {paced:?}");
    assert!(
        paced.sent * 100 >= at_once.sent * 99,
        "what was due was sent"
    );
    assert!(at_once.dropped > at_once.sent / 10, "{at_once:?}");
    assert!(paced.dropped * 10 <= at_once.dropped, "{paced:?}");
    assert!(paced.waited_us < 150_000, "{paced:?}");
}

#[test]
#[ignore = "writes files; about a minute"]
fn write_traces_and_plots() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots");
    fs::create_dir_all(&folder).unwrap();
    println!("| scenario | use | own delay p95 | whole delay p95 | least share | with str0m |");
    println!("|---|---|---|---|---|---|");
    for plan in scenarios::all() {
        let ours = course::run(&plan, Whose::Ours, 1);
        let anchor = course::run(&plan, Whose::Anchor, 1);
        println!(
            "| {} | {} | {} |",
            plan.name,
            row(&ours),
            row(&anchor).replace(" |", ",")
        );
        let name = plan.name.split_whitespace().next().unwrap();
        let file = format!("rfc8867-{name}");
        fs::write(folder.join(format!("{file}.csv")), plot::csv(&ours)).unwrap();
        fs::write(folder.join(format!("{file}.svg")), plot::svg(&ours)).unwrap();
    }
}

fn row(record: &Record) -> String {
    let (own_ms, all_ms) = record.delay_ms();
    format!(
        "{:.1} % | {own_ms:.0} ms | {all_ms:.0} ms | {:.2}",
        record.usage() * 100.0,
        record.least_share()
    )
}
