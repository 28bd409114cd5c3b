//! What is published: the standings, a few milliseconds after they changed, many changes in one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{BackendId, Fallen, Standing, Standings};

/// Changes that come within this time are published together: a rack that fails is one change of the tables rather
/// than a hundred.
const WINDOW: Duration = Duration::from_millis(5);

/// Publishing copies the standing of every backend. The window grows by this for each, which keeps copying below a
/// tenth of a core however many there are (100,000 backends: 50 ms).
const WINDOW_PER_BACKEND: Duration = Duration::from_nanos(500);

/// The standings as published, and what will be.
#[derive(Debug)]
pub struct Board {
    sender: watch::Sender<Standings>,
    fallen: watch::Sender<Fallen>,
    pending: HashMap<BackendId, Noted>,
    due: Option<Instant>,
}

/// What is to be published of a backend.
#[derive(Clone, Copy, Debug)]
struct Noted {
    standing: Option<Standing>,
    fallen: bool,
}

impl Default for Board {
    fn default() -> Self {
        let (sender, fallen) = (watch::Sender::default(), watch::Sender::default());
        Self { sender, fallen, pending: HashMap::new(), due: None }
    }
}

impl Board {
    /// Sees what is published.
    pub fn subscribe(&self) -> watch::Receiver<Standings> {
        self.sender.subscribe()
    }

    /// Sees who has fallen.
    pub fn subscribe_fallen(&self) -> watch::Receiver<Fallen> {
        self.fallen.subscribe()
    }

    /// Notes a change; `None` when the backend is no longer checked.
    pub fn note(&mut self, id: BackendId, standing: Option<Standing>, fallen: bool, now: Instant) {
        self.pending.insert(id, Noted { standing, fallen });
        if self.due.is_none() {
            self.due = Some(now + self.window());
        }
    }

    /// When the noted changes are to be published.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Publishes the noted changes when their time has come.
    pub fn publish_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.publish();
        }
    }

    /// Publishes the noted changes now. Changes that took each other back are none.
    pub fn publish(&mut self) {
        self.due = None;
        let noted = std::mem::take(&mut self.pending);
        self.publish_standings(&noted);
        // Whoever sees that a backend has fallen sees its standing, too.
        self.publish_fallen(noted);
    }

    fn publish_standings(&self, noted: &HashMap<BackendId, Noted>) {
        let published = self.sender.borrow().clone();
        let differs = |(id, noted): &(&BackendId, &Noted)| published.get(*id) != noted.standing.as_ref();
        let mut changes = noted.iter().filter(differs).peekable();
        if changes.peek().is_none() {
            return;
        }
        let mut standings = HashMap::clone(&published);
        for (id, noted) in changes {
            match noted.standing {
                Some(standing) => drop(standings.insert(id.clone(), standing)),
                None => drop(standings.remove(id)),
            }
        }
        self.sender.send_replace(Arc::new(standings));
    }

    fn publish_fallen(&self, mut noted: HashMap<BackendId, Noted>) {
        let published = self.fallen.borrow().clone();
        noted.retain(|id, noted| published.contains(id) != noted.fallen);
        if noted.is_empty() {
            return;
        }
        let mut fallen = HashSet::clone(&published);
        for (id, noted) in noted {
            if noted.fallen {
                fallen.insert(id);
            } else {
                fallen.remove(&id);
            }
        }
        self.fallen.send_replace(Arc::new(fallen));
    }

    fn window(&self) -> Duration {
        let backends = u32::try_from(self.sender.borrow().len()).unwrap_or(u32::MAX);
        WINDOW.max(WINDOW_PER_BACKEND * backends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::target::tests::{target, tcp_check};

    fn id(number: u32) -> BackendId {
        target(number, &Arc::new(tcp_check())).id
    }

    #[test]
    fn changes_are_published_together_and_only_when_due() {
        let (mut board, now) = (Board::default(), Instant::now());
        let mut seen = board.subscribe();
        board.note(id(1), Some(Standing::Up), false, now);
        board.note(id(2), Some(Standing::Down), false, now + WINDOW / 2);
        board.publish_due(now + WINDOW / 2);
        assert!(!seen.has_changed().unwrap());
        assert_eq!(board.due(), Some(now + WINDOW));
        board.publish_due(now + WINDOW);
        assert_eq!(
            *seen.borrow_and_update().as_ref(),
            HashMap::from([(id(1), Standing::Up), (id(2), Standing::Down)])
        );
        assert_eq!(board.due(), None);
    }

    #[test]
    fn what_was_taken_back_is_not_published() {
        let (mut board, now) = (Board::default(), Instant::now());
        board.note(id(1), Some(Standing::Up), false, now);
        board.publish();
        let mut seen = board.subscribe();
        seen.mark_unchanged();
        board.note(id(1), Some(Standing::Down), false, now);
        board.note(id(1), Some(Standing::Up), false, now);
        board.publish();
        assert!(!seen.has_changed().unwrap());
        board.note(id(1), None, false, now);
        board.publish();
        assert!(seen.borrow_and_update().is_empty());
    }

    #[test]
    fn who_has_fallen_is_published_also_when_the_standing_is_as_it_was() {
        let (mut board, now) = (Board::default(), Instant::now());
        let (mut standings, mut fallen) = (board.subscribe(), board.subscribe_fallen());
        board.note(id(1), Some(Standing::Down), false, now);
        board.publish();
        assert!(standings.has_changed().unwrap() && !fallen.has_changed().unwrap());
        standings.mark_unchanged();
        board.note(id(1), Some(Standing::Down), true, now);
        board.publish();
        assert!(!standings.has_changed().unwrap());
        assert_eq!(**fallen.borrow_and_update(), HashSet::from([id(1)]));
        board.note(id(1), None, false, now);
        board.publish();
        assert!(fallen.borrow_and_update().is_empty());
    }
}
