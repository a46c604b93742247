//! `/metrics`: figures of one moment in the OpenMetrics text format, which Prometheus asks for, or
//! in Prometheus' older one, which other readers expect.
//!
//! Pure: a [`Snapshot`] goes in, text comes out. Made per scrape, so nothing is counted twice.
//! Called by `front/pages.rs`.

use std::collections::HashSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::base::fault::DropReason;
use crate::base::histogram::Durations;
use crate::base::ids::WorkerId;
use crate::base::limits::MAX_GSO_SEGMENTS;
use crate::control::AppCounts;
use crate::engine::Counters;

/// What `Content-Type` to send with [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What `Content-Type` to send with [`render_plain`]'s text.
pub const PLAIN_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is exported, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Each worker's figures.
    pub workers: Vec<WorkerFigures>,
    /// Each application's.
    pub apps: Vec<AppCounts>,
    /// Open HTTP connections that are not WebSockets.
    pub http_conns: usize,
    /// What became of webhooks.
    pub webhooks: WebhookFigures,
    /// What became of publishes.
    pub publishes: JoinFigures,
    /// What became of plays.
    pub plays: JoinFigures,
    /// How long the store took to answer.
    pub store: Durations,
    /// The store's file can be used.
    pub store_is_up: bool,
    /// How close processor and memory are to their limits; 1 is at one of them.
    pub stress: f64,
    /// The process is about to end and takes nobody in.
    pub is_draining: bool,
    /// Newcomers are refused because the host is too busy.
    pub is_overloaded: bool,
}

/// Publishes or plays since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinFigures {
    /// Let in.
    pub granted: u64,
    /// Not let in.
    pub refused: u64,
    /// From the question to connected media.
    pub took: Durations,
}

/// Webhooks since the start, and those that wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebhookFigures {
    /// In the queue.
    pub waiting: usize,
    /// Answered with status 200.
    pub delivered: u64,
    /// Given up after the last repetition.
    pub failed: u64,
    /// Thrown out of the full queue.
    pub dropped: u64,
}

/// TCP connections that carry media, of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFigures {
    /// Open ones, at the moment.
    pub open: u64,
    /// Accepted since the start.
    pub accepted: u64,
    /// Closed at once since the start, for want of a place.
    pub refused: u64,
    /// Closed since the start because they did not read.
    pub slow_readers: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Frames queued to be sent.
    pub frames_sent: u64,
}

/// One worker's figures.
#[derive(Clone, Copy, Debug)]
pub struct WorkerFigures {
    /// Which one.
    pub worker: WorkerId,
    /// What its engine counted since the start.
    pub counters: Counters,
    /// How long its last turn took, in microseconds, waiting left out.
    pub turn_us: u64,
    /// Its longest turn of the last second in which it had any, in microseconds.
    pub lag_us: u64,
    /// From a packet's arrival on it to the end of the pass that sent it.
    pub latency: Durations,
    /// Datagrams that its socket took in.
    pub datagrams_received: u64,
    /// Datagrams that the kernel took from it.
    pub datagrams_sent: u64,
    /// Its TCP connections that carry media.
    pub tcp: TcpFigures,
    /// Runs it gave to the kernel, by length: at index 0 those of one datagram.
    pub runs: [u64; MAX_GSO_SEGMENTS],
    /// Share of its time that it spends in turns, 0..=1, smoothed.
    pub busy: f64,
}

/// The text of a scrape.
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("leafcutter");
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => out,
        // Writing to a String does not fail; an empty exposition is valid if it ever did.
        Err(fmt::Error) => "# EOF\n".to_owned(),
    }
}

