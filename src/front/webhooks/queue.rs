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

/// What is delivered, and how much of it there may be.
pub trait Queued {
    /// How many wait at most, of all applications together.
    const MAX_WAITING: usize;
    /// The same in bytes of [`len_bytes`](Self::len_bytes).
    const MAX_WAITING_LEN: usize;
    /// Broadcasts of one application that have one under way at most.
    const MAX_BEGUN: usize;

    /// Of which application.
    fn app(&self) -> &AppName;

    /// Of which broadcast.
    fn stream(&self) -> &StreamId;

    /// What it counts for; 0 where their number is limit enough.
    fn len_bytes(&self) -> usize;
}

impl Queued for Event {
    const MAX_WAITING: usize = MAX_WEBHOOKS_WAITING;
    const MAX_WAITING_LEN: usize = usize::MAX;
    const MAX_BEGUN: usize = MAX_WEBHOOKS_BEGUN;

    fn app(&self) -> &AppName {
        &self.app
    }

    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn len_bytes(&self) -> usize {
        0
    }
}

/// What waits, and whose are begun: under way, or to be repeated. Applications stay once they had
/// one: there are as many as the settings name.
#[derive(Debug)]
pub struct Queue<T>(BTreeMap<AppName, OfApp<T>>);

/// An application's.
#[derive(Debug)]
struct OfApp<T> {
    waiting: VecDeque<T>,
    waiting_len: usize,
    busy: BTreeSet<StreamId>,
    /// Requests that may be sent.
    requests: Arc<Semaphore>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Default for OfApp<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_len: 0,
            busy: BTreeSet::new(),
            requests: Arc::new(Semaphore::new(MAX_WEBHOOKS_UNDER_WAY)),
        }
    }
}

impl<T: Queued> Queue<T> {
    /// Puts `item` in; how many had to go for it: the oldest of the application that has the most.
    pub fn push(&mut self, item: T) -> u64 {
        let of_app = self.0.entry(item.app().clone()).or_default();
        of_app.waiting_len += item.len_bytes();
        of_app.waiting.push_back(item);
        let mut dropped = 0;
        while self.drop_one() {
            dropped += 1;
        }
        dropped
    }

    /// False when there is room for all.
    fn drop_one(&mut self) -> bool {
        let is_long = self.0.values().map(|of| of.waiting_len).sum::<usize>() > T::MAX_WAITING_LEN;
        if !is_long && self.waiting() <= T::MAX_WAITING {
            return false;
        }
        let most = self.0.values_mut().max_by_key(|of| match is_long {
            true => of.waiting_len,
            false => of.waiting.len(),
        });
        most.is_some_and(|of| of.remove(0).is_some())
    }

    /// The next to deliver, begun from here on, and what its requests take turns by; `None` when
    /// none may be.
    pub fn take(&mut self) -> Option<(T, Arc<Semaphore>)> {
        self.0.values_mut().find_map(OfApp::take)
    }

    /// What was begun of `stream` is delivered, or given up.
    pub fn done(&mut self, app: &AppName, stream: &StreamId) {
        if let Some(of_app) = self.0.get_mut(app) {
            of_app.busy.remove(stream);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.values().map(|of| of.waiting.len()).sum()
    }

    /// True when nothing waits and nothing is begun.
    pub fn is_idle(&self) -> bool {
        let is_idle = |of: &OfApp<T>| of.waiting.is_empty() && of.busy.is_empty();
        self.0.values().all(is_idle)
    }
}

impl<T: Queued> OfApp<T> {
    fn take(&mut self) -> Option<(T, Arc<Semaphore>)> {
        if self.busy.len() >= T::MAX_BEGUN {
            return None;
        }
        let is_free = |item: &T| !self.busy.contains(item.stream());
        let at = self.waiting.iter().position(is_free)?;
        let item = self.remove(at)?;
        self.busy.insert(item.stream().clone());
        Some((item, self.requests.clone()))
    }

    fn remove(&mut self, at: usize) -> Option<T> {
        let item = self.waiting.remove(at)?;
        self.waiting_len -= item.len_bytes();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{MAX_DATA_HOOKS, MAX_DATA_HOOKS_LEN, MAX_DATA_HOOKS_UNDER_WAY};
    use crate::model::data::{DataMessage, DataRelay, DataTargets};
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
            assert_eq!(queue.push(event(stream, at)), 0);
        }
        let (first, _) = queue.take().unwrap();
        assert_eq!((&*first.stream, first.unix_ms), ("a", 1));
        let (other, _) = queue.take().unwrap();
        assert_eq!((&*other.stream, other.unix_ms), ("b", 3));
        assert!(queue.take().is_none(), "a is under way");
        queue.done(&first.app, &first.stream);
        let (second, _) = queue.take().unwrap();
        assert_eq!(second.unix_ms, 2);
        queue.done(&second.app, &second.stream);
        queue.done(&other.app, &other.stream);
        let (last, _) = queue.take().unwrap();
        assert_eq!(last.unix_ms, 4);
        assert!(!queue.is_idle());
        queue.done(&last.app, &last.stream);
        assert!(queue.is_idle());
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let mut queue = Queue::default();
        for at in 0..MAX_WEBHOOKS_WAITING {
            assert_eq!(queue.push(event("a", at as u64)), 0);
        }
        assert_eq!(queue.push(event("a", 9)), 1);
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
        assert_eq!(queue.push(event_of("well", "s", 1)), 1);
        assert_eq!(queue.push(event_of("dead", "more", 2)), 1);
        let (next, requests) = queue.take().unwrap();
        assert_eq!(&*next.app, "well");
        assert_eq!(requests.available_permits(), MAX_WEBHOOKS_UNDER_WAY);
        assert!(queue.take().is_none());
    }

    fn message(app: &str, stream: &str, len: usize) -> Arc<DataRelay> {
        Arc::new(DataRelay {
            app: app.into(),
            stream: stream.into(),
            from: None,
            to: DataTargets::new(),
            message: DataMessage::binary(vec![0; len]),
        })
    }

    #[test]
    fn messages_have_room_in_bytes_and_in_number_and_who_has_most_makes_it() {
        let mut queue = Queue::default();
        let quarter = MAX_DATA_HOOKS_LEN / 4;
        queue.push(message("many", "s", 0));
        for _ in 0..4 {
            assert_eq!(queue.push(message("long", "s", quarter)), 0);
        }
        assert_eq!(queue.push(message("many", "s", 1)), 1);
        assert_eq!(queue.push(message("long", "s", MAX_DATA_HOOKS_LEN)), 4);
        assert_eq!(queue.push(message("long", "s", quarter)), 0);
        assert_eq!(queue.waiting(), 3);
        let more = (0..MAX_DATA_HOOKS).map(|_| queue.push(message("many", "s", 0)));
        assert_eq!(more.sum::<u64>(), 3);
        let next: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        let lens = next.iter().map(|(relay, _)| relay.message.bytes.len());
        assert_eq!(lens.collect::<Vec<_>>(), [quarter, 0]);
    }

    #[test]
    fn only_so_many_messages_of_an_application_are_begun() {
        let mut queue = Queue::default();
        for at in 0..=MAX_DATA_HOOKS_UNDER_WAY {
            queue.push(message("live", &format!("s{at}"), 1));
        }
        queue.push(message("other", "s", 1));
        let taken = std::iter::from_fn(|| queue.take()).count();
        let waiting = (queue.waiting(), queue.0[&AppName::from("live")].waiting_len);
        assert_eq!((taken, waiting), (MAX_DATA_HOOKS_UNDER_WAY + 1, (1, 1)));
    }
}
