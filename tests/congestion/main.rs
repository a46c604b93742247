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
    let seed = std::env::var("SEED").map_or(1, |s| s.parse().unwrap());
    for plan in scenarios::all() {
        for whose in [Whose::Ours, Whose::Anchor] {
            if std::env::var("OURS").is_ok() && whose != Whose::Ours {
                continue;
            }
            let record = course::run(&plan, whose, seed);
            if let Ok(only) = std::env::var("ONLY") {
                if !plan.name.starts_with(&only) || whose != Whose::Ours {
                    continue;
                }
                for s in record.samples.iter().step_by(5) {
                    let f: Vec<String> = s
                        .flows
                        .iter()
                        .take(5)
                        .map(|f| format!("{:5.0}", f.0 / 1e3))
                        .collect();
                    println!(
                        "{:6.1} cap {:5.0} q {:4} {}",
                        s.at_s,
                        s.capacity_bps / 1e3,
                        s.queue_us / 1000,
                        f.join(" ")
                    );
                }
            }
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
