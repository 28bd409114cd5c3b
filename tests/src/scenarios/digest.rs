//! SHA-256 of what was sent and of what arrived.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};

/// Read at a time.
const CHUNK: usize = 1 << 20;

/// A SHA-256 sum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a file.
    #[track_caller]
    pub fn of_file(path: &Path) -> Self {
        let read = File::open(path).and_then(|file| Self::of(file, |_| ()));
        read.unwrap_or_else(|error| panic!("read {}: {error}", path.display())).0
    }

    /// Of all that a reader gives, with its length. `progress` is told of each part.
    pub fn of(mut reader: impl Read, mut progress: impl FnMut(u64)) -> io::Result<(Self, u64)> {
        let (mut sum, mut buffer, mut length) = (Sha256::new(), vec![0; CHUNK], 0);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self(sum.finalize().into()), length)),
                Ok(count) => {
                    sum.update(&buffer[..count]);
                    length += count as u64;
                    progress(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of FIPS 180-2, appendix B.
    #[test]
    fn known_sums() {
        let (sum, length) = Digest::of(&b"abc"[..], |_| ()).expect("memory");
        assert_eq!(length, 3);
        assert_eq!(format!("{sum:?}"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let (other, _) = Digest::of(&b"abd"[..], |_| ()).expect("memory");
        assert_ne!(sum, other);
    }
}
