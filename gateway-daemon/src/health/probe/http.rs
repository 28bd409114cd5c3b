//! HTTP and HTTPS: one GET, of which only the head of the answer is read.

use std::net::SocketAddrV4;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Deadline, tcp, tls};
use crate::config::StatusRanges;
use crate::health::failure::{Failure, Phase};

/// The longest head of an answer that is read, the least that hyper allows. A longer one fails the check.
const HEAD_MAX: usize = 8 * 1024;

/// How servers' logs know the checks.
const USER_AGENT: &str = "two-ip-gateway-health";

/// What is asked for, and what is to come.
pub struct Page<'a> {
    /// The path.
    pub path: &'a str,
    /// The Host header.
    pub host: Option<&'a str>,
    /// Statuses that pass.
    pub expect: &'a StatusRanges,
}

/// Asks for the page, through TLS if there is a connector.
pub async fn check(
    stream: TcpStream,
    tls: Option<&TlsConnector>,
    page: &Page<'_>,
    to: SocketAddrV4,
    deadline: &Deadline,
) -> Result<(), Failure> {
    tcp::reset_on_close(&stream)?;
    let request = page.request(to)?;
    let status = match tls {
        Some(tls) => {
            let stream = tls::handshake(stream, tls, page.host, to, deadline).await?;
            deadline.within(Phase::Answering, status(stream, request)).await?
        }
        None => deadline.within(Phase::Answering, status(stream, request)).await?,
    };
    page.judge(status)
}

impl Page<'_> {
    fn request(&self, to: SocketAddrV4) -> Result<Request<Empty<Bytes>>, Failure> {
        let host = self.host.map_or_else(|| to.to_string(), str::to_owned);
        Request::get(self.path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Empty::new())
            .map_err(|error| Failure::Unable(format!("cannot ask for `{}`: {error}", self.path).into()))
    }

    fn judge(&self, status: u16) -> Result<(), Failure> {
        if self.expect.contains(status) {
            return Ok(());
        }
        Err(Failure::status(status, self.expect))
    }
}

/// Sends the request; the status of the answer. The connection is gone when this returns.
async fn status<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<u16, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_MAX);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(failure)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answer => response,
        // Whatever ended the connection, the answer knows more about it.
        _ = connection => answer.await,
    };
    Ok(response.map_err(failure)?.status().as_u16())
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn failure(error: hyper::Error) -> Failure {
    let io = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match io {
        Some(io) => Failure::from_io(io, Phase::Answering),
        None if error.is_incomplete_message() || error.is_canceled() => Failure::Reset(Phase::Answering),
        None => Failure::Http(error.to_string().into()),
    }
}
