//! The `leafcutter` binary: reads its settings, starts the planes, waits for the end.

fn main() {}
