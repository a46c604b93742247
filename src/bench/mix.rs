//! The floor of a load: what its packets would cost if kernel and cipher were all there is.
//!
//! Pure. `composed.rs` measures the [`Costs`], `fanout.rs` counts the [`Mix`].

use serde::Serialize;

/// What single operations cost on this machine, in nanoseconds per packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Receivers that the packets went to.
    pub receivers: usize,
    /// Bytes of a video packet before protection.
    pub packet_len: usize,
    /// Bytes of an audio packet before protection.
    pub audio_len: usize,
    /// Copy, seal and send, the receivers emptied outside the measured time.
    pub sending: Sending,
    /// The same while the receivers are read on another core.
    pub sending_live: Sending,
    /// As live, a frame's interval after the burst before.
    pub sending_paced: Sending,
    /// Receive and open one packet of a publisher's frame.
    pub media_in_ns: f64,
    /// Receive and open one feedback packet.
    pub feedback_in_ns: f64,
}

/// Copy, seal and send, nanoseconds per packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sending {
    /// Of a video packet, by length of the run; ascending.
    pub video: Vec<RunCost>,
    /// Of an audio packet as a run of 1.
    pub audio_ns: f64,
}

/// The cost of a packet in runs of one length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RunCost {
    /// Datagrams per run.
    pub run: usize,
    /// Nanoseconds per datagram.
    pub ns: f64,
}

/// What a server did within the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mix {
    /// Runs sent, by their length: at index 0 those of one datagram.
    pub runs: Vec<u64>,
    /// Small datagrams among the runs of one: audio, reports.
    pub small: u64,
    /// Packets received from publishers.
    pub media_in: u64,
    /// Feedback packets received from viewers.
    pub feedback_in: u64,
    /// Packets delivered to viewers.
    pub delivered: u64,
}

impl Mix {
    /// A server that sends each datagram by itself.
    pub fn of_single(video: u64, small: u64) -> Self {
        Self {
            runs: vec![video + small],
            small,
            ..Self::default()
        }
    }

    /// Datagrams sent.
    pub fn datagrams(&self) -> u64 {
        let runs = self.runs.iter().zip(1..);
        runs.map(|(count, len): (&u64, u64)| count * len).sum()
    }

    /// Mean datagrams per run; `None` when nothing was sent.
    pub fn mean_run(&self) -> Option<f64> {
        let runs: u64 = self.runs.iter().sum();
        (runs > 0).then(|| self.datagrams() as f64 / runs as f64)
    }
}

/// The floor of one load, nanoseconds per delivered packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// Sending alone: copy, seal and send.
    pub sending_ns: f64,
    /// The publishers' packets received and opened too.
    pub without_feedback_ns: f64,
    /// The viewers' feedback received and opened too.
    pub with_feedback_ns: f64,
    /// All of it, with receivers that are read while the server sends.
    pub live_ns: f64,
    /// The same in bursts at the rate of the load's frames.
    pub paced_ns: f64,
}

impl Sending {
    /// Nanoseconds of a whole run of `len` video packets: on the line between the lengths
    /// measured, and beyond the longest in proportion.
    pub fn run_ns(&self, len: usize) -> f64 {
        let whole = |cost: &RunCost| (cost.run as f64, cost.run as f64 * cost.ns);
        let len = len as f64;
        let mut below = (0.0, 0.0);
        for cost in &self.video {
            let above = whole(cost);
            if len <= above.0 {
                let share = (len - below.0) / (above.0 - below.0);
                return below.1 + share * (above.1 - below.1);
            }
            below = above;
        }
        if below.0 > 0.0 {
            below.1 * len / below.0
        } else {
            0.0
        }
    }

    /// Nanoseconds of all that `mix` sent.
    fn total_ns(&self, mix: &Mix) -> f64 {
        let singles = mix.runs.first().copied().unwrap_or(0);
        let small = mix.small.min(singles);
        let runs = mix.runs.iter().zip(1..).map(|(&count, len)| {
            let count = if len == 1 { count - small } else { count };
            count as f64 * self.run_ns(len)
        });
        small as f64 * self.audio_ns + runs.sum::<f64>()
    }
}

impl Costs {
    /// Figure by figure the median of `rounds`, measurements of one setting; `None` without any.
    pub fn median(rounds: &[Self]) -> Option<Self> {
        let first = rounds.first()?;
        let median = |figure: &dyn Fn(&Self) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        let sending = |of: fn(&Self) -> &Sending| {
            let runs = of(first).video.iter().map(|cost| cost.run);
            let video = runs.map(|run| RunCost {
                run,
                ns: median(&|costs| of(costs).run_ns(run) / run as f64),
            });
            Sending {
                video: video.collect(),
                audio_ns: median(&|costs| of(costs).audio_ns),
            }
        };
        Some(Self {
            receivers: first.receivers,
            packet_len: first.packet_len,
            audio_len: first.audio_len,
            sending: sending(|costs| &costs.sending),
            sending_live: sending(|costs| &costs.sending_live),
            sending_paced: sending(|costs| &costs.sending_paced),
            media_in_ns: median(&|costs| costs.media_in_ns),
            feedback_in_ns: median(&|costs| costs.feedback_in_ns),
        })
    }

