//! What a run found.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::{Value, json};

use super::{
    compare::{Discrepancy, discrepancies},
    conversation::{Conversation, Talk, Topic},
    differences::{Case, Difference},
    sight::Sight,
};

/// Failures that are printed in full; the others are counted.
const SHOWN: usize = 20;

/// A conversation with differences that nothing justifies.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The conversation.
    pub conversation: Conversation,
    /// What differs without justification.
    pub discrepancies: Vec<Discrepancy>,
}

/// The result of a run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Of the run.
    pub seed: u64,
    /// How many conversations there were of each topic.
    pub topics: BTreeMap<Topic, u64>,
    /// Packets and events at both ends of both labs that were compared.
    pub compared: u64,
    /// Conversations of which something came through both gateways.
    pub alive: u64,
    /// How often each difference was met.
    pub justified: BTreeMap<Difference, u64>,
    /// Conversations that failed.
    pub failures: Vec<Failure>,
    /// Conversations only, without building the labs.
    pub took: Duration,
    /// Frames that the kernel dropped before anybody saw them: what is missing may be theirs.
    pub lost_by_labs: u64,
}

impl Report {
    /// Compares the two records of a conversation.
    pub fn note(&mut self, conversation: Conversation, ours: &[Sight], theirs: &[Sight]) {
        *self.topics.entry(conversation.topic).or_default() += 1;
        self.compared += (ours.len() + theirs.len()) as u64;
        self.alive += u64::from(!ours.is_empty() && !theirs.is_empty());
        let mut failed = Vec::new();
        for discrepancy in discrepancies(ours, theirs) {
            let case = Case { conversation: &conversation, discrepancy: &discrepancy };
            match Difference::justifying(&case) {
                Some(difference) => *self.justified.entry(difference).or_default() += 1,
                None => failed.push(discrepancy),
            }
        }
        if !failed.is_empty() {
            self.failures.push(Failure { conversation, discrepancies: failed });
        }
    }

    /// Conversations held.
    pub fn conversations(&self) -> u64 {
        self.topics.values().sum()
    }

    /// Differences that a rule of the list justifies.
    pub fn differences_justified(&self) -> u64 {
        self.justified.values().sum()
    }

    /// Differences that none does.
    pub fn differences_unjustified(&self) -> u64 {
        self.failures.iter().map(|failure| failure.discrepancies.len() as u64).sum()
    }

    /// All differences.
    pub fn differences_found(&self) -> u64 {
        self.differences_justified() + self.differences_unjustified()
    }

    /// Did enough come through to be compared? Two gateways that let nothing pass are equal, too.
    ///
    /// A single conversation may be one that is forbidden, so a few prove nothing.
    pub fn is_alive(&self) -> bool {
        self.conversations() < 100 || self.alive * 2 > self.conversations()
    }

    /// Is everything as it should be?
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.is_alive()
    }

    /// All figures, and the failures as text.
    pub fn json(&self) -> Value {
        let topics: BTreeMap<String, u64> =
            self.topics.iter().map(|(topic, count)| (topic.to_string(), *count)).collect();
        let justified: BTreeMap<&str, u64> =
            self.justified.iter().map(|(difference, count)| (difference.name(), *count)).collect();
        let failures = self.failures.iter().map(|failure| {
            let Conversation { index, topic, path, .. } = &failure.conversation;
            json!({
                "conversation": index,
                "topic": topic.to_string(),
                "path": format!("{path:?}"),
                "differences": failure.discrepancies.iter().map(Discrepancy::to_string).collect::<Vec<_>>(),
            })
        });
        json!({
            "seed": self.seed,
            "conversations": self.conversations(),
            "conversations_alive": self.alive,
            "compared": self.compared,
            "differences_found": self.differences_found(),
            "differences_justified": self.differences_justified(),
            "differences_unjustified": self.differences_unjustified(),
            "seconds": self.took.as_secs_f64(),
            "lost_by_labs": self.lost_by_labs,
            "topics": topics,
            "justified": justified,
            "failures": failures.collect::<Vec<_>>(),
            "passed": self.passed(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in self.failures.iter().take(SHOWN) {
            write!(f, "{failure}  alone: cargo xtask differential --seed {} --only ", self.seed)?;
            writeln!(f, "{}\n", failure.conversation.index)?;
        }
        if self.failures.len() > SHOWN {
            writeln!(f, "... and {} more conversations that differ\n", self.failures.len() - SHOWN)?;
        }
        for (topic, count) in &self.topics {
            writeln!(f, "  {topic:<16} {count:>7}")?;
        }
        writeln!(f, "differences that are justified (docs/differential.md):")?;
        for (difference, count) in &self.justified {
            writeln!(f, "  {:<32} {count:>7}", difference.name())?;
        }
        let (found, justified) = (self.differences_found(), self.differences_justified());
        writeln!(
            f,
            "seed {}: {} conversations, {} of them came through, {} packets and events compared in {:.1} s",
            self.seed,
            self.conversations(),
            self.alive,
            self.compared,
            self.took.as_secs_f64()
        )?;
        writeln!(f, "differences found {found}, justified {justified}, not justified {}", found - justified)?;
        if self.lost_by_labs > 0 {
            let lost = self.lost_by_labs;
            writeln!(f, "the kernel's backlog lost {lost} frames meanwhile: neither gateway has seen them")?;
        }
        if self.is_alive() {
            return Ok(());
        }
        writeln!(f, "too few conversations came through: this compares nothing")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conversation { index, topic, path, talk } = &self.conversation;
        writeln!(f, "conversation {index}: {topic}, {path:?}")?;
        match talk {
            Talk::Stream(script) => writeln!(f, "    {script:?}")?,
            Talk::Script(rounds) => {
                for (number, send) in
                    rounds.iter().enumerate().flat_map(|(n, round)| round.iter().map(move |send| (n, send)))
                {
                    writeln!(f, "    sent      round {number} by {send}")?;
                }
            }
        }
        self.discrepancies.iter().try_for_each(|discrepancy| write!(f, "{discrepancy}"))
    }
}
