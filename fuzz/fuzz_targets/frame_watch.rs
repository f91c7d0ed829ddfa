//! The watch on yamux frames, with any bytes. What it promises stands in `bhatti_proto::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bhatti_proto::fuzz::frame_watch(data));
