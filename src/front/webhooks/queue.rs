//! Which webhook is delivered next: the oldest whose broadcast has none under way, so that the
//! order of each broadcast is kept and a slow receiver delays its own broadcasts only.

use std::collections::{BTreeSet, VecDeque};

use crate::base::limits::{MAX_WEBHOOKS_BEGUN, MAX_WEBHOOKS_WAITING};
use crate::model::event::Event;
use crate::model::mail::AppName;
use crate::model::track::StreamId;

/// Events that wait, and whose are begun: under way, or to be repeated.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Event>,
    busy: BTreeSet<(AppName, StreamId)>,
}

impl Queue {
    /// Puts `event` in. True when the oldest had to go for it.
    pub fn push(&mut self, event: Event) -> bool {
        let is_full = self.waiting.len() >= MAX_WEBHOOKS_WAITING;
        if is_full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
        is_full
    }

    /// The next event to deliver, begun from here on; `None` when none may be.
    pub fn take(&mut self) -> Option<Event> {
        if self.busy.len() >= MAX_WEBHOOKS_BEGUN {
            return None;
        }
        let is_free = |event: &Event| !self.busy.contains(&key(event));
        let at = self.waiting.iter().position(is_free)?;
        let event = self.waiting.remove(at)?;
        self.busy.insert(key(&event));
        Some(event)
    }

    /// `event` is delivered, or given up.
    pub fn done(&mut self, event: &Event) {
        self.busy.remove(&key(event));
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True when nothing waits and nothing is begun.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }
}

fn key(event: &Event) -> (AppName, StreamId) {
    (event.app.clone(), event.stream.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventAction;

    fn event(stream: &str, unix_ms: u64) -> Event {
        Event {
            app: "live".into(),
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
        let first = queue.take().unwrap();
        assert_eq!((&*first.stream, first.unix_ms), ("a", 1));
        let other = queue.take().unwrap();
        assert_eq!((&*other.stream, other.unix_ms), ("b", 3));
        assert_eq!(queue.take(), None, "a is under way");
        queue.done(&first);
        let second = queue.take().unwrap();
        assert_eq!(second.unix_ms, 2);
        queue.done(&second);
        queue.done(&other);
        let last = queue.take().unwrap();
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
        assert_eq!(queue.take().unwrap().unix_ms, 1);
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
}
