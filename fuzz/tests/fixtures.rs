//! Every seed, and everything that fuzzing has found, through its target: without libFuzzer.

use std::{fs, path::Path};

use gateway_fuzz::target::{TARGETS, Target};

fn run_all(target: &Target, directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        (target.run)(&fs::read(&path).unwrap());
    }
}

/// Without the feature `daemon` its targets are not there, and their fixtures wait.
#[test]
fn what_was_found_is_not_found_again() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let name = entry.file_name();
        match TARGETS.iter().find(|target| *target.name == *name) {
            Some(target) => run_all(target, &entry.path()),
            None if cfg!(feature = "daemon") => panic!("no target is called {}", name.display()),
            None => {}
        }
    }
}

#[test]
fn seeds_hold_every_promise() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in seeds {
            (target.run)(&seed);
        }
    }
}
