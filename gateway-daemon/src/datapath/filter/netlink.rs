//! What the kernel is asked about filters. aya attaches and replaces them; it can neither list them nor remove a qdisc.

use std::{fmt, io};

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcHandle, TcHeader, TcMessage},
};
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NlaBuffer, NlasIterator,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

/// `NLMSG_ERROR` and `NLMSG_DONE` of `linux/netlink.h`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `struct tcmsg`, before the attributes.
const HEADER_LEN: usize = 20;

/// `TCA_KIND` and `TCA_OPTIONS` of `linux/rtnetlink.h`; in the latter of a `bpf` filter, `TCA_BPF_NAME` and
/// `TCA_BPF_ID` of `linux/pkt_cls.h`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_NAME: u16 = 7;
const BPF_ID: u16 = 11;

/// `ETH_P_ALL`, in the byte order of the wire, as it stands in `tcm_info`.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();

/// One of the two lists of filters below a `clsact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

impl Hook {
    const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: TcHandle::CLSACT.major, minor }
    }
}

/// A filter, or the head of those of one priority, which has the handle 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Lower ones come first.
    pub priority: u16,
    /// Its number among those of this priority.
    pub handle: u32,
    /// Does it see every packet?
    pub is_for_all_protocols: bool,
    /// What it is: `bpf`, `flower`, ...
    pub kind: String,
    /// The name that who attached a program has given it.
    pub name: Option<String>,
    /// The program in it.
    pub program_id: Option<u32>,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// Those of an interface; none when it is gone, or has no `clsact`.
///
/// # Errors
///
/// What the kernel says.
pub fn filters(ifindex: u32, hook: Hook) -> io::Result<Vec<Filter>> {
    let message = message(ifindex, TcHandle::UNSPEC, hook.parent(), 0)?;
    let mut found = Vec::new();
    exchange(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP, |payload| {
        found.push(filter(payload)?);
        Ok(())
    })?;
    Ok(found)
}

/// Removes a filter of the ingress, one for all protocols.
///
/// # Errors
///
/// What the kernel says.
pub fn delete_filter(ifindex: u32, priority: u16, handle: u32) -> io::Result<()> {
    let info = u32::from(priority) << 16 | u32::from(ALL_PROTOCOLS);
    let message = message(ifindex, handle.into(), Hook::Ingress.parent(), info)?;
    exchange(RouteNetlinkMessage::DelTrafficFilter(message), NLM_F_ACK, |_| Ok(()))
}

/// Removes the `clsact`, and with it whatever filters are below.
///
/// # Errors
///
/// What the kernel says.
pub fn delete_clsact(ifindex: u32) -> io::Result<()> {
    let handle = TcHandle { minor: 0, ..TcHandle::CLSACT };
    let message = message(ifindex, handle, TcHandle::CLSACT, 0)?;
    exchange(RouteNetlinkMessage::DelQueueDiscipline(message), NLM_F_ACK, |_| Ok(()))
}

fn message(ifindex: u32, handle: TcHandle, parent: TcHandle, info: u32) -> io::Result<TcMessage> {
    let mut message = TcMessage::with_index(ifindex.try_into().map_err(io::Error::other)?);
    message.header.handle = handle;
    message.header.parent = parent;
    message.header.info = info;
    Ok(message)
}

/// Sends one request and reads the answers to their end.
fn exchange(
    message: RouteNetlinkMessage,
    flags: u16,
    mut read: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    loop {
        let (answers, _) = socket.recv_from_full()?;
        if read_answers(&answers, &mut read)? {
            return Ok(());
        }
    }
}

/// Reads one datagram; returns whether it was the last.
fn read_answers(mut rest: &[u8], read: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
    while !rest.is_empty() {
        let answer = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        match answer.message_type() {
            ERROR => return error(answer.payload()).map(|()| true),
            DONE => return Ok(true),
            _ => read(answer.payload())?,
        }
        rest = rest.get(answer.length().next_multiple_of(4) as usize..).unwrap_or_default();
    }
    Ok(false)
}

/// Code 0 is an acknowledgement.
fn error(payload: &[u8]) -> io::Result<()> {
    let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
    match code.ok_or_else(|| io::Error::other("an answer of netlink without its code"))? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

/// Parsed by hand: what a filter of another kind looks like inside is of no interest, and must not be a reason to fail.
fn filter(payload: &[u8]) -> io::Result<Filter> {
    let header = TcHeader::parse(payload).map_err(io::Error::other)?;
    let [priority, protocol] = [header.info >> 16, header.info & 0xffff];
    let mut filter = Filter {
        priority: u16::try_from(priority).map_err(io::Error::other)?,
        handle: u32::from(header.handle),
        is_for_all_protocols: protocol == u32::from(ALL_PROTOCOLS),
        kind: String::new(),
        name: None,
        program_id: None,
    };
    let mut options = Vec::new();
    for attribute in attributes(payload.get(HEADER_LEN..).unwrap_or_default()) {
        match attribute.kind() {
            KIND => filter.kind = text(attribute.value()),
            OPTIONS => options = attribute.value().to_vec(),
            _ => {}
        }
    }
    if filter.kind == "bpf" {
        attributes(&options).for_each(|option| filter.read_option(&option));
    }
    Ok(filter)
}

impl Filter {
    fn read_option(&mut self, option: &NlaBuffer<&[u8]>) {
        match option.kind() {
            BPF_NAME => self.name = Some(text(option.value())),
            BPF_ID => self.program_id = option.value().first_chunk().map(|id| u32::from_ne_bytes(*id)),
            _ => {}
        }
    }
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(info: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = [0, 3, 0x2197, 0xffff_fff2, info].map(u32::to_ne_bytes).concat();
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn reads_a_program() {
        let options = [attribute(8, &1_u32.to_ne_bytes()), attribute(7, b"tc_external\0"), {
            attribute(11, &42_u32.to_ne_bytes())
        }];
        let bytes = answer(0x0001_0300, &[attribute(1, b"bpf\0"), attribute(2, &options.concat())]);
        let expected = Filter {
            priority: 1,
            handle: 0x2197,
            is_for_all_protocols: true,
            kind: "bpf".to_owned(),
            name: Some("tc_external".to_owned()),
            program_id: Some(42),
        };
        assert_eq!(filter(&bytes).unwrap(), expected);
    }

    #[test]
    fn reads_what_is_none_as_far_as_it_goes() {
        // The options of another kind look like a name and a number.
        let options = [attribute(7, b"x\0"), attribute(11, &42_u32.to_ne_bytes())].concat();
        let bytes = answer(0x0005_0008, &[attribute(1, b"u32\0"), attribute(2, &options)]);
        let other = filter(&bytes).unwrap();
        assert_eq!((other.priority, other.kind.as_str(), other.is_for_all_protocols), (5, "u32", false));
        assert_eq!((other.name, other.program_id), (None, None));
        for cut in HEADER_LEN..bytes.len() {
            assert!(filter(&bytes[..cut]).is_ok(), "{cut}");
        }
        assert!(filter(&bytes[..HEADER_LEN - 1]).is_err());
    }

    #[test]
    fn an_error_is_told_from_an_acknowledgement() {
        assert!(error(&0_i32.to_ne_bytes()).is_ok());
        assert_eq!(error(&(-22_i32).to_ne_bytes()).unwrap_err().raw_os_error(), Some(22));
        assert!(error(&[1]).is_err());
    }
}
