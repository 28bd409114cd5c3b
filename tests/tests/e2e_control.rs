//! Changes through the API, whatever becomes of the one who asked for them.

use std::{collections::BTreeSet, io::Write as _, os::unix::net::UnixStream, time::Duration};

use gateway_tests::{
    gateway::Gateway,
    lab::Lab,
    poll::poll_result,
    scenarios::control::{made_up, stage::Stage},
    topology::{Mode, Topology},
};
use serde_json::Value;

const HANG_UPS: u16 = 60;
const LIMIT: Duration = Duration::from_secs(10);

/// A change that has begun is finished, so what is stored and what is in force are the same afterwards; and the next
/// change is made on top of it.
#[test]
fn a_caller_that_hangs_up_leaves_nothing_half_done() {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(1));
    let mut stage = Stage::start(&lab, |_| ());
    for number in 0..HANG_UPS {
        let tenant = made_up::tenant(number, 2);
        let body = serde_json::to_string(&tenant).expect("a tenant is JSON");
        let mut stream = UnixStream::connect(stage.gateway.socket()).expect("the daemon listens");
        let head = format!(
            "PUT /v1/tenants/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            tenant.name,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("the request is sent");
        // Dropped: some requests are read, some are under way, some are done.
    }
    stage.api.put_tenant(&made_up::tenant(HANG_UPS, 2)).expect("the change is made");
    poll_result(LIMIT, "what is stored to be in force", || {
        let (stored, in_force) = (stored(&stage.gateway)?, in_force(&stage.gateway)?);
        if stored == in_force { Ok(()) } else { Err(format!("stored {stored:?}, in force {in_force:?}")) }
    });
    assert!(stored(&stage.gateway).expect("it answers").len() > 1, "some of them were made");
}

fn stored(gateway: &Gateway<'_>) -> Result<BTreeSet<String>, String> {
    Ok(names(&gateway.try_cli(&["export"])?["tenant"]))
}

fn in_force(gateway: &Gateway<'_>) -> Result<BTreeSet<String>, String> {
    Ok(names(&gateway.try_cli(&["status"])?["tenants"]))
}

fn names(tenants: &Value) -> BTreeSet<String> {
    let names = tenants.as_array().into_iter().flatten().filter_map(|tenant| tenant["name"].as_str());
    names.map(str::to_owned).collect()
}
