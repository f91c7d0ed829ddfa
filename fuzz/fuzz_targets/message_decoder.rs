//! The decoder of messages, with any bytes. What it promises stands in `bhatti_proto::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bhatti_proto::fuzz::message_decoder(data));
