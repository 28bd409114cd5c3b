//! Has the layout of a map changed without its number?
//!
//! `tests/golden/layout-v<N>.txt` has, for each version of the layout, what the maps were to the kernel and what their
//! keys and values were made of. A released version's file never changes; the test writes one only if it is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use gateway_common::{
    layout::{Group, LAYOUTS},
    limits::ABI_VERSION,
};

use crate::datapath::programs;

/// Where the types are.
const TYPES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-common/src/abi"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-common/src"),
];
const MAPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-ebpf/src/maps.rs");

/// Descriptions by name of map.
type Described = BTreeMap<String, String>;

#[test]
fn the_layout_of_the_maps_is_that_of_its_version() {
    let found = render(&describe());
    let path = golden(ABI_VERSION);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "the layout of the maps is not that of version {ABI_VERSION} in {}. If that version was ever released: raise \
         ABI_VERSION, and in gateway-common/src/layout.rs the number of each map that differs. If not: remove the file. \
         Then UPDATE_GOLDEN=1.\n--- expected\n{expected}--- found\n{found}",
        path.display()
    );
}

/// Where a type differs from the version before in nothing but a field where that had bytes that were always zero, and zero
/// says that the field is not known, each version can use the entries of the other: the bytes, and the field.
const COMPATIBLE: [(&str, &str); 2] = [
    ("pad: [u8; 2], }", "pub arrival: Arrival, }"),
    ("pub epoch: u32, pub generation: u32,", "pub acked: Acked, pub epoch: u32,"),
];

/// The description without what is compatible.
fn essence(text: Option<&String>) -> Option<String> {
    let text = text?.replace("  pub struct Arrival(u16);\n", "").replace("  pub struct Acked(u32);\n", "");
    Some(COMPATIBLE.iter().fold(text, |text, (padding, field)| text.replace(padding, field)))
}

#[test]
fn a_map_that_differs_from_the_version_before_is_as_it_is_since_this_one() {
    let (before, now) = (parse(ABI_VERSION - 1), describe());
    for layout in LAYOUTS {
        assert!(layout.since <= ABI_VERSION, "{layout:?}");
        let differs = essence(before.get(layout.map)) != essence(now.get(layout.map));
        assert!(
            !differs || layout.since == ABI_VERSION,
            "{} differs from layout {}: its number in gateway-common/src/layout.rs is {}, it has to be {ABI_VERSION}",
            layout.map,
            ABI_VERSION - 1,
            layout.since
        );
    }
}

#[test]
fn every_map_has_a_layout() {
    let listed: BTreeSet<&str> = LAYOUTS.iter().map(|layout| layout.map).collect();
    let shapes = programs::shapes().unwrap();
    assert_eq!(listed, shapes.keys().map(String::as_str).collect());
}

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/layout-v{version}.txt"))
}

/// One paragraph a map.
fn render(described: &Described) -> String {
    described.values().map(String::as_str).collect::<Vec<_>>().join("\n") + "\n"
}

fn parse(version: u32) -> Described {
    let text = fs::read_to_string(golden(version)).unwrap();
    let paragraphs = text.split_terminator("\n\n").map(|text| format!("{}\n", text.trim_end()));
    paragraphs.map(|text| (text.split(' ').next().unwrap_or_default().to_owned(), text)).collect()
}

/// Kind, sizes and types of each map, and the definitions of the types.
fn describe() -> Described {
    let definitions = definitions();
    let types = declared_types();
    let shapes = programs::shapes().unwrap();
    let describe = |name: &String| {
        let (shape, types) = (shapes[name], &types[name]);
        let is_flows = LAYOUTS.iter().any(|layout| layout.map == name && layout.group == Group::Flows);
        let entries = if is_flows { "any".to_owned() } else { shape.entries.to_string() };
        let mut text = format!(
            "{name} {types}: kind {}, {} B to {} B, {entries} entries, flags {}\n",
            shape.kind, shape.key, shape.value, shape.flags
        );
        for definition in reachable(types, &definitions) {
            let _infallible = writeln!(text, "{definition}");
        }
        text
    };
    shapes.keys().map(|name| (name.clone(), describe(name))).collect()
}

/// Types of keys and values, as the programs name them: `static NAME: Kind<Types> = ...`.
fn declared_types() -> BTreeMap<String, String> {
    let source = fs::read_to_string(MAPS).unwrap();
    let maps = source
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("static ")?.split_once(": "));
    maps.map(|(name, rest)| {
        let types = rest.split(" = ").next().unwrap_or_default();
        (name.to_owned(), types.to_owned())
    })
    .collect()
}

/// The public structs, without comments, by name.
fn definitions() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let entries = TYPES.into_iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let source = fs::read_to_string(path).unwrap();
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            let Some(rest) = line.strip_prefix("pub struct ") else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            found.insert(name, definition(line, &mut lines));
        }
    }
    found
}

/// On one line: fields are what matters, not how they are set.
fn definition<'s>(first: &str, lines: &mut impl Iterator<Item = &'s str>) -> String {
    if first.ends_with(';') {
        return format!("  {first}");
    }
    let fields = lines.map(str::trim).take_while(|line| *line != "}");
    let fields: Vec<&str> = fields.filter(|line| !line.starts_with("//")).collect();
    format!("  {first} {} }}", fields.join(" "))
}

/// Definitions of the types that `text` names, and of those that they name.
fn reachable<'d>(text: &str, definitions: &'d BTreeMap<String, String>) -> BTreeSet<&'d String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![text]);
    while let Some(text) = open.pop() {
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            if let Some(definition) = definitions.get(word)
                && reached.insert(definition)
            {
                open.push(definition);
            }
        }
    }
    reached
}