/// The same in Prometheus' text format 0.0.4: a counter's family has its samples' name, and there
/// is neither unit nor end.
pub fn render_plain(snapshot: Snapshot) -> String {
    let text = render(snapshot);
    let families = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let counters: HashSet<&str> = families
        .filter_map(|f| f.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                let parts = ["# ", what, " ", name, "_total ", rest];
                parts.iter().for_each(|part| out.push_str(part));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(&mut encoder);
        self.encode_packets(&mut page)?;
        self.encode_repair(&mut page)?;
        self.encode_data(&mut page)?;
        self.encode_usage(&mut page)?;
        self.encode_joins(&mut page)?;
        self.encode_host(&mut page)?;
        self.encode_webhooks(&mut page)?;
        self.encode_workers(&mut page)
    }
}

impl Snapshot {
    fn encode_packets(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counters(
            "packets",
            "RTP packets: in, received and authenticated; out, written to subscribers",
            [
                ([("direction", "in")], self.sum(|c| c.rtp_received)),
                ([("direction", "out")], self.sum(|c| c.rtp_sent)),
            ],
        )?;
        page.counter(
            "payload_sent_bytes",
            "Payload bytes written to subscribers",
            self.sum(|c| c.rtp_sent_len),
        )?;
        page.counters(
            "packets_dropped",
            "Datagrams and packets that went no further, by reason",
            DropReason::ALL.map(|reason| {
                let labels = [("reason", reason.label())];
                (labels, self.sum(|c| c.dropped.get(reason)))
            }),
        )
    }

    fn encode_repair(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counters(
            "nack",
            "Sent: NACK packets to publishers; received: packets that subscribers asked for",
            [
                ([("direction", "sent")], self.sum(|c| c.nacks_sent)),
                ([("direction", "received")], self.sum(|c| c.nacked)),
            ],
        )?;
        page.counter(
            "pli",
            "Key frame requests sent to publishers",
            self.sum(|c| c.key_frame_requests),
        )?;
        page.counter(
            "retransmitted",
            "RTP packets sent again to subscribers",
            self.sum(|c| c.retransmitted),
        )?;
        page.counter(
            "padded",
            "RTP packets of publishers padded to their neighbours' length, to share a send",
            self.sum(|c| c.padded),
        )?;
        page.counter(
            "video_paused",
            "Times that a video was paused: a path had no room for its lowest layer",
            self.sum(|c| c.paused),
        )
    }

    fn encode_data(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counters(
            "data_messages",
            "Data channel messages: in, received; out, sent, one per receiver",
            [
                ([("direction", "in")], self.sum(|c| c.data_received)),
                ([("direction", "out")], self.sum(|c| c.data_sent)),
            ],
        )?;
        page.counter(
            "data_messages_dropped",
            "Data channel messages that a receiver did not get",
            self.sum(|c| c.data_dropped),
        )
    }

    fn encode_usage(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let gauges = [
            ("peers", "PeerConnections", self.sum(|c| c.peers)),
            (
                "peers_connected",
                "PeerConnections whose DTLS handshake is complete",
                self.sum(|c| c.peers_connected),
            ),
            ("conns", "Open WebSockets", self.sum(|c| c.conns)),
            (
                "tracks",
                "Tracks, copies of other workers' included",
                self.sum(|c| c.tracks),
            ),
            (
                "http_conns",
                "Open HTTP connections that are not WebSockets",
                self.http_conns as u64,
            ),
        ];
        for (name, help, value) in gauges {
            page.gauge(name, help, whole(value))?;
        }
        let per_app = |count: fn(&AppCounts) -> usize| {
            self.apps
                .iter()
                .map(move |app| ([("app", app.app.to_string())], whole(count(app) as u64)))
        };
        page.gauges(
            "broadcasts",
            "Broadcasts that can be played",
            per_app(|app| app.broadcasts),
        )?;
        page.gauges("viewers", "Connected players", per_app(|app| app.viewers))?;
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauges("build_info", "This build", [(build, 1_i64)])
    }

