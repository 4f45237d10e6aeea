//! The first bytes of a connection against the reader of PROXY headers; `proxy::proxy`
//! says what must hold.

#![no_main]

#[path = "../proxy.rs"]
mod proxy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxy::proxy(input));
