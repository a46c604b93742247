//! Probes: short stretches sent faster than the estimate, to learn whether the link takes more.
//!
//! An estimate does not rise above what is sent; only sending more can show that more would
//! arrive. The first probe is sent at once, the next as long as they succeed, then every five
//! seconds, and only while more is wanted than the estimate allows. What the media leaves of a
//! probe's rate is filled with padding or repeated packets by whoever sends. Called by
//! [`super::estimator`].

use super::sent::Acknowledged;

/// One probe at a time.
#[derive(Debug)]
pub struct Prober {
    state: State,
    probe: Probe,
    /// The earliest time for the next one, microseconds.
    next_us: i64,
    is_first: bool,
    /// Probes still to succeed until one is believed at its word again.
    doubts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Sending,
    /// All is sent; reports are awaited until then.
    Waiting {
        until_us: i64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    /// 1..=255.
    id: u8,
    rate_bps: f64,
    /// Bytes to send.
    len: usize,
    began_us: i64,
    sent_len: usize,
    sent_packets: u32,
    got: Option<Got>,
}

/// What arrived of a probe.
#[derive(Clone, Copy, Debug)]
struct Got {
    packets: u32,
    len: usize,
    first_sent_us: i64,
    last_sent_us: i64,
    last_sent_len: usize,
    first_arrival_us: i64,
    first_arrival_len: usize,
    last_arrival_us: i64,
}

/// What decides whether to probe.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The estimate, bits per second.
    pub estimate_bps: f64,
    /// What would be sent if it fitted, bits per second.
    pub wanted_bps: f64,
    /// Over-use or a cut lately.
    pub congested: bool,
}

/// What a probe has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proved {
    /// The rate that arrived, bits per second.
    pub bps: f64,
    /// It arrived as fast as it was sent: the link may take more.
    pub kept_up: bool,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            state: State::Idle,
            probe: Probe::default(),
            next_us: 0,
            is_first: true,
            doubts: 0,
        }
    }
}

impl Prober {
    /// The probe that what is sent at present belongs to; 0 for none.
    pub fn id(&self) -> u8 {
        match self.state {
            State::Sending => self.probe.id,
            State::Idle | State::Waiting { .. } => 0,
        }
    }

    /// Ends a probe that takes too long to be sent or reported on; `Some` when enough of it has
    /// arrived all the same.
    pub fn give_up(&mut self, now_us: i64) -> Option<Proved> {
        match self.state {
            State::Sending if now_us - self.probe.began_us > MAX_SENDING_US => {
                self.end_sending(now_us); // nobody had padding for it
                self.evaluate(now_us)
            }
            State::Waiting { until_us } if now_us >= until_us => {
                let proved = self.evaluate(now_us);
                if self.state != State::Idle {
                    self.state = State::Idle;
                    self.next_us = self.next_us.max(now_us + EVERY_US);
                }
                proved
            }
            State::Sending | State::Waiting { .. } | State::Idle => None,
        }
    }

    /// Begins a probe when one is due; true when it did. To be called behind
    /// [`give_up`](Self::give_up).
    pub fn poll(&mut self, now_us: i64, situation: Situation) -> bool {
        if self.state != State::Idle {
            return false;
        }
        let wants_more = situation.wanted_bps > situation.estimate_bps * MARGIN;
        if !wants_more || situation.congested || now_us < self.next_us {
            return false;
        }
        let (factor, span_us) = match (self.is_first, self.doubts) {
            (true, _) => (FIRST_FACTOR, FIRST_SPAN_US),
            (false, 0) => (FACTOR, SPAN_US),
            (false, _) => (DOUBTED_FACTOR, DOUBTED_SPAN_US),
        };
        self.is_first = false;
        let enough_bps = situation.wanted_bps * ENOUGH;
        let rate_bps = (situation.estimate_bps * factor).min(enough_bps);
        let bytes = |us: i64| (rate_bps * us as f64 / 8e6) as usize;
        self.probe = Probe {
            id: self.probe.id.checked_add(1).unwrap_or(1),
            rate_bps,
            len: bytes(span_us).max(MIN_LEN.min(bytes(LOW_SPAN_US))),
            began_us: now_us,
            ..Probe::default()
        };
        self.state = State::Sending;
        true
    }

    /// A packet of `len` bytes went out; it belongs to the probe that is being sent, if any.
    pub fn sent(&mut self, now_us: i64, len: usize) {
        if self.state != State::Sending {
            return;
        }
        self.probe.sent_len += len;
        self.probe.sent_packets += 1;
        if self.probe.sent_len >= self.probe.len && self.probe.sent_packets >= MIN_PACKETS {
            self.end_sending(now_us);
        }
    }

