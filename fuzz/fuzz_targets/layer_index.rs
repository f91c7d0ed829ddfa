//! The file of a layer's index, with any bytes. What it promises stands in `bhatti_image::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bhatti_image::fuzz::read_index(data));