    /// The figures as rows: what, nanoseconds per packet.
    pub fn rows(&self) -> Vec<(String, f64)> {
        let (len, receivers) = (self.packet_len, self.receivers);
        let mut rows = Vec::new();
        for (sending, how) in [
            (&self.sending, ""),
            (&self.sending_live, ", live"),
            (&self.sending_paced, ", paced"),
        ] {
            let to = format!("to {receivers} receivers{how}");
            for RunCost { run, ns } in &sending.video {
                rows.push((format!("copy, seal, send {len} bytes x{run} {to}"), *ns));
            }
            let audio = format!("copy, seal, send {} bytes x1 {to}", self.audio_len);
            rows.push((audio, sending.audio_ns));
        }
        rows.push((format!("receive, open {len} bytes"), self.media_in_ns));
        rows.push(("receive, open feedback".to_owned(), self.feedback_in_ns));
        rows
    }

    /// The floor of `mix`; `None` when nothing was delivered.
    pub fn floor(&self, mix: &Mix) -> Option<Floor> {
        if mix.delivered == 0 {
            return None;
        }
        let media = mix.media_in as f64 * self.media_in_ns;
        let feedback = mix.feedback_in as f64 * self.feedback_in_ns;
        let sending = self.sending.total_ns(mix);
        let live = self.sending_live.total_ns(mix);
        let paced = self.sending_paced.total_ns(mix);
        let per_packet = |ns: f64| ns / mix.delivered as f64;
        Some(Floor {
            sending_ns: per_packet(sending),
            without_feedback_ns: per_packet(sending + media),
            with_feedback_ns: per_packet(sending + media + feedback),
            live_ns: per_packet(live + media + feedback),
            paced_ns: per_packet(paced + media + feedback),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn costs() -> Costs {
        let sending = Sending {
            video: [(1, 4000.0), (2, 3000.0), (4, 2000.0), (8, 1500.0)]
                .map(|(run, ns)| RunCost { run, ns })
                .to_vec(),
            audio_ns: 3000.0,
        };
        Costs {
            receivers: 300,
            packet_len: 1170,
            audio_len: 140,
            sending: sending.clone(),
            sending_live: sending.clone(),
            sending_paced: sending,
            media_in_ns: 1000.0,
            feedback_in_ns: 800.0,
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn runs_between_lie_on_the_line_and_longer_ones_in_proportion() {
        let costs = costs().sending;
        assert!(close(costs.run_ns(1), 4000.0));
        assert!(close(costs.run_ns(3), 7000.0), "between 6000 and 8000");
        assert!(close(costs.run_ns(8), 12_000.0));
        assert!(close(costs.run_ns(16), 24_000.0));
    }

    #[test]
    fn a_disturbed_round_does_not_count() {
        let mut slow = costs();
        slow.sending.video[2].ns *= 10.0;
        slow.sending_live.audio_ns *= 10.0;
        slow.media_in_ns *= 10.0;
        let mut quick = costs();
        quick.feedback_in_ns /= 10.0;
        let median = Costs::median(&[slow, costs(), quick]);
        assert_eq!(median, Some(costs()));
        assert_eq!(Costs::median(&[]), None);
    }

    #[test]
    fn the_floor_adds_up_what_was_sent_and_received() {
        let mix = Mix {
            runs: vec![10, 0, 0, 5],
            small: 4,
            media_in: 6,
            feedback_in: 10,
            delivered: 26,
        };
        assert_eq!(mix.datagrams(), 30);
        assert!(close(mix.mean_run().unwrap(), 2.0));
        let floor = costs().floor(&mix).unwrap();
        let sending = 4.0 * 3000.0 + 6.0 * 4000.0 + 5.0 * 8000.0;
        assert!(close(floor.sending_ns, sending / 26.0));
        assert!(close(floor.without_feedback_ns, (sending + 6000.0) / 26.0));
        assert!(close(floor.with_feedback_ns, (sending + 14_000.0) / 26.0));
        assert!(close(floor.live_ns, floor.with_feedback_ns));
        assert!(close(floor.paced_ns, floor.with_feedback_ns));
    }

    #[test]
    fn nothing_delivered_has_no_floor_and_no_more_small_ones_than_singles_count() {
        assert_eq!(costs().floor(&Mix::default()), None);
        assert_eq!(Mix::default().mean_run(), None);
        let mix = Mix {
            delivered: 10,
            ..Mix::of_single(0, 10)
        };
        let more = Mix {
            small: 99,
            ..mix.clone()
        };
        assert_eq!(costs().floor(&mix), costs().floor(&more));
    }
}
