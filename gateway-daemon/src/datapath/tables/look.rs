//! Single entries of the pinned maps, read only: what a packet would find.

use anyhow::{Context as _, Result};
use gateway_common::{
    abi::{
        ALLOW_KEY_BITS, Addr, AllowKey, Backend, CtEntry, DESTINATION_KEY_BITS, DestinationKey, FlowKey,
        HairpinKey, Interface, Listener, ListenerKey, OwnedAddress, Pool, Settings, TenantId, TenantSettings,
        TenantSource, TenantUse,
    },
    tables::FlowTable,
};

use super::Tables;
use crate::datapath::{contents::Prefix, element, explain::Look, table::Table};

/// Length of an address prefix that is a single address.
const ADDRESS_BITS: u32 = 32;

impl Look for Tables {
    fn settings(&self) -> Result<Settings> {
        Self::settings(self)
    }

    fn address(&self, address: Addr) -> Result<Option<OwnedAddress>> {
        self.addresses.find(&address)
    }

    fn listener(&self, key: &ListenerKey) -> Result<Option<Listener>> {
        self.listeners.find(key)
    }

    fn allows(&self, key: &AllowKey) -> Result<bool> {
        let prefix = Prefix { bits: ALLOW_KEY_BITS + ADDRESS_BITS, key: *key };
        Ok(self.allow_lists.find(&prefix)?.is_some())
    }

    fn source(&self, source: Addr) -> Result<Option<TenantSource>> {
        let prefix = Prefix { bits: ADDRESS_BITS, key: source };
        Ok(self.sources.find(&prefix)?.map(TenantSource::from_raw))
    }

    fn reaches(&self, key: &DestinationKey) -> Result<bool> {
        let prefix = Prefix { bits: DESTINATION_KEY_BITS + ADDRESS_BITS, key: *key };
        Ok(self.destinations.find(&prefix)?.is_some())
    }

    fn allows_hairpin(&self, key: &HairpinKey) -> Result<bool> {
        Ok(self.hairpins.find(key)?.is_some())
    }

    fn tenant_use(&self, tenant: TenantId) -> Result<TenantUse> {
        Self::tenant_use(self, tenant)
    }

    fn tenant(&self, tenant: TenantId) -> Result<Option<TenantSettings>> {
        self.tenants.find(&u32::from(tenant.0))
    }

    fn pool(&self, pool: u32) -> Result<Option<Pool>> {
        self.pools.find(&pool)
    }

    fn maglev(&self, slot: u32) -> Result<Option<u32>> {
        element::lookup(&self.maglev, &slot).context("cannot read a hash slot")
    }

    fn backend(&self, backend: u32) -> Result<Option<Backend>> {
        self.backends.find(&backend)
    }

    fn interface(&self, ifindex: u32) -> Result<Option<Interface>> {
        self.interfaces.find(&ifindex)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Result<Option<CtEntry>> {
        self.flow_table(table).find(key)
    }

    fn has_room(&self, table: FlowTable) -> Result<bool> {
        let table = self.flow_table(table);
        Ok(table.count()? < table.capacity()?)
    }
}

impl Tables {
    fn flow_table(&self, table: FlowTable) -> &Table<FlowKey, CtEntry> {
        match table {
            FlowTable::Established => &self.flows,
            FlowTable::HalfOpen => &self.half_open,
        }
    }
}
