//! File systems as other programs see them.

mod fill;
mod programs;
