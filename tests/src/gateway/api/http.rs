//! HTTP/1.1 on a unix socket, one request after the other on a connection that stays.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

/// Longer than the daemon takes for its longest answer.
const LIMIT: Duration = Duration::from_secs(90);
/// The server has not read the whole body then, and hangs up.
const TOO_LARGE: u16 = 413;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `GET`, ...
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Without a body.
    pub fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, headers: Vec::new(), body: &[] }
    }

    /// With a body that says it is JSON.
    #[must_use]
    pub fn json(self, body: &'a [u8]) -> Self {
        Self { body, ..self }.header("Content-Type", "application/json")
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn head(&self) -> String {
        let Self { method, path, headers, body } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").expect("writes to memory");
        }
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).expect("writes to memory");
        head
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Answer {
    /// Of one header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body of a success; the error has status and body.
    pub fn json(&self) -> Result<Value, String> {
        if !(200..300).contains(&self.status) {
            return Err(format!("status {}: {}", self.status, self.body));
        }
        self.any_json()
    }

    /// The body, whatever the status says.
    pub fn any_json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("{error}: {:?}", self.body))
    }
}

/// The connection, made when it is needed.
#[derive(Debug)]
pub struct Http {
    socket: PathBuf,
    connection: Option<BufReader<UnixStream>>,
}

impl Http {
    /// To this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), connection: None }
    }

    /// Asks once: a request that failed may have been done.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let stream = connection.get_mut();
        let written =
            stream.write_all(request.head().as_bytes()).and_then(|()| stream.write_all(request.body));
        // A server that refuses a body answers before it has read it, and hangs up.
        let answer = read_answer(&mut connection).or_else(|error| written.and(Err(error)))?;
        if answer.status != TOO_LARGE && answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<UnixStream>> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(BufReader::new(stream))
    }
}

fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let status = read_line(reader)?;
    let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no HTTP status"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").and_then(|value| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let text =
            "HTTP/1.1 409 Conflict\r\nETag: \"7\"\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n";
        let mut reader = text.as_bytes();
        let first = read_answer(&mut reader).expect("an answer");
        assert_eq!((first.status, first.header("etag"), first.body.as_str()), (409, Some("\"7\""), "{}"));
        assert!(first.json().is_err() && first.any_json().is_ok());
        assert_eq!(read_answer(&mut reader).expect("an answer").status, 200);
        assert!(read_answer(&mut reader).is_err(), "nothing is left");
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let request = Request::new("PUT", "/x").json(b"{}").header("If-Match", "\"3\"");
        let head = request.head();
        assert!(
            head.starts_with("PUT /x HTTP/1.1\r\n") && head.ends_with("Content-Length: 2\r\n\r\n"),
            "{head}"
        );
        assert!(head.contains("If-Match: \"3\"\r\n"), "{head}");
    }
}