    fn encode_joins(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let totals = |of: fn(&AppCounts) -> usize| self.apps.iter().map(of).sum::<usize>() as u64;
        page.gauges(
            "sessions",
            "Publishers on air and connected players",
            [
                ([("role", "publisher")], whole(totals(|app| app.broadcasts))),
                ([("role", "player")], whole(totals(|app| app.viewers))),
            ],
        )?;
        let kinds = [("publish", &self.publishes), ("play", &self.plays)];
        let joins = kinds.into_iter().flat_map(|(kind, figures)| {
            [
                ([("kind", kind), ("result", "granted")], figures.granted),
                ([("kind", kind), ("result", "refused")], figures.refused),
            ]
        });
        page.counters("joins", "Publishes and plays that were asked for", joins)?;
        page.durations(
            "join_seconds",
            "From the command to connected media",
            kinds.map(|(kind, figures)| ([("kind", kind)], &figures.took)),
        )
    }

    fn encode_host(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.duration(
            "store_seconds",
            "How long the store took to answer, commit included",
            &self.store,
        )?;
        let flags = [
            ("store_up", "The store's file can be used", self.store_is_up),
            (
                "draining",
                "The process is about to end and takes nobody in",
                self.is_draining,
            ),
            (
                "overloaded",
                "Newcomers are refused because the host is too busy",
                self.is_overloaded,
            ),
        ];
        for (name, help, is_so) in flags {
            page.gauge(name, help, i64::from(is_so))?;
        }
        page.gauge(
            "stress",
            "How close processor and memory are to their limits; 1 is at one of them",
            self.stress,
        )
    }

    fn encode_webhooks(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let WebhookFigures {
            waiting,
            delivered,
            failed,
            dropped,
        } = self.webhooks;
        page.gauge(
            "webhooks_waiting",
            "Webhooks in the queue",
            whole(waiting as u64),
        )?;
        page.counters(
            "webhooks",
            "Webhooks that were answered with 200, given up, or thrown out of the full queue",
            [
                ([("result", "delivered")], delivered),
                ([("result", "failed")], failed),
                ([("result", "dropped")], dropped),
            ],
        )
    }

    fn encode_workers(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let label = |w: &WorkerFigures| [("worker", w.worker.0.to_string())];
        page.gauges(
            "worker_peers",
            "PeerConnections of each worker",
            self.workers
                .iter()
                .map(|w| (label(w), whole(w.counters.peers))),
        )?;
        page.gauges(
            "worker_conns",
            "WebSockets of each worker",
            self.workers
                .iter()
                .map(|w| (label(w), whole(w.counters.conns))),
        )?;
        page.gauges(
            "worker_turn_seconds",
            "Length of each worker's last turn, waiting left out",
            self.workers
                .iter()
                .map(|w| (label(w), w.turn_us as f64 / 1e6)),
        )?;
        page.gauges(
            "worker_lag_seconds",
            "Each worker's longest turn of the last second: how long packets waited at most",
            self.workers
                .iter()
                .map(|w| (label(w), w.lag_us as f64 / 1e6)),
        )?;
        page.gauges(
            "worker_busy_ratio",
            "Share of its time that each worker spends in turns, over the last seconds",
            self.workers.iter().map(|w| (label(w), w.busy)),
        )?;
        self.encode_datagrams(page)
    }

    fn encode_datagrams(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |of: fn(&WorkerFigures) -> u64| self.workers.iter().map(of).sum();
        page.counters(
            "datagrams",
            "UDP datagrams of all kinds: in, received; out, taken by the kernel",
            [
                ([("direction", "in")], sum(|w| w.datagrams_received)),
                ([("direction", "out")], sum(|w| w.datagrams_sent)),
            ],
        )?;
        page.counter(
            "datagrams_passed",
            "UDP datagrams that came to another worker than the one that owns their peer",
            self.sum(|c| c.passed),
        )?;
        self.encode_tcp(page)?;
        let runs: [u64; MAX_GSO_SEGMENTS] = std::array::from_fn(|at| {
            let workers = self.workers.iter();
            workers.filter_map(|w| w.runs.get(at)).sum()
        });
        page.lengths(
            "gso_run_length",
            "Datagrams per run given to the kernel, which cuts it (UDP_SEGMENT)",
            &runs,
        )?;
        let mut latency = Durations::default();
        for worker in &self.workers {
            latency.merge(&worker.latency);
        }
        page.duration(
            "forward_latency_seconds",
            "From a packet's arrival on the worker to the end of the pass that sent it",
            &latency,
        )
    }

