//! The control plane: tenants are added, changed, drained and removed while traffic runs, the daemon dies, somebody
//! damages what it has built, backends fail, and people ask for what makes no sense.

pub mod churn;
pub mod damage;
pub mod etcd;
pub mod health;
pub mod kills;
pub mod latency;
pub mod passive;
pub mod refusals;
pub mod scale;
pub mod store_kills;

pub mod made_up;
pub mod stage;
