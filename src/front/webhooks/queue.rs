//! Which webhook is delivered next: of each application the oldest whose broadcast has none under
//! way, so that the order of each broadcast is kept, a slow receiver delays its own broadcasts
//! only, and a dead one its own application at most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::base::limits::{MAX_WEBHOOKS_BEGUN, MAX_WEBHOOKS_UNDER_WAY, MAX_WEBHOOKS_WAITING};
use crate::model::event::Event;
use crate::model::mail::AppName;
use crate::model::track::StreamId;

/// Events that wait, and whose are begun: under way, or to be repeated. Applications stay once they
/// had one: there are as many as the settings name.
#[derive(Debug, Default)]
pub struct Queue(BTreeMap<AppName, OfApp>);

/// An application's.
#[derive(Debug)]
struct OfApp {
    waiting: VecDeque<Event>,
    busy: BTreeSet<StreamId>,
    /// Requests that may be sent.
    requests: Arc<Semaphore>,
}

impl Default for OfApp {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            busy: BTreeSet::new(),
            requests: Arc::new(Semaphore::new(MAX_WEBHOOKS_UNDER_WAY)),
        }
    }
}

impl Queue {
    /// Puts `event` in. True when one had to go for it: the oldest of the application that has the
    /// most.
    pub fn push(&mut self, event: Event) -> bool {
        let is_full = self.waiting() >= MAX_WEBHOOKS_WAITING;
        if is_full && let Some(most) = self.0.values_mut().max_by_key(|of| of.waiting.len()) {
            most.waiting.pop_front();
        }
        let of_app = self.0.entry(event.app.clone()).or_default();
        of_app.waiting.push_back(event);
        is_full
    }

    /// The next event to deliver, begun from here on, and what its requests take turns by; `None`
    /// when none may be.
    pub fn take(&mut self) -> Option<(Event, Arc<Semaphore>)> {
        self.0.values_mut().find_map(OfApp::take)
    }

    /// `event` is delivered, or given up.
    pub fn done(&mut self, event: &Event) {
        if let Some(of_app) = self.0.get_mut(&event.app) {
            of_app.busy.remove(&event.stream);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.values().map(|of| of.waiting.len()).sum()
    }

    /// True when nothing waits and nothing is begun.
    pub fn is_idle(&self) -> bool {
        let is_idle = |of: &OfApp| of.waiting.is_empty() && of.busy.is_empty();
        self.0.values().all(is_idle)
    }
}

impl OfApp {
    fn take(&mut self) -> Option<(Event, Arc<Semaphore>)> {
        if self.busy.len() >= MAX_WEBHOOKS_BEGUN {
            return None;
        }
        let is_free = |event: &Event| !self.busy.contains(&event.stream);
        let at = self.waiting.iter().position(is_free)?;
        let event = self.waiting.remove(at)?;
        self.busy.insert(event.stream.clone());
        Some((event, self.requests.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventAction;

    fn event(stream: &str, unix_ms: u64) -> Event {
        event_of("live", stream, unix_ms)
    }

    fn event_of(app: &str, stream: &str, unix_ms: u64) -> Event {
        Event {
            app: app.into(),
            stream: stream.into(),
            action: EventAction::PlayStarted,
            unix_ms,
            name: None,
            meta_data: None,
            main_track: None,
            subscriber_id: None,
        }
    }

    #[test]
    fn a_broadcast_keeps_its_order_and_does_not_wait_for_others() {
        let mut queue = Queue::default();
        for (stream, at) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            assert!(!queue.push(event(stream, at)));
        }
        let (first, _) = queue.take().unwrap();
        assert_eq!((&*first.stream, first.unix_ms), ("a", 1));
        let (other, _) = queue.take().unwrap();
        assert_eq!((&*other.stream, other.unix_ms), ("b", 3));
        assert!(queue.take().is_none(), "a is under way");
        queue.done(&first);
        let (second, _) = queue.take().unwrap();
        assert_eq!(second.unix_ms, 2);
        queue.done(&second);
        queue.done(&other);
        let (last, _) = queue.take().unwrap();
        assert_eq!(last.unix_ms, 4);
        assert!(!queue.is_idle());
        queue.done(&last);
        assert!(queue.is_idle());
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let mut queue = Queue::default();
        for at in 0..MAX_WEBHOOKS_WAITING {
            assert!(!queue.push(event("a", at as u64)));
        }
        assert!(queue.push(event("a", 9)));
        assert_eq!(queue.waiting(), MAX_WEBHOOKS_WAITING);
        assert_eq!(queue.take().unwrap().0.unix_ms, 1);
    }

    #[test]
    fn only_so_many_are_begun() {
        let mut queue = Queue::default();
        for at in 0..=MAX_WEBHOOKS_BEGUN {
            queue.push(event(&format!("s{at}"), 0));
        }
        let taken = std::iter::from_fn(|| queue.take()).count();
        assert_eq!((taken, queue.waiting()), (MAX_WEBHOOKS_BEGUN, 1));
    }
    #[test]
    fn an_application_whose_receiver_is_dead_does_not_stop_another() {
        let mut queue = Queue::default();
        for at in 0..MAX_WEBHOOKS_BEGUN + MAX_WEBHOOKS_WAITING {
            queue.push(event_of("dead", &format!("s{at}"), 0));
            queue.take();
        }
        assert_eq!(queue.waiting(), MAX_WEBHOOKS_WAITING);
        assert!(queue.push(event_of("well", "s", 1)));
        assert!(queue.push(event_of("dead", "more", 2)));
        let (next, requests) = queue.take().unwrap();
        assert_eq!(&*next.app, "well");
        assert_eq!(requests.available_permits(), MAX_WEBHOOKS_UNDER_WAY);
        assert!(queue.take().is_none());
    }
}
