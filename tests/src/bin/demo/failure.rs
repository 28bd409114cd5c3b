//! The lab panics with what went wrong; here that becomes the last line instead of the first of many.

use std::{
    any::Any,
    panic,
    sync::{Arc, Mutex, PoisonError},
};

/// A panic whose payload is no text.
const UNKNOWN: &str = "for an unknown reason";

/// The first panic of this process, in words.
pub struct Failure(Arc<Mutex<Option<String>>>);

/// From now on panics are noted, not printed.
pub fn note_panics() -> Failure {
    let noted = Arc::new(Mutex::new(None));
    let first = Arc::clone(&noted);
    panic::set_hook(Box::new(move |info| {
        let message = words(info.payload()).unwrap_or(UNKNOWN).to_owned();
        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }));
    Failure(noted)
}

impl Failure {
    /// What it was.
    pub fn take(&self) -> String {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.take().unwrap_or_else(|| UNKNOWN.to_owned())
    }
}

/// The two forms that `panic!` makes. (`PanicHookInfo::payload_as_str` needs Rust 1.91.)
fn words(payload: &dyn Any) -> Option<&str> {
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| payload.downcast_ref::<&str>().copied())
}
