//! The same seed makes the same call.

use std::time::Duration;

use crate::network::Link;
use crate::world::{World, epoch};

/// Every RTP packet that viewers were given: when (microseconds), what, under which number.
fn trace(seed: u64) -> Vec<(usize, u128, u8, u16, usize)> {
    let link = Link {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(15),
        loss: 0.03,
        duplicate: 0.02,
    };
    let mut world = World::new(seed, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    for client in [publisher, viewers[0], viewers[1]] {
        world.set_links(client, link, link);
    }
    world.run(Duration::from_secs(3));
    let mut trace = Vec::new();
    for viewer in viewers {
        for packet in &world.clients[viewer].wire {
            let at = (packet.at - epoch()).as_micros();
            trace.push((viewer, at, packet.pt, packet.seq, packet.len));
        }
    }
    trace
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let first = trace(7);
    let second = trace(7);
    assert!(first.len() > 500);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a, b);
    }
    assert_eq!(first.len(), second.len());
    assert_ne!(trace(8), first);
}
