//! Bytes to send, and the bytes that the answer must begin with.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Deadline;
use crate::health::failure::{Failure, Phase};

/// Plays the script. With nothing to expect, it passes when everything is sent. Reads no more than is expected.
pub async fn check(
    mut stream: TcpStream,
    send: &[u8],
    expect: &[Option<u8>],
    deadline: &Deadline,
) -> Result<(), Failure> {
    let exchange = async {
        stream.write_all(send).await.map_err(|error| failure(&error))?;
        read_and_compare(&mut stream, expect).await
    };
    deadline.within(Phase::Answering, exchange).await
}

async fn read_and_compare(stream: &mut TcpStream, expect: &[Option<u8>]) -> Result<(), Failure> {
    let mut answer = vec![0; expect.len()];
    let mut got = 0;
    while got < answer.len() {
        let count = stream.read(&mut answer[got..]).await.map_err(|error| failure(&error))?;
        if count == 0 {
            return Err(Failure::Short { got, expected: expect.len() });
        }
        compare(&answer[..got + count], expect, got)?;
        got += count;
    }
    Ok(())
}

/// Compares the bytes from `from` on, so that a wrong answer fails at its first wrong byte, not at the deadline.
fn compare(answer: &[u8], expect: &[Option<u8>], from: usize) -> Result<(), Failure> {
    let differs = |(at, (&got, expected)): (usize, (&u8, &Option<u8>))| {
        let expected = expected.filter(|expected| *expected != got)?;
        Some(Failure::Differs { at, got, expected })
    };
    match answer.iter().zip(expect).enumerate().skip(from).find_map(differs) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn failure(error: &std::io::Error) -> Failure {
    Failure::from_io(error, Phase::Answering)
}
