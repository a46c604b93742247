//! Which seeds a scenario runs with, and how a failing one is told.

/// Runs `scenario` with each seed: `SIM_SEEDS` of them (`usual` when that is not set), or the
/// single one in `SIM_SEED`. A failure prints the seed that replays it.
pub fn for_each(usual: u64, scenario: impl Fn(u64)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        let told = Told(seed);
        scenario(seed);
        std::mem::forget(told);
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("failed with seed {0}: replay with SIM_SEED={0}", self.0);
    }
}