    /// Bytes by which what was sent is behind the probe's rate.
    pub fn padding_due(&self, now_us: i64) -> usize {
        if self.state != State::Sending {
            return 0;
        }
        let passed_us = (now_us - self.probe.began_us).max(0) + STEP_US;
        let due = (self.probe.rate_bps * passed_us as f64 / 8e6) as usize;
        due.min(self.probe.len.max(self.probe.sent_len + 1))
            .saturating_sub(self.probe.sent_len)
    }

    /// A packet of probe `packet.probe` arrived; `Some` once enough of it did.
    pub fn acknowledge(
        &mut self,
        now_us: i64,
        packet: &Acknowledged,
        arrival_us: i64,
    ) -> Option<Proved> {
        if packet.probe != self.probe.id || self.state == State::Idle {
            return None;
        }
        let got = self.probe.got.get_or_insert(Got::begin(packet, arrival_us));
        got.add(packet, arrival_us);
        match self.state {
            State::Waiting { .. } => self.evaluate(now_us),
            State::Sending | State::Idle => None,
        }
    }

    /// What a probe that is not sent any more has proved, and whether it is over; `None` while too
    /// little of it has arrived, or when that measures nothing.
    fn evaluate(&mut self, now_us: i64) -> Option<Proved> {
        let got = self.probe.got?;
        let is_spread = got.last_sent_us - got.first_sent_us >= SPAN_US;
        if self.probe.sent_packets < MIN_PACKETS && !is_spread {
            return None;
        }
        let enough_packets = f64::from(self.probe.sent_packets) * COMPLETE;
        let enough_len = self.probe.sent_len as f64 * COMPLETE;
        if f64::from(got.packets) < enough_packets || (got.len as f64) < enough_len {
            return None;
        }
        let proved = got.proved();
        self.state = State::Idle;
        let went_well = proved.is_some_and(|proved| match self.doubts {
            0 => proved.bps > self.probe.rate_bps * SUCCESS,
            _ => proved.kept_up,
        });
        self.doubts = self.doubts.saturating_sub(went_well.into());
        self.next_us = now_us + if went_well { AGAIN_US } else { EVERY_US };
        proved
    }

    /// What a probe proved was wrong: there was a queue as soon as it was believed. A token bucket
    /// on the way lets short bursts pass faster than the link is. So the next probes are longer and
    /// go up in smaller steps, until several of them have succeeded.
    pub fn doubt(&mut self) {
        self.doubts = DOUBTS;
    }

    /// Brings the next probe forward: the estimate fell for what may have been no good reason.
    pub fn hurry(&mut self, now_us: i64) {
        self.next_us = self.next_us.min(now_us + HURRY_US);
    }

    fn end_sending(&mut self, now_us: i64) {
        self.state = State::Waiting {
            until_us: now_us + PATIENCE_US,
        };
    }
}

impl Got {
    fn begin(packet: &Acknowledged, arrival_us: i64) -> Self {
        Self {
            packets: 0,
            len: 0,
            first_sent_us: packet.sent_us,
            last_sent_us: packet.sent_us,
            last_sent_len: packet.len,
            first_arrival_us: arrival_us,
            first_arrival_len: packet.len,
            last_arrival_us: arrival_us,
        }
    }

    fn add(&mut self, packet: &Acknowledged, arrival_us: i64) {
        self.packets += 1;
        self.len += packet.len;
        if packet.sent_us >= self.last_sent_us {
            self.last_sent_us = packet.sent_us;
            self.last_sent_len = packet.len;
        }
        self.first_sent_us = self.first_sent_us.min(packet.sent_us);
        if arrival_us < self.first_arrival_us {
            self.first_arrival_us = arrival_us;
            self.first_arrival_len = packet.len;
        }
        self.last_arrival_us = self.last_arrival_us.max(arrival_us);
    }

    /// The smaller of the rates of sending and of arriving; `None` when the intervals are no good.
    fn proved(&self) -> Option<Proved> {
        let sent_us = self.last_sent_us - self.first_sent_us;
        let arrived_us = self.last_arrival_us - self.first_arrival_us;
        if sent_us <= 0 || arrived_us <= 0 || sent_us > MAX_SPAN_US || arrived_us > MAX_SPAN_US {
            return None;
        }
        let bps = |len: usize, us: i64| len as f64 * 8e6 / us as f64;
        let sent_bps = bps(self.len - self.last_sent_len.min(self.len), sent_us);
        let arrived_bps = bps(self.len - self.first_arrival_len.min(self.len), arrived_us);
        if arrived_bps > MAX_RATIO * sent_bps {
            return None;
        }
        let kept_up = arrived_bps > KEPT_UP * sent_bps;
        let bps = if kept_up {
            arrived_bps.min(sent_bps)
        } else {
            arrived_bps * SATURATED
        };
        Some(Proved { bps, kept_up })
    }
}

