//! The handshake's scanner, with any bytes. What it promises stands in `bhatti_proto::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bhatti_proto::fuzz::hello_scanner(data));
