//! `gateway-daemon monitor`: drops and flows, as they happen.

use std::fmt::Write as _;

use clap::Args;
use hyper::Method;

use super::Exit;
use super::client::ClientOptions;
use super::flows::ends;
use super::format::{counted, utc};
use super::output::print_line;
use crate::api::MONITOR_PATH;
use crate::api::change::Ask;
use crate::api::client::Client;
use crate::api::types::{DroppedPacket, Endpoints, FlowNews, Happening, Missed, MonitorFilter, Protocol};

/// Options of `monitor`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct MonitorOptions {
    /// Only what is of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only packets that are dropped
    #[arg(long)]
    pub drops: bool,
    /// Only flows that begin and end
    #[arg(long)]
    pub flows: bool,
    /// End after so many lines
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl MonitorOptions {
    /// Prints what happens until nobody reads any more, or the daemon ends.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.stay(async |client| self.follow(client).await)
    }

    async fn follow(&self, client: &Client) -> anyhow::Result<Exit> {
        let mut pieces = client.follow(&self.question()).await?;
        let (mut lines, mut left) = (Lines::default(), self.limit.unwrap_or(u64::MAX));
        while left > 0
            && let Some(piece) = pieces.next().await?
        {
            for what in lines.take(&piece)? {
                if left == 0 || !self.show(&what)? {
                    return Ok(Exit::Done);
                }
                left -= 1;
            }
        }
        Ok(Exit::Done)
    }

    pub(super) fn question(&self) -> Ask {
        let filter = MonitorFilter { tenant: self.tenant.clone(), drops: self.drops, flows: self.flows };
        let query = serde_urlencoded::to_string(&filter).expect("words make a query");
        Ask::raw(Method::GET, &format!("{MONITOR_PATH}?{query}"))
    }

    /// Is anybody still reading?
    fn show(&self, what: &Happening) -> anyhow::Result<bool> {
        let line = if self.client.json { serde_json::to_string(what)? } else { render(what) };
        print_line(&line)
    }
}

/// Lines of JSON that come in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Those that are whole with the next piece.
    fn take(&mut self, piece: &[u8]) -> serde_json::Result<Vec<Happening>> {
        self.0.extend(piece);
        let end = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.0.drain(..end).collect();
        whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect()
    }
}

/// One line for people.
pub(super) fn render(what: &Happening) -> String {
    match what {
        Happening::Dropped(drop) => dropped(drop),
        Happening::Opened(flow) => format!("{}  opened", flow_line(flow)),
        Happening::Ended(end) => format!("{}  ended: {}", flow_line(&end.flow), end.why),
        Happening::Missed(missed) => missed_line(missed),
    }
}

fn dropped(drop: &DroppedPacket) -> String {
    let tenant = drop.tenant.as_deref().unwrap_or("-");
    let verb = if drop.answered { "refused with an answer" } else { "dropped" };
    let mut line = format!("{}  {tenant}  {}", time(drop.at_unix_ms), drop.interface);
    if let (Some(number), Some(ends)) = (drop.protocol_number, &drop.packet) {
        // Writing to a string cannot fail.
        let _ = write!(line, "  {}", packet(number, ends));
    }
    format!("{line}  {} bytes  {verb}: {}", drop.bytes, drop.reason)
}

fn packet(number: u8, packet: &Endpoints) -> String {
    let protocol = match number {
        1 => Protocol::Icmp,
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return format!("protocol {number}  {}->{}", packet.source, packet.destination),
    };
    format!("{protocol}  {}", ends(protocol, packet))
}

fn flow_line(flow: &FlowNews) -> String {
    let [original, translated] = [&flow.original, &flow.translated].map(|one| ends(flow.protocol, one));
    let FlowNews { tenant, direction, protocol, .. } = flow;
    format!("{}  {tenant}  {direction}  {protocol}  {original}  {translated}", time(flow.at_unix_ms))
}

fn missed_line(missed: &Missed) -> String {
    let (drops, flows) = (counted(missed.drops, "drop"), counted(missed.flows, "flow event"));
    format!("... not told: {drops} and {flows}, too many in a second; {} lost on the way", missed.lost)
}

/// To the millisecond: what belongs together happens close together.
fn time(unix_ms: u64) -> String {
    let seconds = utc(unix_ms / 1_000);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), unix_ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake;

    #[test]
    fn lines_are_whole_however_they_are_cut() {
        let told = fake::happenings();
        let text: String = told.iter().map(|what| serde_json::to_string(what).unwrap() + "\n").collect();
        for piece in [1, 10, 1_000, text.len()] {
            let mut lines = Lines::default();
            let read: Vec<_> =
                text.as_bytes().chunks(piece).flat_map(|piece| lines.take(piece).unwrap()).collect();
            assert_eq!(read, told, "pieces of {piece}");
        }
    }
}
