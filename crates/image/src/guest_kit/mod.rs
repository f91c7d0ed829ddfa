//! Builds a guest kit: the kernel and the initrd that every guest boots with.
//!
//! ```text
//!  Debian package ──► vmlinuz ──[vmlinux]──► vmlinux ───────────────┐
//!  (kernel)       └─► *.ko ──[modules]──► load order ─┐             ├─► kits/<id>/
//!  lohar (static) ────────────────────────────────────┴─[cpio]──► initrd
//! ```
//!
//! The same inputs give the same bytes, and the id of a kit is a hash of these bytes.

pub mod build;
pub mod cpio;
mod elf;
pub mod kernel;
pub mod modules;
pub mod on_demand;
pub mod vmlinux;
