//! Leaving out what only debuggers read.
//!
//! BTF is made from debug information (DWARF), which the linker leaves in the object: with its relocations that is five
//! times as much as all that the kernel wants. The daemon embeds the object, and loading it touches every section.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

/// How the names of such sections begin. The last one is for linkers: offsets in what it is about are right already.
const UNREAD: [&[u8]; 3] = [b".debug_", b".rel.debug_", b".rel.BTF.ext"];

/// The object without DWARF. Programs, maps, BTF and the source lines in it stay.
///
/// # Errors
///
/// When it is no ELF file.
pub fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("the eBPF object is no ELF file")?;
    for section in &mut elf.sections {
        section.delete = UNREAD.iter().any(|prefix| section.name.starts_with(prefix));
    }
    elf.delete_orphans();
    // LLVM keeps all names in one table, the writer those of sections in their own.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped).context("the eBPF object cannot be written without its debug information")?;
    Ok(stripped)
}