    fn encode_tcp(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |of: fn(&TcpFigures) -> u64| self.workers.iter().map(|w| of(&w.tcp)).sum();
        page.gauge(
            "tcp_conns",
            "Open TCP connections that carry media",
            whole(sum(|tcp| tcp.open)),
        )?;
        page.counters(
            "tcp_conns_opened",
            "TCP connections for media: accepted, or closed at once for want of a place",
            [
                ([("result", "accepted")], sum(|tcp| tcp.accepted)),
                ([("result", "refused")], sum(|tcp| tcp.refused)),
            ],
        )?;
        page.counter(
            "tcp_slow_readers",
            "TCP connections for media that were closed because they did not read",
            sum(|tcp| tcp.slow_readers),
        )?;
        page.counters(
            "tcp_frames",
            "Datagrams as frames on TCP connections: in, received; out, queued to be sent",
            [
                ([("direction", "in")], sum(|tcp| tcp.frames_received)),
                ([("direction", "out")], sum(|tcp| tcp.frames_sent)),
            ],
        )
    }

    fn sum(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|w| counter(&w.counters)).sum()
    }
}

/// Writes one metric family at a time, series in the order given.
struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Page<'_, '_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    /// A histogram of whole lengths; `counts` are those of the lengths 1, 2, 3 and so on.
    fn lengths(&mut self, name: &str, help: &str, counts: &[u64]) -> fmt::Result {
        let lengths = || counts.iter().zip(1u32..);
        let sum: f64 = lengths().map(|(&n, len)| n as f64 * f64::from(len)).sum();
        let mut buckets: Vec<(f64, u64)> = lengths().map(|(&n, len)| (len.into(), n)).collect();
        buckets.push((f64::MAX, 0)); // le="+Inf"
        let kind = MetricType::Histogram;
        self.0
            .encode_descriptor(name, help, None, kind)?
            .encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    /// A histogram without labels.
    fn duration(&mut self, name: &str, help: &str, durations: &Durations) -> fmt::Result {
        let (sum, count) = (durations.sum_s(), durations.count());
        self.0
            .encode_descriptor(name, help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets(durations), None)
    }

    fn durations<'d, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, &'d Durations)>,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, durations) in series {
            let (sum, count) = (durations.sum_s(), durations.count());
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets(durations), None)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn gauge<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: V) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }
}

/// Bounds and counts as the library takes them: it knows the infinite bound by its largest number.
fn buckets(durations: &Durations) -> Vec<(f64, u64)> {
    let finite = |(bound, count): (f64, u64)| (bound.min(f64::MAX), count);
    durations.buckets().map(finite).collect()
}