/// The first probe is three times the first estimate, the following ones half as much again.
const FIRST_FACTOR: f64 = 3.0;
const FACTOR: f64 = 1.5;

/// How long a probe is. The first meets an empty queue and may be short; others must outlast the
/// jitter of a link in use: 100 ms at one and a half times its rate arrive in 150 ms.
const FIRST_SPAN_US: i64 = 15_000;
const SPAN_US: i64 = 100_000;

/// The same for probes that are doubted, and how many of those have to succeed.
const DOUBTED_FACTOR: f64 = 1.2;
const DOUBTED_SPAN_US: i64 = 200_000;
const DOUBTS: u8 = 3;

/// Fewer packets or bytes measure nothing, unless they take so long at the rate of the probe that
/// a timer's grain and jitter do not show.
const MIN_PACKETS: u32 = 5;
const MIN_LEN: usize = 5000;
const LOW_SPAN_US: i64 = 300_000;

/// An estimate this close to what is wanted is enough; a probe this far above it proves it.
pub const MARGIN: f64 = 1.05;
const ENOUGH: f64 = 1.3;

/// Between probes.
const EVERY_US: i64 = 5_000_000;

/// After a probe that succeeded.
const AGAIN_US: i64 = 50_000;

/// After a cut while little was sent.
const HURRY_US: i64 = 500_000;

/// Padding may run ahead of the probe's rate by this much: the grain of timers.
const STEP_US: i64 = 2000;

/// A probe that cannot be sent is given up.
const MAX_SENDING_US: i64 = 400_000;
const _: () = assert!(LOW_SPAN_US < MAX_SENDING_US);

/// Reports of a probe that did not come by then are lost.
const PATIENCE_US: i64 = 1_000_000;

/// Of a probe, this share must have arrived.
const COMPLETE: f64 = 0.8;

/// A probe that proves this share of its rate is followed by another one.
const SUCCESS: f64 = 0.7;

/// Intervals and ratios beyond these come from somewhere else.
const MAX_SPAN_US: i64 = 1_000_000;
const MAX_RATIO: f64 = 2.0;

