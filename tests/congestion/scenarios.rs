//! RFC 8867 §5.1 to §5.8, as far as they concern a sender.

use std::time::Duration;

use super::bottleneck::Shape;
use super::course::{FlowPlan, Kind, Plan};

/// All of them.
pub fn all() -> Vec<Plan> {
    vec![
        variable_single(),
        variable_multiple(),
        congested_feedback(),
        competing_media(),
        round_trip_fairness(),
        long_tcp(),
        short_tcp(),
        pause_and_resume(),
    ]
}

/// A flow of media that is there all the time.
fn media(seconds: i64) -> FlowPlan {
    FlowPlan {
        kind: Kind::Media,
        link: 0,
        from_s: 0,
        to_s: seconds,
        paused: None,
        one_way_ms: 50,
        max_bps: 5e6,
    }
}

/// §4.1: 300 ms of queue; jitter of 30 ms in all.
fn link(rate_bps: f64) -> Shape {
    Shape {
        jitter: Duration::from_millis(5),
        ..Shape::of(rate_bps)
    }
}

/// A way back that is never in the way.
fn wide() -> Shape {
    link(100e6)
}

/// §5.1: one flow, and a capacity that changes: 1, 2.5, 0.6 and 1 Mbit/s.
pub fn variable_single() -> Plan {
    Plan {
        name: "5.1 variable capacity, one flow",
        seconds: 100,
        links: [link(1e6), wide()],
        rates: vec![(40, 0, 2.5e6), (60, 0, 0.6e6), (80, 0, 1e6)],
        flows: vec![media(100)],
    }
}

/// §5.2: two flows; 4, 2, 3.5, 1 and 2 Mbit/s.
fn variable_multiple() -> Plan {
    Plan {
        name: "5.2 variable capacity, two flows",
        seconds: 125,
        links: [link(4e6), wide()],
        rates: vec![(25, 0, 2e6), (50, 0, 3.5e6), (75, 0, 1e6), (100, 0, 2e6)],
        flows: vec![media(125), media(125)],
    }
}

/// §5.3: media both ways, so that feedback meets the other side's media; both capacities change.
fn congested_feedback() -> Plan {
    let back = FlowPlan {
        link: 1,
        ..media(100)
    };
    Plan {
        name: "5.3 congested feedback link",
        seconds: 100,
        links: [link(2e6), link(2e6)],
        rates: vec![
            (20, 0, 1e6),
            (40, 0, 0.5e6),
            (60, 0, 2e6),
            (35, 1, 0.8e6),
            (70, 1, 2e6),
        ],
        flows: vec![media(100), back],
    }
}

/// §5.4: three flows that come one after the other, 3.5 Mbit/s.
fn competing_media() -> Plan {
    let from = |from_s| FlowPlan {
        from_s,
        ..media(120)
    };
    Plan {
        name: "5.4 competing flows, same control",
        seconds: 120,
        links: [link(3.5e6), wide()],
        rates: Vec::new(),
        flows: vec![from(0), from(20), from(40)],
    }
}

/// §5.5: five flows with one-way delays from 10 to 150 ms, 4 Mbit/s.
fn round_trip_fairness() -> Plan {
    let flow = |(from_s, one_way_ms)| FlowPlan {
        from_s,
        one_way_ms,
        ..media(300)
    };
    Plan {
        name: "5.5 round trip fairness",
        seconds: 300,
        links: [link(4e6), wide()],
        rates: Vec::new(),
        flows: [(0, 10), (10, 25), (20, 50), (30, 100), (40, 150)]
            .map(flow)
            .to_vec(),
    }
}

/// §5.6: one flow beside an endless TCP transfer, 2 Mbit/s.
fn long_tcp() -> Plan {
    let tcp = FlowPlan {
        kind: Kind::Tcp,
        from_s: 20,
        ..media(120)
    };
    Plan {
        name: "5.6 beside a long TCP flow",
        seconds: 120,
        links: [link(2e6), wide()],
        rates: Vec::new(),
        flows: vec![media(120), tcp],
    }
}

/// §5.7: one flow beside ten TCP connections with short transfers, 2 Mbit/s.
fn short_tcp() -> Plan {
    let tcp = FlowPlan {
        kind: Kind::ShortTcp,
        ..media(300)
    };
    let mut flows = vec![tcp; 11];
    flows[0] = media(300);
    Plan {
        name: "5.7 beside short TCP flows",
        seconds: 300,
        links: [link(2e6), wide()],
        rates: Vec::new(),
        flows,
    }
}

/// §5.8: three flows, one of which pauses from 40 to 60 s, 3.5 Mbit/s.
fn pause_and_resume() -> Plan {
    let pausing = FlowPlan {
        paused: Some((40, 60)),
        ..media(120)
    };
    Plan {
        name: "5.8 pause and resume",
        seconds: 120,
        links: [link(3.5e6), wide()],
        rates: Vec::new(),
        flows: vec![pausing, media(120), media(120)],
    }
}