/// A count as the gauge type that prints without a fraction.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_before_anything_happened() {
        let text = render(Snapshot::default());
        for reason in DropReason::ALL {
            let reason = reason.label();
            let line = format!("leafcutter_packets_dropped_total{{reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        for line in [
            "leafcutter_packets_total{direction=\"in\"} 0\n",
            "leafcutter_packets_total{direction=\"out\"} 0\n",
            "leafcutter_nack_total{direction=\"sent\"} 0\n",
            "leafcutter_pli_total 0\n",
            "leafcutter_retransmitted_total 0\n",
            "leafcutter_peers 0\n",
            "leafcutter_conns 0\n",
            "# TYPE leafcutter_viewers gauge\n",
            "leafcutter_build_info{version=\"",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn older_readers_find_a_counter_under_the_name_of_its_samples() {
        let text = render_plain(Snapshot::default());
        for line in [
            "# TYPE leafcutter_packets_total counter\n",
            "leafcutter_packets_total{direction=\"in\"} 0\n",
            "# TYPE leafcutter_stress gauge\n",
            "# TYPE leafcutter_store_seconds histogram\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.contains("# HELP leafcutter_packets_total "), "{text}");
        assert!(
            !text.contains("# EOF") && !text.contains("# UNIT"),
            "{text}"
        );
    }

    #[test]
    fn workers_are_summed_and_shown_apart() {
        let figures = |worker, rtp_sent, turn_us| {
            let mut counters = Counters {
                rtp_sent,
                passed: 6,
                peers: 2,
                ..Counters::default()
            };
            counters.dropped.count(DropReason::AuthFailed);
            WorkerFigures {
                worker: WorkerId(worker),
                counters,
                turn_us,
                lag_us: 3000,
                latency: {
                    let mut latency = Durations::default();
                    latency.add(std::time::Duration::from_millis(2), 5);
                    latency
                },
                datagrams_received: 1,
                datagrams_sent: 20,
                tcp: TcpFigures {
                    open: 3,
                    frames_sent: 7,
                    ..TcpFigures::default()
                },
                runs: std::array::from_fn(|at| if at < 2 { 4 } else { 1 }),
                busy: 0.25,
            }
        };
        let text = render(Snapshot {
            workers: vec![figures(0, 10, 250), figures(1, 5, 1000)],
            apps: vec![AppCounts {
                app: "live".into(),
                broadcasts: 1,
                viewers: 3,
            }],
            http_conns: 1,
            webhooks: WebhookFigures {
                waiting: 4,
                failed: 2,
                ..WebhookFigures::default()
            },
            plays: JoinFigures {
                refused: 3,
                ..JoinFigures::default()
            },
            stress: 0.5,
            is_draining: true,
            ..Snapshot::default()
        });
        for line in [
            "leafcutter_packets_total{direction=\"out\"} 15\n",
            "leafcutter_packets_dropped_total{reason=\"auth_failed\"} 2\n",
            "leafcutter_peers 4\n",
            "leafcutter_viewers{app=\"live\"} 3\n",
            "leafcutter_webhooks_waiting 4\n",
            "leafcutter_webhooks_total{result=\"failed\"} 2\n",
            "leafcutter_worker_peers{worker=\"1\"} 2\n",
            "leafcutter_worker_turn_seconds{worker=\"0\"} 0.00025\n",
            "leafcutter_datagrams_total{direction=\"out\"} 40\n",
            "leafcutter_datagrams_passed_total 12\n",
            "leafcutter_tcp_conns 6\n",
            "leafcutter_tcp_conns_opened_total{result=\"refused\"} 0\n",
            "leafcutter_tcp_frames_total{direction=\"out\"} 14\n",
            "leafcutter_gso_run_length_bucket{le=\"1.0\"} 8\n",
            "leafcutter_gso_run_length_bucket{le=\"3.0\"} 18\n",
            "leafcutter_gso_run_length_bucket{le=\"+Inf\"} 44\n",
            "leafcutter_gso_run_length_count 44\n",
            "leafcutter_worker_busy_ratio{worker=\"1\"} 0.25\n",
            "leafcutter_worker_lag_seconds{worker=\"1\"} 0.003\n",
            "leafcutter_forward_latency_seconds_bucket{le=\"0.001\"} 0\n",
            "leafcutter_forward_latency_seconds_bucket{le=\"0.0025\"} 10\n",
            "leafcutter_forward_latency_seconds_bucket{le=\"+Inf\"} 10\n",
            "leafcutter_joins_total{kind=\"play\",result=\"refused\"} 3\n",
            "leafcutter_join_seconds_count{kind=\"publish\"} 0\n",
            "leafcutter_sessions{role=\"player\"} 3\n",
            "leafcutter_stress 0.5\n",
            "leafcutter_draining 1\n",
            "leafcutter_store_up 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
