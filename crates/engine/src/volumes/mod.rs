//! Volumes: disks that outlive sandboxes.
//!
//! | module | does |
//! |---|---|
//! | [`backups`] | backs up and restores |
//! | [`claims`] | one at a time decides about a volume |
//! | [`copies`] | what becomes of volumes when their sandbox is copied |
//! | [`disk`] | makes, checks and grows the files |
//! | [`requests`] | what users ask for |
//! | [`scheduled`] | makes backups by itself |
//!
//! A volume is `volumes/<id>/disk.raw`, a sparse file with an ext4 that `mke2fs` made. This host's
//! kernel never mounts it: only guests do. Which sandbox has which volume is decided by the
//! database in one transaction; a sandbox's task alone plugs its own in and pulls them out
//! (`crate::sandbox::volumes`).

pub(crate) mod backups;
pub(crate) mod claims;
pub(crate) mod copies;
pub(crate) mod disk;
mod requests;
mod scheduled;
