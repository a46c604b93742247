//! Congestion control under RFC 8867's test cases: the product's estimator and bucket over a
//! simulated link, side by side with str0m's.
//!
//! `cargo test --test congestion -- --ignored` writes the traces and plots of `docs/plots/`.

mod anchor;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "../sim/bottleneck.rs"]
mod bottleneck;
mod course;
mod media;
mod scenarios;
mod tcp;

use course::Whose;

#[test]
fn table() {
    for plan in scenarios::all() {
        for whose in [Whose::Ours, Whose::Anchor] {
            let record = course::run(&plan, whose, 1);
            let (own, all) = record.delay_ms();
            println!(
                "{:36} {whose:?}: use {:5.1} %  own {own:6.1} ms  all {all:6.1} ms  least {:4.2}  dropped {}",
                plan.name,
                record.usage() * 100.0,
                record.least_share(),
                record.dropped,
            );
        }
    }
}