/// Arriving slower than this share of the rate of sending, a probe has filled the link; what
/// arrived is then the link's capacity, a little of which is left free.
const KEPT_UP: f64 = 0.9;
const SATURATED: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    const SITUATION: Situation = Situation {
        estimate_bps: 500e3,
        wanted_bps: 3e6,
        congested: false,
    };

    /// Sends the probe that is due from `at_us` on; returns its packets and what a link of
    /// `link_bps` lets it prove.
    fn probe(prober: &mut Prober, at_us: i64, link_bps: f64) -> (usize, Option<Proved>) {
        assert!(prober.poll(at_us, SITUATION));
        let mut packets = Vec::new();
        let mut now_us = at_us;
        while prober.id() != 0 {
            while prober.padding_due(now_us) > 0 && prober.id() != 0 {
                packets.push((now_us, prober.id()));
                prober.sent(now_us, 1000);
            }
            now_us += 1000;
        }
        let (mut free_us, mut proved) = (0.0_f64, None);
        for &(sent_us, id) in &packets {
            free_us = free_us.max(sent_us as f64) + 8e9 / link_bps;
            let packet = Acknowledged {
                sent_us,
                len: 1000,
                probe: id,
                was_lost: false,
            };
            let arrival_us = free_us as i64 + 30_000;
            proved = proved.or(prober.acknowledge(arrival_us, &packet, arrival_us));
        }
        (packets.len(), proved)
    }

    #[test]
    fn a_wide_link_proves_the_rate_and_the_next_follows() {
        let mut prober = Prober::default();
        let (packets, proved) = probe(&mut prober, 0, 100e6);
        let proved = proved.unwrap();
        assert!(packets <= 8, "{packets}");
        assert!(
            proved.kept_up && proved.bps > 1.2e6 && proved.bps < 2.2e6,
            "{proved:?}"
        );
        assert!(prober.poll(400_000, SITUATION), "again");
    }

    #[test]
    fn a_narrow_link_is_measured_and_left_alone() {
        let mut prober = Prober::default();
        let proved = probe(&mut prober, 0, 600e3).1.unwrap();
        assert!(
            !proved.kept_up && (500e3..600e3).contains(&proved.bps),
            "{proved:?}"
        );
        assert!(!prober.poll(4_000_000, SITUATION));
        assert!(prober.poll(5_500_000, SITUATION));
    }

    #[test]
    fn after_one_that_lied_probes_are_longer_and_go_up_in_smaller_steps() {
        let mut prober = Prober::default();
        probe(&mut prober, 0, 100e6);
        prober.doubt();
        let mut at_us = 10_000_000;
        for _ in 0..DOUBTS {
            let (packets, proved) = probe(&mut prober, at_us, 100e6);
            let bps = proved.unwrap().bps;
            assert!(
                packets >= 15 && (550e3..650e3).contains(&bps),
                "{packets} {bps}"
            );
            at_us += 500_000;
        }
        let bps = probe(&mut prober, at_us, 100e6).1.unwrap().bps;
        assert!(bps > 700e3, "{bps}");
    }

    #[test]
    fn nothing_is_probed_when_enough_is_known_or_the_link_is_full() {
        let enough = Situation {
            wanted_bps: 500e3,
            ..SITUATION
        };
        let congested = Situation {
            congested: true,
            ..SITUATION
        };
        let mut prober = Prober::default();
        assert!(!prober.poll(0, enough) && !prober.poll(0, congested));
        assert_eq!(prober.padding_due(1000), 0);
    }

    #[test]
    fn a_probe_without_padding_or_reports_is_given_up() {
        let mut prober = Prober::default();
        assert!(prober.poll(0, SITUATION));
        assert_eq!(prober.give_up(500_000), None);
        assert_eq!(prober.id(), 0);
        assert!(!prober.poll(500_000, SITUATION));
        assert_eq!(prober.give_up(1_600_000), None);
        assert!(!prober.poll(1_600_000, SITUATION), "a while");
        assert!(prober.poll(7_000_000, SITUATION));
    }

    /// Sends the probe that is due of `estimate_bps` in packets of `len`, which arrive 30 ms later
    /// and are reported every 50 ms; what it proves, and when.
    fn slow_probe(estimate_bps: f64, len: usize) -> (i64, Option<Proved>) {
        let situation = Situation {
            estimate_bps,
            ..SITUATION
        };
        let mut prober = Prober {
            is_first: false,
            ..Prober::default()
        };
        assert!(prober.poll(0, situation));
        let mut flight = Vec::new();
        for now_us in (0..3_000_000).step_by(4000) {
            while prober.padding_due(now_us) > 0 {
                flight.push((now_us, prober.id()));
                prober.sent(now_us, len);
            }
            let mut proved = None;
            if now_us % 50_000 < 4000 {
                flight.retain(|&(sent_us, probe)| {
                    let arrived = sent_us + 30_000 <= now_us;
                    let packet = Acknowledged {
                        sent_us,
                        len,
                        probe,
                        was_lost: false,
                    };
                    if arrived {
                        let more = prober.acknowledge(now_us, &packet, sent_us + 30_000);
                        proved = proved.or(more);
                    }
                    !arrived
                });
            }
            proved = proved.or(prober.give_up(now_us));
            if proved.is_some() {
                return (now_us, proved);
            }
        }
        (3_000_000, None)
    }

    #[test]
    fn a_probe_of_a_low_estimate_is_evaluated() {
        for (estimate_bps, len) in [
            (30e3, 280),
            (30e3, 1000),
            (60e3, 280),
            (60e3, 1200),
            (100e3, 1000),
        ] {
            let (at_us, proved) = slow_probe(estimate_bps, len);
            let proved = proved.expect("a rate");
            println!("{estimate_bps} {len}: {at_us} {proved:?}");
            let share = proved.bps / (estimate_bps * FACTOR);
            assert!((0.7..1.3).contains(&share), "{share}");
            assert!(proved.kept_up && at_us < 600_000, "{at_us}");
        }
    }

    /// Two packets of one frame leave and arrive at once, whatever the link takes.
    #[test]
    fn a_burst_of_few_packets_measures_nothing() {
        let mut prober = Prober::default();
        assert!(prober.poll(0, SITUATION));
        for sent_us in [0, 250] {
            prober.sent(sent_us, 1000);
            let packet = Acknowledged {
                sent_us,
                len: 1000,
                probe: prober.id(),
                was_lost: false,
            };
            assert_eq!(prober.acknowledge(40_000, &packet, sent_us + 30_000), None);
        }
        assert_eq!(prober.give_up(500_000), None);
        assert_eq!(prober.give_up(1_600_000), None);
        assert!(!prober.poll(1_600_000, SITUATION));
    }
}
