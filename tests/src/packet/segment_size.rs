//! The maximum segment size that a SYN offers (RFC 9293 section 3.7.1).

use super::Tcp;

impl Tcp {
    /// What the option says, if it is there.
    pub fn segment_size(&self) -> Option<u16> {
        read(&self.options)
    }
}

fn read(mut options: &[u8]) -> Option<u16> {
    loop {
        match *options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [1, ref rest @ ..] => options = rest,
            [kind, length, ..] if kind > 1 && length >= 2 => options = options.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_size_is_found_among_other_options() {
        assert_eq!(read(&[1, 3, 3, 7, 2, 4, 0x04, 0xec]), Some(1260));
        assert_eq!(read(&[4, 2, 1, 1]), None);
        assert_eq!(read(&[0, 2, 4, 5, 6]), None, "behind the end");
        assert_eq!(read(&[3, 9, 1]), None, "cut");
    }
}
