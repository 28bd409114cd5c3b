//! `gateway-daemon explain`.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::flows::ends;
use super::mistake::Mistake;
use crate::api::types::{
    ExplainPacket, ExplainRequest, ExplainStep, ExplainTuple, ExplainedReason, Explanation, Fate, FrameText,
    Protocol, TcpFlag,
};

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ExplainOptions {
    /// Where the packet comes from; of ICMP the identifier of an echo stands for the port
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "hex", requires = "to")]
    pub from: Option<End>,
    /// Where it goes to; ICMP needs no port
    #[arg(long, value_name = "ADDRESS:PORT", requires = "from")]
    pub to: Option<End>,
    /// Its protocol
    #[arg(long, value_name = "PROTOCOL", value_enum, default_value_t = Protocol::Tcp)]
    pub protocol: Protocol,
    /// Flags of TCP, joined by commas; without them that of a packet that opens a connection
    #[arg(long, value_name = "FLAGS", value_enum, value_delimiter = ',')]
    pub flags: Vec<TcpFlag>,
    /// A whole Ethernet frame instead, in hexadecimal as `tcpdump -xx` prints it: the text, a file, or `-` for
    /// standard input
    #[arg(long, value_name = "FRAME", conflicts_with_all = ["from", "to", "protocol", "flags"])]
    #[arg(requires = "interface")]
    pub hex: Option<String>,
    /// The interface that it comes in by; without one, a packet to a VIP comes from NPCI's side, and any other from
    /// the tenants'
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ExplainOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let request = self.request()?;
        self.client.show(async |client| client.explain(&request).await, render)
    }

    pub(super) fn request(&self) -> anyhow::Result<ExplainRequest> {
        let packet = match (&self.hex, self.from, self.to) {
            (Some(hex), ..) => ExplainPacket::Hex(FrameText(frame(hex)?)),
            (None, Some(from), Some(to)) => ExplainPacket::Tuple(self.tuple(from, to)?),
            (None, ..) => {
                return Err(Mistake::new("no packet is given", "give --from and --to, or --hex").into());
            }
        };
        Ok(ExplainRequest { interface: self.interface.clone(), packet })
    }

    fn tuple(&self, from: End, to: End) -> Result<ExplainTuple, Mistake> {
        let port = |end: End, option: &str| match (end.port, self.protocol) {
            (Some(port), _) => Ok(port),
            (None, Protocol::Icmp) => Ok(0),
            (None, protocol) => Err(Mistake::new(
                format!("{option} {} has no port, and {protocol} needs one", end.address),
                format!("write {option} {}:PORT", end.address),
            )),
        };
        Ok(ExplainTuple {
            protocol: self.protocol,
            source: from.address,
            source_port: port(from, "--from")?,
            destination: to.address,
            destination_port: port(to, "--to")?,
            flags: self.flags.clone(),
        })
    }
}

/// `192.0.2.10:443`, or the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    address: Ipv4Addr,
    port: Option<u16>,
}

impl FromStr for End {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let end: SocketAddrV4 = text.parse().map_err(|_| EndError { text: text.to_owned() })?;
        Ok(Self { address: *end.ip(), port: Some(end.port()) })
    }
}

/// It is no end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no IPv4 address with a port, such as 192.0.2.10:443")]
pub struct EndError {
    text: String,
}

/// The digits: themselves, or those in a file or on standard input.
fn frame(hex: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if hex == "-" {
        io::stdin().lock().read_to_string(&mut text).context("cannot read standard input")?;
    } else if Path::new(hex).is_file() {
        text = std::fs::read_to_string(hex).with_context(|| format!("cannot read {hex}"))?;
    } else {
        hex.clone_into(&mut text);
    }
    Ok(without_offsets(&text))
}

/// Without the offsets that `tcpdump -xx` puts before each line, `0x0010:`.
fn without_offsets(text: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix("0x").and_then(|rest| rest.split_once(':')) {
        Some((_, bytes)) => bytes.to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What becomes of it, why, and every step.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut text = outcome(explanation);
    if let Some(ExplainedReason { name, explanation }) = &explanation.reason {
        text.extend([name, ": ", explanation, "\n"]);
    }
    text.push('\n');
    text + &steps(&explanation.steps)
        + "\nNothing was changed: the steps are what the data path would do now.\n"
}

fn outcome(explanation: &Explanation) -> String {
    let Explanation { fate, interface, side, hook, .. } = explanation;
    let tenant = explanation.tenant.as_ref().map(|name| format!(", tenant {name}")).unwrap_or_default();
    let mut text = format!("{fate}{tenant}\n  comes in   {interface} ({side}, {hook})");
    let protocol = explanation.protocol.unwrap_or(Protocol::Tcp);
    if let Some(original) = &explanation.original {
        text.extend(["  ", protocol.as_str(), " ", &ends(protocol, original)]);
    }
    text.push('\n');
    if let Some(interface) = &explanation.leaves_by {
        let verb = if explanation.fate == Fate::Translated { "goes out " } else { "answer   " };
        text.extend(["  ", verb, "  ", interface]);
        if let Some(translated) = &explanation.translated {
            text.extend(["  ", &ends(protocol, translated)]);
        }
        text.push('\n');
    }
    text
}

fn steps(steps: &[ExplainStep]) -> String {
    let heading = [("STEP", Right), ("ACTION", Left), ("TABLE", Left), ("KEY", Left), ("FOUND", Left)];
    let mut columns = Columns::new(heading);
    for (number, step) in (1..).zip(steps) {
        let found = step.found.clone().unwrap_or_else(|| "-".to_owned());
        let action = step.action.to_string();
        columns.row([i32::to_string(&number), action, step.table.clone(), step.key.clone(), found]);
    }
    columns.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_port_or_none() {
        let address = Ipv4Addr::new(192, 0, 2, 10);
        assert_eq!("192.0.2.10:443".parse(), Ok(End { address, port: Some(443) }));
        assert_eq!("192.0.2.10".parse(), Ok(End { address, port: None }));
        for text in ["", "192.0.2:1", "192.0.2.10:", "192.0.2.10:65536", "[::1]:1"] {
            assert!(text.parse::<End>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_tcpdump_prints_is_taken() {
        let text = "\t0x0000:  0200 0000\n\t0x0010:  0800\n";
        assert_eq!(without_offsets(text), "  0200 0000\n  0800");
        assert_eq!(without_offsets("02:00:08"), "02:00:08");
    }
}
