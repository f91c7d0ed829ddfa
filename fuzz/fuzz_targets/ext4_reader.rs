//! The reader of file systems, with any bytes. What it promises stands in `bhatti_ext4::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bhatti_ext4::fuzz::reader(data));
