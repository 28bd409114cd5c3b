//! Ending a thread that waits for packets: it waits for its socket and for the stop signal at once.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Dropping it stops the thread that holds the other half.
#[derive(Debug)]
pub struct StopHandle(#[expect(dead_code, reason = "closing the pipe is the signal")] PipeWriter);

/// The waiting half.
#[derive(Debug)]
pub struct StopSignal(PipeReader);

/// Why [`StopSignal::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The descriptor has something to read.
    Readable,
    /// The handle was dropped; the descriptor may have something to read as well.
    Stopped,
}

/// A connected pair.
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let (reader, writer) = std::io::pipe().expect("make a pipe");
    (StopHandle(writer), StopSignal(reader))
}

impl StopSignal {
    /// Waits until `fd` is readable or the handle is gone.
    pub fn wait(&self, fd: &impl AsFd) -> Wake {
        let mut fds =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(error) => panic!("poll: {error}"),
                Ok(_) if fds[0].any() == Some(true) => return Wake::Stopped,
                Ok(_) => return Wake::Readable,
            }
        }
    }
}
