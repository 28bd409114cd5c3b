//! Ctrl-C and SIGTERM, heeded between two steps, so that whatever was made is removed again.

use std::{
    io::{self, PipeReader, PipeWriter, Write as _},
    os::fd::AsFd as _,
    sync::OnceLock,
};

use nix::{
    libc::c_int,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

use crate::Stopped;

/// Written to by the signal handler.
static NOTED: OnceLock<PipeWriter> = OnceLock::new();

/// Readable once a signal has come.
pub struct Interrupt(PipeReader);

impl Interrupt {
    /// From now on the signals are noted. Programs that are started get them as usual: a handler, unlike a mask, does
    /// not outlive `exec`.
    pub fn arm() -> Self {
        let (reader, writer) = io::pipe().expect("make a pipe");
        NOTED.set(writer).expect("armed once");
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler reads a cell that is set already and writes to a pipe: both may be done in a handler
            // (signal-safety(7)).
            unsafe { sigaction(signal, &action) }.expect("these signals can be handled");
        }
        Self(reader)
    }

    /// Has one come?
    pub fn check(&self) -> Result<(), Stopped> {
        if self.poll(PollTimeout::ZERO) { Err(Stopped) } else { Ok(()) }
    }

    /// Returns when one has come.
    pub fn wait(&self) {
        while !self.poll(PollTimeout::NONE) {}
    }

    fn poll(&self, limit: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // The error is that the signal came just now: the next look finds it.
        poll(&mut fds, limit).is_ok_and(|ready| ready > 0)
    }
}

extern "C" fn note(_signal: c_int) {
    if let Some(mut pipe) = NOTED.get() {
        // It can only be full of earlier notes.
        let _ = pipe.write(b"!");
    }
}
