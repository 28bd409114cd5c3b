//! The deadline of draining.

use clap::Args;

use super::mistake::Mistake;
use crate::api::types::{Deadline, DrainRequest};

/// Until when flows may go on.
#[derive(Debug, Args)]
pub struct DeadlineOption {
    /// Reset the flows that remain after this time, as in 90s, 15m or 2h; without, they are never reset
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub deadline: Option<u64>,
}

impl DeadlineOption {
    /// As the API has it.
    pub(super) fn request(&self) -> Result<DrainRequest, Mistake> {
        let deadline = self.deadline.map(Deadline::try_from).transpose();
        let deadline_secs = deadline.map_err(|what| Mistake::new(what, "give a shorter time, or none"))?;
        Ok(DrainRequest { deadline_secs })
    }
}

/// `90`, `90s`, `15m`, `2h`, `1d` as seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, secs)| text.strip_suffix(unit).map(|number| (number, *secs)));
    let (number, secs) = found.unwrap_or((text, 1));
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(secs));
    number.ok_or_else(|| "write a time as 90s, 15m, 2h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(
            ["90", "90s", "15m", "2h", "1d"].map(|text| seconds(text).unwrap()),
            [90, 90, 900, 7_200, 86_400]
        );
        for text in ["", "s", "-1s", "1.5h", "1w", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
