//! Which seeds a scenario runs with, and how a failing one is told.

/// Runs `scenario` with each seed: `SIM_SEEDS` of them (`usual` when that is not set; `200..300`
/// for those from 200 on), or the single one in `SIM_SEED`. A failure prints the seed that
/// replays it.
pub fn for_each(usual: u64, scenario: impl Fn(u64)) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (single, several) = (std::env::var("SIM_SEED"), std::env::var("SIM_SEEDS"));
    let seeds = match (single, several) {
        (Ok(seed), _) => number(&seed)..number(&seed) + 1,
        (_, Ok(seeds)) => {
            let (from, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
            number(from)..number(end)
        }
        _ => 0..usual,
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
