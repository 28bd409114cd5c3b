//! A tar archive in memory (POSIX.1-1988, `ustar`), as far as a report needs it: plain files with short names.

/// Everything in a tar stands in blocks of this size.
const BLOCK: usize = 512;

/// An archive that is being written.
#[derive(Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file. Its name has at most 100 bytes: it is one of ours.
    pub(super) fn file(&mut self, name: &str, contents: &[u8], mode: u32, unix_secs: u64) {
        self.0.extend(header(name, contents.len(), mode, unix_secs));
        self.0.extend(contents);
        self.fill();
    }

    /// The archive: two empty blocks end it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }

    fn fill(&mut self) {
        let length = self.0.len().next_multiple_of(BLOCK);
        self.0.resize(length, 0);
    }
}

fn header(name: &str, length: usize, mode: u32, unix_secs: u64) -> [u8; BLOCK] {
    assert!(name.len() <= 100, "{name} needs an extension of the format");
    let mut header = [0; BLOCK];
    // The sum is over a header whose own sum is blank.
    let fields: [(usize, &str); 9] = [
        (0, name),
        (100, &format!("{mode:07o}")),
        (108, "0000000"),
        (116, "0000000"),
        (124, &format!("{length:011o}")),
        (136, &format!("{unix_secs:011o}")),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ];
    for (at, text) in fields {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
