//! The little of ELF that building a kit needs: one section of a file, and whether a program
//! asks for a loader.
//!
//! Offsets are those of 64-bit little-endian files (`elf(5)`).

/// A program header of this type names the loader of a dynamically linked program.
const PT_INTERP: u64 = 3;

/// Whether the bytes are an ELF file of the kind read here.
pub(super) fn is_elf64(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF\x02\x01")
}

/// Whether a program needs a loader, and with it shared libraries. `None` if it is not ELF.
pub(super) fn needs_loader(file: &[u8]) -> Option<bool> {
    if !is_elf64(file) {
        return None;
    }
    let table = number(file, 0x20, 8)?;
    let (size, count) = (number(file, 0x36, 2)?, number(file, 0x38, 2)?);
    let types = (0..count).map(|n| number(file, table.checked_add(n * size)?, 4));
    types
        .collect::<Option<Vec<_>>>()
        .map(|types| types.contains(&PT_INTERP))
}

/// The content of the section with this name.
pub(super) fn section<'f>(file: &'f [u8], name: &str) -> Option<&'f [u8]> {
    if !is_elf64(file) {
        return None;
    }
    let table = number(file, 0x28, 8)?;
    let (size, count) = (number(file, 0x3a, 2)?, number(file, 0x3c, 2)?);
    let names = content(file, table.checked_add(number(file, 0x3e, 2)? * size)?)?;
    (0..count).find_map(|n| {
        let header = table.checked_add(n * size)?;
        let text = names.get(number(file, header, 4)? as usize..)?;
        let found = text.strip_prefix(name.as_bytes())?.first() == Some(&0);
        found.then(|| content(file, header))?
    })
}

/// The content of the section whose header is at this offset.
fn content(file: &[u8], header: u64) -> Option<&[u8]> {
    let start = number(file, header.checked_add(0x18)?, 8)?;
    let end = start.checked_add(number(file, header.checked_add(0x20)?, 8)?)?;
    file.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn number(file: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let field = file.get(at..at.checked_add(bytes)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
pub(super) mod test {
    use super::{needs_loader, section};

    /// A minimal ELF file: one program header of the type given, and a section `.modinfo`.
    pub(in super::super) fn file(program_type: u32, modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.shstrtab\0.modinfo\0";
        let (programs, data) = (64u64, 64 + 56u64);
        let name_start = data + modinfo.len() as u64;
        let sections = name_start + names.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[0x20..0x28].copy_from_slice(&programs.to_le_bytes());
        file[0x28..0x30].copy_from_slice(&sections.to_le_bytes());
        for (at, value) in [(0x36, 56u16), (0x38, 1), (0x3a, 64), (0x3c, 3), (0x3e, 1)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file.extend_from_slice(&program_type.to_le_bytes());
        file.resize(data as usize, 0);
        file.extend_from_slice(modinfo);
        file.extend_from_slice(names);
        let lengths = (names.len() as u64, modinfo.len() as u64);
        for (name, start, length) in [
            (0u32, 0, 0),
            (1, name_start, lengths.0),
            (11, data, lengths.1),
        ] {
            let mut header = name.to_le_bytes().to_vec();
            header.resize(0x18, 0);
            header.extend_from_slice(&start.to_le_bytes());
            header.extend_from_slice(&length.to_le_bytes());
            header.resize(64, 0);
            file.extend_from_slice(&header);
        }
        file
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        assert_eq!(
            section(&file(1, b"depends=a\0"), ".modinfo"),
            Some(&b"depends=a\0"[..])
        );
        assert_eq!(section(&file(1, b""), ".modinf"), None);
        assert_eq!(section(b"no elf", ".modinfo"), None);
    }

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        assert_eq!(needs_loader(&file(3, b"")), Some(true));
        assert_eq!(needs_loader(&file(1, b"")), Some(false));
        assert_eq!(needs_loader(b"#!/bin/sh"), None);
    }

    #[test]
    fn a_file_cut_anywhere_is_answered_without_a_panic() {
        let whole = file(3, b"depends=a\0");
        for length in 0..whole.len() {
            let _ = (
                needs_loader(&whole[..length]),
                section(&whole[..length], ".modinfo"),
            );
        }
    }
}
