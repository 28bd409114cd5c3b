//! `seeds DIRECTORY`: writes where the corpus of each target begins, `DIRECTORY/<target>/seed-*`, and its words,
//! `DIRECTORY/<target>.dict`. `cargo xtask fuzz` runs it.

use std::{env, fs, io, path::Path, process::ExitCode};

use gateway_fuzz::target::{TARGETS, Target};

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("usage: seeds DIRECTORY");
        return ExitCode::FAILURE;
    };
    for target in TARGETS {
        if let Err(error) = write(Path::new(&directory), target) {
            eprintln!(
                "error: cannot write the seeds of {} below {}: {error}",
                target.name,
                directory.display()
            );
            return ExitCode::FAILURE;
        }
        println!("{}", target.name);
    }
    ExitCode::SUCCESS
}

fn write(directory: &Path, target: &Target) -> io::Result<()> {
    let corpus = directory.join(target.name);
    fs::create_dir_all(&corpus)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number:03}")), seed)?;
    }
    let words: String = (target.words)().iter().map(|word| entry(word)).collect();
    fs::write(directory.join(target.name).with_extension("dict"), words)
}

/// A word in the form of libFuzzer's dictionaries.
fn entry(word: &str) -> String {
    let escaped: Vec<String> = word.bytes().map(|byte| format!("\\x{byte:02X}")).collect();
    format!("\"{}\"\n", escaped.concat())
}
