//! TC filters, which stand in for TCX links on kernels that have none. Every kernel takes them, so they are tested on all.

use aya::Ebpf;
use gateway_common::abi::Side;
use gateway_daemon::datapath::{
    hook::{Choice, Hook},
    link,
    pins::Pins,
    programs::{self, Attachment, TableSizes, Target},
};
use gateway_tests::{bpffs::BpfFs, netns::Namespace, session::Session, tool};

const INTERFACE: &str = "ext0.7";

/// What others may have there: a filter that matches every packet and lets it pass.
const OF_OTHERS: &str = "u32 match u32 0 0 classid 1:1";

/// An interface in a namespace of its own.
struct Stage {
    bpffs: BpfFs,
    namespace: Namespace,
}

impl Stage {
    fn new() -> Self {
        let session = Session::start();
        let namespace = Namespace::create(&session, "gateway");
        namespace.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "far0"]);
        let bpffs = BpfFs::mount(&session, "bpffs");
        Self { bpffs, namespace }
    }

    fn pins(&self) -> Pins {
        Pins::new(self.bpffs.path())
    }

    fn target(&self) -> Target {
        let ifindex = self.namespace.enter(|| nix::net::if_::if_nametoindex(INTERFACE)).unwrap();
        let choice = Choice { hook: Hook::TcFilter, fallback: None, why: "as wished".to_owned() };
        Target { interface: INTERFACE.to_owned(), ifindex, side: Side::External, choice }
    }

    /// What a daemon does when it starts; what it holds besides.
    #[track_caller]
    fn start(&self) -> (Attachment, Ebpf) {
        let (pins, targets) = (self.pins(), [self.target()]);
        pins.prepare().unwrap();
        self.namespace.enter(|| {
            let sizes = TableSizes { established: 1024, half_open: 1024 };
            let mut ebpf = programs::load(Some(&pins), sizes).unwrap();
            let mut attachments = programs::attach(&mut ebpf, &pins, &targets).unwrap();
            (attachments.remove(0), ebpf)
        })
    }

    /// What it does when it finds that something is missing.
    #[track_caller]
    fn heal(&self, ebpf: &mut Ebpf) -> Attachment {
        self.namespace.enter(|| programs::attach_one(ebpf, &self.pins(), &self.target())).unwrap()
    }

    /// The number of the program that is attached, if it is known of.
    fn attached(&self) -> Option<u32> {
        let pins = self.pins();
        let names = pins.link_names().unwrap();
        let name = names.first()?;
        self.namespace.enter(|| link::inspect(&pins, name)).unwrap().map(|info| info.program_id)
    }

    /// What `unload` does.
    fn detach_all(&self) {
        let pins = self.pins();
        for name in pins.link_names().unwrap() {
            self.namespace.enter(|| link::detach(&pins, &name)).unwrap();
        }
        assert_eq!(pins.link_names().unwrap(), []);
    }

    #[track_caller]
    fn tc(&self, arguments: &str) -> String {
        let mut command = self.namespace.command("tc");
        command.args(arguments.split(' '));
        tool::run(command)
    }

    fn filters(&self) -> String {
        self.tc(&format!("filter show dev {INTERFACE} ingress"))
    }

    fn has_clsact(&self) -> bool {
        self.tc(&format!("qdisc show dev {INTERFACE}")).contains("clsact")
    }
}

#[test]
fn a_filter_stays_when_its_daemon_is_gone_and_the_next_one_replaces_its_program() {
    let stage = Stage::new();
    let (first, ebpf) = stage.start();
    assert!(!first.adopted && first.why.contains("TCX"), "{first:?}");
    drop(ebpf);
    assert_eq!(stage.attached(), first.program_id);
    let (second, _ebpf) = stage.start();
    assert!(second.adopted && second.program_id != first.program_id, "{first:?} {second:?}");
    assert_eq!(stage.attached(), second.program_id);
    let filters = stage.filters();
    assert_eq!(filters.matches("handle 0x").count(), 1, "{filters}");
    assert!(filters.contains("pref 1 bpf") && filters.contains("direct-action"), "{filters}");
}

#[test]
fn a_filter_or_qdisc_that_somebody_removes_is_missed_and_put_back() {
    let stage = Stage::new();
    let (first, mut ebpf) = stage.start();
    let harms = [
        format!("filter del dev {INTERFACE} ingress pref 1"),
        format!("filter del dev {INTERFACE} ingress"),
        format!("qdisc del dev {INTERFACE} clsact"),
    ];
    for harm in harms {
        stage.tc(&harm);
        assert_eq!(stage.attached(), None, "{harm}");
        let healed = stage.heal(&mut ebpf);
        assert!(!healed.adopted && healed.program_id == first.program_id, "{harm}: {healed:?}");
        assert_eq!(stage.attached(), first.program_id, "{harm}");
    }
    stage.detach_all();
    assert!(!stage.has_clsact());
}

#[test]
fn what_is_removed_is_ours_and_the_qdisc_only_if_nobody_uses_it() {
    let stage = Stage::new();
    let (_, _ebpf) = stage.start();
    stage.detach_all();
    assert!(!stage.has_clsact() && stage.filters().is_empty(), "ours, and unused");

    for direction in ["ingress", "egress"] {
        let (_, _ebpf) = stage.start();
        stage.tc(&format!("filter add dev {INTERFACE} {direction} pref 7 protocol ip {OF_OTHERS}"));
        stage.detach_all();
        let left = stage.tc(&format!("filter show dev {INTERFACE} {direction}"));
        assert!(left.contains("pref 7 u32") && !left.contains("bpf"), "{direction}: {left}");
        assert!(stage.has_clsact(), "ours, but used in {direction}");
        stage.tc(&format!("qdisc del dev {INTERFACE} clsact"));
    }

    stage.tc(&format!("qdisc add dev {INTERFACE} clsact"));
    let (_, _ebpf) = stage.start();
    stage.detach_all();
    assert!(stage.has_clsact() && stage.filters().is_empty(), "another's");
}

#[test]
fn another_in_our_place_is_left_there_and_named() {
    let stage = Stage::new();
    stage.tc(&format!("qdisc add dev {INTERFACE} clsact"));
    stage.tc(&format!("filter add dev {INTERFACE} ingress pref 1 protocol ip {OF_OTHERS}"));
    let before = stage.filters();
    let pins = stage.pins();
    pins.prepare().unwrap();
    let refused = stage.namespace.enter(|| {
        let sizes = TableSizes { established: 1024, half_open: 1024 };
        let mut ebpf = programs::load(Some(&pins), sizes).unwrap();
        programs::attach(&mut ebpf, &pins, &[stage.target()]).unwrap_err()
    });
    let refused = format!("{refused:#}");
    for part in [INTERFACE, "priority 1", "another's (u32)"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(stage.filters(), before);
    assert_eq!(pins.link_names().unwrap(), [], "nothing is noted");
}

#[test]
fn an_interface_that_is_gone_is_no_reason_to_fail() {
    let stage = Stage::new();
    let (_, _ebpf) = stage.start();
    stage.namespace.ip(&["link", "del", INTERFACE]);
    assert_eq!(stage.attached(), None);
    stage.detach_all();
}
