//! The targets by name.

#[cfg(feature = "daemon")]
use crate::{api_body, config, seeds::texts};
use crate::{engine, seeds::packets};

/// Something that takes any bytes and panics when a promise is broken.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its program and of its directory of fixtures.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(&[u8]),
    /// Where its corpus begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language, for the fuzzer to put in; none where the input is no text.
    pub words: fn() -> Vec<String>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "process", run: engine::process, seeds: packets::process, words: Vec::new },
    Target { name: "icmp_quote", run: engine::icmp_quote, seeds: packets::icmp_quote, words: Vec::new },
    Target { name: "fragments", run: engine::fragments, seeds: packets::fragments, words: Vec::new },
    #[cfg(feature = "daemon")]
    Target { name: "config", run: config::run, seeds: texts::config, words: texts::config_words },
    #[cfg(feature = "daemon")]
    Target { name: "api_body", run: api_body::run, seeds: texts::api_body, words: texts::api_words },
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Without libFuzzer: runs the files that are named on the command line, to look at a finding with a debugger.
#[cfg(not(fuzzing))]
pub fn replay(name: &str) {
    let target = named(name).expect("the program is named after a target");
    for path in std::env::args_os().skip(1) {
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        (target.run)(&bytes);
        println!("{}: nothing found", path.display());
    }
}

/// The program of one target: libFuzzer's when compiled with `--cfg fuzzing`, else [`replay`].
#[macro_export]
macro_rules! entry {
    ($name:literal) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            let target = $crate::target::named($name).expect("the program is named after a target");
            (target.run)(data);
        });

        #[cfg(not(fuzzing))]
        fn main() {
            $crate::target::replay($name);
        }
    };
}
