//! Many tenants, a part at a time: what is read takes many times the memory of what comes out.

use std::sync::Arc;

use super::{Plan, Planned, Refusal};
use crate::config::model::Config;
use crate::tenancy::problem::FieldProblem;

impl Plan<'_> {
    /// As [`Plan::carry_out`]. Each step reads some tenants and keeps those of the steps before. A tenant that is yet to
    /// be read stands in no step before its own, so what it gives up is free for others.
    pub(super) fn carry_out_in_steps(
        mut self,
        config: &Config,
        tenants_a_step: usize,
    ) -> Result<Config, Refusal> {
        let reads = self.tenants_to_read();
        if reads.len() <= tenants_a_step {
            return self.carry_out(config);
        }
        let mut config = config.clone();
        let mut steps = reads.chunks(tenants_a_step);
        while let Some(step) = steps.next() {
            let last = step.last().copied().unwrap_or_default();
            config = match self.up_to(last).carry_out(&config) {
                Err(Refusal::Values(mut problems)) => {
                    problems.extend(steps.flat_map(|step| self.faults_of(step)));
                    return Err(Refusal::Values(problems));
                }
                result => result?,
            };
            self.keep(&config, last);
        }
        Ok(config)
    }

    /// Positions of the tenants that are read.
    fn tenants_to_read(&self) -> Vec<usize> {
        let positions = self.tenants.iter().enumerate();
        positions.filter(|(_, tenant)| tenant.spec().is_some()).map(|(position, _)| position).collect()
    }

    /// Without the tenants that are read after that position.
    fn up_to(&self, last: usize) -> Self {
        let positions = self.tenants.iter().enumerate();
        let (included, later): (Vec<_>, Vec<_>) =
            positions.partition(|(position, tenant)| tenant.spec().is_none() || *position <= last);
        let names = later.iter().filter_map(|(_, tenant)| tenant.spec());
        Self {
            peer_groups: self.peer_groups.clone(),
            tenants: included.into_iter().map(|(_, tenant)| tenant.clone()).collect(),
            later: names.map(|spec| spec.name.as_str()).collect(),
        }
    }

    /// Keeps what the step up to that position has read.
    fn keep(&mut self, config: &Config, last: usize) {
        let groups = config.peer_groups.iter();
        self.peer_groups = groups.map(|group| Planned::Kept(Arc::clone(group))).collect();
        let positions = self.tenants.iter_mut().enumerate();
        let included = positions.filter(|(position, tenant)| tenant.spec().is_none() || *position <= last);
        for ((_, planned), tenant) in included.zip(config.tenants.iter()) {
            *planned = Planned::Kept(Arc::clone(tenant));
        }
    }

    /// What is wrong with the values of these tenants.
    fn faults_of(&self, positions: &[usize]) -> Vec<FieldProblem> {
        let tenants = positions.iter().map(|position| self.tenants[*position].clone()).collect();
        Self { tenants, ..Self::default() }.faults()
    }
}
