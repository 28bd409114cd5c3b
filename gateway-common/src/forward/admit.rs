//! What a tenant may open: so many flows at a time, and so many new ones a second. One tenant's flood ends here, before it
//! takes a port or a place in a table.

use crate::{
    abi::{TenantId, TenantSettings},
    drop_reason::DropReason,
    tables::{Pace, Tables},
};

/// Counts a flow that a tenant is about to open, if its limits allow one more. Whoever does not open it after all gives it
/// back by [`release`].
///
/// The count is exact: it is raised first and lowered again when it was at the limit, so two CPUs never take the last
/// place both, though both may be refused it.
#[inline(never)]
pub fn admit<T: Tables>(tables: &T, tenant: TenantId, now_ns: u64) -> Result<(), DropReason> {
    let settings = tables.tenant(tenant).ok_or(DropReason::NotConfigured)?;
    let flows = tables.add_flow(tenant);
    let refused = if settings.flows_max != 0 && flows >= i64::from(settings.flows_max) {
        DropReason::TenantFlowsExceeded
    } else if !is_in_pace(tables, tenant, &settings, now_ns) {
        DropReason::TenantRateExceeded
    } else {
        return Ok(());
    };
    release(tables, tenant);
    Err(refused)
}

#[inline(always)]
fn is_in_pace<T: Tables>(tables: &T, tenant: TenantId, settings: &TenantSettings, now_ns: u64) -> bool {
    if settings.new_flow_interval_ns == 0 {
        return true;
    }
    let pace =
        Pace { interval_ns: settings.new_flow_interval_ns, credit_ns: settings.new_flow_credit_ns, now_ns };
    tables.take_turn(tenant, &pace)
}

/// A flow of the tenant has ended, or was not opened after all.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, tenant: TenantId) {
    tables.remove_flow(tenant);
}
